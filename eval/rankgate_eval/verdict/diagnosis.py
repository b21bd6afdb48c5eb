"""Diagnosis: what the numbers say about where the quality is lost, in plain words.

The limits are rules of thumb, kept in one place (`Limits`); they advise and never decide. The
decision is `rankgate_eval.verdict.verdict`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankgate.errors import InputError
from rankgate_eval.result.rows import Diagnosed
from rankgate_eval.stats.significance import Difference
from rankgate_eval.verdict.recall import RISING, find_knee


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a number becomes a diagnosis; all in units of recall or nDCG, 0..1.

    Attributes:
        ceiling: recall at the deepest depth below this: retrieval is what limits.
        nothing: headroom below this: there is nothing to lift.
        mismatch: headroom from which a reranker that loses points to a foreign domain.
        rising: recall that another first stage must find more to be named.
        strong: the 25-point rule: from this headroom on a reranker usually pays.
    """

    ceiling: float = 0.9
    nothing: float = 0.02
    mismatch: float = 0.05
    rising: float = RISING
    strong: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was measured.

    Attributes:
        recall: depth to mean recall of the first stage, such as {5: .7, 25: .8, 50: .9, 100: .92}.
        headroom: mean attainable recall@top_n within `k`, minus the first stage's.
        gain: nDCG@10 of always reranking minus the first stage; None where nothing was reranked.
        alternatives: name of another first stage, such as `bm25`, to its recall at the deepest
            depth of `recall`; the one in use is not among them.
    """

    recall: Mapping[int, float]
    k: int
    top_n: int
    headroom: float
    gain: Difference | None = None
    alternatives: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.recall:
            raise InputError("a diagnosis needs the first stage's recall at one depth at least")
        values = {
            **{f"recall@{depth}": value for depth, value in self.recall.items()},
            "headroom": self.headroom,
            **self.alternatives,
        }
        for name, value in values.items():
            if not 0.0 <= value <= 1.0:
                raise InputError(f"{name} must be in [0, 1], got {value}")
        if self.top_n < 1 or self.k < 1:
            raise InputError(f"k and top_n must be at least 1, got {self.k} and {self.top_n}")

    @property
    def deepest(self) -> int:
        """The greatest depth at which recall is known."""
        return max(self.recall)


def diagnose(seen: Observations, limits: Limits | None = None) -> tuple[Diagnosed, ...]:
    """Read the numbers. The most limiting comes first; the 25-point rule is always last.

    Args:
        limits: None: the defaults.
    """
    at = Limits() if limits is None else limits
    found = [
        *_retrieval(seen, at),
        *_candidates(seen),
        *_reranking(seen, at),
        _rule(seen, at),
    ]
    return tuple(found)


def _retrieval(seen: Observations, at: Limits) -> list[Diagnosed]:
    depth = seen.deepest
    reached = seen.recall[depth]
    found = []
    if reached < at.ceiling:
        found.append(
            Diagnosed(
                code="retrieval_ceiling",
                sentence=f"{_percent(1.0 - reached)} of the relevant passages are not among the "
                f"first {depth} results (recall@{depth} is {reached:.3f}); no reranker can bring "
                "them back.",
                advice="Mend retrieval first: dense and BM25 together, other chunking, rewriting "
                "of queries, an embedder of your domain.",
            )
        )
    better = [(v, name) for name, v in seen.alternatives.items() if v - reached >= at.rising]
    if better:
        value, name = max(better)
        found.append(
            Diagnosed(
                code="better_retrieval",
                sentence=f"{name} finds {value:.3f} of the relevant passages within {depth}, the "
                f"first stage in use {reached:.3f}.",
                advice=f"Try {name} as first stage, or refit the fusion's weights with "
                "`rankgate calibrate`.",
            )
        )
    return found


def _candidates(seen: Observations) -> list[Diagnosed]:
    """Recall still rising where reading stops: K stands before the knee, or there is none."""
    if seen.k not in seen.recall or len(seen.recall) < 2:
        return []
    knee = find_knee(seen.recall)
    if knee is not None and knee <= seen.k:
        return []
    if seen.k == seen.deepest:  # what lies beyond is not known: the way to K speaks
        start, end = sorted(seen.recall)[-2:]
    else:
        start, end = seen.k, seen.deepest if knee is None else knee
    return [
        Diagnosed(
            code="few_candidates",
            sentence=f"The reranker reads {seen.k} candidates, and recall still rises by "
            f"{_points(seen.recall[end] - seen.recall[start])} from {start} to {end}.",
            advice="Read more candidates if the latency budget allows; `rankgate eval compare` "
            "shows what each K costs and brings.",
        )
    ]


def _reranking(seen: Observations, at: Limits) -> list[Diagnosed]:
    if seen.headroom < at.nothing:
        return [
            Diagnosed(
                code="nothing_to_lift",
                sentence=f"A perfect reranker could add {_points(seen.headroom)} to "
                f"recall@{seen.top_n}: the first stage already puts on top what it finds.",
                advice="Spend the time elsewhere: on retrieval if its recall is low, or leave "
                "reranking out.",
            )
        ]
    gain = seen.gain
    if gain is None or seen.headroom < at.mismatch or gain.mean >= 0.0:
        return []
    if gain.high < 0.0:
        return [
            Diagnosed(
                code="domain_mismatch",
                sentence=f"Reranking loses {_points(-gain.mean)} of nDCG@10 although a perfect "
                f"one could add {_points(seen.headroom)} to recall@{seen.top_n}: it does not "
                "know this domain or this kind of query.",
                advice="Fine-tune it on your own judgements, or try another reranker.",
            )
        ]
    return [
        Diagnosed(
            code="unused_headroom",
            sentence=f"There are {_points(seen.headroom)} of recall@{seen.top_n} to win, and "
            f"reranking wins none of them (nDCG@10 {gain.mean:+.3f}, interval {gain.low:+.3f} to "
            f"{gain.high:+.3f}).",
            advice="Look at the worst queries, and try another or a fine-tuned reranker.",
        )
    ]


def _rule(seen: Observations, at: Limits) -> Diagnosed:
    above = seen.headroom >= at.strong
    return Diagnosed(
        code="headroom_rule",
        sentence=f"Headroom is {_points(seen.headroom)}, {'at least' if above else 'below'} the "
        f"{at.strong * 100.0:.0f} of the rule of thumb by which a reranker "
        f"{'usually pays' if above else 'need not pay'}.",
        advice="This is advice, not the verdict: that comes from the differences measured.",
    )


def _points(value: float) -> str:
    return f"{value * 100.0:.1f} points"


def _percent(value: float) -> str:
    return f"{value * 100.0:.1f}%"
