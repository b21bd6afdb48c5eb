"""Ragas' own metrics with their defects worked around; the only file that imports Ragas.

Ragas 0.4.3, each defect with a test that the plain metric fails:

- Faithfulness and FactualCorrectness divide by the verdicts that were returned, not by the
  statements that were asked about: here the count must match, or the sample is missing.
- A verdict of 2 or -1 is summed as it is: here anything but 0 and 1 is asked for again.
- AnswerRelevancy asks `strictness` times at temperature 0.01, and with Ragas' cache only once:
  here every one is a call of its own at temperature 0.3, as in Ragas' older metric.
- An empty question among its samples is left out in silence, a cosine may be negative, and NaN
  where a vector is zero: here the first is asked for again, the second clipped and counted, the
  third missing.
- No claims in an answer score 0 in FactualCorrectness, no statements NaN: here both are missing.
- Ragas sends usage data home unless told not to, and makes a folder in the user's home for it:
  told before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from rankgate.errors import MissingExtraError

__all__ = [
    "METRICS",
    "NEEDS_REFERENCE",
    "SAMPLING_TEMPERATURE",
    "Check",
    "JudgeLLM",
    "build_metrics",
    "checked",
    "import_ragas",
    "nonempty",
    "string_similarity",
]

Check = Callable[[Any], None]
"""Raises `PydanticCustomError`, whose type is the reason, where a parsed answer is unusable."""

METRICS = (
    "faithfulness",
    "answer_relevancy",
    "context_precision",
    "context_recall",
    "factual_correctness",
)
"""The judged metrics, in the order in which they are shown; all in [0, 1], higher is better."""

NEEDS_REFERENCE = frozenset({"context_precision", "context_recall", "factual_correctness"})
SAMPLING_TEMPERATURE = 0.3
_FLAGS = ("verdict", "attributed", "noncommittal")


class JudgeLLM(Protocol):
    """What the metrics ask: Ragas' `agenerate`, with a check of the answer's own."""

    async def asked(
        self,
        prompt: str,
        response_model: Any,
        *,
        check: Check | None = None,
        temperature: float | None = None,
    ) -> Any:
        """The parsed answer."""
        ...


def import_ragas() -> Any:
    """The module `ragas.metrics.collections`, imported with telemetry off.

    Raises:
        MissingExtraError: Ragas is not installed.
    """
    # Read once, on first use, so it must be there before anything of Ragas runs.
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    try:
        import ragas.metrics.collections as collections
        from ragas import _analytics
    except ImportError as exc:
        raise MissingExtraError("an evaluation of answers by Ragas", "e2e") from exc
    # Somebody may have imported Ragas before us and made it remember another answer.
    _analytics.do_not_track.cache_clear()
    return collections


def checked(model: Any, check: Check | None) -> Any:
    """The same pydantic model, which also refuses what Ragas would count without a look.

    That is yes-or-no numbers other than 0 and 1, and what the check refuses.
    """
    from pydantic import create_model, model_validator

    def usable(parsed: Any) -> Any:
        _check_flags(parsed)
        if check is not None:
            check(parsed)
        return parsed

    validators: Any = {"usable": model_validator(mode="after")(usable)}
    return create_model(model.__name__, __base__=model, __validators__=validators)


def _check_flags(parsed: Any) -> None:
    for name, value in parsed:
        if name in _FLAGS and value not in (0, 1):
            raise _unusable("invalid", f"{name} must be 0 or 1, got {value}")
        for item in value if isinstance(value, list) else ():
            if hasattr(item, "model_fields_set"):
                _check_flags(item)


def count(wanted: int) -> Check:
    """Refuses another number of verdicts than was asked for."""

    def check(parsed: Any) -> None:
        got = len(parsed.statements)
        if got != wanted:
            raise _unusable("verdict_count", f"{got} verdicts for {wanted} statements")

    return check


def nonempty(attribute: str) -> Check:
    """Refuses an empty list, or text."""

    def check(parsed: Any) -> None:
        if not getattr(parsed, attribute):
            raise _unusable(f"no_{attribute}", f"`{attribute}` is empty")

    return check


def _unusable(reason: str, said: str) -> Exception:
    from pydantic_core import PydanticCustomError

    return PydanticCustomError(reason, said)


def build_metrics(
    llm: Any, embeddings: Any, *, strictness: int = 3
) -> dict[str, Callable[..., Awaitable[Any]]]:
    """Metric name to its `ascore`, over this judge; without embeddings no answer relevancy.

    Args:
        llm: an `InstructorBaseRagasLLM` that is a `JudgeLLM` too.
        embeddings: a `BaseRagasEmbedding`; None: none.
        strictness: questions that answer relevancy samples.
    """
    collections = import_ragas()
    from ragas.metrics.collections.factual_correctness.util import (
        ClaimDecompositionInput,
        ClaimDecompositionOutput,
    )
    from ragas.metrics.collections.factual_correctness.util import (
        NLIStatementInput as ClaimInput,
    )
    from ragas.metrics.collections.factual_correctness.util import (
        NLIStatementOutput as ClaimOutput,
    )
    from ragas.metrics.collections.faithfulness.util import NLIStatementInput, NLIStatementOutput

    class Faithfulness(collections.Faithfulness):  # type: ignore[misc, name-defined]
        """Counts the verdicts."""

        async def _create_verdicts(self, statements: list[str], context: str) -> Any:
            given = NLIStatementInput(context=context, statements=statements)
            return await self.llm.asked(
                self.nli_statement_prompt.to_string(given),
                NLIStatementOutput,
                check=count(len(statements)),
            )

    class FactualCorrectness(collections.FactualCorrectness):  # type: ignore[misc, name-defined]
        """Counts the verdicts, and wants at least one claim."""

        async def _decompose_claims(self, text: str) -> Any:
            given = ClaimDecompositionInput(
                response=text, atomicity=self.atomicity, coverage=self.coverage
            )
            found = await self.llm.asked(
                self.prompt.to_string(given),
                ClaimDecompositionOutput,
                check=nonempty("claims"),
            )
            return found.claims

        async def _verify_claims(self, claims: list[str], reference: str) -> Any:
            given = ClaimInput(context=reference, statements=claims)
            return await self.llm.asked(
                self.nli_prompt.to_string(given),
                ClaimOutput,
                check=count(len(claims)),
            )

    found: dict[str, Callable[..., Awaitable[Any]]] = {"faithfulness": Faithfulness(llm).ascore}
    if embeddings is not None:
        found["answer_relevancy"] = collections.AnswerRelevancy(
            llm, embeddings, strictness=strictness
        ).ascore
    found["context_precision"] = collections.ContextPrecision(llm).ascore
    found["context_recall"] = collections.ContextRecall(llm).ascore
    found["factual_correctness"] = FactualCorrectness(llm).ascore
    return found


async def string_similarity(references: Sequence[str], response: str) -> float | None:
    """Ragas' NonLLMStringSimilarity to the nearest reference, in [0, 1].

    None where there is no reference, or Ragas or rapidfuzz is not installed.
    """
    try:
        metric = import_ragas().NonLLMStringSimilarity()
    except ImportError:
        return None
    scores = [
        float((await metric.ascore(reference=r, response=response)).value) for r in references
    ]
    return max(scores, default=None)
