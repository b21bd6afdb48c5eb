"""Codes and numbers in plain words, for the pages that the server renders."""

from __future__ import annotations

from datetime import datetime

STATUSES = {
    "reranked": "Reranked",
    "skipped": "Skipped",
    "degraded": "Not reranked",
    "refused": "Refused",
}
STAGES = {
    "retrieve": "Finding candidates",
    "rerank": "Gate and reranking",
    "generate": "Writing the answer",
    "total": "Whole answer",
}
VERDICTS = {
    "ship": "Ship",
    "ship_behind_gate": "Ship behind the gate",
    "dont_ship": "Don't ship",
    "not_enough_data": "Not enough data",
    "not_a_fair_test": "Not a fair test",
}
REASONS = {
    "low_harm": "skipping was predicted to do no harm",
    "worth_it": "skipping was predicted to cost quality",
    "floor_needs_score": "the floor needs the reranker's score",
    "single_candidate": "one candidate cannot be reordered",
    "no_candidates": "nothing was found",
    "empty_query": "the question has no words",
    "no_gate": "no gate is configured",
    "uncertain": "no rule for skipping holds",
    "signals_missing": "the gate lacked a signal",
    "veto_negation": "the question says what it does not mean, which first stages misread",
    "veto_temporal": "the question is about time, which first stages misread",
    "veto_conditional": "the question has a condition, which first stages misread",
    "forced": "asked for by the caller",
    "no_time": "no time was left",
    "deadline": "the time for reranking was used up before it began",
    "deadline_partial": "the time for reranking was used up; only some passages were read",
    "timeout": "the reranker took too long",
    "breaker_open": "the reranker failed repeatedly and is paused",
    "scorer_error": "the reranker failed",
    "bad_scores": "the reranker returned unusable scores",
    "remote_error": "the reranking service could not be reached",
    "remote_auth": "the reranking service refused the key",
    "remote_limit": "the reranking service is over its limit",
    "remote_protocol": "the reranking service answered in an unknown form",
    "sources": "the sources do not fit",
    "beside_the_point": "beside the point",
    "incomplete": "incomplete",
    "outdated": "out of date",
    "": "no reason given",
}


def reason(code: str) -> str:
    """A reason code in words; an unknown one as it is."""
    return REASONS.get(code, code.replace("_", " "))


def milliseconds(value: float | None) -> str:
    """A time for people; a dash where there is none."""
    if value is None:
        return "\u2013"
    if value >= 1000.0:
        return f"{value / 1000.0:.1f} s"
    return f"{value:.0f} ms" if value >= 10.0 else f"{value:.1f} ms"


def percent(share: float) -> str:
    """A share, without decimals."""
    return f"{100.0 * share:.0f}%"


def when(moment: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
