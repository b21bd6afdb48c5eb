"""Chunks: slices of a document that are small enough to embed, under the headings they have."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rag_app.index.records import Chunk
from rag_app.ingest.document import Block, ParsedDocument
from rag_app.ingest.units import TokenIndex, Unit, units_of

if TYPE_CHECKING:
    from rag_app.index.embeddings import Tokenizer

_MIN_PREFIX = 24
# A chunk may end early, at a paragraph's end, once it is this full.
_FULL_ENOUGH = 0.6
# Sections below this share of a chunk are joined with a neighbour of the same parent.
_TINY = 0.2
_NAME_WORD = re.compile(r"(?<![^\W_])(?:[^\W\d_]{3,}|(?:19|20)\d\d|[QqHh][1-4]|FY\d\d)(?![^\W_])")
_NO_NAMES = frozenset("index readme main page document untitled copy final draft new".split())


@dataclass(slots=True, kw_only=True)
class _Section:
    """The blocks under one heading, the heading's own line among them."""

    heading: tuple[str, ...]
    blocks: list[Block]
    weight: int = 0

    @property
    def body(self) -> list[Block]:
        return [b for b in self.blocks if b.kind != "heading"]


class Chunker:
    """Cuts documents.

    Args:
        tokenizer: of the embedder; counts tokens.
        chunk_tokens: a chunk's text has at most so many.
        overlap: tokens that the end of a chunk repeats in the next one, at most.
        max_length: what the embedder reads, its two special tokens included.

    Raises:
        ConfigError: the sizes do not fit the embedder.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, chunk_tokens: int, overlap: int, max_length: int
    ) -> None:
        room = max_length - 2 - _MIN_PREFIX
        # In here: the parser process, where nothing of this can go wrong, has no engine.
        if not (1 <= chunk_tokens <= room and 0 <= overlap < chunk_tokens):
            from rankgate.errors import ConfigError
        if not 1 <= chunk_tokens <= room:
            raise ConfigError(
                f"chunk_tokens must be between 1 and {room}, got {chunk_tokens}: the embedder "
                f"reads {max_length} tokens, and title and headings need some of them"
            )
        if not 0 <= overlap < chunk_tokens:
            raise ConfigError(
                f"chunk_overlap must be at least 0 and below chunk_tokens ({chunk_tokens}), "
                f"got {overlap}"
            )
        self.tokenizer = tokenizer
        self.chunk_tokens = chunk_tokens
        self.overlap = overlap
        self.max_tokens = max_length - 2

    def setup(self) -> dict[str, Any]:
        """Plain data that `of_setup` makes an equal one of, in another process."""
        return {
            "tokenizer": self.tokenizer.to_str(),
            "chunk_tokens": self.chunk_tokens,
            "overlap": self.overlap,
            "max_length": self.max_tokens + 2,
        }

    @classmethod
    def of_setup(cls, setup: Mapping[str, Any]) -> Chunker:
        """The inverse of `setup`."""
        from tokenizers import Tokenizer

        return cls(**{**setup, "tokenizer": Tokenizer.from_str(setup["tokenizer"])})

    def chunks(self, document: ParsedDocument, *, document_id: str, pipeline: str) -> list[Chunk]:
        """A document's chunks, in order; together they cover every block's text.

        Args:
            pipeline: version of everything that shapes chunks; goes into the ids.
        """
        index = TokenIndex(document.text, self.tokenizer)
        title = _titled(document.title, PurePosixPath(document_id).stem)
        pieces: list[tuple[int, int, int | None, tuple[str, ...], str]] = []
        for group in self._groups(_sections(document.blocks), index, document.title):
            heading = _common(group)
            prefix = self._prefix(title, heading)
            blocks = [b for s in group for b in s.blocks]
            if blocks[0].kind == "heading" and blocks[0].heading == heading and len(blocks) > 1:
                blocks = blocks[1:]  # its words are the prefix's last
            units = [u for b in blocks for u in units_of(b, index, self.chunk_tokens)]
            for start, end, page in self._pack(units, index):
                pieces += [
                    (a, b, page, heading, prefix)
                    for a, b in self._fit(document.text, start, end, prefix)
                ]
        seen: Counter[str] = Counter()
        result = []
        for position, (start, end, page, heading, prefix) in enumerate(pieces):
            text = document.text[start:end]
            result.append(
                Chunk(
                    id=_identity(document_id, pipeline, prefix + text, seen[prefix + text]),
                    document_id=document_id,
                    position=position,
                    text=text,
                    heading=heading,
                    page=page,
                    start=start,
                    end=end,
                    prefix=prefix,
                )
            )
            seen[prefix + text] += 1
        return result

    def _groups(
        self, sections: Sequence[_Section], index: TokenIndex, title: str
    ) -> list[list[_Section]]:
        """Sections, tiny ones joined with their neighbours while they fit one chunk."""
        tiny = _TINY * self.chunk_tokens
        groups: list[list[_Section]] = []
        weight = 0
        for number, section in enumerate(sections):
            section.weight = sum(index.weight(b.start, b.end) for b in section.blocks)
            if not section.body and number + 1 < len(sections):
                following = sections[number + 1].heading
                if following[: len(section.heading)] == section.heading:
                    continue  # a heading above headings: its words are in their prefixes
            if groups and weight + section.weight <= self.chunk_tokens:
                common = _common([*groups[-1], section])
                small = (weight < tiny, section.weight < tiny)
                top = not common or common == (title,)
                if all(small) if top else any(small):
                    groups[-1].append(section)
                    weight += section.weight
                    continue
            groups.append([section])
            weight = section.weight
        return groups

    def _prefix(self, title: str, heading: Sequence[str]) -> str:
        """`Title > Heading > Sub` and a blank line, shortened until it leaves a chunk its room."""
        room = self.max_tokens - self.chunk_tokens
        path = [title, *heading]
        if len(path) > 1 and path[0].casefold().startswith(path[1].casefold()):
            del path[1]
        path = [part for part in path if part.strip()]
        # The innermost says most, then the title; what lies between goes first.
        for parts in (path, [path[0], path[-1]] if len(path) > 2 else path, path[-1:]):
            prefix = " > ".join(parts)
            if self._count(prefix) <= room:
                return f"{prefix}\n\n" if prefix else ""
        last = TokenIndex(path[-1], self.tokenizer)
        cut = path[-1][: last.cut(0, len(path[-1]), room - 1)].strip()
        return f"{cut}\n\n" if cut and self._count(cut) <= room else ""

    def _pack(self, units: list[Unit], index: TokenIndex) -> list[tuple[int, int, int | None]]:
        """Units into chunks: (start, end, page), each with at least one unit not yet covered."""
        result = []
        first = fresh = 0
        while fresh < len(units):
            last, total = first, 0
            while last < len(units) and total + units[last].weight <= self.chunk_tokens:
                total += units[last].weight
                last += 1
            if last < len(units):
                last = self._earlier_end(units, first, fresh, last, total)
            result.append((units[first].start, units[last - 1].end, units[first].page))
            if last >= len(units):
                break
            first, fresh = self._overlap(units, first, last, index)
        return result

    def _earlier_end(
        self, units: Sequence[Unit], first: int, fresh: int, last: int, total: int
    ) -> int:
        """The last paragraph's end, if the chunk is full enough by then."""
        end = last
        while end > fresh + 1 and total >= _FULL_ENOUGH * self.chunk_tokens:
            if units[end - 1].closes:
                return end
            total -= units[end - 1].weight
            end -= 1
        full = total >= _FULL_ENOUGH * self.chunk_tokens and end > first
        return end if full and units[end - 1].closes else last

    def _overlap(
        self, units: list[Unit], first: int, last: int, index: TokenIndex
    ) -> tuple[int, int]:
        """Where the next chunk begins, and the first unit that is new in it."""
        room = min(self.overlap, self.chunk_tokens - units[last].weight)
        back, weight = last, 0
        while (
            back - 1 > first and units[back - 1].prose and weight + units[back - 1].weight <= room
        ):
            back -= 1
            weight += units[back].weight
        final = units[last - 1]
        if back < last or room <= 0 or not final.prose or not units[last].prose:
            return back, last
        # Its last sentence is longer than the overlap: repeat that sentence's last words.
        start = index.tail(final.start, final.end, room)
        if final.start < start < final.end:
            part = Unit(
                start=start,
                end=final.end,
                weight=index.weight(start, final.end),
                prose=True,
                closes=final.closes,
                page=final.page,
            )
            if part.weight <= room:
                units.insert(last, part)
                return last, last + 1
        return last, last

    def _fit(self, text: str, start: int, end: int, prefix: str) -> list[tuple[int, int]]:
        """The slice, halved until the embedder can read all of it with its prefix.

        Counting slices of an encoded text is exact but where a cut falls inside a word that
        the tokenizer had given up on.
        """
        if end - start < 2 or self._count(prefix + text[start:end]) <= self.max_tokens:
            return [(start, end)]
        middle = (start + end) // 2
        blank = max(text.rfind(c, start + 1, middle) for c in " \n\t")
        middle = blank if blank > start else middle
        left = start + len(text[start:middle].rstrip())
        right = middle + len(text[middle:end]) - len(text[middle:end].lstrip())
        return [
            *self._fit(text, start, left, prefix),
            *self._fit(text, right, end, prefix),
        ]

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _titled(title: str, stem: str) -> str:
    """The title with the words of the file's name that it lacks: which report of many it is.

    Years, quarters and words of letters alone; what numbers and codes there are says nothing.
    """
    said = {w.casefold() for w in _NAME_WORD.findall(title)}
    words = [w for w in _NAME_WORD.findall(stem) if w.casefold() not in said | _NO_NAMES]
    return f"{title} ({' '.join(words[:8])})" if words else title


def _sections(blocks: Sequence[Block]) -> list[_Section]:
    sections: list[_Section] = []
    for block in blocks:
        if not sections or block.kind == "heading" or block.heading != sections[-1].heading:
            sections.append(_Section(heading=block.heading, blocks=[]))
        sections[-1].blocks.append(block)
    return sections


def _common(group: Sequence[_Section]) -> tuple[str, ...]:
    """The headings that all of these sections stand under."""
    common = group[0].heading
    for section in group[1:]:
        same = 0
        while same < min(len(common), len(section.heading)) and (
            common[same] == section.heading[same]
        ):
            same += 1
        common = common[:same]
    return common


def _identity(document_id: str, pipeline: str, indexed_text: str, occurrence: int) -> str:
    parts = (document_id, pipeline, indexed_text, str(occurrence))
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:32]
