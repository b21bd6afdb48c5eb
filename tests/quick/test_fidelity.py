"""Whether skipping changes what is handed over, and what the floor says in words."""

import pytest

from rankgate.decide.fidelity import Handed, skipping_changes, weighty_missed
from rankgate.decide.floor import Band, Floor
from rankgate.errors import PolicyError
from rankgate.policy import Policy


def handed(ids, probabilities=None, refused=False):
    known = [None] * len(ids) if probabilities is None else probabilities
    return Handed(ids=list(ids), probabilities=known, refused=refused)


@pytest.mark.parametrize(
    ("reranked", "skipped", "changes"),
    [
        (handed("ab", [0.9, 0.1]), handed("ac"), False),  # b had no weight
        (handed("ab", [0.9, 0.45]), handed("ac"), True),  # half of the best's has
        (handed("ab", [0.9, 0.8]), handed("ba"), False),  # the order is not what is handed over
        (handed("ab"), handed("bc"), True),  # the best always has weight
        (handed("ab"), handed("ac"), False),  # nothing is known of the others
        (handed("ab", [0.0, 0.0]), handed("ac"), False),
        (handed("", []), handed("", []), False),
        (handed("a", refused=True), handed("b", refused=True), False),
        (handed("a", refused=True), handed("a"), True),
        (handed("a"), handed("a", refused=True), True),
    ],
)
def test_what_counts_as_a_change(reranked, skipped, changes):
    assert skipping_changes(reranked, skipped) is changes


def test_what_is_missed_does_not_ask_the_floor():
    assert weighty_missed(handed("a", [0.1], refused=True), handed("b", refused=True))


@pytest.mark.parametrize(
    ("best", "band"),
    [(0.1, "refuse"), (0.2, "weak"), (0.59, "weak"), (0.6, "answer"), (None, "answer")],
)
def test_three_bands(best, band):
    assert Floor(refuse_below=0.2, weak_below=0.6).band(best) == Band(band)
    assert Floor().band(best) is Band.ANSWER


def test_weak_evidence_lies_above_what_is_refused():
    with pytest.raises(PolicyError, match="weak_below"):
        Floor(refuse_below=0.5, weak_below=0.4)
    with pytest.raises(PolicyError, match="weak_below"):
        Floor(weak_below=1.5)
    assert Floor(weak_below=0.0).active


def test_a_policy_keeps_its_bands_and_an_old_one_reads_as_before():
    policy = Policy.default().with_section("hybrid", floor=Floor(refuse_below=0.01, weak_below=0.2))
    again = Policy.from_dict(policy.to_dict())
    assert again.section("hybrid").floor == Floor(refuse_below=0.01, weak_below=0.2)
    assert "weak_below" not in Policy.default().to_dict()["sections"]["hybrid"]["floor"]
