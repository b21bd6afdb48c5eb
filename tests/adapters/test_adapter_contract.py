"""What every adapter must do, whatever the framework: one suite, one small driver each."""

import asyncio
import copy
import json
import math

import adapter_drivers as kit
import pytest

from rankgate import Candidate, Policy, Reranker
from rankgate.adapters.annotations import METADATA_KEYS
from rankgate.errors import ConfigError, InputError, PolicyError
from rankgate.testing import FailingScorer, FakeScorer

QUERY, FOUR, P, DRIVERS, ids = kit.QUERY, kit.FOUR, kit.P, kit.DRIVERS, kit.ids


@pytest.fixture(params=DRIVERS, ids=lambda d: d.__name__)
def driver(request, make_chroma):
    return request.param(make_chroma)


def test_order_is_the_engines_own(driver, policies):
    scorer = FakeScorer()
    rows = driver.call(driver.build(FOUR, scorer=scorer, policy=policies.fitted))
    given = [
        Candidate(id=p.id, text=p.text, rank=i, dense=p.dense if driver.kind == "dense" else None)
        for i, p in enumerate(FOUR, start=1)
    ]
    own = Reranker(FakeScorer(), policy=policies.fitted).rerank(QUERY, given)
    assert ids(rows) == [p.candidate.id for p in own.kept] == ["c", "d", "a", "b"]
    assert [m["relevance_score"] for _, _, m in rows] == [p.relevance_score for p in own.kept]
    assert [j.texts for j in scorer.jobs] == [[p.text for p in FOUR]]


def test_weak_evidence_is_said_on_every_passage(driver, policies):
    rows = driver.call(driver.build(FOUR, scorer=FakeScorer(), policy=policies.weak))
    assert len(rows) == 4, "it is answered all the same"
    assert {metadata["rankgate_band"] for _, _, metadata in rows} == {"weak"}


def test_ids_text_and_metadata_survive(driver, policies):
    rows = driver.call(driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted))
    by_id = {p.id: p for p in FOUR}
    assert len(rows) == 4
    for identifier, text, metadata in rows:
        assert text == by_id[identifier].text
        assert by_id[identifier].metadata.items() <= metadata.items()


def test_our_metadata_says_what_happened(driver, policies):
    rows = driver.call(driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted))
    best = rows[0][2]
    assert best["rankgate_rank_before"] == 3 and best["rankgate_rank"] == 1
    assert best["rankgate_raw_score"] == pytest.approx(1.0)
    assert best["relevance_score"] == pytest.approx(1.0 / (1.0 + math.exp(-2.0)))
    assert best["rankgate_outcome"] == "reranked" and best["rankgate_reason"] == "no_gate"
    assert best["rankgate_scorer"] == "fake"
    assert best["rankgate_band"] == "answer"
    assert "rankgate_bm25" not in best
    assert type(best["rankgate_outcome"]) is str
    if driver.kind == "dense":
        assert best["rankgate_dense"] == pytest.approx(0.7, abs=1e-4)
    else:
        assert "rankgate_dense" not in best


def test_our_metadata_is_json(driver, policies):
    rows = driver.call(driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted))
    for _, _, metadata in rows:
        ours = {k: v for k, v in metadata.items() if k in METADATA_KEYS}
        assert json.loads(json.dumps(ours)) == ours
        assert {k for k in metadata if k.startswith("rankgate_")} <= set(METADATA_KEYS)


def test_relevance_score_is_absent_without_a_model(driver, policies):
    rows = driver.call(driver.build(FOUR, scorer=FakeScorer(), policy=policies.raw))
    assert ids(rows) == ["c", "d", "a", "b"]
    for _, _, metadata in rows:
        assert "rankgate_raw_score" in metadata
        assert "relevance_score" not in metadata and "rankgate_band" not in metadata


