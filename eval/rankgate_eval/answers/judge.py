"""The judge: scores one answer by Ragas' metrics, and says why where it cannot.

An answer from no passages at all has its own rule, because Ragas raises on it: nothing supports
it, so faithfulness, context precision and context recall are 0, and it is counted. A refusal is
never judged here; see `refusals`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import json
import logging
import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rankgate.errors import ConfigError, InputError
from rankgate_eval.answers.calls import Calls, Purpose, digest
from rankgate_eval.answers.endpoint import Endpoint
from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.ragas_metrics import (
    METRICS,
    NEEDS_REFERENCE,
    SAMPLING_TEMPERATURE,
    Check,
    build_metrics,
    checked,
    import_ragas,
    nonempty,
)
from rankgate_eval.answers.sample import Score
from rankgate_eval.errors import CallFailed, EndpointError

__all__ = ["DEFAULT_PARAMETERS", "Judge", "LocalEmbeddings", "refuse_own_scorer"]

DEFAULT_PARAMETERS = {"temperature": 0.0, "max_tokens": 8192}
"""Ragas' own default of 1,024 tokens cuts long lists of verdicts off."""

MODES = {"json": "JSON", "schema": "JSON_SCHEMA", "tools": "TOOLS", "plain": "MD_JSON"}
"""How structured data is asked for, as servers differ, to instructor's name of it."""

