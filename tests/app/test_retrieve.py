"""The first stage: both scores on every candidate, computed and never imputed."""

import fake_index
import pytest

from rag_app.ask.first_stage import AlsoSearched, HybridFirstStage
from rankgate.retrieve import Fusion, fuse_candidates, reciprocal_rank_fusion

INDEX = fake_index.FakeIndex()


def many(n):
    sections = [(f"H{i}", f"word{i} shared text number {i}.") for i in range(n)]
    return fake_index.FakeIndex({"d": ("D", sections)})


def test_each_candidate_has_its_true_scores():
    query = "floor probabilities"
    vector = INDEX.embedder.embed([query])[0]
    found = HybridFirstStage(INDEX).candidates(query, 10)
    assert [c.rank for c in found] == list(range(1, len(found) + 1))
    for c in found:
        assert c.dense == pytest.approx(INDEX.cosines(vector, [c.id])[0])
        assert c.bm25 == pytest.approx(INDEX.bm25.scores(query, [c.id])[0])
        assert (c.text, c.metadata) == INDEX.fetch([c.id])[0]


def test_missing_scores_are_computed_beyond_the_depth():
    index = many(70)
    query = "word3 shared"
    vector = index.embedder.embed([query])[0]
    asked = []

    class Spy(fake_index.FakeIndex):
        def cosines(self, vector, ids):
            asked.extend(ids)
            return super().cosines(vector, ids)

        def dense(self, vector, k):
            # An approximate index that knows only half of what there is.
            return dict(list(super().dense(vector, k).items())[: k // 2])

    spy = Spy({"d": ("D", [(f"H{i}", f"word{i} shared text number {i}.") for i in range(70)])})
    asked.clear()
    found = HybridFirstStage(spy).candidates(query, 40)
    assert len(found) == 40
    assert asked
    for c in found:
        assert c.dense == pytest.approx(index.cosines(vector, [c.id])[0], abs=1e-6)


def test_fewer_candidates_are_the_head_of_more():
    index = many(30)
    stage = HybridFirstStage(index)
    long = [c.id for c in stage.candidates("word7 shared", 20)]
    assert [c.id for c in stage.candidates("word7 shared", 5)] == long[:5]


def test_the_fusion_is_the_one_given():
    query = "rankgate calibrate threshold"
    only_bm25 = HybridFirstStage(INDEX, Fusion(dense_weight=0.0)).candidates(query, 10)
    assert [c.id for c in only_bm25] == list(INDEX.bm25.search(query, 10))


@pytest.mark.parametrize(("query", "k"), [("", 5), ("  ", 5), ("gate", 0)])
def test_nothing_asked_nothing_found(query, k):
    assert HybridFirstStage(INDEX).candidates(query, k) == []


def test_words_that_nobody_knows_still_find_by_meaning():
    found = HybridFirstStage(INDEX).candidates("zzzz qqqq", 3)
    assert len(found) == 3
    assert all(c.bm25 == 0.0 for c in found)


def test_further_wordings_decide_the_order_and_never_a_score():
    stage = HybridFirstStage(INDEX)
    query, other = "its threshold", "The gate is fitted on labelled queries"
    vector = INDEX.embedder.embed([query])[0]
    found = stage.candidates(query, 10, [AlsoSearched(text=other)])
    for c in found:
        assert c.dense == pytest.approx(INDEX.cosines(vector, [c.id])[0], abs=1e-6)
        assert c.bm25 == pytest.approx(INDEX.bm25.scores(query, [c.id])[0])
    alone = [[c.id for c in stage.candidates(q, 10)] for q in (query, other)]
    fused = reciprocal_rank_fusion(alone, k=60.0)
    assert [(c.id, c.fused) for c in found] == fused
    assert [c.rank for c in found] == list(range(1, len(found) + 1))


def test_the_weight_of_a_wording_counts():
    stage = HybridFirstStage(INDEX)
    query, other = "skips reranking", "passages dropped one by one"
    best = stage.candidates(other, 1)[0].id
    assert stage.candidates(query, 1)[0].id != best
    light, heavy = (AlsoSearched(text=other, weight=w) for w in (0.001, 1000.0))
    assert stage.candidates(query, 1, [light])[0].id == stage.candidates(query, 1)[0].id
    assert stage.candidates(query, 1, [heavy])[0].id == best


@pytest.mark.parametrize("also", [(), [AlsoSearched(text="  ")]])
def test_one_query_gives_what_it_always_gave(also):
    index = many(70)
    stage = HybridFirstStage(index)
    query = "word3 shared"
    vector = index.embedder.embed([query])[0]
    expected = fuse_candidates(
        dense=index.dense(vector, 50),
        bm25=index.bm25.search(query, 50),
        fusion=Fusion(),
        k=20,
        missing_dense=lambda ids: index.cosines(vector, ids),
        missing_bm25=lambda ids: index.bm25.scores(query, ids),
        fetch=index.fetch,
    )
    assert stage.candidates(query, 20, also) == expected


def test_what_only_another_wording_finds_has_the_scores_of_the_question():
    index = many(70)
    query = "word3 shared"
    vector = index.embedder.embed([query])[0]
    near = set(index.dense(vector, 50))
    far = next(i for i in index.ids if i not in near)
    number = far.rpartition("-")[2]
    found = HybridFirstStage(index).candidates(
        query, 50, [AlsoSearched(text=f"word{number} number {number}", weight=3.0)]
    )
    one = next(c for c in found if c.id == far)
    assert one.dense == pytest.approx(index.cosines(vector, [far])[0], abs=1e-6)
    assert one.bm25 == pytest.approx(index.bm25.scores(query, [far])[0])


def test_copies_take_one_place_and_the_others_go_to_what_else_there_is():
    wrong = "word3 shared text says that the warranty lasts a hundred years."
    documents = {f"copy{i}": (f"Copy {i}", [("H", wrong)]) for i in range(30)}
    documents["d"] = ("D", [(f"H{i}", f"word{i} shared text number {i}.") for i in range(40)])
    stage = HybridFirstStage(fake_index.FakeIndex(documents))
    found = stage.candidates("word3 shared warranty", 20)
    assert len(found) == 20 and [c.rank for c in found] == list(range(1, 21))
    assert sum("hundred years" in c.text for c in found) == 1
    longer = stage.candidates("word3 shared warranty", 35)
    assert [c.id for c in longer[:20]] == [c.id for c in found]


def test_a_heap_of_copies_alone_gives_one(tmp_path):
    documents = {f"c{i}": (f"C {i}", [("H", "Shared  Text")]) for i in range(300)}
    assert len(HybridFirstStage(fake_index.FakeIndex(documents)).candidates("shared text", 20)) == 1
