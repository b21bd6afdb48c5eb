"""Whether agreement with the reranker is worth having: somebody has to have shown or said so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankgate.scorers import ScorerInfo
from rankgate_eval.result.call import Call
from rankgate_eval.result.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whether a gate may be fitted to agree with a scorer, and why, in a sentence."""

    given: bool
    reason: str


def trust_of(scorer: ScorerInfo, *, verdict: Path | None, trusted: bool) -> Trust:
    """What a verdict, or the user, says of the scorer.

    A gate that agrees with a scorer hands over what the scorer would, right or wrong: so that it
    is right has to come from elsewhere.

    Args:
        verdict: a result of `rankgate eval`; None: there is none.

    Raises:
        ConfigError: the file is no result.
    """
    if trusted:
        return Trust(given=True, reason="the reranker is trusted because --trust-reranker says so")
    if verdict is None:
        return Trust(
            given=False,
            reason="off: nothing says that the reranker is right, and agreement with a wrong one "
            "is worth nothing. Give --verdict result.json of `rankgate eval` that says ship, or "
            "--trust-reranker",
        )
    result = Result.load(verdict)
    judged = result.made.scorer
    if result.verdict is not Call.SHIP:
        return Trust(
            given=False,
            reason=f"off: {verdict} says {result.verdict.value}, not ship. --trust-reranker "
            "overrules it",
        )
    same = judged.get("id") == scorer.id and judged.get("weights") in (None, scorer.weights)
    if not same:
        return Trust(
            given=False,
            reason=f"off: {verdict} is about the scorer {judged.get('id')}, this one is "
            f"{scorer.id}. Evaluate this one, or give --trust-reranker",
        )
    return Trust(given=True, reason=f"{verdict} says ship for {scorer.id}")
