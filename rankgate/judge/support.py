"""What passages hold of a statement: which words of it, in which sentences, and what they lack.

Everything is read from token vectors (late interaction: Khattab and Zaharia, SIGIR 2020, arXiv
2004.12832), which a store may hold already, so that only the statement goes through the encoder.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import TokenVectors
from rankgate.encoders.packing import PackedVectors, packed, unpacked
from rankgate.judge.sentences import boundaries, other_lines, split_sentences
from rankgate.judge.words import stem, tells
from rankgate.texts import clean_text

__all__ = ["Reader", "Reading", "Support", "TokenSource", "gather", "numbers", "read"]

FloatArray = npt.NDArray[np.float32]

_WORD = re.compile(r"\d+(?:[.,:]\d+)+|\w+(?:['\u2019]\w+)?")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SPELLED = {
    word: str(n)
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_NEGATES = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|unable|fail(?:s|ed)?|"
    r"refus(?:e|es|ed)|lack(?:s|ed)?|\w+n['\u2019]t)\b",
    re.IGNORECASE,
)
_SELF = re.compile(r"\b(?:i|i'm|i've|i'd|me|my|mine|we|our|you|your|lol|oh|haha|wow)\b", re.I)
_MOST_TOKENS = 240
_LIKE = 0.6  # a word's likeness to another from which on they may mean the same
_SENTENCE = 400  # characters of a sentence, or of a part of what has none


class Reader(Protocol):
    """An encoder that gives token vectors, as `rankgate.encoders.TokenEncoder` does."""

    @property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer`, without truncation."""
        ...

    def encode(
        self, texts: Sequence[str], *, should_stop: Callable[[], bool] | None = None
    ) -> list[TokenVectors]:
        """Token vectors of each text, special tokens left out; a prefix once it should stop."""
        ...


