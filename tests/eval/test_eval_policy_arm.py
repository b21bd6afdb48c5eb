"""What the policy's arm counts: decisions, refusals, latency, and what failed."""

import dataclasses

import evaluate_kit as kit
import numpy as np
import pytest

from rankgate import Floor
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import ScorerError
from rankgate.scorers import Scores
from rankgate.testing import FakeScorer
from rankgate.types import FirstStageKind
from rankgate_eval import MemoryIndex, evaluate
from rankgate_eval.result.result import ARMS
from rankgate_eval.run.system import IndexStage

w, QUICK = kit.w, kit.QUICK
run, model, policy = kit.run, kit.model, kit.policy


def test_the_policy_arm_is_the_engines_decision_and_pays_only_where_it_scored():
    # Margin of the easy queries is wide, of the hard ones nil: exactly those are reranked.
    rule = Rule(name="sure", conditions=(Condition(signal="bm25_margin_12", op=">=", value=0.05),))
    result = run(w.world(), w.knowing(), policy=policy(gate=Gate(rules=(rule,))))
    assert result.verdict == "ship_behind_gate"
    assert result.skip_rate == 0.5 and result.paths == {
        "reranked": 60,
        "skipped": 60,
        "degraded": 0,
    }
    for row in result.per_query:
        even = int(row.query_id[1:]) % 2 == 0
        assert (row.path, row.reason) == (
            ("skipped", "sure") if even else ("reranked", "uncertain")
        )
    assert result.frontier.by == "bm25_margin_12"
    chosen = result.frontier.chosen
    assert (chosen.skip_rate, chosen.loss) == (0.5, 0.0)
    assert result.made.policy.name == "own" and result.made.policy.source == "given"


def test_a_gate_that_skips_the_wrong_half_loses_what_it_skips():
    rule = Rule(name="nil", conditions=(Condition(signal="bm25_margin_12", op="<=", value=0.01),))
    result = run(w.world(), w.knowing(), policy=policy(gate=Gate(rules=(rule,))))
    assert result.arms["policy"].metrics["ndcg@10"].mean == pytest.approx(0.5 + 0.5 / 3)
    assert result.arms["rerank"].metrics["ndcg@10"].mean == 1.0
    assert result.differences["policy-rerank"]["ndcg@10"].mean == pytest.approx(-1.0 / 3)
    assert result.frontier.chosen.loss == pytest.approx(1.0 / 3)
    assert (result.verdict, result.lifts.passages) == ("dont_ship", 0)


def test_latency_of_the_policy_counts_the_scorer_only_where_it_ran():
    ticks = iter(range(10**9))
    rule = Rule(name="sure", conditions=(Condition(signal="bm25_margin_12", op=">=", value=0.05),))
    from rankgate_eval.run.experiment import EvalSettings, run_experiment

    data = w.world(40)
    experiment = run_experiment(
        data,
        w.stage_of(data),
        w.knowing(),
        policy=policy(gate=Gate(rules=(rule,))),
        split=None,
        settings=EvalSettings(**QUICK),
        clock=lambda: float(next(ticks)),
    )
    latency = experiment.arms.latency_ms
    for query_id in experiment.judged:
        # One tick between two looks at the clock: 1000 ms for retrieval, 1000 for scoring.
        assert latency["first_stage"][query_id] == 1000.0
        assert 2000.0 <= latency["rerank"][query_id] < 3000.0
        skipped = experiment.arms.decided[query_id].path.value == "skipped"
        wanted = (1000.0, 2000.0) if skipped else (2000.0, 3000.0)
        assert wanted[0] <= latency["policy"][query_id] < wanted[1]


def test_the_frontier_goes_from_nothing_to_everything():
    result = run(w.world(), w.knowing())
    points = result.frontier.points
    assert (points[0].skip_rate, points[0].loss) == (0.0, 0.0)
    assert points[-1].skip_rate == 1.0
    assert points[-1].loss == pytest.approx(1.0 / 3)
    half = next(p for p in points if p.skip_rate == 0.5)
    assert half.loss == pytest.approx(0.0), "the sure half is right without the scorer"


def test_a_fitted_gate_orders_the_frontier_by_harm():
    gate = Gate(
        model=Logistic(intercept=0.0, features=(Feature(name="bm25_margin_12", weight=-50.0),)),
        threshold=0.2,
    )
    result = run(w.world(), w.knowing(), policy=policy(gate=gate))
    assert result.frontier.by == "harm" and result.skip_rate == 0.5
    assert all(row.harm is not None for row in result.per_query)


