"""The default generator: the best sentences of the passages, word for word, with citations.

It needs no LLM and cannot invent anything. A sentence counts by its closeness to the
question (cosine of the embeddings) and by the question's words that it contains; a question
with several parts may take a sentence for each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_app.generate.answer import Answer, Quote, Source, refusal
from rag_app.generate.context import Context, SourceText
from rag_app.generate.sentences import Sentence, other_lines, split_sentences
from rag_app.generate.words import content_words

__all__ = ["ExtractiveGenerator"]

_MOST = 3
_CONSIDERED = 24
_OVERLAP_WEIGHT = 0.35
_PASSAGE_WEIGHT = 0.15
_FRAGMENT_PENALTY = 0.15
# A further sentence must be this close to the best one, or bring words of the question that
# are still missing and be at least this close.
_ALIKE = 0.88
_CLOSE_ENOUGH = 0.72
_SAME_THING = 0.88
_SAME_WORDS = 0.8
_PART = re.compile(r"[?;]\s+|,?\s+\b(?:and|but)\b\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A sentence that might be quoted."""

    source: SourceText
    sentence: Sentence
    words: frozenset[str]


class ExtractiveGenerator:
    """Answers with one to three verbatim sentences.

    Args:
        embed: (n, d) unit vectors of n texts, from the encoder that embedded the passages.

    """

    mode = "extractive"

    def __init__(self, embed: Callable[[Sequence[str]], npt.NDArray[np.float32]]) -> None:
        self._embed = embed

    def answer(self, question: str, context: Context) -> Answer:
        """The sentences that answer best; the refusal where there is no sentence at all."""
        read, left_out = len(context.sources), context.left_out
        wanted = content_words(question)
        pieces = _pieces(context.sources, wanted)
        if not pieces:
            return refusal(self.mode, read=read, left_out=left_out)
        chosen = [pieces[i] for i in self._chosen(question, wanted, pieces)]
        text, sources = _composed(chosen)
        return Answer(text=text, sources=sources, mode=self.mode, read=read, left_out=left_out)

    def stream(self, question: str, context: Context) -> Iterator[str | Answer]:
        """The whole text at once, then the answer: nothing is written bit by bit here."""
        answer = self.answer(question, context)
        yield answer.text
        yield answer

    def _chosen(self, question: str, wanted: frozenset[str], pieces: Sequence[_Piece]) -> list[int]:
        """Indices of the pieces to quote, the best one first."""
        parts = _parts(question)
        vectors = self._embed([question, *parts, *(p.sentence.shown for p in pieces)])
        asked, told = vectors[: 1 + len(parts)], vectors[1 + len(parts) :]
        cosines = told @ asked.T
        standing = _standing(pieces)
        extra = np.array(
            [
                _PASSAGE_WEIGHT * standing[p.source.number]
                - (0.0 if p.sentence.finished else _FRAGMENT_PENALTY)
                for p in pieces
            ]
        )
        whole = cosines[:, 0] + extra + _OVERLAP_WEIGHT * _coverage(wanted, pieces)
        best = int(whole.argmax())
        chosen = [best]
        for column, part in enumerate(parts, start=1):
            words = content_words(part)
            scores = cosines[:, column] + extra + _OVERLAP_WEIGHT * _coverage(words, pieces)
            _add(chosen, int(scores.argmax()), pieces, told)
        covered = frozenset().union(*(pieces[i].words for i in chosen)) & wanted
        for i in np.argsort(-whole, kind="stable").tolist():
            if len(chosen) >= _MOST or whole[i] < _CLOSE_ENOUGH * whole[best]:
                break
            brings = (pieces[i].words & wanted) - covered
            if whole[i] >= _ALIKE * whole[best] or brings:
                _add(chosen, i, pieces, told)
                covered |= pieces[i].words & wanted
        return chosen[:_MOST]


def _add(
    chosen: list[int],
    index: int,
    pieces: Sequence[_Piece],
    vectors: npt.NDArray[np.float32],
) -> None:
    """Take a piece unless it is there already, or says the same as one that is."""
    words = pieces[index].words
    for i in chosen:
        fewer = min(len(words), len(pieces[i].words))
        shared = len(words & pieces[i].words) / fewer if fewer else 1.0
        if float(vectors[index] @ vectors[i]) >= _SAME_THING or shared >= _SAME_WORDS:
            return
    chosen.append(index)


def _coverage(wanted: frozenset[str], pieces: Sequence[_Piece]) -> npt.NDArray[np.float64]:
    """(n,) share of the wanted words in each piece, in [0, 1]; rare words count for more.

    Among sentences about exit codes the 5 of "exit code 5" tells, and "exit" does not.
    """
    weights = {}
    for word in wanted:
        holders = sum(word in p.words for p in pieces)
        if holders:
            weights[word] = math.log1p(len(pieces) / holders)
    total = math.fsum(weights.values())
    return np.array(
        [
            # fsum, because sets come in another order in every process.
            math.fsum(weights.get(w, 0.0) for w in p.words) / total if total else 0.0
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


def _pieces(sources: Sequence[SourceText], wanted: frozenset[str]) -> list[_Piece]:
    """What can be quoted: each sentence once, the most promising where there are many."""
    found: list[_Piece] = []
    for split in (split_sentences, other_lines):
        seen: set[str] = set()
        taken: list[tuple[str, int, int]] = []
        for source in sources:
            for sentence in split(source.body):
                place = (
                    source.document_id,
                    source.start + sentence.start,
                    source.start + sentence.end,
                )
                # Neighbouring chunks overlap, so a sentence may come twice, once cut off.
                twice = any(
                    place[0] == d and place[1] < high and low < place[2] for d, low, high in taken
                )
                if twice or sentence.shown in seen:
                    continue
                seen.add(sentence.shown)
                taken.append(place)
                words = content_words(sentence.shown)
                found.append(_Piece(source=source, sentence=sentence, words=words))
        if found:  # lines of tables and code only where there is no sentence
            break
    if len(found) > _CONSIDERED:
        order = sorted(range(len(found)), key=lambda i: (-len(found[i].words & wanted), i))[
            :_CONSIDERED
        ]
        found = [found[i] for i in sorted(order)]
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
