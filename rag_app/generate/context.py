"""What a generator reads: the kept passages, numbered, as many as the token budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rankgate.scorers import ScoreContext
from rankgate.types import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """One passage as a source.

    Attributes:
        number: 1-based, in the order of the passages.
        passage: with its scores and its metadata.
    """

    number: int
    passage: Passage

    @property
    def text(self) -> str:
        """The passage as it was indexed: the heading path, then the body."""
        return self.passage.candidate.text

    @property
    def body_offset(self) -> int:
        """Where `body` begins in `text`, in characters."""
        return int(self.passage.candidate.metadata.get("body_offset", 0))

    @property
    def body(self) -> str:
        """The passage without the heading path that indexing put before it; verbatim."""
        return self.text[self.body_offset :]

    @property
    def start(self) -> int:
        """Where `body` begins in the document's text, in characters."""
        return int(self.passage.candidate.metadata.get("start", 0))

    @property
    def document_id(self) -> str:
        """The document it comes from; the passage's own id where it names none."""
        candidate = self.passage.candidate
        return str(candidate.metadata.get("document_id", candidate.id))

    @property
    def title(self) -> str:
        """The document's title, else its file, else the passage's id."""
        candidate = self.passage.candidate
        for key in ("title", "source"):
            if candidate.metadata.get(key):
                return str(candidate.metadata[key])
        return candidate.id

    @property
    def heading(self) -> str:
        """The heading path, such as `Install > Linux`; empty where there is none."""
        return str(self.passage.candidate.metadata.get("heading", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The sources of one answer.

    Attributes:
        sources: numbered from 1, best first.
        left_out: kept passages for which the budget had no room.
        limits: until when the answer has to be there, and whether anybody still waits for it.
    """

    sources: tuple[SourceText, ...]
    tokens: int = 0
    left_out: int = 0
    limits: ScoreContext = field(default_factory=ScoreContext)


def build_context(
    passages: Sequence[Passage],
    *,
    budget: int,
    count_tokens: Callable[[str], int],
    limits: ScoreContext | None = None,
) -> Context:
    """Take passages, best first, until the next one would not fit.

    The best passage is always taken: an answer from nothing would be worse than a long one.

    Args:
        passages: best first.
        limits: of the request; None: neither a deadline nor anybody who could leave.
    """
    sources: list[SourceText] = []
    used = 0
    for passage in passages:
        cost = count_tokens(passage.candidate.text)
        if sources and used + cost > budget:
            break
        used += cost
        sources.append(SourceText(number=len(sources) + 1, passage=passage))
    return Context(
        sources=tuple(sources),
        tokens=used,
        left_out=len(passages) - len(sources),
        limits=ScoreContext() if limits is None else limits,
    )
