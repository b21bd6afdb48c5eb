"""The verdict on the answers: ship, ship behind the gate, don't ship, or not enough data.

Pure: everything measured comes in. The rule:

- too few pairs, or too few document groups: not enough data;
- any deciding metric significantly worse, or wrong refusals up by more than the margin: don't;
- otherwise it ships where at least one deciding metric is better (Holm over all of them) and of
  every other one a loss beyond the margin is excluded;
- where a useful gain is excluded on all of them: don't, for it is not worth a second stage;
- everything else is open: not enough data, with the number of questions that would tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rankgate.errors import InputError
from rankgate_eval.result.call import Call
from rankgate_eval.stats.significance import Difference, holm, needed_for_all
from rankgate_eval.verdict.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStandards:
    """What is asked of a reranker's answers.

    Attributes:
        alpha: of the tests, two-sided.
        power: with which the number of questions needed is stated.
        margin: loss of a metric, and rise of wrong refusals, that is tolerated.
        useful_gain: below it a gain is not worth a second stage.
        min_pairs: fewer, and nothing is decided.
        min_clusters: fewer document groups, and nothing is decided.
    """

    alpha: float = 0.05
    power: float = 0.8
    margin: float = 0.05
    useful_gain: float = 0.02
    min_pairs: int = 50
    min_clusters: int = 20

    def __post_init__(self) -> None:
        for name in ("alpha", "power"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise InputError(f"{name} must be in (0, 1), got {getattr(self, name)}")
        for name in ("margin", "useful_gain"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")


def decide(
    differences: Mapping[str, Difference | None],
    wrong_refusals: Difference | None,
    *,
    skip_rate: float,
    standards: AnswerStandards | None = None,
    unfair: str | None = None,
) -> Verdict:
    """Decide on the deciding metrics' differences, after minus before.

    Args:
        differences: metric to difference; None where there was no pair.
        wrong_refusals: of answerable questions, 1 where one was refused; None where there are
            none that both arms dealt with.
        skip_rate: share of the questions on which the gate skipped.
        standards: None: the defaults.
        unfair: why the test is none, such as a policy fitted on these questions; None: it is one.
    """
    asked = AnswerStandards() if standards is None else standards
    known = {name: d for name, d in differences.items() if d is not None}
    harm = None if wrong_refusals is None else _refusing(wrong_refusals, asked)
    if not known:
        reasons = ["No question has an answer judged in both arms."]
        return Verdict(
            call=Call.NOT_ENOUGH_DATA,
            reasons=tuple(reasons + ([harm] if harm is not None else [])),
            queries_needed=asked.min_pairs,
        )
    # All deciding metrics are of the same answers; the largest set speaks for the size.
    n = max(d.n for d in known.values())
    clusters = max(d.clusters for d in known.values())
    seen = tuple(f"{name}: {_numbers(d)}." for name, d in known.items())
    if n < asked.min_pairs or clusters < asked.min_clusters:
        short = (
            f"{n} pairs of answers about {clusters} document groups are too few to decide on; at "
            f"least {asked.min_pairs} about {asked.min_clusters}."
        )
        return Verdict(
            call=Call.NOT_ENOUGH_DATA,
            reasons=(short, *seen),
            queries_needed=max(asked.min_pairs, n + 1),
        )
    worse = [name for name, d in known.items() if d.worse(asked.alpha)]
    if worse or harm is not None:
        reasons = [f"{name} falls: {_numbers(known[name])}." for name in worse]
        reasons += [harm] if harm is not None else []
        reasons += [f"{name}: {_numbers(d)}." for name, d in known.items() if name not in worse]
        return Verdict(call=Call.DONT_SHIP, reasons=tuple(reasons))
    adjusted = holm({name: d.p for name, d in known.items()})
    # A gain that is certain and certainly too small is none that is worth a second stage.
    better = [
        name
        for name, d in known.items()
        if d.low > 0.0 and adjusted[name] <= asked.alpha and d.high >= asked.useful_gain
    ]
    open_ = [name for name, d in known.items() if not d.not_worse_than(asked.margin)]
    if better and not open_:
        reasons = [f"{name} rises: {_numbers(known[name])}." for name in better]
        reasons += [
            f"{name} does not fall beyond {asked.margin:.2f}: {_numbers(d)}."
            for name, d in known.items()
            if name not in better
        ]
        if unfair is not None:
            return Verdict(call=Call.NOT_A_FAIR_TEST, reasons=(unfair, *reasons))
        if skip_rate > 0.0:
            reasons.append(f"The gate skipped {skip_rate:.0%} of the questions.")
        call = Call.SHIP_BEHIND_GATE if skip_rate > 0.0 else Call.SHIP
        return Verdict(call=call, reasons=tuple(reasons))
    if all(d.high < asked.useful_gain for d in known.values()):
        first = (
            f"No metric of the answers gains {asked.useful_gain:.2f} or more, which is not worth "
            "a second stage."
        )
        return Verdict(call=Call.DONT_SHIP, reasons=(first, *seen))
    return Verdict(
        call=Call.NOT_ENOUGH_DATA,
        reasons=("Whether the answers get better is open.", *seen),
        queries_needed=_needed(known, open_ if better else [], asked),
    )


def _needed(
    known: Mapping[str, Difference], open_: list[str], asked: AnswerStandards
) -> int | None:
    """Questions that would close what is open.

    The margins beside a gain, all of them; else the most hopeful useful gain, one of which would
    do; else a useful gain excluded on every metric. None where nobody has so many.
    """
    if open_:
        return needed_for_all(
            [
                None if needed is None else max(needed, known[m].n + 1)
                for m in open_
                for needed in (known[m].needed_for_margin(asked.margin, power=asked.power),)
            ]
        )
    hopeful = [_more(d, 0.0, asked) for d in known.values() if d.mean >= asked.useful_gain]
    if hopeful:
        return min((n for n in hopeful if n is not None), default=None)
    return needed_for_all([_more(d, asked.useful_gain, asked) for d in known.values()])


def _more(difference: Difference, against: float, asked: AnswerStandards) -> int | None:
    """Questions to tell the effect seen from `against`; more than this sample, which did not do."""
    needed = difference.needed(against=against, power=asked.power)
    return None if needed is None else max(needed, difference.n + 1)


def _refusing(wrong: Difference, asked: AnswerStandards) -> str | None:
    if not (wrong.low > asked.margin and wrong.p <= asked.alpha):
        return None
    return (
        f"Wrong refusals rise by more than {asked.margin:.2f} of the answerable questions: "
        f"{_numbers(wrong)}."
    )


def _numbers(difference: Difference) -> str:
    return (
        f"{difference.mean:+.3f} ({difference.level:.0%} interval {difference.low:+.3f} to "
        f"{difference.high:+.3f}, p = {difference.p:.4f}, n = {difference.n})"
    )
