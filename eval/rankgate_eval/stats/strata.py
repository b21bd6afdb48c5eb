"""Strata: for which kinds of query a difference holds, and which it harms.

Every tested stratum enters one Holm correction, so the chance of naming any harmless stratum
as a regression is at most alpha. A stratum that is too small is reported as such, not tested.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals, compute_signals, query_words
from rankgate.errors import InputError
from rankgate_eval.stats.significance import Difference, compare, holm

_QUESTION_WORDS = {
    "what": "what",
    "which": "what",
    "who": "who",
    "whom": "who",
    "whose": "who",
    "when": "when",
    "where": "where",
    "how": "how",
    "why": "why",
}
_PREPOSITIONS = frozenset("in on at by for from of to with during under after before about".split())
_YES_NO = frozenset(
    "is are was were am do does did can could will would shall should has have had may might must "
    "isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't "
    "hasn't haven't".split()
)
_MARKERS = ("negation", "temporal", "conditional", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A kind of query, and which queries are of it.

    Attributes:
        dimension: what the queries are told apart by, such as `typos`.
        name: the kind, such as `many`.
        members: positions of its queries, ascending.
    """

    dimension: str
    name: str
    members: tuple[int, ...]

    @property
    def key(self) -> str:
        """`dimension=name`, unique within one stratification."""
        return f"{self.dimension}={self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumResult:
    """What a difference looks like within one stratum.

    Attributes:
        difference: None where the stratum is too small to be tested.
        adjusted_p: by Holm over all tested strata; None likewise.
        losers: ids of its queries that lost most, worst first; only those that lost.
        members: positions of its queries, ascending.
    """

    dimension: str
    name: str
    n: int
    clusters: int
    difference: Difference | None
    adjusted_p: float | None
    losers: tuple[str, ...]
    members: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """`dimension=name`."""
        return f"{self.dimension}={self.name}"

    @property
    def too_small(self) -> bool:
        """Whether it was left untested."""
        return self.difference is None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrataReport:
    """All strata of one comparison.

    Attributes:
        results: in the order of the strata given.
        alpha: of the family of tests.
        min_queries, min_clusters: fewer, and a stratum is not tested.
    """

    results: tuple[StratumResult, ...]
    alpha: float
    min_queries: int
    min_clusters: int

    @property
    def tested(self) -> tuple[StratumResult, ...]:
        """Strata that were large enough."""
        return tuple(r for r in self.results if not r.too_small)

    @property
    def untested(self) -> tuple[StratumResult, ...]:
        """Strata that were too small."""
        return tuple(r for r in self.results if r.too_small)

    @property
    def regressions(self) -> tuple[StratumResult, ...]:
        """Strata whose loss survives the correction, greatest loss first."""
        return self._surviving(-1.0)

    @property
    def gains(self) -> tuple[StratumResult, ...]:
        """Strata whose gain survives the correction, greatest gain first."""
        return self._surviving(1.0)

    def _surviving(self, sign: float) -> tuple[StratumResult, ...]:
        found = [
            (sign * r.difference.mean, r)
            for r in self.results
            if r.difference is not None
            and r.adjusted_p is not None
            and sign * r.difference.mean > 0.0
            and r.adjusted_p <= self.alpha
        ]
        return tuple(r for _, r in sorted(found, key=lambda pair: -pair[0]))


def question_type(query: str) -> str:
    """What a query asks for: what, who, when, where, how, why, yes-no, or keyword.

    The question word counts at the start, after a leading preposition ("in which year"), or
    anywhere in a query that ends with a question mark. English only; all else is `keyword`.
    """
    words = query_words(query)
    if not words:
        return "keyword"
    lead = words[1] if len(words) > 1 and words[0] in _PREPOSITIONS else words[0]
    kind = _question_word(lead)
    if kind is not None:
        return kind
    if words[0] in _YES_NO:
        return "yes-no"
    if query.rstrip().endswith("?"):
        kinds = [k for k in map(_question_word, words) if k is not None]
        return kinds[0] if kinds else "yes-no"
    return "keyword"


