"""`evaluate` from data set to result: arms, settings, warnings, rows."""

import dataclasses

import evaluate_kit as kit
import numpy as np
import pytest

from rankgate import Policy
from rankgate.decide.section import Section
from rankgate.errors import InputError, ProfileMismatchError
from rankgate.profile import Profile
from rankgate.testing import FakeScorer
from rankgate.types import Candidate
from rankgate_eval import Dataset, MemoryIndex, Result, evaluate
from rankgate_eval.data.fingerprint import fingerprint
from rankgate_eval.result.result import ARMS

w, QUICK = kit.w, kit.QUICK
run, policy = kit.run, kit.policy


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
        # Right order, and scores that say nothing of it.
        said = [(int(number) * 7 + r * 3) % 5 / 5 for r in range(1, len(ids) + 1)]
        return [
            Candidate(id=i, text=data.corpus[i], rank=r, dense=said[r - 1], bm25=said[-r])
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
    with pytest.raises(InputError, match=r"scorer cannot be"):
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


def test_a_field_that_no_question_has_is_an_error_that_names_those_there_are():
    """A misspelt --field was taken without a word."""
    with pytest.raises(InputError, match=r"no question has the field 'topics'; fields: .*topic"):
        run(w.world(), FakeScorer(), fields=("topics",))


@pytest.mark.parametrize("wrong", [{"k": 3}, {"k": 4, "top_n": 9}, {"fields": ("topics",)}])
def test_what_is_wrong_with_the_question_is_said_before_anything_is_read(wrong):
    asked = []

    def stage(query, k):
        asked.append(query)
        return []

    with pytest.raises(InputError, match=r"at least top_n|no question has the field"):
        evaluate(w.world(), stage=stage, scorer=FakeScorer(), **wrong)
    assert not asked
