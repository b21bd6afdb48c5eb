"""The verdict: ship, ship behind the gate, don't ship, not enough data, or no fair test.

Pure and deterministic: everything measured comes in as `Evidence`, nothing is drawn here. What is
served is compared with every order that needs no scorer: the *tuned* first stage, and the same
policy with everything skipped. It has to be better than each, so that refitted weights of the
first stage's own scores are not credited to the reranker, whichever of them is the strongest;
and since every one of these tests must be passed, none needs a correction (Berger 1982,
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rankgate.errors import InputError
from rankgate_eval.result.call import Call
from rankgate_eval.result.parts import BudgetResult, BudgetStatus
from rankgate_eval.run.standards import Standards
from rankgate_eval.stats.significance import Difference, needed_for_all
from rankgate_eval.stats.strata import StrataReport, StratumResult

_UNGATED = ["The gate skipped no query: the reranker may run on all of them."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """What is served, minus one order that needs no scorer, on the same queries.

    Attributes:
        name: of the other order in words, such as "the tuned first stage".
        ndcg: difference in nDCG@10.
        recall: difference in recall@top_n.
        holm: whether the p of `ndcg` is Holm-adjusted over several comparisons.
    """

    name: str
    ndcg: Difference
    recall: Difference
    holm: bool = False

    def __post_init__(self) -> None:
        if (self.ndcg.n, self.ndcg.clusters) != (self.recall.n, self.recall.clusters):
            raise InputError(
                f"nDCG is of {self.ndcg.n} queries and recall of {self.recall.n}; both must be "
                "measured on the same ones"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured, all of it after the floor.

    Attributes:
        over: at least one order to be better than, the strongest first.
        skip_rate: share of the queries that the gate skipped, in [0, 1].
        floor: what the floor gives and takes, in a sentence; "" without a floor.
        strata: of the difference in nDCG@10; None where none were tested.
        latency: of the policy against the budget; None where no budget was given.
        unfair: why the test is none, such as a policy fitted on these questions; None: it is one.
        gated: whether there is a gate to speak of, as there is none in a run from elsewhere.
        listed: of the queries, those that the first stage has a list for; None: all of them.
    """

    over: tuple[Over, ...]
    top_n: int
    skip_rate: float
    floor: str = ""
    strata: StrataReport | None = None
    latency: BudgetResult | None = None
    unfair: str | None = None
    gated: bool = True
    listed: int | None = None

    def __post_init__(self) -> None:
        if not self.over:
            raise InputError("a verdict needs an order to compare with, got none")
        if not 0.0 <= self.skip_rate <= 1.0:
            raise InputError(f"skip_rate is a share in [0, 1], got {self.skip_rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, and why.

    Attributes:
        reasons: sentences, the deciding ones first.
        queries_needed: for `not_enough_data`, queries like these that would probably do; None
            otherwise, and where no number of queries would.
        regressions: strata whose loss survives the correction, whatever the verdict.
    """

    call: Call
    reasons: tuple[str, ...]
    queries_needed: int | None = None
    regressions: tuple[StratumResult, ...] = ()

    @property
    def exit_code(self) -> int:
        """Of the command: 0 ship (also behind the gate), 1 don't, 3 not enough data, 4 unfair."""
        return self.call.exit_code


@dataclass(frozen=True, slots=True)
class _Finding:
    """One requirement, looked at: refused, undecided, or neither, which is met."""

    sentence: str
    refused: bool = False
    undecided: bool = False
    needed: int | None = None


def judge(evidence: Evidence, standards: Standards | None = None) -> Verdict:
    """Decide.

    Too few queries decide nothing. Then any requirement that is refused means `dont_ship`, else
    any that is undecided `not_enough_data`; a stratum can only refuse. What is left ships:
    behind the gate where the gate skipped anything, never where it skipped everything; but what
    looks so where the test is none is `not_a_fair_test`. With the means as
    they are, a narrower interval never turns `dont_ship` into a verdict that ships.

    Args:
        standards: None: the defaults.

    Raises:
        InputError: the intervals were not made at `1 - alpha`.
    """
    asked = Standards() if standards is None else standards
    for difference in (d for over in evidence.over for d in (over.ndcg, over.recall)):
        if abs(difference.level - (1.0 - asked.alpha)) > 1e-9:
            raise InputError(
                f"the interval is at level {difference.level}, alpha = {asked.alpha} asks for "
                f"{1.0 - asked.alpha}; pass that level to `compare`"
            )
    regressions = () if evidence.strata is None else evidence.strata.regressions
    gains = [_gain(over, asked) for over in evidence.over]
    strongest = evidence.over[0].ndcg
    absent = 0 if evidence.listed is None else strongest.n - evidence.listed
    lost = (
        f"The first stage has no list for {absent} of {strongest.n} judged queries; they count 0 "
        "in every arm. Where it rightly found nothing, 0 is its due; where lists were lost, make "
        "them again."
    )
    short = _too_few(strongest, asked)
    if short is None and strongest.n - absent < asked.min_queries:
        short = f"{lost} Lists for at least {asked.min_queries} are needed to decide."
    if short is not None:
        # As many as bring the document groups that are missing, if they come as these did.
        grouped = math.ceil(strongest.n * asked.min_clusters / max(1, strongest.clusters))
        wanted = [g.needed for g in gains if g.needed is not None]
        needed = max(asked.min_queries, grouped, *wanted)
        return Verdict(
            call=Call.NOT_ENOUGH_DATA,
            reasons=(short, f"So far nDCG@10 changes by {_numbers(strongest)}."),
            # Where lists are missing, more queries are not what is needed.
            queries_needed=max(needed, strongest.n + 1) if _too_few(strongest, asked) else None,
            regressions=regressions,
        )
    findings = [*gains, _recall(evidence, asked)]
    if evidence.skip_rate >= 1.0:
        findings.append(
            _Finding(
                "The gate skipped every query, so the reranker was not asked once: none of this "
                "is its doing.",
                refused=True,
            )
        )
    if evidence.latency is not None:
        findings.append(_budget(evidence.latency))
    findings += [_stratum(r, asked) for r in regressions]
    # Deciding sentences first; the sort keeps the order of equals.
    findings.sort(key=lambda f: 0 if f.refused else 1 if f.undecided else 2)
    reasons = [f.sentence for f in findings]
    reasons += [evidence.floor] if evidence.floor else []
    reasons += [lost] if absent else []
    if any(f.refused for f in findings):
        return Verdict(call=Call.DONT_SHIP, reasons=tuple(reasons), regressions=regressions)
    if any(f.undecided for f in findings):
        return Verdict(
            call=Call.NOT_ENOUGH_DATA,
            reasons=tuple(reasons),
            queries_needed=needed_for_all([f.needed for f in findings if f.undecided]),
            regressions=regressions,
        )
    if evidence.unfair is not None:
        # What is refused even so stays refused, and too few questions stay too few.
        return Verdict(
            call=Call.NOT_A_FAIR_TEST,
            reasons=(evidence.unfair, *reasons),
            regressions=regressions,
        )
    if evidence.skip_rate > 0.0:
        call = Call.SHIP_BEHIND_GATE
        reasons.append(
            f"The gate skipped {evidence.skip_rate:.0%} of the queries; what was measured, and "
            "what may ship, is the reranker behind it."
        )
    else:
        call = Call.SHIP
        reasons += _UNGATED if evidence.gated else []
    return Verdict(call=call, reasons=tuple(reasons), regressions=regressions)


def _too_few(ndcg: Difference, asked: Standards) -> str | None:
    if ndcg.n < asked.min_queries:
        return f"{ndcg.n} judged queries are too few to decide on; at least {asked.min_queries}."
    if ndcg.clusters < asked.min_clusters:
        return (
            f"The {ndcg.n} judged queries ask about {ndcg.clusters} document groups only; at "
            f"least {asked.min_clusters} are needed, because queries about one document succeed "
            "and fail together."
        )
    return None


def _gain(over: Over, asked: Standards) -> _Finding:
    ndcg, name = over.ndcg, over.name
    numbers = _numbers(ndcg, "Holm-adjusted p" if over.holm else "p")
    if ndcg.worse(asked.alpha):
        return _Finding(f"nDCG@10 is worse than that of {name}: {numbers}.", refused=True)
    # Before `better`: however certain a gain is, one that is shown to be too small stays so, and
    # more data can only confirm it.
    if ndcg.high < asked.useful_gain:
        return _Finding(
            f"nDCG@10 gains less than {asked.useful_gain:.3f} over {name}, which is not worth a "
            f"second stage: {numbers}.",
            refused=True,
        )
    if ndcg.better(asked.alpha):
        small = ndcg.mean < asked.useful_gain
        aside = f", by {asked.useful_gain:.3f} or more only perhaps" if small else ""
        return _Finding(f"nDCG@10 is better than that of {name}{aside}: {numbers}.")
    # Two things would close it: a gain above zero, or a useful gain excluded. The one that is
    # farther from the mean takes fewer queries.
    against = 0.0 if ndcg.mean >= asked.useful_gain / 2.0 else asked.useful_gain
    needed = ndcg.needed(against=against, power=asked.power)
    # Power is of samples to come; of this one it is known that it did not do.
    needed = None if needed is None else max(needed, ndcg.n + 1)
    return _Finding(
        f"Whether nDCG@10 is better than that of {name} is open: {numbers}.{_wanted(needed)}",
        undecided=True,
        needed=needed,
    )


def _recall(evidence: Evidence, asked: Standards) -> _Finding:
    """Against the one that is least behind: what is not worse than that is not worse than any."""
    margin = asked.recall_margin
    fallen = [o for o in evidence.over if o.recall.worse_than(margin)]
    over = min(fallen or evidence.over, key=lambda o: o.recall.least)
    recall = over.recall
    name = f"recall@{evidence.top_n}"
    numbers = f"{recall.mean:+.3f} ({_interval(recall)}, at worst {recall.least:+.3f})"
    told = f"{numbers} against {over.name}"
    if recall.not_worse_than(margin):
        return _Finding(f"{name} is not worse beyond the margin of {margin:.3f}: {told}.")
    if recall.worse_than(margin):
        return _Finding(
            f"{name} falls by more than the margin of {margin:.3f}: {told}.", refused=True
        )
    needed = recall.needed_for_margin(margin, power=asked.power)
    needed = None if needed is None else max(needed, recall.n + 1)
    return _Finding(
        f"Whether {name} falls by more than the margin of {margin:.3f} is open: {told}."
        f"{_wanted(needed)}",
        undecided=True,
        needed=needed,
    )


def _wanted(needed: int | None) -> str:
    """How many queries would decide, in a sentence; so many that nobody has them is said so."""
    if needed is None:
        return " No number of queries within reach would tell: the effect is next to nothing."
    return f" About {needed} queries like these would tell."


def _budget(latency: BudgetResult) -> _Finding:
    name = f"p{latency.quantile * 100.0:g} latency"
    limit = f"the budget of {latency.budget_ms:g} ms"
    if latency.status is BudgetStatus.UNKNOWN:
        return _Finding(
            f"Whether {name} keeps {limit} is open: {latency.n} samples, {latency.needed} needed; "
            "time every query several times.",
            undecided=True,
            needed=latency.needed,
        )
    seen = (
        "even the fastest query is slower"
        if latency.observed_ms is None
        else f"{latency.observed_ms:.1f} ms"
    )
    if latency.status is BudgetStatus.OVER:
        return _Finding(f"{name} is over {limit}: {seen}.", refused=True)
    return _Finding(f"{name} is inside {limit}: {seen}.")


def _stratum(result: StratumResult, asked: Standards) -> _Finding:
    difference, adjusted = result.difference, result.adjusted_p
    if difference is None or adjusted is None:
        raise InputError(f"stratum {result.key} was not tested and cannot be a regression")
    held = -difference.mean > asked.stratum_margin
    shown = f"; for example {', '.join(result.losers)}" if result.losers else ""
    tail = "the gate should skip them" if held else "too small a loss to hold the verdict back"
    return _Finding(
        f"Queries with {result.dimension} = {result.name} lose: nDCG@10 {difference.mean:+.3f} "
        f"({_interval(difference)}, Holm-adjusted p = {adjusted:.4f}, n = {result.n}{shown}); "
        f"{tail}.",
        refused=held,
    )


def _numbers(difference: Difference, p: str = "p") -> str:
    return (
        f"{difference.mean:+.3f} ({_interval(difference)}, {p} = {difference.p:.4f}, "
        f"n = {difference.n})"
    )


def _interval(difference: Difference) -> str:
    return f"{difference.level:.0%} interval {difference.low:+.3f} to {difference.high:+.3f}"