def test_inputs_are_not_touched(driver, policies):
    component = driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted)
    before = copy.deepcopy(driver.inputs)
    rows = driver.call(component)
    if not driver.keeps_mutable_inputs:
        assert driver.call(component) == rows, "what is stored has changed"
        return
    assert driver.inputs == before
    rows[0][2]["page"] = "changed"
    assert driver.inputs == before, "the result shares its metadata with the input"


def test_a_second_pass_replaces_the_keys_of_the_first(driver, policies):
    stale = {"relevance_score": 0.5, "rankgate_bm25": 7.0, "rankgate_rank": 99, "page": 1}
    passages = [P("a", "red one", 0.9, stale), P("b", "red green", 0.8, stale)]
    rows = driver.call(driver.build(passages, scorer=FakeScorer(), policy=policies.raw))
    assert ids(rows) == ["b", "a"]
    for rank, (_, _, metadata) in enumerate(rows, start=1):
        assert metadata["rankgate_rank"] == rank and metadata["page"] == 1
        assert "relevance_score" not in metadata and "rankgate_bm25" not in metadata


def test_nothing_in_nothing_out(driver, policies):
    scorer = FakeScorer()
    assert driver.call(driver.build([], scorer=scorer, policy=policies.fitted)) == []
    assert scorer.calls == 0


def test_a_single_passage_is_kept(driver, policies):
    rows = driver.call(driver.build(FOUR[:1], scorer=FakeScorer(), policy=policies.fitted))
    assert ids(rows) == ["a"]
    assert rows[0][2]["rankgate_outcome"] == "skipped"
    assert rows[0][2]["rankgate_reason"] == "single_candidate"


def test_passages_with_the_same_text_stay_apart(driver, policies):
    twins = [P("x", "red green", 0.9, {"n": 1}), P("y", "red green", 0.9, {"n": 2})]
    rows = driver.call(driver.build(twins, scorer=FakeScorer(), policy=policies.fitted))
    assert sorted(ids(rows)) == ["x", "y"]
    assert {i: m["n"] for i, _, m in rows} == {"x": 1, "y": 2}
    if driver.keeps_mutable_inputs:
        assert ids(rows) == ["x", "y"], "ties keep the first stage's order"


def test_a_failing_scorer_gives_first_stage_order(driver, policies):
    scorer = FailingScorer(RuntimeError("no GPU"))
    rows = driver.call(driver.build(FOUR, scorer=scorer, policy=policies.fitted))
    assert scorer.calls == 1
    assert ids(rows) == ["a", "b", "c", "d"]
    for _, _, metadata in rows:
        assert metadata["rankgate_outcome"] == "degraded"
        assert metadata["rankgate_reason"] == "scorer_error"
        assert "rankgate_raw_score" not in metadata


def test_the_gate_may_skip(driver, policies):
    scorer = FakeScorer()
    rows = driver.call(driver.build(FOUR, scorer=scorer, policy=policies.skipping))
    assert scorer.calls == 0
    assert ids(rows) == ["a", "b", "c", "d"]
    assert {m["rankgate_outcome"] for _, _, m in rows} == {"skipped"}
    assert {m["rankgate_reason"] for _, _, m in rows} == {"always"}


def test_a_refused_query_gives_nothing(driver, policies):
    told = []
    component = driver.build(
        FOUR, scorer=FakeScorer(), policy=policies.refusing, on_outcome=told.append
    )
    assert driver.call(component) == []
    assert [(o.status, o.reason, len(o.dropped)) for o in told] == [("refused", "below_floor", 4)]


def test_a_floor_of_zero_keeps_all(driver, policies):
    component = driver.build(FOUR, scorer=FakeScorer(), policy=policies.zero_floor)
    assert ids(driver.call(component)) == ["c", "d", "a", "b"]


def test_a_floor_drops_single_passages(driver, policies):
    component = driver.build(FOUR, scorer=FakeScorer(), policy=policies.dropping)
    assert ids(driver.call(component)) == ["c", "d"]


