"""LlamaIndex's retriever over several retrievers, and over several queries."""

import asyncio
import math

import llamaindex_index as kit
import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index.postprocessor.rankgate import RankGateRetriever
from rankgate.errors import InputError
from rankgate.testing import FailingScorer, FakeScorer

QUERY, COSINES, THREE, nodes_of = kit.QUERY, kit.COSINES, kit.THREE, kit.nodes_of
Listed, Sized, ids = kit.Listed, kit.Sized, kit.ids
index_in, events = kit.index_in, kit.events


async def test_a_batch_is_one_call_to_the_scorer(policies):
    queries = ["red", "green", "red green"]
    for many in ("sync", "async"):
        scorer, told = FakeScorer(), []
        retriever = RankGateRetriever.from_retriever(
            Listed(nodes_of(*THREE)), scorer=scorer, policy=policies.fitted, on_outcome=told.append
        )
        if many == "sync":
            found = retriever.retrieve_many(queries)
        else:
            found = await retriever.aretrieve_many([QueryBundle(q) for q in queries])
        assert scorer.calls == 1 and [j.query for j in scorer.jobs] == queries
        assert [o.query for o in told] == queries
        assert found == [retriever.retrieve(q) for q in queries]
    assert retriever.retrieve_many([]) == []


async def test_first_stages_of_a_batch_run_side_by_side_but_no_more_than_workers(policies):
    class Counting(Listed):
        running, most = 0, 0
        together = asyncio.Event()

        async def _aretrieve(self, query_bundle):
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == 3:
                self.together.set()
            await asyncio.wait_for(self.together.wait(), 20)
            self.running -= 1
            return self.nodes

    child = Counting(nodes_of(*THREE))
    retriever = RankGateRetriever.from_retriever(child, scorer=FakeScorer(), policy=policies.raw)
    await retriever.aretrieve_many([QUERY] * 6, workers=3)
    assert child.most == 3
    with pytest.raises(InputError, match="workers must be"):
        await retriever.aretrieve_many([QUERY], workers=0)


async def test_a_first_stage_that_fails_fails_the_batch_and_leaves_nothing_running(policies):
    class Slow(Listed):
        cancelled = 0

        async def _aretrieve(self, query_bundle):
            if query_bundle.query_str == "bad":
                raise RuntimeError("index is gone")
            try:
                await asyncio.Event().wait()  # for ever
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

    child = Slow([])
    retriever = RankGateRetriever.from_retriever(child, scorer=FakeScorer(), policy=policies.raw)
    with pytest.raises(RuntimeError, match="index is gone"):
        await retriever.aretrieve_many(["good", "bad", "good too"], workers=3)
    assert child.cancelled == 2


async def test_several_retrievers_are_fused_by_rank(policies):
    a = Listed(nodes_of(*THREE))
    b = Listed([*nodes_of(*THREE)[2:], NodeWithScore(node=TextNode(id_="only b", text="red"))])
    retriever = RankGateRetriever.from_retrievers(
        {"words": a, "vectors": b}, scorer=FakeScorer(), policy=policies.raw, top_n=9
    )
    for found in (retriever.candidates(QUERY), await retriever.acandidates(QUERY)):
        # 1/63 + 1/61 beats 1/61 beats 1/62 twice (first seen first).
        assert [c.id for c in found] == ["n2", "n0", "n1", "only b"]
        assert found[0].fused == pytest.approx(1 / 63 + 1 / 61)
        assert [c.rank for c in found] == [1, 2, 3, 4]
    best = retriever.retrieve(QUERY)[0]
    assert best.metadata["rankgate_found_by"] == {"words": 3, "vectors": 1}
    assert "rankgate_failed_retrievers" not in best.metadata
    for weights in ([1, 3], {"words": 1, "vectors": 3}):
        leaning = RankGateRetriever.from_retrievers(
            {"words": a, "vectors": b}, weights=weights, scorer=FakeScorer(), policy=policies.raw
        )
        # 3/62 beats 1/61 now.
        assert [c.id for c in leaning.candidates(QUERY)] == ["n2", "only b", "n0", "n1"]
    heavy = RankGateRetriever.from_retrievers(
        [a, b], weights=[1, 0], scorer=FakeScorer(), policy=policies.raw
    )
    before = len(b.queries)
    assert [c.id for c in heavy.candidates(QUERY)] == ["n0", "n1", "n2"]
    assert len(b.queries) == before, "a retriever of weight 0 is not asked"
    short = RankGateRetriever.from_retrievers([a, b], k=2, scorer=FakeScorer(), policy=policies.raw)
    assert len(short.candidates(QUERY)) == 2


