"""An answer, its sources, and the words that each source supports it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from rag_app.generate.context import Context, SourceText
from rag_app.index.page_starts import page_at
from rankgate.scorers.remote.spoken import denies

REFUSAL = "I don't have this information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Words of a source.

    Attributes:
        text: verbatim, as the document has it.
        start, end: where in the document's text, in characters.
        overlap: share of the claim's content words that the quote contains, in [0, 1].
        page: where it begins; None where there are no pages.
    """

    text: str
    start: int
    end: int
    overlap: float = 1.0
    page: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A passage that the answer cites.

    Attributes:
        number: the n of `[n]` in the answer; 1, 2, ... in the order of first use.
        title, source, heading, page: for people; page is where the first quote begins, or else
            the passage; None where there are no pages.
        relevance_score: the passage's probability in [0, 1]; None where no model applied.
        quotes: the words that support the answer, in the order of their citations.
    """

    number: int
    title: str
    source: str
    heading: str
    page: int | None
    document_id: str
    chunk_id: str
    relevance_score: float | None
    quotes: tuple[Quote, ...] = ()

    @classmethod
    def of(cls, text: SourceText, *, number: int, quotes: tuple[Quote, ...]) -> Source:
        """The source that a passage becomes once it is cited as `number`."""
        metadata = text.passage.candidate.metadata
        quotes = tuple(replace(q, page=page_at(metadata, q.start)) for q in quotes)
        page = quotes[0].page if quotes else page_at(metadata, text.start)
        return cls(
            number=number,
            title=text.title,
            source=str(metadata.get("source", "")),
            heading=text.heading,
            page=page,
            document_id=text.document_id,
            chunk_id=text.passage.candidate.id,
            relevance_score=text.passage.relevance_score,
            quotes=quotes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """A sentence of an answer that was not found in its sources.

    Attributes:
        start, end: its place in the answer's text.
        text: without markup and citations.
        probability: that the sources support it, in [0, 1].
    """

    start: int
    end: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a generator wrote, with verified citations.

    Attributes:
        text: with `[n]` for source n; `REFUSAL` alone where it is refused.
        sources: those that the text cites, by number.
        refused: whether it says that the information is not there.
        removed_citations: citations of sources that do not exist, taken out.
        weak_citations: citations whose source shares no content word with the claim.
        read: passages that the generator read.
        left_out: kept passages for which the token budget had no room.
        unsupported: sentences that were not found in the sources; of an LLM's answer alone.
        notes: what was left undone.
    """

    text: str
    sources: tuple[Source, ...] = ()
    refused: bool = False
    mode: str
    removed_citations: int = 0
    weak_citations: int = 0
    read: int = 0
    left_out: int = 0
    unsupported: tuple[Unsupported, ...] = ()
    notes: tuple[str, ...] = ()


def refusal(mode: str, *, read: int = 0, left_out: int = 0) -> Answer:
    """The one refusal there is."""
    return Answer(text=REFUSAL, refused=True, mode=mode, read=read, left_out=left_out)


def is_refusal(text: str) -> bool:
    """Whether a text begins with the refusal, or says so in a model's own words."""
    plain = text.replace("\u2019", "'").replace("\u2018", "'").lstrip(" \t\r\n\"'*_>`")
    return plain.lower().startswith(REFUSAL.lower()) or denies(text)


class Generator(Protocol):
    """Writes an answer from numbered sources."""

    @property
    def mode(self) -> str:
        """Its name in settings, traces and answers."""

    def answer(self, question: str, context: Context) -> Answer:
        """The whole answer.

        Raises:
            GeneratorError: there is none.
        """

    def stream(self, question: str, context: Context) -> Iterator[str | Answer]:
        """Pieces of the text as they are written, then the whole `Answer`.

        Raises:
            GeneratorError: it broke off; pieces may have been given before.
        """
