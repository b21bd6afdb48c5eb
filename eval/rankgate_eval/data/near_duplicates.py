"""Passages that say nearly the same as a gold passage.

Removing the gold passage alone does not make a question unanswerable: a copy of it, or an
overlapping chunk, still answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate.retrieve import Progress
from rankgate_eval.data.normalise import normalised_words

# Three words stand in every longer passage: containment needs a passage that says something.
_MIN_CONTAINED = 8
_CHUNK = 256
_ROUNDING = 1e-9


def near_duplicates(
    corpus: Mapping[str, str],
    gold: Iterable[str],
    *,
    jaccard: float = 0.8,
    containment: float = 0.9,
    vectors: tuple[Sequence[str], npt.NDArray[np.float32]] | None = None,
    cosine: float = 0.95,
    progress: Progress | None = None,
) -> dict[str, frozenset[str]]:
    """For each gold passage the other passages that are nearly equal to it.

    Equal enough is: sets of normalised words with a Jaccard index of
    `jaccard` or more; `containment` or more of the smaller set (8 words at least) in the larger
    one; or, with vectors, a cosine above `cosine`.

    Args:
        corpus: passage id to text.
        gold: ids of passages; each must be in the corpus.
        jaccard: least Jaccard index, in (0, 1].
        containment: least share of the smaller set, in (0, 1].
        vectors: passage ids and (n, d) unit vectors, one a passage; None: by words alone.
        cosine: in [-1, 1]; exclusive.
        progress: told after each gold passage (milliseconds each, in a large corpus).

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
    found = _by_words(corpus, wanted, jaccard, containment, progress)
    if vectors is not None:
        _add_by_vectors(found, wanted, vectors, cosine)
    return {identifier: frozenset(found[identifier]) for identifier in wanted}


def removals(
    relevant: Mapping[str, Iterable[str]], duplicates: Mapping[str, Iterable[str]]
) -> dict[str, frozenset[str]]:
    """What to hide so that the corpus no longer answers a query: its gold and all that is alike.

    Args:
        relevant: query id to its relevant passages.
        duplicates: as `near_duplicates` returns them, for all of these passages.

    Returns:
        Query id to passage ids, as `IndexStage.hidden` takes them.

    Raises:
        InputError: `duplicates` lacks a relevant passage.
    """
    hidden = {}
    for query, gold in relevant.items():
        gone = set(gold)
        lacking = gone - duplicates.keys()
        if lacking:
            raise InputError(
                f"the near-duplicates of {min(lacking)!r} (query {query!r}) are not known: hand "
                "all relevant passages to near_duplicates"
            )
        hidden[query] = frozenset(gone.union(*(duplicates[passage] for passage in gone)))
    return hidden


def _by_words(
    corpus: Mapping[str, str],
    gold: Sequence[str],
    jaccard: float,
    containment: float,
    progress: Progress | None,
) -> dict[str, set[str]]:
    ids = list(corpus)
    words = {identifier: set(normalised_words(corpus[identifier])) for identifier in ids}
    sizes = np.array([len(words[identifier]) for identifier in ids], dtype=np.int64)
    lists: dict[str, list[int]] = {word: [] for identifier in gold for word in words[identifier]}
    for i, identifier in enumerate(ids):
        for word in words[identifier]:
            if word in lists:
                lists[word].append(i)
    postings = {word: np.array(rows, dtype=np.intp) for word, rows in lists.items()}
    found: dict[str, set[str]] = {}
    for done, identifier in enumerate(gold, start=1):
        if progress is not None:
            progress(done, len(gold))
        mine = words[identifier]
        if not mine:
            found[identifier] = set()
            continue
        # (n,) words in common with every passage: each posting counts once.
        common = np.bincount(np.concatenate([postings[w] for w in mine]), minlength=len(ids))
        smaller = np.minimum(sizes, len(mine))
        alike = common >= jaccard * (sizes + len(mine) - common) - _ROUNDING
        alike |= (smaller >= _MIN_CONTAINED) & (common >= containment * smaller - _ROUNDING)
        found[identifier] = {ids[i] for i in np.flatnonzero(alike)} - {identifier}
    return found


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
            found[identifier] |= {ids[int(i)] for i in np.flatnonzero(near)} - {identifier}
