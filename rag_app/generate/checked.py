"""What an LLM says without support in its sources: marked *not found in the sources*, or dropped.

Beside the way of an answer, not in it: whatever goes wrong here leaves the answer as it is, with a
note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from rag_app.generate.answer import Answer, Unsupported, refusal
from rag_app.generate.citations import cite
from rag_app.generate.context import Context
from rankgate.errors import RankgateError
from rankgate.judge import GroundingJudge, statements_of

_EMPTY_ITEM = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]*(?:\[\d{1,3}\][ \t]*)*$\n?", re.M)


def checked(
    answer: Answer, context: Context, judge: Callable[[], GroundingJudge], *, drop: bool = False
) -> Answer:
    """The answer with what its sources do not support, or without it.

    Args:
        answer: of an LLM.
        context: what it was written from.
        judge: gives the judge; asked only where the answer claims something.
        drop: take such sentences out; an answer of nothing else becomes the refusal.
    """
    statements = () if answer.refused else statements_of(answer.text)
    if not statements:
        return answer
    try:
        judged = judge().judge(
            [s.text for s in statements],
            [source.text for source in context.sources],
            should_stop=lambda: context.limits.should_stop,
        )
        cut = judge().mark_below
    except RankgateError as exc:
        return replace(answer, notes=(*answer.notes, f"sentences_not_checked: {exc}"))
    notes = answer.notes
    if len(judged) < len(statements):
        late = f"{len(statements) - len(judged)} of {len(statements)}, the time was over"
        notes = (*notes, f"sentences_not_checked: {late}")
    found = tuple(
        Unsupported(start=s.start, end=s.end, text=s.text, probability=round(g.probability, 4))
        for s, g in zip(statements, judged, strict=False)
        if g.probability < cut
    )
    if drop and found:
        return _without(replace(answer, notes=notes), found, context)
    return replace(answer, unsupported=found, notes=notes)


def _without(answer: Answer, found: tuple[Unsupported, ...], context: Context) -> Answer:
    text = answer.text
    for gone in reversed(found):
        text = text[: gone.start].rstrip(" ") + text[gone.end :]
    text = _EMPTY_ITEM.sub("", text).strip()
    notes = (*answer.notes, f"sentences_dropped: {len(found)} not found in the sources")
    if not re.search(r"\w\w", re.sub(r"\[\d+\]", "", text)):
        return replace(
            refusal(answer.mode, read=answer.read, left_out=answer.left_out), notes=notes
        )
    by_id = {s.passage.candidate.id: s for s in context.sources}
    cited = cite(text, [by_id[s.chunk_id] for s in answer.sources])
    return replace(
        answer, text=cited.text, sources=cited.sources, weak_citations=cited.weak, notes=notes
    )