def test_a_refused_question_counts_nothing_in_the_arm_that_refuses_it():
    # Half of the golds get 0.98, all else 0.02 or less: refused below 0.5.
    half = FakeScorer(
        lambda query, text: float(text.startswith("gold") and text.split()[1][-1] in "01234")
    )
    data = w.world(unanswerable=10)
    free = run(data, half, policy=policy(reranked=model()))
    strict = run(data, half, policy=policy(reranked=model(), floor=Floor(refuse_below=0.5)))
    assert free.refusals.answerable.count == 0
    counted = sum(int(q[1:]) % 10 >= 5 for q in data.judged())
    assert strict.refusals.answerable.count == counted == len(strict.refusals.wrongly_refused)
    assert strict.refusals.by_path["reranked"].count == counted
    served = strict.arms["policy"]
    for metric in ("ndcg@10", "recall@5"):
        taken = served.metrics[metric].mean - free.arms["policy"].metrics[metric].mean
        assert strict.refusals.cost[metric].mean == pytest.approx(taken) and taken < -0.1
    assert served.metrics["recall@5"].mean == pytest.approx(1.0 - counted / 120)
    assert served.false_refusals.count == counted
    assert strict.arms["first_stage"].false_refusals.count == 0
    assert served.false_answers == strict.refusals.unanswerable["all"]
    assert any("refuses" in reason for reason in strict.reasons), strict.reasons
    assert strict.refusals.answered.count == 120 - counted
    assert strict.refusals.unanswerable["all"].n == 10
    assert sum(row.refused for row in strict.per_query) == counted


def test_where_retrieval_missed_everything_a_refusal_is_not_wrong():
    data = w.world()
    index = MemoryIndex.build(data.corpus)
    stage = IndexStage(index=index, kind=FirstStageKind.BM25, hidden={"q4": {"g4"}, "q5": {"g5"}})
    floored = policy(reranked=model(), floor=Floor(refuse_below=0.5))
    refused = evaluate(data, stage=stage, scorer=w.knowing(), policy=floored, **QUICK).refusals
    assert (refused.answerable.count, refused.answerable.n) == (2, 120)
    assert (refused.retrieved.count, refused.retrieved.n) == (0, 118)
    assert refused.wrongly_refused == ()


def test_unanswerable_questions_are_counted_by_stratum():
    data = w.world(unanswerable=6)
    queries = {**data.queries, **{f"u{i}": f"what is alpha{i}" for i in range(6)}}
    fields = {
        f"u{i}": {"answerability": "unanswerable", "kind": "hard" if i < 2 else "easy"}
        for i in range(4)
    }
    qrels = {**data.qrels, "u4": {"g4": 0}}
    data = dataclasses.replace(
        data, queries=queries, fields=fields, qrels=qrels, unjudged="unanswerable"
    )
    result = run(data, w.knowing(), fields=("kind",))  # no floor: everything is answered
    strata = result.refusals.unanswerable
    assert {name: (r.count, r.n) for name, r in strata.items()} == {
        "all": (6, 6), "unanswerable:hard": (2, 2), "unanswerable:easy": (2, 2),
        "graded_0": (1, 1), "unjudged": (1, 1),
    }  # fmt: skip
    assert [row.query_id for row in result.unanswerable] == [f"u{i}" for i in range(6)]
    assert result.n == 120, "they are in no ranking metric"


def test_reliability_where_there_are_probabilities():
    assert run(w.world(), w.knowing()).reliability == {"top_1": None, "top_n": None}
    result = run(w.world(), w.knowing(), policy=policy(reranked=model()))
    top = result.reliability["top_1"]
    assert (top.n, top.queries, top.base_rate) == (120, 120, 1.0)
    assert top.predicted == pytest.approx(1.0 / (1.0 + np.exp(-4.0)))
    assert result.reliability["top_n"].n > 120


def test_a_failing_first_stage_counts_zero_in_every_arm():
    data = w.world()
    stage = w.stage_of(data)

    def search(query, k):
        if query.endswith("beta1"):
            raise ConnectionError("gone")
        return stage.candidates(query, k)

    result = evaluate(data, stage=search, scorer=w.knowing(), **QUICK)
    row = result.per_query[1]
    assert row.error == "ConnectionError: gone"
    assert all(row.values[arm]["ndcg@10"] == 0.0 for arm in ARMS)
    assert result.arms["rerank"].metrics["ndcg@10"].mean == pytest.approx(119 / 120)
    assert result.arms["rerank"].missing == 1 and result.arms["rerank"].latency_ms.n == 119
    assert any("first stage failed on 1" in warning for warning in result.warnings)
    assert result.skip_rate == 0.0, "a list without candidates is no gate's skip"


def test_a_failing_scorer_falls_back_as_the_product_does():
    def sometimes(query, text):
        if query.endswith("beta1"):
            raise ScorerError("overheated")
        return float(text.startswith("gold"))

    result = run(w.world(), FakeScorer(sometimes))
    row = result.per_query[1]
    assert (row.path, row.reason) == ("degraded", "scorer_error")
    assert row.values["rerank"] == row.values["first_stage"]
    assert result.paths["degraded"] == 1
    assert any("scorer failed on 1" in warning for warning in result.warnings)


class Staged(FakeScorer):
    """A stage that decides the order itself, whatever the values of what it did not read."""

    def score(self, query, texts, context=None):
        gold = [i for i, t in enumerate(texts) if t.startswith("gold")]
        order = np.array([*gold, *(i for i in range(len(texts)) if i not in gold)])
        scored = np.zeros(len(texts), dtype=bool)
        scored[gold] = True
        return Scores(
            values=np.zeros(len(texts), dtype=np.float32), scale="fake", scored=scored, order=order
        )

    score_many = None


def test_what_a_stage_decided_is_replayed_whole():
    assert run(w.world(), Staged()).arms["rerank"].metrics["ndcg@10"].mean == 1.0
