"""The default generator: the best sentences of the passages, word for word, with citations.

It needs no LLM and cannot invent anything. A unit (a sentence, a row, an item; see `units`)
counts by its closeness to the question (MaxSim over token vectors that ingestion has kept), by
the question's words in it and over it, by its passage's standing, and by having what is asked
for (see `wanted`). Only a question with several parts is answered from several passages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_app.generate.answer import Answer, Quote, Source, refusal
from rag_app.generate.closeness import Closeness, TokenReader
from rag_app.generate.context import Context, SourceText
from rag_app.generate.units import Unit, units_of
from rag_app.generate.wanted import answers_to
from rankgate.encoders.token_store import TokenStore
from rankgate.judge.sentences import Sentence, other_lines, split_sentences
from rankgate.judge.words import content_words

_MOST = 3
# Weights of what a sentence counts by, chosen on dev data: benchmarks/extractive.py.
_OVERLAP_WEIGHT = 0.25
_PASSAGE_WEIGHT = 0.15
_UNDER = 0.6  # what a word of the question counts that stands over the unit, not in it
_WANTED_BONUS = 0.12
_UNFINISHED_PENALTY = 0.15
_NO_BEGINNING_PENALTY = 0.05
# A further sentence must be this close to the best one, or bring words of the question that
# are still missing and be at least this close.
_ALIKE = 0.95
_CLOSE_ENOUGH = 0.9
_SAME_WORDS = 0.8
_PART = re.compile(r"[?;]\s+|(?:,|(?<![\s,]))\s+\b(?:and|but)\b\s+", re.IGNORECASE)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A sentence that might be quoted."""

    source: SourceText
    sentence: Sentence
    words: frozenset[str]
    under: frozenset[str] = frozenset()

    @property
    def place(self) -> tuple[str, int, int]:
        """Document, and start and end in it."""
        begin = self.source.start
        return (
            self.source.document_id, begin + self.sentence.start, begin + self.sentence.end,
        )  # fmt: skip


class ExtractiveGenerator:
    """Answers with one to three verbatim sentences.

    Args:
        reader: the encoder that embedded the passages; None: sentences are compared with the
            question by their words alone.
        token_store: the passages' token vectors, so that only the question is encoded.
    """

    mode = "extractive"

    def __init__(
        self, reader: TokenReader | None = None, *, token_store: TokenStore | None = None
    ) -> None:
        self._closeness = None if reader is None else Closeness(reader, token_store)

    def answer(self, question: str, context: Context) -> Answer:
        """The sentences that answer best; the refusal where there is no sentence at all."""
        read, left_out = len(context.sources), context.left_out
        pieces = _pieces(context.sources)
        if not pieces:
            return refusal(self.mode, read=read, left_out=left_out)
        chosen = [pieces[i] for i in self._chosen(question, pieces)]
        text, sources = _composed(chosen)
        return Answer(text=text, sources=sources, mode=self.mode, read=read, left_out=left_out)

    def stream(self, question: str, context: Context) -> Iterator[str | Answer]:
        """The whole text at once, then the answer: nothing is written bit by bit here."""
        answer = self.answer(question, context)
        yield answer.text
        yield answer

    def _chosen(self, question: str, pieces: Sequence[_Piece]) -> list[int]:
        """Indices of the pieces to quote, the best one first."""
        wanted = content_words(question)
        parts = _parts(question)
        scores = self._scores([question, *parts], pieces)
        whole = scores[:, 0]
        best = int(whole.argmax())
        chosen = [best]
        for column in range(1, scores.shape[1]):
            _add(chosen, int(scores[:, column].argmax()), pieces)
        covered = frozenset().union(*(pieces[i].words for i in chosen)) & wanted
        read = {pieces[i].source.number for i in chosen}
        for i in np.argsort(-whole, kind="stable").tolist():
            if len(chosen) >= _MOST or whole[i] < _CLOSE_ENOUGH * whole[best]:
                break
            if pieces[i].source.number not in read:
                continue  # another passage is asked for another part alone
            brings = (pieces[i].words & wanted) - covered
            if whole[i] >= _ALIKE * whole[best] or brings:
                _add(chosen, i, pieces)
                covered |= pieces[i].words & wanted
        return chosen[:_MOST]

    def _scores(self, questions: Sequence[str], pieces: Sequence[_Piece]) -> FloatArray:
        """(n, q) how well n pieces answer q questions."""
        covers = np.stack([_coverage(content_words(q), pieces) for q in questions], axis=1)
        standing = _standing(pieces)
        extra = np.array(
            [
                _PASSAGE_WEIGHT * standing[p.source.number]
                - (0.0 if p.sentence.finished else _UNFINISHED_PENALTY)
                - (_NO_BEGINNING_PENALTY if _begins_within(p.sentence) else 0.0)
                for p in pieces
            ]
        )
        scores: FloatArray = self._close(questions, pieces, covers) + _OVERLAP_WEIGHT * covers
        scores += extra[:, None]
        for column, question in enumerate(questions):
            test = answers_to(question)
            scores[:, column] += _WANTED_BONUS * np.array([test(p.sentence.shown) for p in pieces])
        return scores

    def _close(
        self, questions: Sequence[str], pieces: Sequence[_Piece], covers: FloatArray
    ) -> FloatArray:
        """(n, q) closeness; where it cannot be measured, by the words in common instead."""
        if self._closeness is None:
            return covers
        spans = [(p.source, p.sentence.start, p.sentence.end) for p in pieces]
        close = self._closeness(questions, spans)
        unread = np.isnan(close[:, 0])
        if unread.all():
            return covers
        # On the scale of this question's measured ones: no word in common is like the least.
        low, high = close[~unread].min(axis=0), close[~unread].max(axis=0)
        close[unread] = (low + (high - low) * covers)[unread]
        return close