def stratify(
    queries: Sequence[str],
    *,
    lexicon: Collection[str] | None = None,
    signals: Sequence[Signals] | None = None,
    fields: Mapping[str, Sequence[str | None]] | None = None,
) -> tuple[Stratum, ...]:
    """Sort queries into strata. A query may be in one stratum of every dimension, or in none.

    None holds every query.

    Dimensions: `length` (short 1-4 words, medium 5-9, long 10 and more), `typos` (share of
    words that the corpus lacks: none, some up to a quarter, many), `question`, `negation`,
    `temporal`, `conditional`, `number` (those with a marker), `confidence` (terciles of the first
    stage's margin between the first two, equal margins together), and one a user's own field.

    Args:
        lexicon: lower-cased words of the corpus; None: `typos` from `signals`, or left out.
        signals: of each query with its candidates; None: `confidence` is left out.
        fields: name to one value a query; None leaves a query out.

    Raises:
        InputError: lengths differ, or a field has the name of a dimension.
    """
    n = len(queries)
    shapes = [compute_signals(q, [], lexicon=lexicon) for q in queries]
    seen = shapes if signals is None else list(signals)
    if len(seen) != n:
        raise InputError(f"{n} queries but signals of {len(seen)}")
    unknown = [s.unknown_share for s in (shapes if lexicon is not None else seen)]
    labels: dict[str, list[str | None]] = {
        "length": [_length(s.query_words) for s in shapes],
        "typos": [_typos(u) for u in unknown],
        "question": [question_type(q) for q in queries],
    }
    for marker in _MARKERS:
        labels[marker] = ["yes" if getattr(s, marker) > 0.0 else None for s in shapes]
    labels["confidence"] = _terciles(_margins(seen))
    for name, column in ({} if fields is None else fields).items():
        if name in labels:
            raise InputError(f"the field {name!r} has the name of a built-in stratum; rename it")
        if len(column) != n:
            raise InputError(f"{n} queries but {len(column)} values of the field {name!r}")
        labels[name] = [None if value is None else str(value) for value in column]
    strata = []
    for dimension, column in labels.items():
        members: dict[str, list[int]] = {}
        for i, label in enumerate(column):
            if label is not None:
                members.setdefault(label, []).append(i)
        strata += [
            Stratum(dimension=dimension, name=name, members=tuple(members[name]))
            for name in sorted(members)
            # What holds every query is the whole comparison, which has its own test.
            if len(members[name]) < n
        ]
    return tuple(strata)


def compare_strata(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    strata: Sequence[Stratum],
    query_ids: Sequence[str],
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    min_queries: int = 20,
    min_clusters: int = 10,
    examples: int = 5,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> StrataReport:
    """Compare two arms within every stratum that is large enough.

    A stratum's resamples depend on the seed and its own name, so that adding another changes
    none of the intervals.

    Args:
        before: (n,) metric of each query.
        after: (n,) the same queries.
        strata: from `stratify`, over the same n queries.
        query_ids: (n,) for the examples.
        clusters: (n,) document groups; None: every query is its own.
        alpha: of the family; intervals are at 1 - alpha each, uncorrected.
        min_queries: fewer, and a stratum is not tested.
        min_clusters: likewise.
        examples: losers to name in each.
        resamples: as in `compare`.
        permutations: as in `compare`.
        seed: as in `compare`.

    Raises:
        InputError: lengths differ, or a stratum reaches beyond the queries.
    """
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    n = len(query_ids)
    groups: Sequence[Hashable] = range(n) if clusters is None else clusters
    if not (a.shape == b.shape == (n,) and len(groups) == n):
        raise InputError(
            f"{n} query ids, but metrics {a.shape} and {b.shape}, {len(groups)} labels"
        )
    beyond = [s.key for s in strata if s.members and s.members[-1] >= n]
    if beyond:
        raise InputError(f"stratum {beyond[0]} reaches beyond the {n} queries compared")
    differences: dict[str, Difference] = {}
    for stratum in strata:
        members = list(stratum.members)
        labels = [groups[i] for i in members]
        if len(members) >= min_queries and len(set(labels)) >= min_clusters:
            differences[stratum.key] = compare(
                a[members],
                b[members],
                labels,
                level=1.0 - alpha,
                resamples=resamples,
                permutations=permutations,
                seed=zlib.crc32(f"{seed}:{stratum.key}".encode()),
            )
    adjusted = holm({key: d.p for key, d in differences.items()})
    results = tuple(
        StratumResult(
            dimension=s.dimension,
            name=s.name,
            n=len(s.members),
            clusters=len({groups[i] for i in s.members}),
            difference=differences.get(s.key),
            adjusted_p=adjusted.get(s.key),
            losers=_losers(s.members, b - a, query_ids, examples),
            members=s.members,
        )
        for s in strata
    )
    return StrataReport(
        results=results, alpha=alpha, min_queries=min_queries, min_clusters=min_clusters
    )


def _question_word(word: str) -> str | None:
    """Its kind, also of a contraction such as "what's"."""
    return _QUESTION_WORDS.get(word.split("'")[0])


def _length(words: int) -> str:
    if words <= 4:
        return "short"
    return "medium" if words <= 9 else "long"


def _typos(share: float | None) -> str | None:
    if share is None:
        return None
    if share == 0.0:
        return "none"
    return "some" if share <= 0.25 else "many"


def _margins(signals: Sequence[Signals]) -> list[float | None]:
    """Of the dense list, or of BM25 where no query has a dense one: never a mix of scales."""
    dense = [s.dense_margin_12 for s in signals]
    if any(m is not None for m in dense):
        return dense
    return [s.bm25_margin_12 for s in signals]


def _terciles(margins: Sequence[float | None]) -> list[str | None]:
    known = [m for m in margins if m is not None]
    if not known or min(known) == max(known):
        return [None] * len(margins)
    lower, upper = np.quantile(known, [1.0 / 3.0, 2.0 / 3.0])
    return [
        None if m is None else "low" if m <= lower else "middle" if m <= upper else "high"
        for m in margins
    ]


def _losers(
    members: Sequence[int],
    differences: npt.NDArray[np.float64],
    query_ids: Sequence[str],
    examples: int,
) -> tuple[str, ...]:
    worst = sorted((i for i in members if differences[i] < 0.0), key=lambda i: differences[i])
    return tuple(query_ids[i] for i in worst[:examples])
