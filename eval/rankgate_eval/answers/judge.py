"""The judge: scores one answer by Ragas' metrics, and says why where it cannot.

An answer from no passages at all has its own rule, because Ragas raises on it: nothing supports
it, so faithfulness, context precision and context recall are 0, and it is counted. A refusal is
never judged here; see `refusals`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.scorers.protocol import Scorer
from rankgate_eval.answers.questions import AskedQuestion, Score
from rankgate_eval.errors import CallFailed, EndpointError
from rankgate_eval.paid.calls import Calls, Purpose
from rankgate_eval.paid.endpoint import Endpoint

DEFAULT_PARAMETERS = {"temperature": 0.0, "max_tokens": 8192}
"""Ragas' own default of 1,024 tokens cuts long lists of verdicts off."""

METRICS = (
    "faithfulness",
    "answer_relevancy",
    "context_precision",
    "context_recall",
    "factual_correctness",
)
"""The judged metrics, in the order in which they are shown; all in [0, 1], higher is better."""

MODES = ("json", "schema", "tools", "plain")
"""How structured data is asked for, as servers differ: JSON mode, structured outputs, a forced
function call, nothing special."""

NEEDS_REFERENCE = frozenset(
    {"context_precision", "context_recall", "factual_correctness", "local_context_precision"}
)
_OF_CONTEXTS = frozenset({"faithfulness", "context_precision", "context_recall"})


