"""Passages that say nearly the same as a gold passage.

Removing the gold passage alone does not make a question unanswerable: a copy of it, or an
overlapping chunk, still answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.normalise import normalised_words

__all__ = ["near_duplicates"]

# Three words stand in every longer passage: containment needs a passage that says something.
_MIN_CONTAINED = 8
_CHUNK = 256


def near_duplicates(
    corpus: Mapping[str, str],
    gold: Iterable[str],
    *,
    jaccard: float = 0.8,
    containment: float = 0.9,
    vectors: tuple[Sequence[str], npt.NDArray[np.float32]] | None = None,
    cosine: float = 0.95,
) -> dict[str, frozenset[str]]:
    """For each gold passage the other passages that are nearly equal to it.

    Equal enough is: the same normalised text; sets of normalised words with a Jaccard index of
    `jaccard` or more; `containment` or more of the smaller set (8 words at least) in the larger
    one; or, with vectors, a cosine above `cosine`.

    Source of the prefix filter, which leaves the result exact: Chaudhuri, Ganti and Kaushik,
    ICDE 2006, doi:10.1109/ICDE.2006.9.

    Args:
        corpus: passage id to text.
        gold: ids of passages; each must be in the corpus.
        jaccard, containment: in (0, 1].
        vectors: passage ids and (n, d) unit vectors, one a passage; None: by words alone.
        cosine: in [-1, 1]; exclusive.

    Raises:
        InputError: an unknown id, a threshold out of range, or vectors of another shape.
    """
    for name, value in (("jaccard", jaccard), ("containment", containment)):
        if not 0.0 < value <= 1.0:
            raise InputError(f"{name} must be in (0, 1], got {value}")
    wanted = list(dict.fromkeys(gold))
    unknown = [identifier for identifier in wanted if identifier not in corpus]
    if unknown:
        raise InputError(f"gold passage {unknown[0]!r} is not in the corpus")
    found = _by_words(corpus, wanted, jaccard, containment)
    if vectors is not None:
        _add_by_vectors(found, wanted, vectors, cosine)
    return {identifier: frozenset(found[identifier]) for identifier in wanted}


def _by_words(
    corpus: Mapping[str, str], gold: Sequence[str], jaccard: float, containment: float
) -> dict[str, set[str]]:
    words = {identifier: set(normalised_words(text)) for identifier, text in corpus.items()}
    frequency = Counter(word for own in words.values() for word in own)
    # Rare words first: two sets that share most of their words share one of the rarest few.
    ordered = {
        identifier: sorted(own, key=lambda word: (frequency[word], word))
        for identifier, own in words.items()
    }
    least = min(jaccard, containment)

    def prefix(identifier: str) -> list[str]:
        own = ordered[identifier]
        return own[: len(own) - math.ceil(least * len(own) - 1e-9) + 1]

    golds = set(gold)
    in_whole: dict[str, list[str]] = {}  # word -> passages, for words of gold prefixes
    in_prefix: dict[str, list[str]] = {}  # word -> passages with it among their rarest
    probed = {word for identifier in golds for word in prefix(identifier)}
    for identifier, own in words.items():
        for word in own & probed:
            in_whole.setdefault(word, []).append(identifier)
        for word in prefix(identifier):
            in_prefix.setdefault(word, []).append(identifier)
    found: dict[str, set[str]] = {}
    for identifier in gold:
        mine = words[identifier]
        likely = {other for word in prefix(identifier) for other in in_whole.get(word, ())}
        likely |= {other for word in mine for other in in_prefix.get(word, ())}
        likely.discard(identifier)
        found[identifier] = {
            other for other in likely if _alike(mine, words[other], jaccard, containment)
        }
    return found


def _alike(a: set[str], b: set[str], jaccard: float, containment: float) -> bool:
    common = len(a & b)
    smaller = min(len(a), len(b))
    if common >= jaccard * len(a | b) - 1e-9:
        return True
    return smaller >= _MIN_CONTAINED and common >= containment * smaller - 1e-9


def _add_by_vectors(
    found: dict[str, set[str]],
    gold: Sequence[str],
    vectors: tuple[Sequence[str], npt.NDArray[np.float32]],
    cosine: float,
) -> None:
    ids, matrix = vectors
    if matrix.ndim != 2 or matrix.shape[0] != len(ids):
        raise InputError(
            f"{len(ids)} passage ids need a matrix of as many rows, got shape {matrix.shape}"
        )
    row = {identifier: i for i, identifier in enumerate(ids)}
    missing = [identifier for identifier in gold if identifier not in row]
    if missing:
        raise InputError(f"gold passage {missing[0]!r} has no vector")
    for start in range(0, len(gold), _CHUNK):
        part = gold[start : start + _CHUNK]
        close = matrix[[row[identifier] for identifier in part]] @ matrix.T > cosine
        for identifier, near in zip(part, close, strict=True):
            found[identifier] |= {ids[i] for i in np.flatnonzero(near)} - {identifier}
