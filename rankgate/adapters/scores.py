"""Scores: what the numbers of a store mean is found by looking, and they become cosines.

Stores return similarities, distances of three kinds, or relevances made of either, and few say
which. So the first passages that come back are looked at: their true cosines are computed from
the vectors (the store's, else the text embedded once more) and compared with what each known
scale would make of the scores. What fits none is read from the vectors, or used as an order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rankgate.adapters.scales import (
    SCALES,
    TOLERANCE,
    Scale,
    best_first,
    scales_that_fit,
    told_apart,
)
from rankgate.errors import ConfigError
from rankgate.retrieve.spaces import space_named

logger = logging.getLogger("rankgate")

__all__ = ["Reading", "ScoreReader"]

FloatArray = npt.NDArray[np.float64]
Vector = Sequence[float] | npt.NDArray[Any]

# Passages that are embedded once more where the store gives no vectors.
_LOOKED_AT = 8
# Queries whose passages fit no scale before the scores are given up.
_TRIES = 3


# What somebody means who names a space and whose scores cannot be compared with vectors.
_NAMED = {
    ("cosine", True): "cosine similarity",
    ("cosine", False): "cosine distance",
    ("ip", True): "inner product",
    ("ip", False): "inner product distance",
    ("l2", False): "squared L2 distance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the scores of one query are.

    Attributes:
        cosines: one each, in [-1, 1]; None: they cannot be told, the order alone counts.
        notes: what the reader of the outcome should know.
    """

    cosines: list[float] | None
    notes: tuple[str, ...] = ()


