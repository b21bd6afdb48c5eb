"""What two splits share: passages, queries, and questions in the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

from rankgate_eval.data.kinds import Kind
from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.finding import Finding, Place

SHARING = ("splits_share_queries", "splits_share_passages", "splits_share_texts")
"""Codes of what makes one split no fresh judge of what was fitted on another."""


def check_splits(
    raw: RawDataset,
    kinds: Mapping[str, Kind],
    relevant: Mapping[str, Iterable[str]],
    warnings: list[Finding],
) -> dict[str, dict[str, int]]:
    """Counts by split; warns of unknown and repeated queries and of what two splits share."""
    members = _members(raw, kinds, warnings)
    words = {row.id: normalised(row.text) for row in raw.queries}
    used = {s: {p for q in inside for p in relevant.get(q, ())} for s, inside in members.items()}
    for a, b in combinations(members, 2):
        both = [q for q in members[a] if q in members[b]]
        if both:
            warnings.append(_shared("queries", a, b, both, len(both), members[b][both[0]]))
        passages = sorted(used[a] & used[b])
        if passages:
            warnings.append(_shared("passages", a, b, passages, len(passages)))
        asked = {words[q] for q in members[a] if q not in members[b]} - {""}
        again = [q for q in members[b] if q not in members[a] and words[q] in asked]
        if again:
            warnings.append(_shared("texts", a, b, again, len(again), members[b][again[0]]))
    counts = {}
    for split, inside in members.items():
        seen = Counter(kinds[q] for q in inside)
        judged = seen.pop(Kind.RELEVANT, 0)
        if not judged:
            warnings.append(
                Finding(code="unjudged_split", message=f"split {split!r} has no judged query")
            )
        rest = {k.value: seen[k] for k in Kind if k is not Kind.RELEVANT}
        counts[split] = {"queries": len(inside), "judged": judged, **rest}
    return counts


def _members(
    raw: RawDataset, known: Mapping[str, Kind], warnings: list[Finding]
) -> dict[str, dict[str, Place]]:
    members: dict[str, dict[str, Place]] = {}
    for row in raw.splits:
        inside = members.setdefault(row.split, {})
        if row.query not in known:
            code, said = "unknown_split_query", ", which does not exist; left out"
        elif row.query in inside:
            code, said = "repeated_split_query", " twice; counted once"
        else:
            inside[row.query] = row.place
            continue
        warnings.append(
            Finding(
                code=code,
                message=f"split {row.split!r} names query {row.query!r}{said}",
                place=row.place,
            )
        )
    return members


def _shared(
    what: str, a: str, b: str, which: list[str], count: int, place: Place | None = None
) -> Finding:
    named = {
        "queries": "queries",
        "passages": "relevant passages",
        "texts": "questions in the same words",
    }[what]
    return Finding(
        code=f"splits_share_{what}",
        message=f"splits {a!r} and {b!r} share {count} {named}, such as {which[0]!r}: what is "
        "fitted on one has seen the other",
        place=place,
    )
