"""The section "Did the answers get better?": what the end-to-end run put into the result.

Read with tolerance, since another command writes it. The slots are

    verdict: str; reasons, notes: lists of sentences
    arms: {arm: {metric: {mean, ci, n, missing}}}
    differences: {"after-before": {metric: {mean, ci, p, n}}}
    n, clusters, queries_needed: counts
    refusals: {arm: {kind: count}}
    contexts: {"after-before": {moves: {"lift" | "inversion" | "none": {n, better, worse, ...}}}}
    changed: [{query_id, query, kind, moves, because, references, before: side, after: side}], the
        questions whose context changed, with
        side = {arm, contexts, answer, failure, refused, judgements: {metric: number}} and
        contexts = a list of strings or of {passage_id, snippet, relevant}

each of which may be absent; whatever else the section holds is shown as plain rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from rankgate_eval.report.flatten import flatten
from rankgate_eval.report.words import comparison_name

__all__ = ["Answers", "ChangedQuestion", "Measured", "Passage", "Side", "read_answers"]

_MOVES = {
    "lift": "a relevant passage came in",
    "inversion": "a relevant passage left",
    "none": "no relevant passage moved",
}
_READ = frozenset(
    "verdict reasons notes n clusters queries_needed arms differences refusals contexts "
    "changed".split()
)


Counts = Mapping[str, Mapping[str, int]]
"""Rows of counts: name to what was counted to how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean or a difference; what was not measured is None."""

    mean: float | None
    ci: tuple[float, float] | None
    p: float | None
    n: int | None
    changed: int | None
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A context that was handed over."""

    passage_id: str
    snippet: str
    relevant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one arm handed over and what became of it."""

    arm: str
    contexts: tuple[Passage, ...]
    answer: str
    failure: str
    refused: bool
    judgements: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedQuestion:
    """A question whose context changed."""

    query_id: str
    query: str
    kind: str
    moves: tuple[str, ...]
    because: str
    reference: str
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The section, read."""

    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    n: int | None
    clusters: int | None
    queries_needed: int | None
    refusals: Counts
    moves: Counts
    arms: Mapping[str, Mapping[str, Measured]]
    differences: Mapping[str, Mapping[str, Measured]]
    changed: tuple[ChangedQuestion, ...]
    rest: tuple[tuple[str, str], ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of the arms and the differences, each once."""
        tables = (*self.arms.values(), *self.differences.values())
        return tuple(dict.fromkeys(m for table in tables for m in table))


def read_answers(section: Mapping[str, Any]) -> Answers:
    """What of the section has a slot, and the rest as rows."""
    return Answers(
        verdict=str(section.get("verdict") or ""),
        reasons=_sentences(section.get("reasons")),
        notes=_sentences(section.get("notes")),
        n=_count(section.get("n")),
        clusters=_count(section.get("clusters")),
        queries_needed=_count(section.get("queries_needed")),
        refusals=_counts(section.get("refusals")),
        moves={
            f"{comparison_name(str(name))}: {_MOVES.get(move, move)}": counted
            for name, found in _items(section.get("contexts"))
            for move, counted in _counts(found.get("moves") if _is_map(found) else None).items()
        },
        arms=_tables(section.get("arms")),
        differences=_tables(section.get("differences")),
        changed=tuple(_question(q) for q in _list(section.get("changed")) if _is_map(q)),
        rest=flatten({k: v for k, v in section.items() if k not in _READ}),
    )


def _tables(value: Any) -> dict[str, dict[str, Measured]]:
    return {
        str(name): {
            str(metric): _measured(m)
            for metric, m in table.items()
            if _is_map(m) and ("mean" in m or "rate" in m)
        }
        for name, table in _items(value)
        if _is_map(table)
    }


def _measured(data: Mapping[str, Any]) -> Measured:
    ci = data.get("ci")
    mean = data.get("mean", data.get("rate"))
    p, n, missing = data.get("p"), data.get("n"), data.get("missing")
    return Measured(
        mean=None if mean is None else float(mean),
        ci=(float(ci[0]), float(ci[1])) if isinstance(ci, Sequence) and len(ci) == 2 else None,
        p=None if p is None else float(p),
        n=None if n is None else int(n),
        changed=_count(data.get("changed")),
        missing=missing if isinstance(missing, int) else 0,
    )


def _question(data: Mapping[str, Any]) -> ChangedQuestion:
    return ChangedQuestion(
        query_id=str(data.get("query_id", "")),
        query=str(data.get("query", "")),
        kind=str(data.get("kind", "")),
        moves=tuple(m for m in _sentences(data.get("moves")) if m != "none"),
        because=str(data.get("because") or ""),
        reference=next(iter(_sentences(data.get("references"))), ""),
        sides=tuple(_side(data[s]) for s in ("before", "after") if _is_map(data.get(s))),
    )


def _side(data: Mapping[str, Any]) -> Side:
    judged = data.get("judgements")
    return Side(
        arm=str(data.get("arm", "")),
        contexts=tuple(_passage(c) for c in _list(data.get("contexts"))),
        answer=str(data.get("answer") or ""),
        failure=str(data.get("failure") or ""),
        refused=data.get("refused") is True,
        judgements=tuple(
            (str(k), float(v) if isinstance(v, int | float) else None) for k, v in _items(judged)
        ),
    )


def _passage(data: Any) -> Passage:
    if not _is_map(data):
        return Passage(passage_id="", snippet=str(data), relevant=False)
    return Passage(
        passage_id=str(data.get("passage_id", "")),
        snippet=str(data.get("snippet", data.get("text", ""))),
        relevant=data.get("relevant") is True,
    )


def _sentences(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(v) for v in _list(value))


def _counts(value: Any) -> dict[str, dict[str, int]]:
    return {
        str(name): {str(k): n for k, v in counts.items() if (n := _count(v)) is not None}
        for name, counts in _items(value)
        if _is_map(counts)
    }


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if _is_map(value) else ()


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _is_map(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
