"""What an LLM says without support in its sources: marked *not found in the sources*, or dropped.

Beside the way of an answer, not in it: whatever goes wrong here leaves the answer as it is, with a
note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

from rag_app.generate.answer import Answer, Unsupported, refusal
from rag_app.generate.citations import cite
from rag_app.generate.context import Context
from rankgate.encoders import MINILM_SHA256, TokenEncoder
from rankgate.errors import RankgateError
from rankgate.judge import GroundingJudge, statements_of

_EMPTY_ITEM = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])(?:[ \t]|\[\d{1,3}\])*$\n?", re.M)


class Checker:
    """Looks for an answer's sentences in its sources.

    Args:
        judge: gives the judge; called once, when the first sentence is looked for.
        drop: take out what is not found; an answer of nothing else becomes the refusal.
    """

    def __init__(self, judge: Callable[[], GroundingJudge], *, drop: bool = False) -> None:
        self.drop = drop
        self._given = judge

    @classmethod
    def over(cls, embedder: Any, token_store: Any, *, drop: bool = False) -> Checker:
        """A checker that reads the vectors which ingestion kept, where they fit the judge."""
        fits = isinstance(embedder, TokenEncoder) and embedder.sha256 == MINILM_SHA256
        if fits:
            return cls(lambda: GroundingJudge(embedder, token_store=token_store), drop=drop)
        return cls(GroundingJudge.load, drop=drop)

    @cached_property
    def _judge(self) -> GroundingJudge:
        return self._given()

    def __call__(self, answer: Answer, context: Context) -> Answer:
        """The answer with what its sources do not support, or without it."""
        statements = () if answer.refused else statements_of(answer.text)
        if not statements:
            return answer
        try:
            judged = self._judge.judge(
                [s.text for s in statements],
                [source.text for source in context.sources],
                should_stop=lambda: context.limits.should_stop,
            )
        except RankgateError as exc:
            return replace(answer, notes=(*answer.notes, f"sentences_not_checked: {exc}"))
        notes = answer.notes
        if len(judged) < len(statements):
            late = f"{len(statements) - len(judged)} of {len(statements)}, the time was over"
            notes = (*notes, f"sentences_not_checked: {late}")
        found = tuple(
            Unsupported(start=s.start, end=s.end, text=s.text, probability=round(g.probability, 4))
            for s, g in zip(statements, judged, strict=False)
            if g.probability < self._judge.mark_below
        )
        answer = replace(answer, notes=notes)
        if self.drop and found:
            return _without(answer, found, context)
        return replace(answer, unsupported=found)


def _without(answer: Answer, found: tuple[Unsupported, ...], context: Context) -> Answer:
    text = answer.text
    for gone in reversed(found):
        text = text[: gone.start].rstrip(" ") + text[gone.end :]
    text = _EMPTY_ITEM.sub("", text).strip()
    notes = (*answer.notes, f"sentences_dropped: {len(found)} not found in the sources")
    if not re.search(r"\w\w", text):
        return replace(
            refusal(answer.mode, read=answer.read, left_out=answer.left_out), notes=notes
        )
    by_id = {s.passage.candidate.id: s for s in context.sources}
    cited = cite(text, [by_id[s.chunk_id] for s in answer.sources])
    return replace(
        answer, text=cited.text, sources=cited.sources, weak_citations=cited.weak, notes=notes
    )
