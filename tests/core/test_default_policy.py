"""The policy that ships: it fits the default scorer, and its parts are consistent."""

import pytest

from rankgate import FirstStageKind, Policy, Reranker
from rankgate.encoders import MINILM_SHA256, TokenHead
from rankgate.encoders.bundled import QUERY_SHA256
from rankgate.scorers import LateInteractionScorer


@pytest.mark.model
def test_it_fits_the_default_scorer_and_not_the_plain_one(encoder):
    assert Reranker(LateInteractionScorer.load()).policy.name == "default"
    assert Reranker(LateInteractionScorer.load(plain=True)).policy.name != "default"


@pytest.mark.parametrize("kind", list(FirstStageKind))
def test_every_kind_of_first_stage_has_a_section_with_model_and_floor(kind):
    window = TokenHead(encoder=MINILM_SHA256).sha256
    section = Policy.default().section(kind)
    assert section.reranked is not None and section.floor.refuse_below is not None
    assert section.profile.scorer == (
        f"late-interaction/all-MiniLM-L6-v2+query-{QUERY_SHA256[:8]}+head-{window[:8]}"
    )
    assert section.gate.rules and section.may_skip
    # Words judge a list that brings no scores; what brings scores is not read for them.
    assert section.reads_texts is (kind is FirstStageKind.ORDER)
    assert section.first_stage is not None
    assert section.first_stage.orders is (kind is not FirstStageKind.ORDER)


def test_it_says_how_it_was_made_and_reads_no_test_split():
    made = Policy.default().provenance
    assert made["commit"] and made["seed"] == 0
    assert set(made["data"].values()) == {"dev"} and "cranfield" not in made["data"]
