"""Complaints of other projects' users, each made impossible here.

A test is named after the project and the number of the issue. Where the naive implementation is
short it stands in the test, which first shows that it has the defect.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from reranker_kit import slow
from waiting import Clock

from rankgate import Action, Dropped, Policy, Reranker, Status
from rankgate import Path as ResultPath
from rankgate.deadline import Deadline
from rankgate.decide.floor import Floor
from rankgate.decide.gate import Gate
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.errors import PolicyError, RemoteScorerError, ScorerError
from rankgate.scorers import Cascade, ScorerInfo
from rankgate.testing import FailingScorer, FakeScorer, candidates_of
from rankgate.types import FirstStageKind

LOGIT = ScorerInfo(id="model", scale="logit")


def platt(scale="logit", *, weight=1.0, intercept=0.0):
    model = Logistic(features=(Feature(name="raw", weight=weight),), intercept=intercept)
    return RelevanceModel(model=model, scale=scale)


def by_dense(*, weight=10.0, intercept=-5.0):
    model = Logistic(features=(Feature(name="dense", weight=weight),), intercept=intercept)
    return RelevanceModel(model=model)


def policy(kind=FirstStageKind.ORDER, **changes):
    return Policy.unfitted().with_section(kind, **changes)


def logits(**scores):
    return FakeScorer(scores, info=LOGIT)


def ids(passages):
    return [p.candidate.id for p in passages]


# No floor, or a floor on the wrong score.


def test_langchain_community_65_a_floor_drops_what_is_irrelevant():
    """Naive: top_n best passages, however bad, because there is no threshold at all."""
    texts = ["good", "bad", "worse"]
    scores = {"good": 3.0, "bad": -4.0, "worse": -6.0}
    assert len(sorted(texts, key=lambda t: -scores[t])[:3]) == 3  # the naive one
    reranker = Reranker(
        logits(**scores), policy=policy(reranked=platt(), floor=Floor(drop_below=0.5))
    )
    outcome = reranker.rerank("anything", candidates_of(texts), 3)
    assert ids(outcome.kept) == ["c0"]
    assert [p.dropped for p in outcome.dropped] == [Dropped.BELOW_FLOOR] * 2


def test_langchain_cohere_137_a_query_without_an_answer_is_refused():
    """Naive: the least irrelevant passages are handed to the generator as if they answered."""
    reranker = Reranker(
        logits(a=-4.0, b=-5.0), policy=policy(reranked=platt(), floor=Floor(refuse_below=0.3))
    )
    outcome = reranker.rerank("anything", candidates_of(["a", "b"]))
    assert outcome.status is Status.REFUSED and outcome.kept == ()
    assert outcome.best_probability == pytest.approx(1 / (1 + math.exp(4.0)))
    assert len(outcome.dropped) == 2  # and nothing of what was seen is lost


def test_haystack_core_integrations_3232_the_threshold_is_inclusive_and_on_the_probability():
    """Naive: `score > threshold` on whatever the model returned, so 0.0 logits fail 0.5."""
    scores = {"even": 0.0, "odd": -1e-3}
    assert [t for t, s in scores.items() if s > 0.5] == []  # the naive one
    reranker = Reranker(
        logits(**scores), policy=policy(reranked=platt(), floor=Floor(drop_below=0.5))
    )
    outcome = reranker.rerank("anything", candidates_of(list(scores)))
    assert ids(outcome.kept) == ["c0"]
    assert outcome.kept[0].relevance_score == 0.5


def test_dify_35233_the_floor_comes_after_the_reranking():
    """Naive: candidates below the threshold by *retrieval* score never reach the reranker."""
    texts, dense = ["near miss", "answer"], [0.9, 0.2]
    assert [t for t, d in zip(texts, dense, strict=True) if d >= 0.5] == ["near miss"]  # naive
    reranker = Reranker(
        logits(**{"near miss": -3.0, "answer": 3.0}),
        policy=policy(
            FirstStageKind.DENSE,
            reranked=platt(),
            first_stage=by_dense(),
            floor=Floor(refuse_below=0.5, drop_below=0.5),
        ),
    )
    outcome = reranker.rerank("anything", candidates_of(texts, dense=dense))
    assert [p.candidate.text for p in outcome.kept] == ["answer"]


def test_ragflow_8980_each_stage_is_judged_by_its_own_probability():
    """Naive: one number for cosine similarities and for cross-encoder scores.

    A floor of 0.5 is then strict for cosines and meaningless for logits.
    """
    texts, dense = ["a", "b"], [0.62, 0.35]
    rules = policy(
        FirstStageKind.DENSE,
        reranked=platt(intercept=-2.0),
        first_stage=by_dense(weight=20.0, intercept=-10.0),
        floor=Floor(drop_below=0.5),
    )
    scorer = logits(a=1.0, b=2.5)
    assert [s >= 0.5 for s in (1.0, 2.5)] == [True, True]  # the naive one keeps both
    read = Reranker(scorer, policy=rules).rerank("q", candidates_of(texts, dense=dense))
    skipped = Reranker(scorer, policy=rules).rerank(
        "q", candidates_of(texts, dense=dense), force=Action.SKIP
    )
    assert ids(read.kept) == ["c1"]
    assert ids(skipped.kept) == ["c0"]


@pytest.mark.parametrize("path", ["reranked", "skipped", "degraded"])
def test_anything_llm_4080_no_path_ignores_the_floor(path):
    """Naive: the threshold is applied by the retriever only, and ignored when reranking."""
    scorer = FailingScorer(ScorerError("down")) if path == "degraded" else logits(a=2.0, b=-2.0)
    reranker = Reranker(
        scorer,
        policy=policy(
            FirstStageKind.DENSE,
            reranked=platt("logit"),
            first_stage=by_dense(),
            floor=Floor(drop_below=0.5),
        ),
    )
    force = Action.SKIP if path == "skipped" else None
    outcome = reranker.rerank("q", candidates_of(["a", "b"], dense=[0.9, 0.1]), force=force)
    assert outcome.path is ResultPath(path)
    assert ids(outcome.kept) == ["c0"]
    assert outcome.dropped[0].dropped is Dropped.BELOW_FLOOR


def test_a_threshold_of_zero_is_a_threshold():
    """Naive: `score_threshold or self.score_threshold`, so a caller's 0.0 becomes the default."""

    def naive(given, default=0.7):
        return given or default

    assert naive(0.0) == 0.7
    low = Reranker(
        logits(a=-9.0), policy=policy(reranked=platt(), floor=Floor(refuse_below=0.0))
    ).rerank("q", candidates_of(["a"]))
    assert low.status is not Status.REFUSED and ids(low.kept) == ["c0"]
    assert Floor(refuse_below=0.0).active and not Floor().active
    saved = policy(reranked=platt(), floor=Floor(drop_below=0.0)).to_dict()
    assert Policy.from_dict(saved).section("order").floor.drop_below == 0.0
    # And it still binds the gate: the floor needs a probability on either path.
    assert not Section(reranked=platt(), floor=Floor(refuse_below=0.0)).may_skip


