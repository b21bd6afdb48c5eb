"""The policy that ships: it fits the default scorer, and its parts are consistent."""

import pytest

from rankgate import FirstStageKind, Policy, Reranker
from rankgate.scorers import LateInteractionScorer


@pytest.mark.model
def test_it_fits_the_default_scorer(encoder):
    reranker = Reranker(LateInteractionScorer(encoder))
    assert reranker.policy.name == "default"


@pytest.mark.parametrize("kind", list(FirstStageKind))
def test_every_kind_of_first_stage_has_a_section_with_model_and_floor(kind):
    section = Policy.default().section(kind)
    assert section.reranked is not None and section.floor.refuse_below is not None
    assert section.profile.scorer == "late-interaction/all-MiniLM-L6-v2"
    if kind is FirstStageKind.ORDER:
        assert section.first_stage is None and not section.may_skip
    else:
        assert section.gate.rules and section.may_skip


def test_it_says_how_it_was_made_and_reads_no_test_split():
    made = Policy.default().provenance
    assert made["commit"] and made["seed"] == 0
    assert set(made["data"].values()) == {"dev"} and "cranfield" not in made["data"]
