"""What is shown of a number and its limit stands as the two stood when they were compared."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankgate.decide.gate import Condition
from rankgate.decide.rounding import beside

PROBABILITY = st.floats(0, 1)


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        (0.3, 0.5, ("0.300", "0.500")),
        (0.0249, 0.025, ("0.0249", "0.0250")),
        (0.025, 0.025, ("0.025", "0.025")),
        (0.3, 0.0225, ("0.3000", "0.0225")),
        (0.49996, 0.5, ("0.49996", "0.50000")),
        (2.0, 2.0, ("2.000", "2.000")),
    ],
)
def test_as_many_digits_as_it_takes(value, limit, shown):
    assert beside(value, limit) == shown


@given(PROBABILITY, PROBABILITY)
@example(0.1, 0.10000000000000002)
@example(0.0, 5e-324)
def test_order_is_never_lost(value, limit):
    shown, bound = map(float, beside(value, limit))
    assert (shown < bound, shown > bound) == (value < limit, value > limit)
    assert bound == pytest.approx(limit, abs=1e-6)


def test_a_condition_says_its_value():
    assert Condition(signal="dense_top1", op=">=", value=0.02).seen({"dense_top1": 0.0204}) == (
        "dense_top1 >= 0.02 (is 0.0204)"
    )
    assert "(is missing)" in str(
        Condition(signal="dense_top1", op=">=", value=0.02).seen({"dense_top1": None})
    )