_MORE_ATTEMPTS = 2
_OF_CONTEXTS = frozenset({"faithfulness", "context_precision", "context_recall"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A judge at an endpoint, with the embeddings that answer relevancy needs.

    Attributes:
        endpoint: the language model.
        embeddings: an `Endpoint` of embeddings, or `LocalEmbeddings`; None: answer relevancy
            is not measured.
        mode: how structured data is asked for, of `MODES`.
        strictness: questions that answer relevancy samples.
        repeat: judgings of each answer; two and more tell how far the judge agrees with itself.
        metrics: which to measure.
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
        import_ragas()

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that are measured."""
        return self._names

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
            "sampling_temperature": SAMPLING_TEMPERATURE,
            "embeddings": shown,
            "ragas": _ragas_version(),
        }

    async def scores(
        self, question: Question, texts: Sequence[str], answer: str, calls: Calls
    ) -> dict[str, Score]:
        """Every metric of one answer; those that need a reference only where there is one.

        Args:
            question: with its references; the first one is compared with.
            texts: the passages that the answer was written from, best first.
            answer: not a refusal.
            calls: where answers are kept.

        Raises:
            EndpointError: nothing can work at the judge.
        """
        wanted = [m for m in self._names if question.references or m not in NEEDS_REFERENCE]
        found = await asyncio.gather(
            *(self._score(metric, question, texts, answer, calls) for metric in wanted)
        )
        return dict(zip(wanted, found, strict=True))

    async def _score(
        self, metric: str, question: Question, texts: Sequence[str], answer: str, calls: Calls
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
        question: Question,
        texts: Sequence[str],
        answer: str,
        calls: Calls,
        repeat: int,
    ) -> float:
        purpose = Purpose(role="judge", sample=question.id, metric=metric)
        llm = _session_class()(self, calls, purpose, repeat)
        embeddings = None
        if self.embeddings is not None:
            embeddings = _embeddings_class()(self.embeddings, calls, question.id)
        score = build_metrics(llm, embeddings, strictness=self.strictness)[metric]
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


@functools.cache
def _ragas_version() -> str:
    return importlib.metadata.version("ragas")


@functools.cache
def _session_class() -> Any:
    import_ragas()
    import instructor
    from instructor.core import InstructorRetryException
    from instructor.utils import extract_json_from_codeblock
    from ragas.llms.base import InstructorBaseRagasLLM

    # It logs failed calls as errors, which without a handler go to the terminal; ours are counted.
    logging.getLogger("instructor").addHandler(logging.NullHandler())

    class Session(InstructorBaseRagasLLM):  # type: ignore[misc]
        """Ragas' door to the judge, for one metric of one answer.

        The n-th time that a prompt is asked is a call of its own, with a key of its own.
        """

        def __init__(self, judge: Judge, calls: Calls, purpose: Purpose, repeat: int) -> None:
            self._judge = judge
            self._calls = calls
            self._purpose = purpose
            self._repeat = repeat
            self._asked: Counter[str] = Counter()

        def generate(self, prompt: str, response_model: Any) -> Any:
            """Not used: everything here is async."""
            raise NotImplementedError("use agenerate")

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            """What the metrics call where they need no check of their own."""
            name = response_model.__name__
            if name == "AnswerRelevanceOutput":
                return await self.asked(
                    prompt,
                    response_model,
                    check=nonempty("question"),
                    temperature=SAMPLING_TEMPERATURE,
                )
            needed = {
                "StatementGeneratorOutput": "statements",
                "ContextRecallOutput": "classifications",
            }.get(name)
            return await self.asked(
                prompt, response_model, check=None if needed is None else nonempty(needed)
            )

        async def asked(
            self,
            prompt: str,
            response_model: Any,
            *,
            check: Check | None = None,
            temperature: float | None = None,
        ) -> Any:
            """The parsed and checked answer.

            Where it is unusable instructor says so to the judge and asks again; every attempt is
            a paid call like any other. A refusal and a cut-off answer are final: the same
            question would meet the same end.
            """
            hashed = digest([prompt, response_model.__name__])
            nth = self._asked[hashed]
            self._asked[hashed] += 1
            model = self._judge.endpoint.model
            parameters = model.asked_with
            if temperature is not None and "temperature" in parameters:
                parameters["temperature"] = temperature
            wanted = checked(response_model, check)
            strict = self._judge.mode == "schema"

            async def create(**body: Any) -> Any:
                if strict:
                    body["response_format"] = _strict_format(wanted)
                reply = await self._calls.chat(
                    self._judge.endpoint, body, salt=[self._repeat, nth], purpose=self._purpose
                )
                message = reply.choices[0].message
                if message.content is not None:
                    # Servers without a JSON mode answer in a code fence, or with words around it.
                    message.content = extract_json_from_codeblock(message.content)
                return reply

            ask = instructor.patch(create=create, mode=instructor.Mode[MODES[self._judge.mode]])
            try:
                return await ask(
                    response_model=wanted,
                    messages=[{"role": "user", "content": prompt}],
                    max_retries=_MORE_ATTEMPTS,
                    strict=False,
                    model=model.name,
                    **parameters,
                )
            except InstructorRetryException as exc:
                reason = _reason(response_model.__name__, exc.__cause__)
                raise (exc if reason is None else reason) from None

    return Session


@functools.cache
def _embeddings_class() -> Any:
    import_ragas()
    from ragas.embeddings.base import BaseRagasEmbedding

    class Embeddings(BaseRagasEmbedding):  # type: ignore[misc]
        """Ragas' door to the embeddings."""

        def __init__(self, source: Any, calls: Calls, sample: str) -> None:
            super().__init__()
            self._source = source
            self._calls = calls
            self._sample = sample

        def embed_text(self, text: str, **kwargs: Any) -> list[float]:
            """Not used: everything here is async."""
            raise NotImplementedError("use aembed_text")

        async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
            """One vector."""
            if not isinstance(self._source, Endpoint):
                vector: list[float] = await self._source.embed(text)
                return vector
            purpose = Purpose(role="embeddings", sample=self._sample, metric="answer_relevancy")
            return await self._calls.embed(self._source, text, purpose=purpose)

    return Embeddings


def _strict_format(model: Any) -> dict[str, Any]:
    """The response format of structured outputs: every property required, no others."""
    import openai

    function = openai.pydantic_function_tool(model)["function"]
    described = {"name": function["name"], "schema": function["parameters"], "strict": True}
    return {"type": "json_schema", "json_schema": described}


def _reason(name: str, cause: BaseException | None) -> BaseException | None:
    """What was wrong with the last attempt; whatever else ended the asking stays what it is."""
    from instructor.core import ResponseParsingError
    from pydantic import ValidationError

    if isinstance(cause, ValidationError):
        first = cause.errors(include_url=False, include_context=False)[0]
        ours = first["type"] == "verdict_count" or first["type"].startswith("no_")
        detail = f"{name}: {first['msg']}"
        return CallFailed(first["type"] if ours else "invalid", detail[:300])
    if isinstance(cause, json.JSONDecodeError | ResponseParsingError):
        return CallFailed("invalid", f"{name}: {cause}"[:300])
    return cause
