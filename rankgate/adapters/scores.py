"""Scores: what the numbers of a store mean is found by looking, and they become cosines.

Stores return similarities, distances of three kinds, or relevances made of either, and few say
which. So the first passages that come back are looked at: their true cosines are computed from
the vectors (the store's, else the text embedded once more) and compared with what each known
scale would make of the scores. What fits none is read from the vectors, or used as an order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError
from rankgate.retrieve.spaces import space_named

__all__ = ["SCALES", "Reading", "Scale", "ScoreReader", "best_first", "scales_that_fit"]

FloatArray = npt.NDArray[np.float64]
Vector = Sequence[float] | npt.NDArray[Any]
Geometry = Literal["cosine", "l2", "ip"]

# Stores that keep vectors in 16 or 8 bits are off by less; scales differ by more.
_TOLERANCE = 0.01
# Passages that are embedded once more where the store gives no vectors.
_LOOKED_AT = 8
# Queries whose passages fit no scale before the scores are given up.
_TRIES = 3
# Scores at which any two scales give different cosines.
_APART = np.array([0.2, 0.9])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One meaning that a store's scores can have.

    Attributes:
        name: short name.
        higher: whether higher is better.
        space: what `inverse` gives: `cosine`, `ip` (inner product) or `l2` (squared distance).
        inverse: from scores to that, array by array.
    """

    name: str
    higher: bool
    space: Geometry
    inverse: Callable[[FloatArray], FloatArray]

    def __str__(self) -> str:
        return f"{self.name} ({'higher' if self.higher else 'lower'} is better)"

    def cosines(
        self, scores: FloatArray, *, query_norm: float = 1.0, norms: FloatArray | float = 1.0
    ) -> FloatArray:
        """(n,) cosines of (n,) scores; the lengths of the vectors matter to `ip` and `l2` only."""
        with np.errstate(all="ignore"):  # what is no number fits nothing
            value = self.inverse(scores)
            if self.space == "cosine":
                return value
            product = value
            if self.space == "l2":
                product = (query_norm**2 + np.square(norms) - value) / 2.0
            return np.asarray(product / (query_norm * norms), dtype=np.float64)


def _of(name: str, higher: bool, space: Geometry, inverse: Callable[[Any], Any]) -> Scale:
    return Scale(name=name, higher=higher, space=space, inverse=inverse)


# The plain ones first: of those that say the same, the first is named.
SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        _of("cosine similarity", True, "cosine", lambda s: s),
        _of("cosine distance", False, "cosine", lambda s: 1.0 - s),
        _of("squared L2 distance", False, "l2", lambda s: s),
        _of("inner product", True, "ip", lambda s: s),
        _of("inner product distance", False, "ip", lambda s: 1.0 - s),
        _of("negative inner product", False, "ip", lambda s: -s),
        _of("L2 distance", False, "l2", np.square),
        # Relevances in [0, 1]: LangChain's (1 - d / sqrt 2, of either distance), Qdrant's and
        # Elasticsearch's (1 + c) / 2, LlamaIndex's exp(-d), OpenSearch's 1 / (1 + d).
        _of("relevance of squared L2", True, "l2", lambda s: (1.0 - s) * math.sqrt(2.0)),
        _of("relevance of L2", True, "l2", lambda s: 2.0 * np.square(1.0 - s)),
        _of("halved cosine", True, "cosine", lambda s: 2.0 * s - 1.0),
        _of("exp(-cosine distance)", True, "cosine", lambda s: 1.0 + np.log(s)),
        _of("exp(-squared L2)", True, "l2", lambda s: -np.log(s)),
        _of("exp(-inner product distance)", True, "ip", lambda s: 1.0 + np.log(s)),
        _of("1 / (1 + cosine distance)", True, "cosine", lambda s: 2.0 - 1.0 / s),
        _of("1 / (1 + squared L2)", True, "l2", lambda s: 1.0 / s - 1.0),
        _of("1 / (1 + L2)", True, "l2", lambda s: np.square(1.0 / s - 1.0)),
    )
}
"""Every meaning that is known, by name."""

# What somebody means who names a space and whose scores cannot be compared with vectors.
_NAMED = {
    ("cosine", True): "cosine similarity",
    ("cosine", False): "cosine distance",
    ("ip", True): "inner product",
    ("ip", False): "inner product distance",
    ("l2", False): "squared L2 distance",
}


def best_first(scores: Sequence[float]) -> bool | None:
    """Whether higher is better, from scores in a store's own order; None: they do not tell."""
    steps = np.diff(np.asarray(scores, dtype=np.float64))
    falls, rises = bool((steps < 0).any()), bool((steps > 0).any())
    return None if falls == rises else falls


def scales_that_fit(
    scores: FloatArray,
    cosines: FloatArray,
    *,
    higher: bool | None,
    query_norm: float = 1.0,
    norms: FloatArray | float = 1.0,
) -> dict[str, float]:
    """The scales that give these cosines: name to largest error, the closest first.

    Args:
        scores: (n,) as the store gave them.
        cosines: (n,) of the same passages, computed from vectors.
        higher: whether higher is better; None: not known.
        query_norm: length of the query's vector.
        norms: (n,) lengths of the passages' vectors.
    """
    errors: dict[str, float] = {}
    for scale in SCALES.values():
        if higher is None or scale.higher is higher:
            given = scale.cosines(scores, query_norm=query_norm, norms=norms)
            error = float(np.max(np.abs(given - cosines)))
            if error <= _TOLERANCE:  # NaN fails too
                errors[scale.name] = round(error, 4)  # of equally good ones the plain one
    return dict(sorted(errors.items(), key=lambda item: item[1]))


def _told_apart(fits: dict[str, float]) -> bool:
    """Whether the best of the fitting scales is the only one, but for those that say the same."""
    best, *others = (SCALES[name] for name in fits)
    limit = max(4.0 * fits[best.name], 0.003)
    rivals = [s for s in others if fits[s.name] < limit]
    return all(np.allclose(s.cosines(_APART), best.cosines(_APART)) for s in rivals)


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
        }[self._by]
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
            query: what was asked.
            ids: of the passages in the store; None where it does not say.
            texts: theirs.
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
            if bool((np.abs(cosines) <= 1.0 + _TOLERANCE).all()):
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
            truth = self._embedded(query, [texts[i] for i in rows])
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
        unit = bool((np.abs(np.append(norms, query_norm) - 1.0) <= _TOLERANCE).all())
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
        elif _told_apart(fits) or self._tries >= _TRIES:
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
