"""A system that gives what users ask for, and refuses to be asked deeper for the recall curve."""

import evaluate_kit as kit
import pytest

from rankgate import Candidate
from rankgate_eval import EvalSettings, compare_scorers
from rankgate_eval.run.collect import collect

w = kit.w
DATA = w.world(40)
STAGE = w.stage_of(DATA)


class Shallow:
    """Refuses more than `most`, for the queries named; None: for all."""

    def __init__(self, most=50, refused=None):
        self.most, self.refused, self.asked = most, refused, []

    def candidates(self, query, k):
        self.asked.append(k)
        if k > self.most and (self.refused is None or query in self.refused):
            raise ValueError(f"top_k must be at most {self.most}")
        found = [c.id for c in STAGE.candidates(query, k)]
        # BM25 finds few; the rest of the corpus makes the list as long as it was asked for.
        found += [i for i in DATA.corpus if i not in found][: k - len(found)]
        return [Candidate(id=i, text=DATA.corpus[i], rank=n) for n, i in enumerate(found, start=1)]


def evaluated(stage, **changes):
    return kit.evaluate(DATA, stage=stage, scorer=w.knowing(), **{**kit.QUICK, **changes})


def noted(warnings):
    return [one for one in warnings if one.startswith("Asked for ")]


def test_what_users_get_is_measured_although_the_system_refuses_more():
    shallow, deep = evaluated(Shallow()), evaluated(Shallow(most=1000))
    assert shallow.made.k == 50 and deep.made.depth == 100
    for arm, expected in deep.arms.items():
        assert shallow.arms[arm].metrics["ndcg@10"] == expected.metrics["ndcg@10"], arm
    assert [row.error for row in shallow.per_query] == [""] * 40
    assert noted(deep.warnings) == []


def test_the_curve_ends_at_k_and_one_warning_says_why():
    shallow, deep = evaluated(Shallow()), evaluated(Shallow(most=1000))
    (said,) = noted(shallow.warnings)
    assert "Asked for 100 candidates instead of 50" in said
    assert "the recall curve ends at 50" in said
    assert "First: 'q0': ValueError: top_k must be at most 50" in said
    assert shallow.recall_curve.depth == shallow.made.depth == 50
    assert [(p.depth, p.recall) for p in shallow.recall_curve.points] == [
        (p.depth, p.recall) for p in deep.recall_curve.points if p.depth <= 50
    ]
    assert "recall@100" not in shallow.arms["rerank"].metrics
    assert "recall@100" in deep.arms["rerank"].metrics


def test_a_system_that_refuses_is_soon_not_asked_deeper_any_more():
    system = Shallow()
    found = collect(system, DATA, list(DATA.queries), k=50, depth=100, max_failures=0.05)
    assert found.failures == {}
    assert system.asked.count(50) == 40
    assert system.asked.count(100) == 3, "more than 5% of 40"
    assert all(len(f.candidates) == 50 for f in found.found.values())


def test_a_refusal_now_and_then_leaves_a_lower_bound():
    result = evaluated(Shallow(refused={DATA.queries["q7"]}))
    (said,) = noted(result.warnings)
    assert "failed on 1 queries" in said and "lower bound beyond 50" in said and "'q7'" in said
    assert result.recall_curve.depth == result.made.depth == 100


def test_a_system_that_fails_for_k_itself_still_fails():
    with pytest.raises(Exception, match="the system under test failed on"):
        evaluated(Shallow(most=20))


def test_a_comparison_asks_for_its_greatest_k_and_deeper_apart():
    settings = EvalSettings(resamples=100, permutations=1)
    results = [
        compare_scorers(DATA, stage, {"fake": w.knowing()}, ks=(20, 50), settings=settings)
        for stage in (Shallow(), Shallow(most=1000))
    ]
    shallow, deep = results
    assert [p.k for p in shallow.points] == [p.k for p in deep.points] == [0, 0, 20, 50]
    assert [p.ndcg for p in shallow.points] == [p.ndcg for p in deep.points]
    assert (shallow.recall_curve.depth, deep.recall_curve.depth) == (50, 100)
    assert len(noted(shallow.notes)) == 1 and noted(deep.notes) == []
