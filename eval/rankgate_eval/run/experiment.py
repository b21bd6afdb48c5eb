"""One experiment: retrieve once, score once, order in every arm."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankgate.decide.section import Section
from rankgate.decide.signals import query_words
from rankgate.errors import InputError
from rankgate.plan import kind_of
from rankgate.policy import Policy
from rankgate.retrieve import DEFAULT_K, TokenCache
from rankgate.scorers import LateInteractionScorer, Scorer
from rankgate.scorers.wrappers.traits import innermost
from rankgate.scorers.wrappers.windowed import windows_read
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.collect import Collected, collect, reached_depth
from rankgate_eval.run.collection_stage import CollectionStage
from rankgate_eval.run.metrics import check_depth
from rankgate_eval.run.orderings import Arms, run_arms
from rankgate_eval.run.pool import Pooled, score_pool
from rankgate_eval.run.standards import Standards
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.run.system_choice import profile_of
from rankgate_eval.stats.significance import Difference, compare

FloatArray = npt.NDArray[np.float64]
Teller = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """How to measure; what is under test is not among them.

    Attributes:
        k: candidates that the second stage reads; None: the policy's.
        top_n: passages that are kept; None: the policy's.
        depth: how far down the first stage is looked at, for the recall curve; k where that is
            more. It decides nothing that a second stage reads.
        limit: judged queries, and as many unanswerable ones, at most, evenly spread; None: all.
        fields: names of the data's own fields that are strata.
        budget_ms: latency that 95 of 100 queries must keep; None: none.
        prior: share of unanswerable questions for which probabilities are judged; None: that which
            the policy is for.
        max_failures: share of the queries on which first stage or scorer may fail.
    """

    k: int | None = None
    top_n: int | None = None
    depth: int = 100
    limit: int | None = None
    fields: tuple[str, ...] = ()
    budget_ms: float | None = None
    prior: float | None = None
    seed: int = 0
    folds: int = 5
    resamples: int = 2000
    permutations: int = 9999
    max_failures: float = 0.05
    standards: Standards = field(default_factory=Standards)

    @property
    def draws(self) -> dict[str, int]:
        """Of every interval."""
        return {"resamples": self.resamples, "seed": self.seed}

    @property
    def tests(self) -> dict[str, int]:
        """Of every test, with its interval."""
        return {"permutations": self.permutations, **self.draws}

    def compare(self, before: FloatArray, after: FloatArray, clusters: Sequence[str]) -> Difference:
        """(n,) metrics of two arms on the same queries, at the level that the verdict asks for."""
        level = 1.0 - self.standards.alpha
        return compare(before, after, clusters, level=level, **self.tests)

    def __post_init__(self) -> None:
        for name in ("k", "top_n", "limit", "depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if self.prior is not None and not 0.0 <= self.prior < 1.0:
            raise InputError(f"prior must be at least 0 and below 1, got {self.prior}")
        if self.budget_ms is not None and not self.budget_ms > 0.0:
            raise InputError(f"a latency budget must be above 0 ms, got {self.budget_ms}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Everything that was measured, before any statistics.

    Attributes:
        judged: queries that stand in the averages.
        unanswerable: queries that the floor should refuse.
        k, depth, top_n: as used; depth is k where the first stage cannot be asked deeper.
    """

    data: Dataset
    split: str | None
    stage: FirstStage
    judged: tuple[str, ...]
    unanswerable: tuple[str, ...]
    pool: dict[str, Pooled]
    arms: Arms
    k: int
    depth: int
    top_n: int
    settings: EvalSettings
    scorer: Scorer
    lexicon: Collection[str]