def test_a_floor_is_not_lost_by_skipping_over_a_store_that_gives_no_scores():
    """Fitted over cosines, served over a store that hides them: skipped, and no floor was left."""
    cosine = RelevanceModel(
        model=Logistic(intercept=-2.0, features=(Feature(name="dense", weight=4.0),))
    )
    gate = Gate(
        model=Logistic(intercept=-9.0, features=()), threshold=0.5
    )  # skips whatever it sees
    fitted = policy(reranked=platt(), first_stage=cosine, gate=gate, floor=Floor(refuse_below=0.1))
    reranker = Reranker(logits(a=-9.0, b=-8.0), policy=fitted, first_stage="order")
    blind = reranker.rerank("what is it", candidates_of(["a", "b"]))
    assert (blind.path_reason, blind.status) == ("floor_needs_score", Status.REFUSED)
    seeing = [replace(c, dense=0.9) for c in candidates_of(["a", "b"])]
    assert reranker.rerank("what is it", seeing).status is Status.SKIPPED


# Logits and probabilities mixed.


def test_openwebui_20228_logits_are_not_probabilities():
    """Naive: a threshold between 0 and 1, compared with raw logits.

    Good passages with small logits vanish, and bad ones above the number stay.
    """
    scores = {"good": 0.4, "fair": -0.5, "bad": -3.0}
    assert [t for t, s in scores.items() if s >= 0.5] == []  # the naive one
    reranker = Reranker(
        logits(**scores), policy=policy(reranked=platt(intercept=1.0), floor=Floor(drop_below=0.5))
    )
    outcome = reranker.rerank("q", candidates_of(list(scores)))
    assert [p.candidate.text for p in outcome.kept] == ["good", "fair"]
    assert all(0.0 <= p.relevance_score <= 1.0 for p in outcome.passages)
    assert [p.raw_score for p in outcome.passages] == pytest.approx([0.4, -0.5, -3.0])
    with pytest.raises(PolicyError, match="not on raw scores"):
        policy(floor=Floor(drop_below=0.5))


def test_flagembedding_108_scores_of_another_scale_get_no_probability():
    """Naive: negative scores are taken for an error, or squashed by whatever is at hand."""
    rules = policy(reranked=platt("logit"), floor=Floor(drop_below=0.5))
    other = FakeScorer({"a": 0.9, "b": 0.1}, info=ScorerInfo(id="model", scale="cohere-v2"))
    outcome = Reranker(other, policy=rules).rerank("q", candidates_of(["b", "a"]))
    assert [p.relevance_score for p in outcome.passages] == [None, None]
    assert [p.candidate.text for p in outcome.kept] == ["a", "b"]
    assert any("cohere-v2" in note for note in outcome.notes)
    assert any("floor_not_applied" in note for note in outcome.notes)


