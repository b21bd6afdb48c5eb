"""`evaluate` from data set to result: arms, refusals, latency, warnings, what failed."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from rankgate import Floor, Policy, RelevanceModel
from rankgate.errors import InputError, ProfileMismatchError, ScorerError
from rankgate.gate import Condition, Gate, Rule
from rankgate.logistic import Feature, Logistic
from rankgate.policy import Section
from rankgate.profile import Profile
from rankgate.scorers import Scores
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval import Dataset, MemoryIndex, Result, evaluate
from rankgate_eval.fingerprint import fingerprint
from rankgate_eval.result import ARMS
from rankgate_eval.system import IndexStage


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


w = _load("eval_world")

QUICK = {"resamples": 200, "permutations": 199}


def run(data, scorer, **changes):
    return evaluate(data, stage=w.stage_of(data), scorer=scorer, **{**QUICK, **changes})


def model(weight=8.0, intercept=-4.0, *, name="raw", scale="fake"):
    feature = Feature(name=name, weight=weight)
    return RelevanceModel(
        model=Logistic(intercept=intercept, features=(feature,)),
        scale=scale if name == "raw" else None,
    )


def policy(**section):
    return Policy(name="own", sections={"bm25": Section(**section)})


@pytest.mark.parametrize(
    ("scorer", "verdict", "code"),
    [(w.knowing, "ship", 0), (w.hating, "dont_ship", 1), (w.indifferent, "dont_ship", 1)],
)
def test_the_verdict_follows_the_planted_truth(scorer, verdict, code):
    result = run(w.world(), scorer())
    assert (result.verdict, result.exit_code) == (verdict, code)


def test_ten_queries_and_no_headroom():
    assert run(w.world(12), w.knowing()).exit_code == 3
    result = run(w.world(easy=True), w.knowing())
    assert result.verdict == "dont_ship"
    assert result.headroom.mean == 0.0 and result.headroom.used is None
    assert result.diagnosis[0].code == "nothing_to_lift"


def test_numbers_of_the_arms_are_those_planted():
    result = run(w.world(), w.knowing())
    # Half the queries have gold first, half at rank 7: nDCG 1 and 1/log2(8).
    assert result.arms["first_stage"].metrics["ndcg@10"].mean == pytest.approx(0.5 + 0.5 / 3)
    assert result.arms["rerank"].metrics["ndcg@10"].mean == 1.0
    assert result.arms["first_stage"].metrics["recall@5"].mean == 0.5
    assert result.arms["policy"].metrics["precision@5"].mean == pytest.approx(0.2)
    assert (result.inversions.passages, result.lifts.passages) == (0, 60)
    lift = result.lifts.items[0]
    assert (lift.query_id, lift.passage_id, lift.before, lift.after) == ("q1", "g1", 7, 1)
    assert lift.snippet.startswith("gold alpha1") and lift.query == "what about alpha1 beta1"
    assert result.headroom.mean == pytest.approx(0.5) and result.headroom.used == 1.0
    change = result.differences["policy-tuned_first_stage"]["ndcg@10"]
    assert change.mean == pytest.approx(1.0 / 3) and change.ci[0] > 0.2 and change.p <= 0.01
    assert result.precision_gap.mean == pytest.approx(1.0 / 3)
    assert {p.depth: p.recall for p in result.recall_curve.points}[5] == 0.5
    assert {p.depth: p.recall for p in result.recall_curve.points}[10] == 1.0
    assert (result.n, result.clusters, len(result.per_query)) == (120, 120, 120)


def test_a_metric_of_another_top_n_is_measured_too():
    result = run(w.world(), w.knowing(), top_n=3)
    assert result.primary == ("ndcg@10", "recall@3")
    assert result.arms["first_stage"].metrics["recall@3"].mean == 0.5
    assert result.per_query[1].values["policy"]["recall@3"] == 1.0
    with pytest.raises(InputError, match="at least top_n"):
        run(w.world(), w.knowing(), k=3, top_n=5)


def test_equal_seeds_equal_results_and_query_order_does_not_matter():
    def numbers(result):
        plain = result.to_dict()
        for name in ("made", "per_query", "worst_queries", "reliability"):
            plain.pop(name)
        for arm in plain["arms"].values():
            arm.pop("latency_ms")
        return plain

    data = w.world()
    one, two = numbers(run(data, w.knowing())), numbers(run(data, w.knowing()))
    assert one == two
    turned = dataclasses.replace(data, queries=dict(reversed(data.queries.items())))
    other = run(turned, w.knowing())
    assert other.verdict == one["verdict"]
    assert other.arms["policy"].metrics["map"].mean == pytest.approx(
        one["arms"]["policy"]["map"]["mean"]
    )
    assert other.data.fingerprint == one["data"]["fingerprint"]


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
    from rankgate_eval.experiment import Settings, run_experiment

    data = w.world(40)
    experiment = run_experiment(
        data,
        w.stage_of(data),
        w.knowing(),
        policy=policy(gate=Gate(rules=(rule,))),
        split=None,
        settings=Settings(**QUICK),
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


def test_refusals_have_their_own_rule_and_leave_the_ranking_alone():
    # Half of the golds get 0.98, all else 0.02 or less: refused below 0.5.
    half = FakeScorer(
        lambda query, text: float(text.startswith("gold") and text.split()[1][-1] in "01234")
    )
    data = w.world(unanswerable=10)
    free = run(data, half, policy=policy(reranked=model()))
    strict = run(data, half, policy=policy(reranked=model(), floor=Floor(refuse_below=0.5)))
    assert strict.arms["policy"].metrics == free.arms["policy"].metrics
    assert free.refusals.answerable.count == 0
    counted = sum(int(q[1:]) % 10 >= 5 for q in data.judged())
    assert strict.refusals.answerable.count == counted == len(strict.refusals.wrongly_refused)
    assert strict.refusals.by_path["reranked"].count == counted
    assert strict.refusals.kept_recall.mean == pytest.approx(1.0 - counted / 120)
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
    fields = {f"u{i}": {"answerability": "hard" if i < 2 else "easy"} for i in range(5)}
    data = dataclasses.replace(data, queries=queries, fields=fields)
    result = run(data, w.knowing())  # no floor: everything is answered
    strata = result.refusals.unanswerable
    assert {name: (r.count, r.n) for name, r in strata.items()} == {
        "all": (6, 6), "hard": (2, 2), "easy": (3, 3), "unjudged": (1, 1),
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


def test_fields_are_strata_and_regressions_are_named():
    def unfair(query, text):
        odd = int(query.rsplit("beta", 1)[1]) % 2
        return float(text.startswith("gold")) * (1.0 if odd else -1.0)

    result = run(w.world(), FakeScorer(unfair), fields=("topic",))
    rows = {(r.dimension, r.name): r for r in result.strata.rows}
    assert rows["topic", "even"].regression and not rows["topic", "odd"].regression
    assert rows["topic", "odd"].gain and rows["topic", "even"].n == 60
    assert len(rows["topic", "even"].losers) == 5
    assert result.verdict == "dont_ship"
    assert result.worst_queries[0].change < 0.0 and len(result.worst_queries) == 20
    worst = result.worst_queries[0]
    assert [p.passage_id for p in worst.first_stage][:1] == [f"g{worst.query_id[1:]}"]
    assert worst.first_stage[0].relevant and worst.first_stage[0].score_kind == "bm25"
    assert not worst.policy[0].relevant and worst.not_found == 0 and worst.relevant_total == 1


def test_the_worst_queries_are_those_that_lost_most_and_then_the_lowest():
    harmed = [f"beta{i}" for i in range(0, 30, 2)]

    def some(query, text):
        return -float(text.startswith("gold") and query.split()[-1] in harmed)

    worst = run(w.world(), FakeScorer(some)).worst_queries
    assert [q.query_id for q in worst[:15]] == [f"q{i}" for i in range(0, 30, 2)]
    assert all(q.change == pytest.approx(-2.0 / 3) for q in worst[:15])
    assert all((q.change, q.policy_ndcg) == (0.0, pytest.approx(1 / 3)) for q in worst[15:])
    assert len(worst) == 20


def test_k_and_top_n_are_the_policys_for_this_first_stage():
    both = Policy(name="both", sections={"hybrid": Section(top_n=7), "bm25": Section(k=6, top_n=3)})
    made = run(w.world(), w.knowing(), policy=both).made
    assert (made.k, made.top_n, made.depth) == (6, 3, 100)
    assert run(w.world(), w.knowing(), policy=both, top_n=2).made.top_n == 2


def test_the_tuned_arm_is_never_weaker_than_what_came():
    class Encoder:
        name, sha256, dimension = "words", "0" * 64, 4

        def embed(self, texts):
            return np.ones((len(texts), 4), dtype=np.float32)

    data = w.world()
    index = MemoryIndex.build(data.corpus, encoder=Encoder())
    result = evaluate(data, stage=index, scorer=w.knowing(), **QUICK)
    assert result.made.kind == "hybrid" and len(result.made.fusions) == 5
    first, tuned = (result.arms[a].metrics["ndcg@10"].mean for a in ARMS[:2])
    assert tuned >= first
    assert result.arms["tuned_first_stage"].note
    dense = evaluate(data, stage=index, first_stage="dense", scorer=w.knowing(), **QUICK)
    assert dense.arms["tuned_first_stage"].note and dense.made.fusions == ()
    assert any(d.code == "better_retrieval" for d in dense.diagnosis), "BM25 finds what it cannot"


def test_an_order_that_no_fusion_reaches_is_itself_the_baseline():
    data = w.world(60)

    def search(query, k):
        number = query.rsplit("beta", 1)[1]
        ids = [f"g{number}", *(f"r{number}-{j}" for j in range(w.RIVALS))]
        # Right order, and scores that say the opposite.
        return [
            Candidate(id=i, text=data.corpus[i], rank=r, dense=r / 10, bm25=float(r))
            for r, i in enumerate(ids, start=1)
        ]

    result = evaluate(data, stage=search, scorer=w.indifferent(), **QUICK)
    assert result.made.kind == "hybrid"
    assert result.arms["tuned_first_stage"].metrics["ndcg@10"].mean == 1.0
    assert "as it came" in result.arms["tuned_first_stage"].note


def test_limit_takes_queries_from_everywhere():
    result = run(w.world(unanswerable=50), w.knowing(), limit=60)
    ids = [int(row.query_id[1:]) for row in result.per_query]
    assert len(ids) == 60 and ids == sorted(ids) and ids[-1] >= 117 and ids[0] == 0
    assert result.data.limit == 60 and len(result.unanswerable) == 50


def test_splits_and_what_they_lack():
    splits = {"dev": ("q0", "q1", "q2"), "empty": ("u0",)}
    data = w.world(unanswerable=1, splits=splits)
    result = run(data, w.knowing(), split="dev")
    assert (result.n, result.data.split, result.data.judged) == (3, "dev", 3)
    with pytest.raises(InputError, match="no judged query in split 'empty'"):
        run(data, w.knowing(), split="empty")
    with pytest.raises(InputError, match="no split 'tset'"):
        run(data, w.knowing(), split="tset")


def test_it_warns_where_the_policy_was_fitted_on_these_queries():
    data = w.world(splits={"dev": tuple(f"q{i}" for i in range(60))})
    mark = fingerprint(data, data.judged("dev"))

    def warned(provenance, split="dev"):
        own = Policy(name="own", sections={"bm25": Section()}, provenance=provenance)
        result = run(data, w.knowing(), policy=own, split=split)
        return [text for text in result.warnings if "fitted on" in text]

    assert "these very queries" in warned({"data": {"name": "x", "fingerprint": mark}})[0]
    assert "of this name" in warned({"data": {"small": "dev"}})[0]
    assert "of this name" in warned({"data": [{"name": "small", "split": "dev"}]}, None)[0]
    assert warned({"data": {"small": "test"}}) == []
    assert warned({"data": {"name": "other", "fingerprint": "sha256:0"}}) == []
    assert warned({}) == []


def test_the_fingerprint_is_of_queries_and_judgements_and_nothing_else():
    data = w.world(4)
    own = fingerprint(data, data.queries)
    assert own.startswith("sha256:") and len(own) == 7 + 32
    assert own == fingerprint(data, list(reversed(data.queries)))
    assert own == fingerprint(dataclasses.replace(data, name="other"), data.queries)
    more = {**data.qrels, "q0": {"g0": 1, "g1": 1}}
    text = {**data.queries, "q0": "another"}
    others = [
        fingerprint(dataclasses.replace(data, qrels=more), data.queries),
        fingerprint(dataclasses.replace(data, queries=text), data.queries),
        fingerprint(data, ["q0", "q1"]),
    ]
    assert len({own, *others}) == 4
    with pytest.raises(InputError, match="'ghost'"):
        fingerprint(data, ["ghost"])


def test_a_policy_for_another_scorer_or_embedder_is_refused():
    fitted = Policy(name="own", sections={"bm25": Section(profile=Profile(scorer="another"))})
    with pytest.raises(ProfileMismatchError, match="another"):
        run(w.world(), w.knowing(), policy=fitted)
    fitted = Policy(name="own", sections={"bm25": Section(profile=Profile(analyser="other"))})
    with pytest.raises(ProfileMismatchError, match="analyser"):
        run(w.world(), w.knowing(), policy=fitted)


def test_a_single_document_group_has_no_interval():
    data = w.world()
    one = Dataset(
        name="one", corpus=data.corpus, queries=data.queries, qrels=data.qrels, splits={},
        documents={f"g{i}": "the only document" for i in range(120)},
    )  # fmt: skip
    result = run(one, w.knowing())
    assert result.clusters == 1 and result.verdict == "not_enough_data"
    assert result.arms["rerank"].metrics["ndcg@10"].ci is None
    assert Result.from_dict(result.to_dict()) == result


def test_budget_is_part_of_the_verdict():
    slow = run(w.world(), w.knowing(), budget_ms=1e-6)
    assert (slow.verdict, slow.budget.status) == ("dont_ship", "over")
    fast = run(w.world(), w.knowing(), budget_ms=1e6)
    assert (fast.verdict, fast.budget.status, fast.budget.n) == ("ship", "inside", 120)


def test_wrong_arguments_say_what_is_right():
    data = w.world()
    with pytest.raises(InputError, match="settings are: k, top_n"):
        run(data, w.knowing(), top=3)
    with pytest.raises(InputError, match="limit must be at least 1"):
        run(data, w.knowing(), limit=0)
    with pytest.raises(InputError, match=r"has .info. and .score"):
        run(data, object())
    with pytest.raises(InputError, match=r"rankgate\.Policy or a path"):
        run(data, w.knowing(), policy=3)


def test_rows_and_frame():
    result = run(w.world(), w.knowing())
    rows = result.to_rows()
    assert rows[1]["policy:ndcg@10"] == 1.0 and rows[1]["first_stage:recall@5"] == 0.0
    frame = result.to_frame()
    assert frame.loc["q1", "policy:ndcg@10"] == 1.0 and len(frame) == 120
    assert frame["rerank:ndcg@10"].mean() == result.arms["rerank"].metrics["ndcg@10"].mean
