"""The local judge of answers: no key, no network, scores under names of their own.

`local_faithfulness` is `rankgate.judge`'s. The other two are read by the encoder alone, so they are
left out where that encoder ordered an arm: what chose is not what judges. Nothing here is Ragas',
and no number of Ragas' may be compared with one of these.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankgate.errors import ConfigError
from rankgate.judge import Grounding, GroundingJudge, Statement, statements_of
from rankgate.scorers.protocol import Scorer
from rankgate.scorers.wrappers.traits import innermost
from rankgate_eval.answers.keyless import context_precision
from rankgate_eval.answers.questions import AskedQuestion, Score
from rankgate_eval.paid.calls import Calls
from rankgate_eval.paid.endpoint import Endpoint

LOCAL_METRICS = ("local_faithfulness", "local_context_precision", "local_answer_relevancy")
"""In [0, 1], higher is better: mean probability that the answer's statements stand in the passages;
mean precision at the ranks of the passages that support the reference answer; cosine of question
and answer."""

_FEW_WORDS = 4  # a reference of fewer says something only together with its question
_OF_THE_ENCODER = LOCAL_METRICS[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalJudge:
    """Judges answers in this process.

    Attributes:
        judge: None: the one that comes with rankgate, loaded on first use.
        names: the metrics that are measured.
        notes: why not all of them.
    """

    judge: GroundingJudge | None = None
    names: tuple[str, ...] = LOCAL_METRICS
    notes: tuple[str, ...] = ()

    @property
    def loaded(self) -> GroundingJudge:
        """The judge.

        Raises:
            ModelNotFoundError: all-MiniLM-L6-v2 is not installed.
        """
        return _bundled() if self.judge is None else self.judge

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """None: nothing leaves this process."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """What its scores depend on."""
        return {"name": "local", **self.loaded.identity}

    def rehearsed(self, instead: Callable[[Endpoint], Endpoint]) -> None:
        """None: it costs nothing, and a dry run loads no model."""

    def beside(self, scorer: Scorer) -> LocalJudge:
        """The same, without what would judge an arm by the weights that ordered it.

        Raises:
            ConfigError: the scorer's weights are the judge's.
        """
        mine = {self.loaded.sha256, self.loaded.encoder_sha256}
        info = scorer.info
        if info.id == self.loaded.name or info.weights in mine:
            raise ConfigError(
                f"the local judge reads with the weights of the scorer {info.id!r} of the ranking "
                "arms: a reranker never judges its own arm. Take another --scorer, or a judge at "
                "an address: --judge-model"
            )
        encoder = getattr(innermost(scorer), "encoder", None)
        if getattr(encoder, "sha256", None) not in mine:
            return self
        note = (
            f"{' and '.join(_OF_THE_ENCODER)} were not measured: the scorer {info.id} reads "
            "passages with the encoder that would judge them."
        )
        kept = tuple(n for n in self.names if n not in _OF_THE_ENCODER)
        return replace(self, names=kept, notes=(note,))

    async def scores(
        self, question: AskedQuestion, texts: Sequence[str], answer: str, calls: Calls
    ) -> dict[str, Score]:
        """Every metric of one answer; see `Judge.scores`."""
        found = await asyncio.to_thread(self._scores, question, list(texts), answer)
        return {name: found[name] for name in self.names if name in found}

    def _scores(
        self, question: AskedQuestion, texts: Sequence[str], answer: str
    ) -> dict[str, Score]:
        found = {"local_faithfulness": self._faithful(texts, answer)}
        if "local_context_precision" in self.names and question.references:
            found["local_context_precision"] = self._precise(question, texts)
        if "local_answer_relevancy" in self.names:
            cosine = self._cosine(question.text, answer)
            value = round(min(max(cosine, 0.0), 1.0), 9)
            found["local_answer_relevancy"] = Score(values=(value,), clipped=int(cosine < 0.0))
        return found

    def faithful(
        self, texts: Sequence[str], answer: str
    ) -> tuple[float | None, tuple[tuple[Statement, Grounding], ...]]:
        """Mean probability of the answer's statements, and each with what was found.

        None where the answer claims nothing; 0 where there are no texts.
        """
        statements = statements_of(answer)
        judged = self.loaded.judge([s.text for s in statements], texts)
        mean = float(np.mean([g.probability for g in judged])) if judged else None
        return mean, tuple(zip(statements, judged, strict=True))

    def _faithful(self, texts: Sequence[str], answer: str) -> Score:
        value, _ = self.faithful(texts, answer)
        if value is None:
            return Score(missing="no_statements", detail="the answer claims nothing")
        return Score(values=(round(value, 9),), ruled="" if texts else "empty_contexts")

    def _precise(self, question: AskedQuestion, texts: Sequence[str]) -> Score:
        if not texts:
            return Score(values=(0.0,), ruled="empty_contexts")
        reference = question.references[0]
        short = len(reference.split()) < _FEW_WORDS
        claim = f"{question.text} {reference}" if short else reference
        ids = [str(i) for i in range(len(texts))]
        useful = {
            i for i, t in zip(ids, texts, strict=True) if self.loaded.grounded(claim, [t]).supported
        }
        value = context_precision(ids, useful)
        return Score(values=(0.0 if value is None else round(value, 9),))

    def _cosine(self, question: str, answer: str) -> float:
        asked, said = self.loaded.reader.encode([question, answer])
        return float(asked.pooled @ said.pooled)


@functools.cache
def _bundled() -> GroundingJudge:
    return GroundingJudge.load()
