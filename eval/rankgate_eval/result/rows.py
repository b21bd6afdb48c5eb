"""The parts of a result that name queries, passages, files and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    ser_json_inf_nan="constants",  # so that writing one among free data fails and is not null
    json_schema_serialization_defaults_required=True,
)
"""Of every part: no other keys, all of them written, and finite numbers, as JSON has them."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Moved:
    """A relevant passage that left the top or came into it.

    Attributes:
        before, after: ranks from 1; None where the list lacks it.
        snippet: the passage's beginning, one line.
    """

    query_id: str
    query: str
    passage_id: str
    before: int | None
    after: int | None
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MovedList:
    """Inversions or lifts.

    Attributes:
        before, after: arms that are compared.
        top_n: where the top ends.
        passages: how many relevant passages moved so.
        queries: in how many queries.
        items: all of them.
    """

    before: str
    after: str
    top_n: int
    passages: int
    queries: int
    items: tuple[Moved, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Listed:
    """A passage in one of the two lists of a query.

    Attributes:
        score: `relevance_score` in the policy's list, the fused, dense or BM25 score in the first
            stage's; None where there is none.
        score_kind: which: relevance, fused, dense, bm25, or "".
    """

    passage_id: str
    rank: int
    relevant: bool
    snippet: str
    score: float | None
    score_kind: str


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class WorstQuery:
    """A query on which the policy does badly, both lists side by side.

    Attributes:
        change: nDCG@10, policy minus first stage.
        path: reranked, skipped or degraded.
        reason: why.
        relevant_total: relevant passages in the corpus.
        not_found: relevant passages that are not among the candidates.
    """

    query_id: str
    query: str
    first_stage_ndcg: float
    policy_ndcg: float
    change: float
    path: str
    reason: str
    refused: bool
    relevant_total: int
    not_found: int
    first_stage: tuple[Listed, ...]
    policy: tuple[Listed, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Diagnosed:
    """One thing that the numbers say.

    Attributes:
        code: retrieval_ceiling, better_retrieval, few_candidates, nothing_to_lift,
            domain_mismatch, unused_headroom, or headroom_rule.
        sentence: what was found, with the numbers.
        advice: what to do about it.
    """

    code: str
    sentence: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class QueryLists:
    """The first ten passages of a query, by id, in the first stage's order and in the policy's.

    Attributes:
        kept: so many of the policy's are handed over; 0 where the query is refused.
        relevant: those of both lists that are judged relevant.
        relevant_total: relevant passages in the corpus.
        not_found: relevant passages that are not among the candidates.
    """

    first_stage: tuple[str, ...]
    policy: tuple[str, ...]
    kept: int
    relevant: tuple[str, ...]
    relevant_total: int
    not_found: int


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class QueryRow:
    """One judged query.

    Attributes:
        group: document group, the unit of chance.
        path: reranked, skipped or degraded.
        reason: why the gate let it through or not, or why it degraded.
        error: of first stage or scorer, "" for none.
        harm: fitted probability that skipping costs quality; None without a fitted gate.
        best: highest relevance probability; None without a relevance model.
        values: arm to primary metric (`ndcg@10`, `recall@<top_n>`) to value.
        first_stage_ms, decision_ms, scorer_ms: `scorer_ms` is what scoring takes, whether or
            not the gate let it happen.
        strata: the kinds of query that it is of, each as `dimension=name`.
        lists: None where they are not known.
    """

    query_id: str
    query: str
    group: str
    path: str
    reason: str
    refused: bool
    error: str
    harm: float | None
    best: float | None
    values: Mapping[str, Mapping[str, float]]
    first_stage_ms: float
    decision_ms: float
    scorer_ms: float
    strata: tuple[str, ...] = ()
    lists: QueryLists | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class UnanswerableRow:
    """One query that the floor should refuse; `stratum` is its kind, see `Dataset.stratum_of`."""

    query_id: str
    query: str
    stratum: str
    path: str
    refused: bool
    best: float | None
    lists: QueryLists | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DataResult:
    """The data set, as it was checked.

    Attributes:
        counts: as in `DatasetReport.counts`, of the whole data set.
        split: None: all queries.
        judged, unjudged: queries of the split that were used: those in the averages, and those
            that the floor should refuse.
        limit: how many judged queries were wanted at most; None: all were used.
        warning_counts: by code.
        warnings: the first of each, with file and line.
        groups: document groups of the judged queries that were used.
        largest_group: judged queries in the largest of them.
        fingerprint: of queries and judgements that were used; see `rankgate_eval.data.fingerprint`.
    """

    name: str
    split: str | None
    judged: int
    unjudged: int
    limit: int | None
    groups: int
    largest_group: int
    counts: Mapping[str, int]
    warning_counts: Mapping[str, int]
    warnings: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PolicyMade:
    """Which policy ran.

    Attributes:
        name: of the policy.
        source: file, `default`, `unfitted` or `given`.
        sha256: of its content.
        kind: section that was used.
        provenance: what its file says of how it was made.
    """

    name: str
    source: str
    sha256: str
    kind: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Made:
    """How the result was made.

    Attributes:
        command: as typed, or the Python call.
        version: of rankgate.
        commit: of the git tree that the command ran in; None outside of one.
        dirty: whether that tree had uncommitted changes.
        hardware: processor, cores, system.
        date: UTC, ISO 8601.
        seconds: that it took.
        scorer: `ScorerInfo`, as a mapping.
        first_stage: the system in words.
        kind: hybrid, dense, bm25 or order: which scores its candidates carry.
        fusions: what the tuned first stage chose, one a fold.
        k: candidates that were read.
        depth: candidates that were asked for, for the recall curve.
        top_n: passages that are kept.
    """

    command: str
    version: str
    commit: str | None
    dirty: bool
    seed: int
    hardware: str
    python: str
    date: str
    seconds: float
    scorer: Mapping[str, Any]
    policy: PolicyMade
    first_stage: str
    kind: str
    fusions: tuple[Mapping[str, Any], ...]
    k: int
    depth: int
    top_n: int
    folds: int
    resamples: int
    permutations: int
