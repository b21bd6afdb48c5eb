"""The parts of a result that are numbers, each what one section of the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from pydantic.dataclasses import dataclass

from rankgate_eval.result.rows import (
    STRICT,
)

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Estimate:
    """A mean over queries.

    Attributes:
        mean: in the metric's unit, 0..1 for ranking metrics.
        ci: 95% interval over document groups; None where there are too few to tell.
    """

    mean: float
    ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Rate:
    """A share of cases.

    Attributes:
        count: cases in which it happened.
        n: cases.
        rate: count / n; None where n is 0.
        ci: exact 95% binomial interval; None where n is 0.
    """

    count: int
    n: int
    rate: float | None
    ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Change:
    """A paired difference, after minus before.

    Attributes:
        mean: over queries.
        ci: interval at `level`; None where there is one document group only.
        least: lower bound that also counts losses too rare to have been seen.
        p: two-sided, sign-flip permutation test, in (0, 1].
        n: queries.
        clusters: document groups.
        level: of the interval.
        standard_error: of the mean, robust to clusters; None as `ci`.
    """

    mean: float
    ci: Interval | None
    least: float
    p: float
    n: int
    clusters: int
    level: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LatencyResult:
    """Milliseconds a query; a percentile is None where the samples cannot carry it."""

    n: int
    mean: float
    worst: float
    p50: float | None
    p95: float | None
    p99: float | None


class ArmResult(
    BaseModel, frozen=True, extra="allow", json_schema_serialization_defaults_required=True
):
    """One arm: its metrics by name (`ndcg@10`, `recall@5`, ...) beside the keys below.

    Attributes:
        latency_ms: None where no query could be timed.
        note: what a reader should know of this arm, "" for nothing.
        missing: judged queries without any result; they count 0.
        false_refusals: answerable queries that get nothing.
        false_answers: unanswerable queries that get something.
    """

    __pydantic_extra__: dict[str, Estimate]

    latency_ms: LatencyResult | None
    note: str = ""
    missing: int = 0
    false_refusals: Rate
    false_answers: Rate

    @classmethod
    def of(cls, metrics: Mapping[str, Estimate], **others: Any) -> ArmResult:
        """An arm with these metrics."""
        return cls.model_validate({**metrics, **others})

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Name to estimate."""
        return self.__pydantic_extra__


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CurvePoint:
    """Mean recall of the first stage at one depth."""

    depth: int
    recall: float
    ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RecallCurve:
    """Recall of the first stage by depth.

    Attributes:
        points: by rising depth.
        knee: depth from which reading more brings nothing; None where recall still rises at the
            end of the curve.
        method: how the knee was found.
        depth: candidates that were asked for.
    """

    points: tuple[CurvePoint, ...]
    knee: int | None
    method: str
    depth: int

    @property
    def knee_words(self) -> str:
        """Where the knee is, and by what."""
        if self.knee is None:
            return "no knee, it still rises at its end"
        return f"knee at {self.knee} ({self.method})"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class HeadroomResult:
    """What a perfect reranker could add to recall@top_n.

    Attributes:
        k: candidates that are read.
        top_n: passages that are kept.
        attainable: best recall@top_n within k.
        first_stage: recall@top_n of the first stage.
        mean: attainable minus first stage.
        ci: of the mean.
        used: share of it that the policy won; None where there is none to win.
    """

    k: int
    top_n: int
    attainable: float
    first_stage: float
    mean: float
    ci: Interval | None
    used: float | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class StratumRow:
    """One kind of query; see `rankgate_eval.stats.strata`.

    Attributes:
        difference: nDCG@10, policy minus tuned first stage; None where too small to be tested.
        adjusted_p: by Holm; None likewise.
        regression: whether its loss survives the correction.
        gain: whether its gain does.
        losers: ids of queries that lost most.
    """

    dimension: str
    name: str
    n: int
    clusters: int
    difference: Change | None
    adjusted_p: float | None
    regression: bool
    gain: bool
    losers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class StrataResult:
    """All strata of the primary comparison."""

    alpha: float
    min_queries: int
    min_clusters: int
    rows: tuple[StratumRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ReliabilityBin:
    """Passages of similar probability; see `rankgate.live.reliability.Bin`."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ExpectedResult:
    """Probabilities of the best passage, and what came true, of `n` answerable queries."""

    n: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ReliabilityResult:
    """Whether a probability means what it says, over the first `top` passages a query.

    Attributes:
        queries: queries whose passages have a probability.
        brier_skill: None where always saying the base rate makes no error, and where the data
            have no unanswerable query and the policy's probabilities are not for such traffic.
        unanswerable: share of unanswerable queries in what was measured, after weighting.
        claimed: share that the policy's probabilities are for; None: it does not say.
        expected: what the policy's calibration saw of answerable queries alone, on its fresh
            half; None where that is not what was measured.
    """

    top: int
    queries: int
    n: int
    base_rate: float
    predicted: float
    brier: float
    brier_skill: float | None
    unanswerable: float | None = None
    claimed: float | None = None
    expected: ExpectedResult | None = None
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FrontierPoint:
    """What skipping costs.

    Attributes:
        skip_rate: share of judged queries that are skipped.
        loss: nDCG@10 of always reranking minus that of skipping these; below 0 is a gain.
        ci: of the loss.
    """

    skip_rate: float
    loss: float
    ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Frontier:
    """Skip rate against loss.

    Attributes:
        by: what the queries are sorted by, surest first: `harm` (the fitted gate) or the name of
            a signal (a gate of rules, or none).
        points: by rising skip rate, from none to all.
        chosen: what the policy's gate does.
    """

    by: str
    points: tuple[FrontierPoint, ...]
    chosen: FrontierPoint


class BudgetStatus(StrEnum):
    """Whether a latency budget is kept."""

    INSIDE = "inside"
    OVER = "over"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BudgetResult:
    """A latency budget, checked.

    Attributes:
        status: inside, over, or unknown for lack of samples.
        budget_ms: the limit, inclusive.
        quantile: which share of the queries must keep it, such as 0.95.
        observed_ms: the samples' quantile; None where they are too few to carry it.
        n: samples.
        needed: samples that the quantile needs.
    """

    status: BudgetStatus
    budget_ms: float
    quantile: float
    observed_ms: float | None
    n: int
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Refusals:
    """What the floor does; the arms' metrics are after it.

    Attributes:
        refuse_below, drop_below: the floor; None where it is not set.
        answerable: refused among judged queries; wrong, all of them.
        retrieved: the same among judged queries with a relevant passage among the candidates:
            where retrieval missed everything, refusing is right.
        by_path: path (reranked, skipped, degraded) to the refused among judged queries.
        unanswerable: stratum to the unanswerable queries that were *answered*; wrong, all of
            them. `all` holds every one; empty where there are none.
        cost: primary metric to what the floor changes of it, after minus before.
        answered: judged queries that get at least one relevant passage handed over.
        wrongly_refused: ids of judged queries with a relevant candidate that were refused.
    """

    refuse_below: float | None
    drop_below: float | None
    answerable: Rate
    retrieved: Rate
    by_path: Mapping[str, Rate]
    unanswerable: Mapping[str, Rate]
    cost: Mapping[str, Change]
    answered: Rate
    wrongly_refused: tuple[str, ...]