def test_haiku_rag_529_saturated_sigmoids_do_not_tie():
    """Naive: order by the sigmoid in single precision, where 18 and 25 are both exactly 1."""
    scores = {"c": 18.0, "a": 25.0, "b": 21.0}
    squashed = 1 / (1 + np.exp(-np.array(list(scores.values()), dtype=np.float32)))
    assert len(set(squashed.tolist())) == 1  # the naive one
    outcome = Reranker(logits(**scores), policy=policy(reranked=platt())).rerank(
        "q", candidates_of(list(scores))
    )
    assert [p.candidate.text for p in outcome.kept] == ["a", "b", "c"]
    assert [p.logit for p in outcome.kept] == [25.0, 21.0, 18.0]


# What happens when the reranker does not work.


def test_go_rag_42_a_floor_and_a_fallback_do_not_add_up_to_nothing():
    """Naive: the fallback's scores (0, or RRF's 0.016) meet the reranker's floor: all dropped."""
    rrf = [1 / 61, 1 / 62, 1 / 63]
    assert [s for s in rrf if s >= 0.3] == []  # the naive one
    candidates = candidates_of(["a", "b", "c"])
    rules = policy(reranked=platt(), floor=Floor(refuse_below=0.3, drop_below=0.3))
    outcome = Reranker(FailingScorer(ScorerError("down")), policy=rules).rerank("q", candidates)
    assert outcome.status is Status.DEGRADED
    assert ids(outcome.kept) == ["c0", "c1", "c2"]
    assert any("floor_not_applied" in note for note in outcome.notes)


def test_nestjs_agentic_132_degradation_is_never_silent(caplog):
    """Naive: `except: return candidates`, and nobody learns that nothing was reranked."""
    cases = {
        "scorer_error": Reranker(FailingScorer(RuntimeError("boom")), policy=Policy.unfitted()),
        "accurate_failed": Reranker(
            Cascade(FakeScorer(), FailingScorer(ScorerError("x")), keep=2),
            policy=Policy.unfitted(),
        ),
        "bad_scores": Reranker(FakeScorer(lambda _q, _t: math.nan), policy=Policy.unfitted()),
    }
    for reason, reranker in cases.items():
        caplog.clear()
        outcome = reranker.rerank("red cat", candidates_of(["dog", "red cat"]))
        assert (outcome.status, outcome.reason) == (Status.DEGRADED, reason)
        assert outcome.detail
        assert [r.levelname for r in caplog.records if r.name == "rankgate"] == ["WARNING"]


@pytest.mark.parametrize(
    "error", [ConnectionError("refused"), RemoteScorerError("503"), MemoryError(), KeyError("x")]
)
def test_hindsight_3168_a_reranker_that_is_down_does_not_fail_the_request(error):
    """Naive: the exception of the reranking service is the answer to the user's question."""
    outcome = Reranker(FailingScorer(error), policy=Policy.unfitted()).rerank(
        "red", candidates_of(["a", "b"])
    )
    assert ids(outcome.kept) == ["c0", "c1"] and outcome.status is Status.DEGRADED


async def test_ragflow_18269_nor_does_it_when_awaited():
    """Naive: the async path has no handler of its own."""
    reranker = Reranker(FailingScorer(OSError("unreachable")), policy=Policy.unfitted())
    outcome = await reranker.arerank("red", candidates_of(["a", "b"]))
    assert ids(outcome.kept) == ["c0", "c1"] and outcome.status is Status.DEGRADED


def test_dify_30871_a_timeout_does_not_give_zero_documents():
    """Naive: the timeout is swallowed and an empty list returned, which looks like "no hits"."""
    clock = Clock()
    reranker = Reranker(slow(clock, 10), policy=Policy.unfitted(top_n=10))
    candidates = candidates_of([f"red {i}" for i in range(30)])
    outcome = reranker.rerank("red", candidates, deadline=Deadline.after(45, clock=clock))
    assert (outcome.status, outcome.reason) == (Status.DEGRADED, "deadline_partial")
    assert len(outcome.kept) == 10 and len(outcome.passages) == 30
    over = reranker.rerank("red", candidates, deadline=Deadline.after(0))
    assert (over.status, over.reason) == (Status.DEGRADED, "no_time")
    assert ids(over.kept) == [f"c{i}" for i in range(10)]


def test_memory_lancedb_pro_882_the_fallback_has_time_of_its_own():
    """Naive: inner and outer timeout are equal, so the outer one fires before the fallback."""
    with pytest.raises(PolicyError, match="fallback could never run"):
        Section(deadline_ms=10.0, reserve_ms=10.0)
    seen = []

    class Looks(FakeScorer):
        def score_many(self, jobs, context=None):
            seen.append(context.remaining())
            return super().score_many(jobs, context)

    rules = policy(deadline_ms=50_000.0, reserve_ms=20_000.0)
    outer = Deadline.after(50)
    Reranker(Looks(), policy=rules).rerank("red", candidates_of(["a", "b"]), deadline=outer)
    assert seen[0] <= 30 < outer.remaining()