def _begins_within(sentence: Sentence) -> bool:
    """Whether its first word is in the middle of a sentence, whose beginning is elsewhere."""
    first = sentence.shown.split(maxsplit=1)[0]
    return not sentence.item and first.isalpha() and first.islower()


def _add(chosen: list[int], index: int, pieces: Sequence[_Piece]) -> None:
    """Take a piece unless it is there already, or says the same as one that is."""
    piece = pieces[index]
    document, low, high = piece.place
    for other in (pieces[i] for i in chosen):
        fewer = min(len(piece.words), len(other.words))
        shared = len(piece.words & other.words) / fewer if fewer else 1.0
        there, begin, end = other.place
        # A lead-in and an item that it has taken along are one stretch of text.
        overlaps = there == document and low < end and begin < high
        if overlaps or shared >= _SAME_WORDS:
            return
    chosen.append(index)


def _coverage(wanted: frozenset[str], pieces: Sequence[_Piece]) -> npt.NDArray[np.float64]:
    """(n,) share of the wanted words in each piece, in [0, 1]; rare words count for more.

    Among sentences about exit codes the 5 of "exit code 5" tells, and "exit" does not.
    """
    weights = {}
    for word in wanted:
        holders = sum(word in p.words or word in p.under for p in pieces)
        if holders:
            weights[word] = math.log1p(len(pieces) / holders)
    total = math.fsum(weights.values())
    return np.array(
        [
            # fsum, because sets come in another order in every process.
            math.fsum(
                v * (1.0 if w in p.words else _UNDER if w in p.under else 0.0)
                for w, v in weights.items()
            )
            / total
            if total
            else 0.0
            for p in pieces
        ]
    )


def _standing(pieces: Sequence[_Piece]) -> dict[int, float]:
    """How good each source is beside the best one, in [0, 1], by number.

    By probability where every passage has one, otherwise by rank.
    """
    sources = {p.source.number: p.source for p in pieces}
    known = {n: s.passage.relevance_score for n, s in sources.items()}
    best = max((v for v in known.values() if v is not None), default=0.0)
    if best <= 0.0 or any(v is None for v in known.values()):
        return {n: 1.0 / n for n in sources}
    return {n: math.sqrt(v / best) for n, v in known.items() if v is not None}


def _parts(question: str) -> list[str]:
    """The questions that a question consists of; none where it is a single one."""
    parts = [p.strip(" ?.!") for p in _PART.split(question)]
    telling = [p for p in parts if len(p.split()) >= 3 and content_words(p)]
    return telling[:_MOST] if len(telling) > 1 else []


def _pieces(sources: Sequence[SourceText]) -> list[_Piece]:
    """What can be quoted, each once; questions, fragments and bare lines only without any."""
    units = _unique(sources, units_of)
    return [p for p, telling in units if telling] or [
        p
        for p, _ in units
        or _unique(
            sources,
            lambda text: [Unit(sentence=s) for s in (*split_sentences(text), *other_lines(text))],
        )
    ]


def _unique(
    sources: Sequence[SourceText], split: Callable[[str], Sequence[Unit]]
) -> list[tuple[_Piece, bool]]:
    """Each unit once: neighbouring chunks overlap, so it may come twice, once cut off."""
    found: list[tuple[_Piece, bool]] = []
    seen: set[str] = set()
    taken: list[tuple[str, int, int]] = []
    for source in sources:
        fresh = []
        for unit in split(source.body):
            said = unit.sentence
            start, end = source.start + said.start, source.start + said.end
            twice = any(
                source.document_id == d and start < high and low < end for d, low, high in taken
            )
            if twice or said.shown in seen or not any(c.isalnum() for c in said.shown):
                continue  # the last: a row of a table whose cells are empty
            seen.add(said.shown)
            fresh.append((source.document_id, start, end))
            piece = _Piece(
                source=source,
                sentence=said,
                words=content_words(said.shown),
                under=content_words(f"{unit.under} {source.text[: source.body_offset]}"),
            )
            found.append((piece, unit.telling))
        taken += fresh
    return found


def _composed(chosen: Sequence[_Piece]) -> tuple[str, tuple[Source, ...]]:
    """The text and its sources: best source first, sentences in the order of their passage."""
    order = list(dict.fromkeys(p.source.number for p in chosen))
    ordered = sorted(chosen, key=lambda p: (order.index(p.source.number), p.sentence.start))
    lines, sources = [], []
    for number, original in enumerate(order, start=1):
        mine = [p for p in ordered if p.source.number == original]
        quotes = []
        for piece in mine:
            low, high = piece.sentence.start, piece.sentence.end
            start = piece.source.start
            quotes.append(
                Quote(
                    text=piece.source.body[low:high],
                    start=start + low,
                    end=start + high,
                )
            )
            lines.append(f"{piece.sentence.shown} [{number}]")
        sources.append(Source.of(mine[0].source, number=number, quotes=tuple(quotes)))
    return " ".join(lines), tuple(sources)