def run_experiment(
    data: Dataset,
    stage: FirstStage,
    scorer: Scorer,
    *,
    policy: Policy | None,
    split: str | None,
    settings: EvalSettings,
    tell: Teller | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Retrieve, score and order.

    Args:
        policy: None: the default one if it fits, else always reranking.
        split: None: all queries.

    Raises:
        InputError: no such split, or none of its queries is judged.
        SystemFailedError: first stage or scorer failed too often.
        PolicyError: the policy does not fit first stage or scorer.
    """
    judged, unanswerable = choose_queries(
        data, split, settings.limit, fields=settings.fields, prior=settings.prior
    )
    k, top_n = sizes(settings.k, settings.top_n, policy, stage)
    depth = max(k, settings.depth)
    say = _silent if tell is None else tell
    lexicon = corpus_lexicon(data, stage)
    pool = read_questions(
        data,
        stage,
        scorer,
        [*judged, *unanswerable],
        k=k,
        depth=depth,
        lexicon=lexicon,
        max_failures=settings.max_failures,
        tell=say,
        clock=clock,
    )
    depth, _ = reached_depth(
        [p.found for p in pool.values()], k=k, depth=depth, max_failures=settings.max_failures
    )
    kind = kind_of(c for p in pool.values() for c in p.candidates)
    arms = run_arms(
        pool,
        data,
        scorer=scorer.info,
        kind=kind,
        policy=policy,
        k=k,
        top_n=top_n,
        profile=profile_of(stage),
        lexicon=lexicon,
        folds=settings.folds,
        seed=settings.seed,
    )
    return Experiment(
        data=data,
        split=split,
        stage=stage,
        judged=tuple(judged),
        unanswerable=tuple(unanswerable),
        pool=pool,
        arms=arms,
        k=k,
        depth=depth,
        top_n=top_n,
        settings=settings,
        scorer=scorer,
        lexicon=lexicon,
    )


def read_questions(
    data: Dataset,
    stage: FirstStage,
    scorer: Scorer,
    query_ids: Sequence[str],
    *,
    k: int,
    depth: int | None = None,
    lexicon: Collection[str],
    max_failures: float,
    tell: Teller,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Pooled]:
    """Retrieve every question, encode what late interaction will read, and score.

    Arguments as in `read_pool`.

    Raises:
        SystemFailedError: first stage or scorer failed too often.
    """
    collected = collect(
        stage,
        data,
        query_ids,
        k=k,
        depth=depth,
        max_failures=max_failures,
        progress=lambda done, total: tell("retrieving", done, total),
        clock=clock,
    )
    prepare(scorer, collected, k=k, tell=tell)
    return score_pool(
        collected,
        scorer=scorer,
        k=k,
        lexicon=lexicon,
        max_failures=max_failures,
        progress=lambda done, total: tell("scoring", done, total),
        clock=clock,
    )


def choose_queries(
    data: Dataset,
    split: str | None,
    limit: int | None,
    *,
    fields: Collection[str] = (),
    prior: float | None = None,
) -> tuple[list[str], list[str]]:
    """Judged and unanswerable queries of a split, at most `limit` of each, evenly spread.

    Raises:
        InputError: no such split, none of its queries is judged, none of them has one of the
            `fields`, or a share of unanswerable ones is asked for and there is none.
    """
    judged, unanswerable = data.judged(split), data.unanswerable(split)
    if not judged:
        where = "" if split is None else f" in split {split!r}"
        raise InputError(
            f"{data.name} has no judged query{where}; without a relevant passage nothing can be "
            f"measured (splits: {', '.join(data.splits) or 'none'})"
        )
    have = {name for q in (*judged, *unanswerable) for name in data.fields.get(q, {})}
    absent = [name for name in fields if name not in have]
    if absent:
        raise InputError(
            f"no question has the field {absent[0]!r}; fields: {', '.join(sorted(have)) or 'none'}"
        )
    if prior and not unanswerable:
        raise InputError(
            f"--prior {prior:g}: {data.name} has no unanswerable question to weigh; add some, "
            "or leave --prior out to see the answerable ones alone"
        )
    return spread(judged, limit), spread(unanswerable, limit)


def corpus_lexicon(data: Dataset, stage: FirstStage) -> Collection[str]:
    """The words of the corpus: the index's own where there is one."""
    if isinstance(stage, IndexStage):
        return stage.index.bm25.lexicon
    return frozenset(word for text in data.corpus.values() for word in query_words(text))


def prepare(scorer: Scorer, collected: Collected, *, k: int, tell: Teller) -> None:
    """Encode passages that late interaction will read, as ingestion does before any question."""
    reader = innermost(scorer)
    if isinstance(reader, LateInteractionScorer) and reader.token_store is not None:
        TokenCache(reader.encoder, reader.token_store).fill(
            (
                window
                for found in collected.found.values()
                for c in found.candidates[:k]
                for window in windows_read(scorer, c.text)
            ),
            progress=lambda done, total: tell("encoding candidates", done, total),
        )


def sizes(
    k: int | None, top_n: int | None, policy: Policy | None, stage: FirstStage
) -> tuple[int, int]:
    """K and top_n: as given, else the policy's for this first stage, else the usual ones.

    Raises:
        InputError: k below top_n, or either below 1.
    """
    found = _section(policy, stage)
    read = k if k is not None else DEFAULT_K if found is None else found.k
    kept = passages_kept(top_n, policy, stage)
    if kept < 1:
        raise InputError(f"top_n must be at least 1, got {kept}")
    check_depth(read, kept)
    return read, kept


def passages_kept(top_n: int | None, policy: Policy | None, stage: FirstStage | None = None) -> int:
    """top_n: as given, else the policy's for this first stage, else 5."""
    found = _section(policy, stage)
    return top_n if top_n is not None else 5 if found is None else found.top_n


def _section(policy: Policy | None, stage: FirstStage | None) -> Section | None:
    if policy is None:
        return None
    found = None
    if isinstance(stage, IndexStage | CollectionStage):
        found = policy.sections.get(stage.kind)
    return next(iter(policy.sections.values()), None) if found is None else found


def spread(queries: Sequence[str], limit: int | None) -> list[str]:
    """At most `limit` of them, evenly spread; None: all."""
    if limit is None or len(queries) <= limit:
        return list(queries)
    at = np.floor(np.arange(limit) * (len(queries) / limit)).astype(int)
    return [queries[i] for i in at.tolist()]


def _silent(what: str, done: int, total: int) -> None:
    pass