@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_top_n(driver, policies, n):
    component = driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted, top_n=n)
    assert ids(driver.call(component)) == ["c", "d", "a", "b"][:n]


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "three"])
def test_a_senseless_top_n_is_rejected(driver, policies, wrong):
    with pytest.raises(ValueError, match="top_n"):
        driver.build(FOUR, scorer=FakeScorer(), policy=policies.fitted, top_n=wrong)


@pytest.mark.parametrize("name", ["raw", "fitted", "skipping", "refusing", "dropping"])
def test_async_equals_sync(driver, policies, name):
    component = driver.build(FOUR, scorer=FakeScorer(), policy=getattr(policies, name))
    assert asyncio.run(driver.acall(component)) == driver.call(component)


def test_async_uses_a_native_async_scorer(driver, policies):
    class Native(FakeScorer):
        awaited = 0

        def score_many(self, jobs, context=None):
            raise AssertionError("the blocking method was called from async code")

        async def ascore_many(self, jobs, context=None):
            self.awaited += 1
            await asyncio.sleep(0)
            return FakeScorer().score_many(jobs, context)

    scorer = Native()
    component = driver.build(FOUR, scorer=scorer, policy=policies.fitted)
    assert ids(asyncio.run(driver.acall(component))) == ["c", "d", "a", "b"]
    assert scorer.awaited == 1


def test_a_policy_file_will_do(driver, policies, tmp_path):
    file = tmp_path / "policy.json"
    policies.dropping.save(file)
    for given in (file, str(file)):
        component = driver.build(FOUR, scorer=FakeScorer(), policy=given)
        assert ids(driver.call(component)) == ["c", "d"]


def test_a_finished_reranker_will_do(driver, policies):
    reranker = Reranker(FakeScorer(), policy=policies.dropping)
    assert ids(driver.call(driver.build(FOUR, reranker=reranker))) == ["c", "d"]


def bm25_only(policies):
    return Reranker(FakeScorer(), policy=policies.raw, first_stage="bm25")


EMPTY = Policy(name="empty", sections={})


WRONG_PARTS = {
    "two engines": (
        InputError,
        "given together with policy",
        lambda p: {"reranker": bm25_only(p), "policy": p.raw},
    ),
    "other first stage": (
        ConfigError,
        "made for a 'bm25' first stage",
        lambda p: {"reranker": bm25_only(p)},
    ),
    "no scorer": (InputError, "scorer cannot be object", lambda p: {"scorer": object()}),
    "no reranker": (
        InputError,
        r"(?s)reranker.*Reranker",
        lambda p: {"reranker": FakeScorer()},
    ),
    "no file": (
        PolicyError,
        "cannot read policy file",
        lambda p: {"scorer": FakeScorer(), "policy": "no-such-file.json"},
    ),
    "no file, default scorer": (
        PolicyError,
        "cannot read policy file",
        lambda p: {"policy": "no-such-file.json"},
    ),
    "no section": (
        PolicyError,
        "no section for",
        lambda p: {"scorer": FakeScorer(), "policy": EMPTY},
    ),
    "no section, default scorer": (PolicyError, "no section for", lambda p: {"policy": EMPTY}),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_wrong_parts_are_rejected_at_construction(driver, policies, case):
    error, match, make = WRONG_PARTS[case]
    settings = make(policies)
    if type(driver) is kit.OverFirstStage:
        settings["kind"] = "dense"
    # Pydantic, in the compressor, makes a ValueError of its own of our InputErrors.
    with pytest.raises((error, ValueError), match=match):
        driver.build(FOUR, **settings)


@pytest.mark.parametrize("empty", ["", " \n"])
async def test_an_empty_query_is_an_error_whatever_the_gate_would_do(
    driver, policies, empty, monkeypatch
):
    """It was answered by a gate that skips, and cost a request to the embedder before that."""
    component = driver.build(FOUR, scorer=FakeScorer(), policy=policies.skipping)
    monkeypatch.setattr(kit, "QUERY", empty)
    with pytest.raises(InputError, match="the question is empty"):
        driver.call(component)
    with pytest.raises(InputError, match="the question is empty"):
        await driver.acall(component)
