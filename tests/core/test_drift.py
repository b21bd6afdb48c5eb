"""Drift of rates: a fixed number of false alarms, however often one looks; and it is noticed."""

import datetime
import math

import numpy as np
import pytest

from rankgate.bounds import anytime_interval, clopper_pearson, log_evidence
from rankgate.errors import InputError
from rankgate.live.drift import FALSE_ALARMS, Day, weeks_of
from rankgate.live.promise import Counted, Promise

MONDAY = datetime.date(2026, 11, 2)


def days(skipped, refused=None, *, n=100, start=MONDAY):
    refused = [0] * len(skipped) if refused is None else refused
    return [
        Day(day=start + datetime.timedelta(i), n=n, skipped=int(s), refused=int(r))
        for i, (s, r) in enumerate(zip(skipped, refused, strict=True))
    ]


def promise(**changes):
    stated = {
        "unanswerable": 0.2,
        "stated": True,
        "skipped": Counted(count=90, n=300),
        "skipped_unanswerable": Counted(count=90, n=300),
        "refused": Counted(count=6, n=300),
        "refused_unanswerable": Counted(count=240, n=300),
        "answerable": None,
    }
    return Promise(**{**stated, **changes})


def test_evidence_is_the_likelihood_ratio_by_hand():
    # Two of two: the mixture gives 3/8, a share of one half gives 1/4.
    assert log_evidence(2, 2, 0.5, 0.5) == pytest.approx(math.log(0.375 / 0.25))
    assert log_evidence(0, 0, 0.2, 0.4) == pytest.approx(0.0)
    # What the range holds is no evidence against it, and an impossible count is certain.
    assert log_evidence(30, 100, 0.2, 0.4) < 0.0
    assert log_evidence(1, 3, 0.0, 0.0) == math.inf
    for bad in ((3, 2, 0.1, 0.2), (1, 2, 0.4, 0.2), (1, 2, -0.1, 0.2)):
        with pytest.raises(InputError):
            log_evidence(*bad)


def test_the_interval_for_every_look_holds_the_share_and_is_wider_than_that_for_one():
    assert anytime_interval(0, 0) == (0.0, 1.0)
    for count, n in ((0, 50), (17, 60), (60, 60), (300, 1000)):
        low, high = anytime_interval(count, n)
        exact = clopper_pearson(count, n)
        assert low <= exact[0] <= count / n <= exact[1] <= high
        for edge in {low, high} - {0.0, 1.0}:
            assert log_evidence(count, n, edge, edge) == pytest.approx(math.log(20.0), abs=1e-6)


def test_evidence_at_all_times_together_is_wrong_as_often_as_it_says():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(500):
        seen = np.cumsum(rng.random(400) < 0.3)
        wrong += any(
            log_evidence(int(k), n, 0.3, 0.3) >= math.log(20.0) for n, k in enumerate(seen, 1)
        )
    assert wrong <= 0.05 * 500


def test_a_rate_that_left_what_was_promised_is_noticed_and_one_that_did_not_is_not():
    (week,) = weeks_of(days([30] * 7, [18] * 7), promise())
    assert (week.start, week.n, week.drifted) == (MONDAY, 700, False)
    low, high = week.skipped.promised
    assert low < 0.3 < high and high - low < 0.3
    (week,) = weeks_of(days([55] * 7, [18] * 7), promise())
    assert (week.skipped.drifted, week.refused.drifted) == ("promise", "")


def test_a_share_that_nobody_named_promises_no_mixture_of_refusals():
    named = weeks_of(days([30] * 7, [50] * 7), promise())[0]
    assert named.refused.drifted == "promise"  # 17.6% were promised, at a fifth unanswerable
    unnamed = weeks_of(days([30] * 7, [50] * 7), promise(stated=False))[0]
    assert unnamed.refused.drifted == ""
    assert unnamed.refused.promised[0] < 0.02 and unnamed.refused.promised[1] > 0.8


def test_a_week_is_compared_with_the_weeks_before_it_even_without_a_promise():
    first, second, third = weeks_of(days([30] * 7 + [31] * 7 + [60] * 7), None)
    assert first.skipped.before is None and first.skipped.promised is None
    assert second.skipped.drifted == "" and third.skipped.drifted == "before"
    assert third.skipped.before[0] < 0.305 < third.skipped.before[1]


def test_weeks_begin_on_monday_and_empty_ones_are_left_out():
    sunday, later = MONDAY + datetime.timedelta(6), MONDAY + datetime.timedelta(21)
    some = [*days([1], start=sunday), *days([1] * 2, start=later)]
    assert [w.start for w in weeks_of(some, None)] == [MONDAY, later]
    assert weeks_of([], promise()) == []


def test_a_day_without_a_question_is_no_evidence():
    (week,) = weeks_of(
        [*days([0], n=0), *days([3], n=10, start=MONDAY + datetime.timedelta(1))], promise()
    )
    assert week.n == 10 and not week.drifted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "calibrated", "a_day"), [(0.3, 150, 100), (0.02, 60, 20), (0.5, 400, 500)]
)
def test_false_alarms_of_a_week_that_is_looked_at_every_day(rate, calibrated, a_day):
    """500 draws of calibration and four weeks; 2,000 weeks in all, each looked at daily."""
    rng = np.random.default_rng(1)
    alarms = weeks = 0
    for _ in range(500):
        counted = [
            Counted(count=int(rng.binomial(calibrated, rate)), n=calibrated) for _ in range(4)
        ]
        told = promise(
            skipped=counted[0],
            skipped_unanswerable=counted[1],
            refused=counted[2],
            refused_unanswerable=counted[3],
        )
        drawn = rng.binomial(a_day, rate, size=(2, 28))
        found = weeks_of(days(drawn[0], drawn[1], n=a_day), told)
        alarms += sum(w.drifted for w in found)
        weeks += len(found)
    assert alarms <= FALSE_ALARMS * weeks
