"""Compare: the scorers that an application has, and what a policy means for each."""

import browser_kit as kit
import pytest

from rag_app.ingest.ingestion import ingest_into
from rag_app.quality.comparison import compare
from rag_app.quality.scorer_choices import scorer_choices
from rag_app.server.collections import Collections
from rag_app.settings import Settings
from rankgate import Floor
from rankgate.errors import InputError, PolicyError
from rankgate.testing import FakeScorer

pytestmark = pytest.mark.model
QUESTION = "On what is a gate fitted?"
PLAIN = "late-interaction/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    """Two documents, ingested with the real encoder."""
    base = tmp_path_factory.mktemp("compared")
    with Collections(Settings(data_dir=base / "data"), embedder=encoder) as opened:
        for name, text in (("gate.md", kit.GATE), ("floor.md", kit.FLOOR)):
            (base / name).write_text(text, "utf-8")
        opened.write(
            "default", lambda s: ingest_into(s, [base / "gate.md", base / "floor.md"])
        ).result()
    return base


@pytest.fixture
def opened(folder, encoder):
    """Opens the folder's pipeline with other settings; the one before is closed."""
    held = []

    def make(scorer=None, **changes):
        for opened in held:
            opened.close()
        settings = Settings(data_dir=folder / "data", **changes)
        held.append(Collections(settings, embedder=encoder, scorer=scorer))
        return held[-1].pipeline("default")

    yield make
    for opened in held:
        opened.close()


def ranks(result):
    return [(p.candidate.id, p.relevance_score) for p in result.outcome.passages]


def test_the_encoder_offers_late_interaction_as_it_comes_plain_and_with_a_head(opened):
    pipeline = opened()
    first, second, third = scorer_choices(pipeline)
    assert first.id.startswith(f"{PLAIN}+query-") and first.configured
    assert first.scorer is pipeline.reranker.scorer
    assert (second.id, second.configured) == (PLAIN, False)
    assert third.id.startswith(f"{PLAIN}+head-") and not third.configured
    assert [c.scorer.info.scale for c in (first, second, third)] == [
        "maxsim-head",
        "maxsim-mean",
        "maxsim-head",
    ]
    # The vectors that ingestion kept serve all of them.
    for choice in (second, third):
        assert choice.scorer.token_store is pipeline.store.token_store is not None


def test_another_scorer_is_offered_beside_the_encoders_own(opened):
    choices = scorer_choices(opened(FakeScorer()))
    assert [c.configured for c in choices] == [True, False, False, False]
    assert choices[1].id.startswith(f"{PLAIN}+query-") and choices[2].id == PLAIN


def test_a_scorer_that_the_policy_was_not_fitted_for_gets_none_of_its_numbers(opened):
    pipeline = opened()
    own = compare(pipeline, QUESTION)
    assert (own.misfit, own.raw_order, own.note) == ((), False, "")
    assert own.floor_with == own.floor_without and own.floor_with.active
    other = compare(pipeline, QUESTION, scorer=PLAIN)
    assert "in use is" in other.misfit[0] and other.misfit[0] in other.note
    assert "order of the raw scores (maxsim-mean)" in other.note and other.raw_order
    passages = other.with_reranking.outcome.passages
    assert all(p.relevance_score is None for p in passages)
    raw = [p.raw_score for p in passages]
    assert raw == sorted(raw, reverse=True) and None not in raw
    assert other.policy.outcome.decision.reason == "no_gate"
    assert other.floor_with == Floor()
    # What no scorer decides is as before.
    assert ranks(other.without) == ranks(own.without)
    assert other.floor_without == own.floor_without
    assert other.with_reranking.outcome.top_n == own.with_reranking.outcome.top_n


def test_thresholds_bind_where_there_are_probabilities(opened):
    pipeline = opened()
    strict = compare(pipeline, QUESTION, scorer=PLAIN, floor=Floor(refuse_below=0.999))
    assert strict.without.refused and not strict.with_reranking.refused
    # With the fitted scorer the policy judges by more than the best probability; not here.
    own = compare(pipeline, QUESTION, floor=Floor(refuse_below=0.999))
    assert own.with_reranking.refused and own.with_reranking.outcome.sufficiency is None
    with pytest.raises(PolicyError, match="needs a relevance model"):
        compare(opened(FakeScorer()), QUESTION, floor=Floor(refuse_below=0.5))


def test_the_bundled_policy_serves_the_scorer_that_it_was_fitted_for(opened):
    """Also where the application's own scorer has none."""
    pipeline = opened(FakeScorer())
    assert pipeline.reranker.policy.name == "unfitted"
    fitted = scorer_choices(pipeline)[1].id
    found = compare(pipeline, QUESTION, scorer=fitted)
    assert found.misfit == () and not found.raw_order and found.floor_with.active
    assert all(s is not None for _, s in ranks(found.with_reranking))
    own = compare(pipeline, QUESTION)
    assert own.raw_order and "No relevance model applies" in own.note


def test_another_scale_under_a_policy_for_any_scorer_is_told(opened, tmp_path):
    pipeline = opened(FakeScorer(), policy=kit.policy_file(tmp_path))
    assert not compare(pipeline, QUESTION).raw_order
    found = compare(pipeline, QUESTION, scorer=PLAIN)
    assert found.misfit == () and found.raw_order
    assert "No relevance model applies to this scorer's scores (maxsim-mean)" in found.note
    assert found.policy.outcome.decision.reason == "uncertain", "its gate still decides"


def test_an_unknown_scorer_is_refused_with_those_there_are(opened):
    with pytest.raises(InputError, match=f"'mine'.*{PLAIN}\\+query-.*{PLAIN}, {PLAIN}\\+head"):
        compare(opened(), QUESTION, scorer="mine")