class AnswerJudge(Protocol):
    """Scores answers: a `Judge` at an endpoint, or `local_judge.LocalJudge`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that are measured."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its scores should know."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What its scores depend on."""
        ...

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Role to what is called over the network."""
        ...

    def beside(self, scorer: Scorer) -> AnswerJudge:
        """As it may judge arms that this scorer ordered.

        Raises:
            ConfigError: it is that scorer.
        """
        ...

    def rehearsed(self, instead: Callable[[Endpoint], Endpoint]) -> AnswerJudge | None:
        """For a dry run: with other endpoints, and no model loaded; None: nothing is asked."""
        ...

    async def scores(
        self, question: AskedQuestion, texts: Sequence[str], answer: str, calls: Calls
    ) -> dict[str, Score]:
        """Every metric of one answer; those that need a reference only where there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A judge at an endpoint, with the embeddings that answer relevancy needs.

    Attributes:
        embeddings: an `Endpoint` of embeddings, or `LocalEmbeddings`; None: answer relevancy
            is not measured.
        mode: how structured data is asked for, of `MODES`.
        strictness: questions that answer relevancy samples.
        repeat: judgings of each answer; two and more tell how far the judge agrees with itself.
    """

    endpoint: Endpoint
    embeddings: Any = None
    mode: str = "json"
    strictness: int = 3
    repeat: int = 1
    metrics: tuple[str, ...] = METRICS
    _names: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"--judge-mode is one of {', '.join(MODES)}; got {self.mode!r}")
        for name in ("strictness", "repeat"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        strange = [m for m in self.metrics if m not in METRICS]
        if strange or not self.metrics:
            raise InputError(f"the judge knows {', '.join(METRICS)}; got {list(self.metrics)}")
        names = tuple(
            m
            for m in METRICS
            if m in self.metrics and not (m == "answer_relevancy" and self.embeddings is None)
        )
        object.__setattr__(self, "_names", names)
        load_ragas()

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that are measured."""
        return self._names

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Of the judge, and of the embeddings where they have one."""
        apart = isinstance(self.embeddings, Endpoint)
        return {"judge": self.endpoint, **({"embeddings": self.embeddings} if apart else {})}

    def beside(self, scorer: Scorer) -> Judge:
        """Itself, unless it is the scorer; see `AnswerJudge`."""
        refuse_own_scorer(self.endpoint.model.name, scorer.info.id)
        return self

    def rehearsed(self, instead: Callable[[Endpoint], Endpoint]) -> Judge:
        """See `AnswerJudge`."""
        embeddings = self.embeddings
        if isinstance(embeddings, Endpoint):
            embeddings = instead(embeddings)
        elif embeddings is not None:
            embeddings = _NoEmbeddings()
        return replace(self, endpoint=instead(self.endpoint), embeddings=embeddings)

    @property
    def identity(self) -> dict[str, Any]:
        """What its scores depend on."""
        embeddings = self.embeddings
        shown: Any = embeddings.model.identity if isinstance(embeddings, Endpoint) else None
        if isinstance(embeddings, LocalEmbeddings):
            shown = embeddings.identity
        return {
            **self.endpoint.model.identity,
            "mode": self.mode,
            "strictness": self.strictness,
            "repeat": self.repeat,
            "sampling_temperature": load_ragas().SAMPLING_TEMPERATURE,
            "embeddings": shown,
            "ragas": importlib.metadata.version("ragas"),
        }

    async def scores(
        self, question: AskedQuestion, texts: Sequence[str], answer: str, calls: Calls
    ) -> dict[str, Score]:
        """Every metric of one answer; those that need a reference only where there is one.

        Args:
            question: with its references; the first one is compared with.
            texts: the passages that the answer was written from, best first.

        Raises:
            EndpointError: nothing can work at the judge.
        """
        wanted = [m for m in self._names if question.references or m not in NEEDS_REFERENCE]
        found = await asyncio.gather(
            *(self._score(metric, question, texts, answer, calls) for metric in wanted)
        )
        return dict(zip(wanted, found, strict=True))

    async def _score(
        self, metric: str, question: AskedQuestion, texts: Sequence[str], answer: str, calls: Calls
    ) -> Score:
        if not texts and metric in _OF_CONTEXTS:
            return Score(values=(0.0,) * self.repeat, ruled="empty_contexts")
        values: list[float] = []
        clipped = 0
        for repeat in range(self.repeat):
            try:
                value = await self._once(metric, question, texts, answer, calls, repeat)
            except CallFailed as exc:
                # All judgings or none: a mean of fewer would be of another noise.
                return Score(missing=exc.reason, detail=exc.detail)
            if value < 0.0:
                value, clipped = 0.0, clipped + 1
            # Cosines of vectors in float32 exceed 1 by rounding. Bits below 1e-9 are noise.
            values.append(round(min(value, 1.0), 9))
        return Score(values=tuple(values), clipped=clipped)

    async def _once(
        self,
        metric: str,
        question: AskedQuestion,
        texts: Sequence[str],
        answer: str,
        calls: Calls,
        repeat: int,
    ) -> float:
        purpose = Purpose(role="judge", sample=question.id, metric=metric)
        ragas = load_ragas()
        llm = ragas.Judging(self.endpoint, self.mode, calls, purpose, repeat)
        embeddings = None
        if self.embeddings is not None:
            embeddings = ragas.Embeddings(self.embeddings, calls, question.id)
        score = ragas.build_metrics(llm, embeddings, strictness=self.strictness)[metric]
        inputs: dict[str, dict[str, Any]] = {
            "faithfulness": {"response": answer, "retrieved_contexts": list(texts)},
            "answer_relevancy": {"response": answer},
            "context_precision": {"retrieved_contexts": list(texts)},
            "context_recall": {"retrieved_contexts": list(texts)},
            "factual_correctness": {"response": answer},
        }
        given = inputs[metric]
        if metric != "factual_correctness":
            given["user_input"] = question.text
        if metric in NEEDS_REFERENCE:
            given["reference"] = question.references[0]
        try:
            result = await score(**given)
        except (CallFailed, EndpointError):
            raise
        except Exception as exc:  # Ragas raises whatever it meets
            raise CallFailed("ragas_error", f"{type(exc).__name__}: {exc}") from exc
        value = float(result.value)
        if not math.isfinite(value):
            raise CallFailed("no_statements", f"{metric}: Ragas found nothing to judge")
        return value


class _NoEmbeddings:
    """In the place of local embeddings, which cost nothing: a dry run loads no model."""

    async def embed(self, text: str) -> list[float]:
        return [1.0, 0.0]


class LocalEmbeddings:
    """Embeddings in this process, which cost nothing and leave nothing.

    Args:
        encoder: with `embed(texts)`, `name` and `sha256`; None: all-MiniLM-L6-v2, on first use.
    """

    def __init__(self, encoder: Any = None) -> None:
        self._given = encoder
        self._turn = threading.Lock()

    @functools.cached_property
    def encoder(self) -> Any:
        """The encoder, loaded."""
        if self._given is not None:
            return self._given
        from rankgate.encoders import TokenEncoder

        return TokenEncoder.load()

    @property
    def identity(self) -> dict[str, str]:
        """Name and weights."""
        return {"name": str(self.encoder.name), "sha256": str(self.encoder.sha256)}

    async def embed(self, text: str) -> list[float]:
        """One text alone: in a batch its last bits would depend on its neighbours."""

        def alone() -> list[float]:
            with self._turn:
                vector: list[float] = self.encoder.embed([text])[0].tolist()
            return vector

        return await asyncio.to_thread(alone)


def load_ragas() -> Any:
    """The module that imports Ragas.

    Raises:
        MissingExtraError: Ragas is not installed.
    """
    try:
        from rankgate_eval.answers import ragas_metrics
    except ImportError as exc:
        raise MissingExtraError("an evaluation of answers by Ragas", "e2e") from exc
    return ragas_metrics


def refuse_own_scorer(judge: str, scorer_id: str) -> None:
    """A reranker never judges its own arm.

    Raises:
        ConfigError: the judge's model is the arms' scorer.
    """
    plain = judge.strip().casefold()
    own = scorer_id.strip().casefold()
    parts = {own, own.rpartition(":")[2], own.partition("/")[2], own.rpartition("/")[2]}
    if plain in parts or plain.rpartition("/")[2] in parts - {""}:
        raise ConfigError(
            f"the judge {judge!r} is the scorer {scorer_id!r} of the ranking arms: a reranker "
            "never judges its own arm. Give another --judge-model."
        )
