"""Standards: what is asked of a reranker before it ships."""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Standards:
    """What is asked of a reranker before it ships.

    Attributes:
        alpha: of the test of the gain, two-sided: a useless reranker ships in at most alpha / 2.
        power: with which the number of queries needed is stated.
        recall_margin: loss of recall@top_n that is tolerated.
        useful_gain: nDCG@10 below which a gain is not worth a second stage. What ships gains
            more than nothing, and perhaps this much; where the interval excludes that, the answer
            is don't ship, however certain the small gain is.
        stratum_margin: nDCG@10 that a stratum may lose on average before it holds a verdict back.
        min_queries: fewer, and nothing is decided.
        min_clusters: fewer document groups, and nothing is decided.
    """

    alpha: float = 0.05
    power: float = 0.8
    recall_margin: float = 0.02
    useful_gain: float = 0.01
    stratum_margin: float = 0.01
    min_queries: int = 50
    min_clusters: int = 20

    def __post_init__(self) -> None:
        for name in ("alpha", "power"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise InputError(f"{name} must be in (0, 1), got {getattr(self, name)}")
        for name in ("recall_margin", "useful_gain"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.stratum_margin >= 0.0:
            raise InputError(f"stratum_margin must not be negative, got {self.stratum_margin}")