class ScoreReader:
    """Reads one store's scores; what they mean is found with the first passages, then known.

    Thread-safe. Pickles where its functions do; a copy has what was found.

    Args:
        what: name of the store, for messages.
        embed_query: vector of a query; None: the store does not say who embeds.
        embed_texts: vectors of passages, for the look alone.
        vectors_of: the vectors that the store keeps under these ids, or None where it lacks one.
        space: as the caller says: `cosine`, `l2` or `ip`; a wrong one is an error.
        configured: as the store's own settings say; believed where nothing can be looked at.

    Raises:
        ConfigError: an unknown space.
    """

    def __init__(
        self,
        what: str,
        *,
        embed_query: Callable[[str], Vector] | None = None,
        embed_texts: Callable[[list[str]], Sequence[Vector]] | None = None,
        vectors_of: Callable[[Sequence[str]], Sequence[Vector] | None] | None = None,
        space: str | None = None,
        configured: str | None = None,
    ) -> None:
        self.what = what
        self.embed_query = embed_query
        self.embed_texts = embed_texts
        self.vectors_of = vectors_of
        self.given = None if space is None else space_named(space)
        self.configured = configured
        self._scale: str | None = None
        self._by: Literal["scale", "vectors", "order"] | None = None
        self._tries = 0
        self._seen = ""
        self._asked: tuple[str, FloatArray] | None = None
        self._lock = threading.Lock()

    @property
    def settled(self) -> bool:
        """Whether it is known what the scores mean, so that reading them needs no model."""
        return self._by in ("scale", "order")

    @property
    def scale(self) -> Scale | None:
        """What the scores are; None: not known, or not yet."""
        return None if self._scale is None else SCALES[self._scale]

    @property
    def space(self) -> str | None:
        """`cosine`, `l2` or `ip`: as given or configured, else as found.

        What is said goes first because unit vectors do not tell an inner product from a cosine.
        """
        said = self.configured if self.given is None else self.given
        return self.scale.space if said is None and self.scale is not None else said

    def __str__(self) -> str:
        if self._by is None:
            return f"{self.what}: what its scores are is seen with the first question"
        how = {
            "scale": "turned into cosines",
            "vectors": "cosines are computed from the store's vectors",
            "order": "only their order is used",
        }["order" if self._by == "vectors" and self.vectors_of is None else self._by]
        known = "scores of an unknown scale" if self.scale is None else str(self.scale)
        return f"{self.what}: {known}{self._seen}; {how}"

    def read(
        self,
        query: str,
        ids: Sequence[str | None],
        texts: Sequence[str],
        scores: Sequence[float],
        *,
        ordered: bool = True,
    ) -> Reading:
        """The cosines of one query's passages.

        Args:
            ids: of the passages in the store; None where it does not say.
            scores: one each, in the store's order.
            ordered: whether that order is the scores', as it is not after diversification.

        Raises:
            ConfigError: the caller's `space` is not that of the scores.
        """
        if not scores:
            return Reading(cosines=[])
        values = np.asarray(scores, dtype=np.float64)
        with self._lock:
            if self._by is None:
                higher = best_first(scores) if ordered else None
                self._look(query, ids, texts, values, higher)
        scale = self.scale
        if scale is not None and self._by != "vectors":
            cosines = scale.cosines(values)
            if bool((np.abs(cosines) <= 1.0 + TOLERANCE).all()):
                return Reading(cosines=np.clip(cosines, -1.0, 1.0).tolist())
            if scale.space != "cosine":  # vectors of other lengths than those looked at
                self._by = "vectors"
        if self._by != "order":
            truth = self._from_vectors(query, ids)
            if truth is not None:
                return Reading(cosines=truth[0].tolist())
        return Reading(cosines=None, notes=(f"scores_unread: {self._why(scale)}",))

    def cosines_of(self, query: str, ids: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Cosines of passages that the store did not score, from its vectors or their texts.

        Raises:
            ConfigError: there are neither vectors nor embeddings.
        """
        if not ids:
            return []
        truth = self._from_vectors(query, ids)
        if truth is None:
            truth = self._embedded(query, list(texts))
        if truth is None:
            raise ConfigError(
                f"{self.what} gives no vectors and names no embeddings, so passages that it did "
                "not score itself have no cosine. Use it without hybrid=True."
            )
        return [float(cosine) for cosine in truth[0]]

    def vector(self, query: str) -> FloatArray | None:
        """(d,) the query's vector, remembered for the next call; None: nobody says how."""
        if self.embed_query is None:
            return None
        asked = self._asked
        if asked is None or asked[0] != query:
            asked = (query, np.asarray(self.embed_query(query), dtype=np.float64))
            self._asked = asked
        return asked[1]

    def _why(self, scale: Scale | None) -> str:
        if scale is not None:
            return (
                f"{self.what} returns {scale} of vectors that are not of unit length, and gives "
                "no vectors to compute cosines from; its order is used alone"
            )
        return (
            f"what the scores of {self.what} are cannot be told; its order is used alone. "
            "Name space='cosine', 'l2' or 'ip' if you know it"
        )

    def _look(
        self,
        query: str,
        ids: Sequence[str | None],
        texts: Sequence[str],
        scores: FloatArray,
        higher: bool | None,
    ) -> None:
        """Settle what the scores are, if these passages tell."""
        self._tries += 1
        if self.configured == "cosine" and higher is False:  # of vectors of any length
            self._scale, self._by, self._seen = "cosine distance", "scale", ", as it is configured"
            return
        rows = np.unique(np.linspace(0, scores.size - 1, min(_LOOKED_AT, scores.size)).astype(int))
        truth = self._from_vectors(query, [ids[i] for i in rows])
        if truth is None:
            try:
                truth = self._embedded(query, [texts[i] for i in rows])
            except Exception as exc:  # whatever an embedder raises: the search itself has worked
                logger.warning("%s: passages cannot be embedded to look: %s", self.what, exc)
        if truth is None:
            self._believe(higher)
            return
        cosines, query_norm, norms = truth
        fits = scales_that_fit(
            scores[rows], cosines, higher=higher, query_norm=query_norm, norms=norms
        )
        self._seen = f", seen on {rows.size} passages"
        if not fits:
            can_compute = self._from_vectors(query, ids) is not None
            if can_compute or self._tries >= _TRIES:
                self._by = "vectors" if can_compute else "order"
            return
        found = SCALES[next(iter(fits))]
        unit = bool((np.abs(np.append(norms, query_norm) - 1.0) <= TOLERANCE).all())
        alike = unit and "l2" not in (self.given, found.space)  # as cosines and inner products are
        if self.given is not None and found.space != self.given and not alike:
            raise ConfigError(
                f"space={self.given!r} was given, but the scores of {self.what} are {found}: for "
                f"passages whose cosines are {_few(cosines)} it returned {_few(scores[rows])}. "
                "Leave space out: it is found by looking."
            )
        self._scale = found.name
        if found.space != "cosine" and not unit:
            self._by = "vectors"
        elif told_apart(fits) or self._tries >= _TRIES:
            self._by = "scale"

    def _believe(self, higher: bool | None) -> None:
        """What was said, where nothing can be compared; the order still tells the direction."""
        said = self.space
        if said is not None and higher is not None:
            self._scale = _NAMED.get((said, higher))
        if self._scale is not None:
            self._by = "scale"
        elif said is None or self._tries >= _TRIES:
            self._by = "order"

    def _embedded(
        self, query: str, texts: list[str]
    ) -> tuple[FloatArray, float, FloatArray] | None:
        asked = self.vector(query)
        if asked is None or self.embed_texts is None:
            return None
        return _cosines(asked, self.embed_texts(texts))

    def _from_vectors(
        self, query: str, ids: Sequence[str | None]
    ) -> tuple[FloatArray, float, FloatArray] | None:
        known = [i for i in ids if i is not None]
        if self.vectors_of is None or self.embed_query is None or len(known) < len(ids):
            return None
        vectors = self.vectors_of(known)
        asked = None if vectors is None else self.vector(query)
        return None if vectors is None or asked is None else _cosines(asked, vectors)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _cosines(
    asked: FloatArray, vectors: Sequence[Vector]
) -> tuple[FloatArray, float, FloatArray] | None:
    """Cosines, the query's length and the passages'; None: they are no vectors of one space."""
    matrix = np.asarray(vectors, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != asked.size:
        return None
    length, norms = float(np.linalg.norm(asked)), np.linalg.norm(matrix, axis=1)
    with np.errstate(all="ignore"):
        cosines = matrix @ asked / (norms * length)
    cosines = np.clip(np.where(np.isfinite(cosines), cosines, 0.0), -1.0, 1.0)
    return cosines, length, np.asarray(norms, dtype=np.float64)


def _few(values: FloatArray) -> str:
    return ", ".join(f"{v:.3g}" for v in values[:3].tolist())