async def test_fewer_fused_candidates_are_the_head_of_more(policies):
    rows = [(f"red {i}", 0.5) for i in range(120)]
    one, other = nodes_of(*rows), nodes_of(*rows)
    shuffled = [other[(i * 37) % 120] for i in range(120)]
    children = [Sized(one), Sized(shuffled)]
    retriever = RankGateRetriever.from_retrievers(
        children, scorer=FakeScorer(), policy=policies.raw
    )
    long = [c.id for c in retriever.candidates(QUERY, 100)]
    assert len(long) == 100
    for k in (3, 50, 51):
        assert [c.id for c in retriever.candidates(QUERY, k)] == long[:k]
        assert [c.id for c in await retriever.acandidates(QUERY, k)] == long[:k]
    assert [c.similarity_top_k for c in children] == [2, 2]


async def test_each_fused_retriever_embeds_the_query_itself(policies):
    class Embedding(Listed):
        def __init__(self, vector):
            super().__init__(nodes_of(*THREE))
            self.vector = vector

        def _retrieve(self, query_bundle):
            if query_bundle.embedding is None:
                query_bundle.embedding = self.vector
            self.used = query_bundle.embedding
            return self.nodes

    a, b = Embedding([1.0]), Embedding([2.0, 2.0])
    retriever = RankGateRetriever.from_retrievers([a, b], scorer=FakeScorer(), policy=policies.raw)
    retriever.retrieve(QUERY)
    assert (a.used, b.used) == ([1.0], [2.0, 2.0])


async def test_a_fused_retriever_that_fails_is_left_out_and_named(policies):
    outcomes = []
    retriever = RankGateRetriever.from_retrievers(
        {"words": Listed(nodes_of(*THREE)), "vectors": Listed([], error=OSError("no disk"))},
        scorer=FakeScorer(), policy=policies.raw, on_outcome=outcomes.append,
    )  # fmt: skip
    for found in (retriever.retrieve(QUERY), await retriever.aretrieve(QUERY)):
        assert ids(found) == ["n2", "n0", "n1"]
        assert found[0].metadata["rankgate_failed_retrievers"] == {"vectors": "OSError: no disk"}
    assert outcomes[0].notes[0] == "retriever_failed: vectors: OSError: no disk"
    nothing = RankGateRetriever.from_retrievers(
        [Listed([], error=OSError("no disk"))], scorer=FakeScorer(), policy=policies.raw
    )
    with pytest.raises(OSError, match="no disk"):
        nothing.retrieve(QUERY)
    with pytest.raises(OSError, match="no disk"):
        await nothing.aretrieve(QUERY)


def test_fusions_that_make_no_sense_are_refused():
    make = RankGateRetriever.from_retrievers
    two = [Listed([]), Listed([])]
    for given, match in (
        ({"retrievers": []}, "at least one retriever"),
        ({"retrievers": two, "weights": [1.0]}, "2 retrievers, but 1 weights"),
        ({"retrievers": two, "weights": [1.0, -1.0]}, "'Listed-2' must be a number >= 0, got -1"),
        ({"retrievers": two, "weights": [1.0, math.nan]}, "must be a number >= 0, got nan"),
        ({"retrievers": two, "weights": [0, 0]}, "one of the weights must be above 0"),
        ({"retrievers": two, "weights": {"a": 1}}, "weights must name the retrievers"),
        ({"retrievers": two, "rrf_k": 0}, "rrf_k must be a number above 0"),
        ({"retrievers": ["not one"]}, "must be a LlamaIndex BaseRetriever, got str"),
    ):
        with pytest.raises(InputError, match=match):
            make(**given, scorer=FakeScorer())


def test_inside_a_fusion_retriever_of_the_framework(index_in, policies):
    """Any of LlamaIndex's own compositions takes it as a retriever."""
    ours = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=FakeScorer(), policy=policies.raw, top_n=1
    )
    fused = QueryFusionRetriever(
        [ours, Listed(nodes_of(("whale", 0.1)))], num_queries=1, use_async=False, llm=MockLLM()
    )
    assert len(fused.retrieve(QUERY)) == 2
    outer = RankGateRetriever.from_retriever(fused, k=3, scorer=FakeScorer(), policy=policies.raw)
    assert outer.retrieve(QUERY)[0].node.text == "red green fish"


def test_a_batch_degrades_together(policies):
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FailingScorer(RuntimeError("x")), policy=policies.raw
    )
    for found in retriever.retrieve_many(["red", "green"]):
        assert ids(found) == ["n0", "n1", "n2"]