class TokenSource(Protocol):
    """Where token vectors of whole passages may be kept, as in `rankgate.encoders.TokenStore`."""

    def get_many(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        """Those it holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """A text, read.

    Attributes:
        text: as it was given.
        vectors: (t, d) unit rows, turned by `packing.rotation`.
        starts: (t,) where each token begins, in characters.
        ids: (t,) of the tokens; the lower, the more frequent a word is.
        sentences: spans in `text`, in order.
    """

    text: str
    vectors: FloatArray
    starts: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    sentences: tuple[tuple[int, int], ...]

    def tokens(self, low: int, high: int) -> tuple[int, int]:
        """First token of a span, and the one after its last."""
        first, last = np.searchsorted(self.starts, (low, high))
        return int(first), int(last)


def read(
    texts: Sequence[str],
    reader: Reader,
    store: TokenSource | None = None,
    *,
    should_stop: Callable[[], bool] | None = None,
) -> list[Reading]:
    """Read texts of any length, in pieces of whole sentences; none of them once it should stop."""
    cleaned = [clean_text(t) for t in texts]
    encodings = reader.tokenizer.encode_batch(cleaned, add_special_tokens=False)
    spans = [_spans(t) for t in cleaned]
    pieces: list[list[tuple[int, int]]] = []
    for text, encoding, found in zip(cleaned, encodings, spans, strict=True):
        pieces.append(_pieces(text, [low for low, _ in encoding.offsets], found))
    wanted = list(
        dict.fromkeys(t[a:b] for t, parts in zip(cleaned, pieces, strict=True) for a, b in parts)
    )
    known = {} if store is None else dict(store.get_many(wanted))
    absent = [t for t in wanted if t not in known]
    vectors = reader.encode(absent, should_stop=should_stop)
    if len(vectors) < len(absent):
        return []
    known.update(zip(absent, map(packed, vectors), strict=True))
    return [
        _reading(text, [known[text[a:b]] for a, b in parts], parts, found, reader)
        for text, parts, found in zip(cleaned, pieces, spans, strict=True)
    ]


def _reading(
    text: str,
    parts: Sequence[PackedVectors],
    places: Sequence[tuple[int, int]],
    sentences: Sequence[tuple[int, int]],
    reader: Reader,
) -> Reading:
    starts, ids = [], []
    for vectors, (low, high) in zip(parts, places, strict=True):
        encoding = reader.tokenizer.encode(text[low:high], add_special_tokens=False)
        starts += [low + a for a, _ in encoding.offsets[: len(vectors)]]
        ids += encoding.ids[: len(vectors)]
    dimension = next((4 * p.codes.shape[1] for p in parts), 4)
    rows = unpacked(parts, dimension) if any(map(len, parts)) else np.zeros((0, dimension))
    return Reading(
        text=text,
        vectors=rows.astype(np.float32),
        starts=np.array(starts, dtype=np.int64),
        ids=np.array(ids, dtype=np.int64),
        sentences=tuple(sentences),
    )


def _spans(text: str) -> list[tuple[int, int]]:
    """Sentences and other lines, long ones cut; in order."""
    found = [(s.start, s.end) for s in (*split_sentences(text), *other_lines(text))]
    if not found and re.search(r"\w", text):
        found = list(boundaries(text, 0, len(text)))
    cut = []
    for low, high in sorted(found):
        while high - low > _SENTENCE:
            at = text.rfind(" ", low + _SENTENCE // 2, low + _SENTENCE)
            at = low + _SENTENCE if at < 0 else at
            cut.append((low, at))
            low = at
        cut.append((low, high))
    return cut


def _pieces(
    text: str, starts: Sequence[int], sentences: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """The whole text where the encoder reads it at once; else runs of sentences."""
    if len(starts) <= _MOST_TOKENS + 12 or not sentences:
        return [(0, len(text))]
    found: list[tuple[int, int]] = []
    first = 0  # token
    for low, high in sentences:
        begin, end = bisect.bisect_left(starts, low), bisect.bisect_left(starts, high)
        if found and end - first <= _MOST_TOKENS:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
            first = begin
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What passages hold of a statement.

    Attributes:
        features: by name; see `gather`.
        best: passage and span of the sentence that holds most of the statement; None without any.
        second: the one that adds most to it.
        lacking: words and numbers of the statement that no passage has.
    """

    features: Mapping[str, float]
    best: tuple[int, int, int] | None
    second: tuple[int, int, int] | None
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    stem: str
    first: int
    last: int
    weight: float
    name: bool


def _words(statement: Reading) -> list[_Word]:
    """Content words of a statement; all words where there is no other."""
    found, every = [], []
    previous = 0
    for m in _WORD.finditer(statement.text):
        word = m.group()
        first, last = statement.tokens(m.start(), m.end())
        if first == last:
            continue
        begins = not re.search(r"\w", statement.text[previous : m.start()]) and (
            m.start() == 0
            or re.search(r"[.!?:]\W{0,3}$", statement.text[max(0, m.start() - 4) : m.start()])
        )
        previous = m.end()
        lower = word.lower()
        # Wordpieces are numbered by how frequent they are; a word in pieces is rare.
        rarity = math.log1p(max(0, int(statement.ids[first:last].max()) - 1000)) / math.log(29523)
        rarity = 1.0 if last - first > 1 else rarity
        name = word[0].isupper() and not begins and lower not in ("i", "i'm")
        made = _Word(word, stem(lower), first, last, 0.25 + rarity**4, name)
        every.append(made)
        if tells(lower):
            found.append(made)
    return found or every


def numbers(text: str) -> set[str]:
    """Numbers as they are compared: without commas and zeros that say nothing."""
    found = {n.replace(",", "").rstrip(".:") for n in _NUMBER.findall(text)}
    return found | {_SPELLED[w] for w in re.findall(r"[a-z]+", text.lower()) if w in _SPELLED}


def _stems(text: str) -> set[str]:
    return {stem(w.lower()) for w in _WORD.findall(text)}


def gather(statement: Reading, passages: Sequence[Reading]) -> Support:
    """The named features of a statement against passages.

    Args:
        statement: read.
        passages: read, any number.
    """
    words = _words(statement)
    spans = [(p, *s) for p, passage in enumerate(passages) for s in passage.sentences]
    rows = [(p, *passages[p].tokens(a, b)) for p, a, b in spans]
    kept = [i for i, (_, a, b) in enumerate(rows) if b > a]
    if not words or not kept:
        return Support(features={}, best=None, second=None, lacking=())
    spans, rows = [spans[i] for i in kept], [rows[i] for i in kept]
    weights = np.array([w.weight for w in words])
    weights = weights / weights.sum()
    # (s, w): the best likeness of each word in each sentence; means over the word's pieces
    like = np.empty((len(spans), len(words)))
    found = np.zeros((len(spans), len(words)))
    centre = np.empty(len(spans))
    mean = statement.vectors.mean(0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    similar = [np.clip(p.vectors @ statement.vectors.T, -1, 1) for p in passages]
    vocabulary = []
    for i, ((p, low, high), (_, a, b)) in enumerate(zip(spans, rows, strict=True)):
        best = similar[p][a:b].max(0)
        like[i] = [best[w.first : w.last].mean() for w in words]
        has = _stems(passages[p].text[low:high])
        vocabulary.append(has)
        found[i] = [w.stem in has for w in words]
        middle = passages[p].vectors[a:b].mean(0)
        centre[i] = float(middle @ mean) / max(float(np.linalg.norm(middle)), 1e-9)
    held = like @ weights + 0.5 * (found @ weights)
    one = int(held.argmax())
    grown = np.maximum(like, like[one]) @ weights + 0.5 * (np.maximum(found, found[one]) @ weights)
    two = int(grown.argmax())
    pair = np.maximum(like[one], like[two])
    whole, whole_found = like.max(0), found.max(0)
    pair_found = np.maximum(found[one], found[two])
    texts = [passages[p].text[a:b] for p, a, b in (spans[one], spans[two])]
    said, near = numbers(statement.text), numbers(" ".join(texts))
    known = set().union(*(numbers(p.text) for p in passages))
    names = np.array([w.name for w in words])
    ordered = np.sort(whole)
    negated, theirs = bool(_NEGATES.search(statement.text)), bool(_NEGATES.search(texts[0]))
    pairs = list(zip([w.stem for w in words], [w.stem for w in words[1:]], strict=False))
    runs = [
        " ".join(stem(w.lower()) for w in _WORD.findall(p.text) if tells(w.lower()))
        for p in passages
    ]
    adjacent = (
        float(np.mean([any(f" {a} {b} " in f" {r} " for r in runs) for a, b in pairs]))
        if pairs
        else float(whole_found[0])
    )

    def share(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> float:
        return float(values[mask].mean()) if mask.any() else 1.0

    features = {
        "overlap": float(whole_found @ weights),
        "overlap_best": float(found[one] @ weights),
        "overlap_two": float(pair_found @ weights),
        "adjacent": adjacent,
        "cosine": float(centre.max()),
        "cosine_best": float(centre[one]),
        "late": float(whole @ weights),
        "late_best": float(like[one] @ weights),
        "late_two": float(pair @ weights),
        "late_min": float(ordered[0]),
        "late_low": float(ordered[: max(1, len(ordered) // 4)].mean()),
        "late_low_best": float(np.sort(like[one])[: max(1, len(ordered) // 4)].mean()),
        "late_low_two": float(np.sort(pair)[: max(1, len(ordered) // 4)].mean()),
        **{
            f"{where}_{low:.1f}": float(((best >= low) & (best < low + 0.1)) @ weights)
            for where, best in (("words", whole), ("pair", pair))
            for low in (0.4, 0.5, 0.6, 0.7, 0.8)
        },
        "unmatched": float(((whole < _LIKE) * weights).sum()),
        "unmatched_two": float(((pair < _LIKE) * weights).sum()),
        "rare_missing": float(((1 - whole_found) * (weights > np.median(weights)) * weights).sum()),
        "numbers_lacking": float(len(said - known)),
        "numbers_far": float(len(said - near)),
        "numbers_other": float(bool(said - near) and bool(near - said)),
        "names_found": share(whole_found, names),
        "names_near": share(pair_found, names),
        "names_like": share(whole, names),
        "negated": float(negated),
        "negation_differs": float(negated != theirs),
        "self": float(bool(_SELF.search(statement.text))),
        "asks": float(statement.text.rstrip().endswith("?")),
        "long": math.log1p(len(words)),
        "evidence": math.log1p(len(spans)),
        "gain_of_two": float(grown[two] - held[one]),
    }
    missing = [
        w for w, has, near in zip(words, whole_found, whole, strict=True) if not has and near < 0.6
    ]
    return Support(
        features=features,
        best=spans[one],
        second=None if two == one else spans[two],
        lacking=tuple(dict.fromkeys((*sorted(said - known), *(w.text for w in missing)))),
    )
