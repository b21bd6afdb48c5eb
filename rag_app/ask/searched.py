"""What is searched for, for one question: its wording, and others beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rag_app.ask.first_stage import AlsoSearched


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A question made ready for the first stage.

    Attributes:
        question: in the user's words; never left out of what is searched.
        scored: what every candidate is scored by, in both stages; the question itself unless
            earlier turns belong to it.
        told: what the generator is asked; differs from the question where an LLM wrote it anew.
        also: searched beside `scored`, and fused with it.
        by: who decided: `as_asked`, `rule` or `llm`.
        notes: what the reader should know, such as an LLM that failed.
    """

    question: str
    scored: str
    told: str
    also: tuple[AlsoSearched, ...] = ()
    by: str = "as_asked"
    notes: tuple[str, ...] = ()

    @classmethod
    def plain(cls, question: str) -> Searched:
        """The question alone, as it was asked."""
        return cls(question=question, scored=question, told=question)

    @property
    def others(self) -> tuple[AlsoSearched, ...]:
        """Everything that is searched for in other words than the user's."""
        first = AlsoSearched(text=self.scored, why="history" if self.by == "rule" else self.by)
        return tuple(a for a in (first, *self.also) if a.text != self.question)

    def with_also(self, *more: AlsoSearched) -> Searched:
        """The same with further wordings; one that is searched for already is left out."""
        known = {self.scored, *(a.text for a in self.also)}
        return replace(self, also=(*self.also, *(a for a in more if a.text not in known)))

    def with_note(self, note: str) -> Searched:
        """The same with a further note."""
        return replace(self, notes=(*self.notes, note))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "scored": self.scored,
            "by": self.by,
            "also": [{"text": a.text, "weight": a.weight, "why": a.why} for a in self.also],
            "notes": list(self.notes),
        }
