"""LlamaIndex's retriever: K asked, gate before the cut, batches, spaces, fusion, events."""

import asyncio
import copy
import importlib.util
import math
import pickle
from pathlib import Path

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.llama_debug import LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from llama_index.postprocessor.rankgate import RankGateOutcomeEvent, RankGateRetriever
from rankgate import Candidate, Deadline, FirstStageKind, Policy, Reranker
from rankgate.errors import ConfigError, InputError, PolicyError
from rankgate.gate import Condition, Gate, Rule
from rankgate.testing import FailingScorer, FakeScorer


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kit = _load("llamaindex_index")
QUERY, COSINES, THREE, nodes_of = kit.QUERY, kit.COSINES, kit.THREE, kit.nodes_of
index_in, events = kit.index_in, kit.events


class Listed(BaseRetriever):
    """Gives its nodes; knows no number."""

    def __init__(self, nodes, *, error=None):
        super().__init__()
        self.nodes = nodes
        self.error = error
        self.queries = []

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle)
        if self.error is not None:
            raise self.error
        return self.nodes


class Sized(Listed):
    """Gives its best `similarity_top_k` nodes, as LlamaIndex's own do."""

    def __init__(self, nodes, similarity_top_k=2):
        super().__init__(nodes)
        self.similarity_top_k = similarity_top_k

    def _retrieve(self, query_bundle):
        return super()._retrieve(query_bundle)[: self.similarity_top_k]


def ids(nodes):
    return [n.node_id for n in nodes]


@pytest.mark.parametrize("how", ["metadata", "configuration"])
@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
async def test_over_chroma_the_gate_sees_cosines_in_every_space(index_in, policies, space, how):
    retriever = RankGateRetriever.from_chroma(
        index_in(space, how=how), scorer=FakeScorer(), policy=policies.fitted
    )
    for outcome in (
        retriever.retrieve_outcome(QUERY),
        await retriever.aretrieve_outcome(QUERY),
    ):
        assert outcome.first_stage is FirstStageKind.DENSE
        found = {p.candidate.text.splitlines()[-1]: p.candidate.dense for p in outcome.passages}
        assert found == pytest.approx(COSINES, abs=1e-5)
        assert outcome.signals.dense_top1 == pytest.approx(0.9, abs=1e-5)
        assert outcome.signals.dense_margin_12 == pytest.approx(0.4, abs=1e-5)
    assert ids(retriever.retrieve(QUERY)) == ids(await retriever.aretrieve(QUERY))


def test_a_collection_that_names_no_space_has_chromas_default(index_in, policies):
    outcome = RankGateRetriever.from_chroma(
        index_in(None, how="silent"), scorer=FakeScorer(), policy=policies.raw
    ).retrieve_outcome(QUERY)
    assert outcome.signals.dense_top1 == pytest.approx(0.9, abs=1e-5)


def test_a_collection_of_an_older_chroma(index_in, policies):
    """It shows no configuration: its metadata says the space, or nothing does and it is l2."""

    class Older:
        def __init__(self, metadata):
            self.metadata = metadata

    retriever = index_in("l2").as_retriever(similarity_top_k=3)
    inner = retriever._vector_store._collection
    for metadata, top in (({"hnsw:space": "cosine"}, 0.8), ({}, 0.9), (None, 0.9)):
        retriever._vector_store._collection = Older(metadata)
        made = RankGateRetriever.from_chroma(
            retriever, scorer=FakeScorer(), policy=policies.raw, k=1
        )
        retriever._vector_store._collection = inner
        # The true cosine is 0.9, its squared distance 0.2.
        assert made.candidates(QUERY)[0].dense == pytest.approx(top, abs=1e-5)


def test_a_space_that_nobody_understands_is_refused(index_in, policies):
    class Hamming:
        configuration_json = {"hnsw": {"space": "hamming"}}  # noqa: RUF012

    retriever = index_in("cosine").as_retriever()
    with pytest.raises(ConfigError, match="unknown vector space 'jaccard'"):
        RankGateRetriever.from_chroma(retriever, space="jaccard", scorer=FakeScorer())
    retriever._vector_store._collection = Hamming()
    with pytest.raises(ConfigError, match="unknown vector space 'hamming'"):
        RankGateRetriever.from_chroma(retriever, scorer=FakeScorer())
    with pytest.raises(ConfigError, match="no Chroma collection"):
        RankGateRetriever.from_chroma(Listed([]), scorer=FakeScorer())


def test_k_is_asked_of_the_first_stage_and_top_n_cut_after_the_gate(policies):
    nodes = nodes_of(*[(f"blue {i}", None) for i in range(8)], ("red green", None))
    child = Sized(nodes, similarity_top_k=2)
    retriever = RankGateRetriever.from_retriever(
        child, k=9, top_n=2, scorer=FakeScorer(), policy=policies.raw
    )
    # The best is the ninth: only whoever asks for nine and cuts afterwards finds it.
    assert ids(retriever.retrieve(QUERY)) == ["n8", "n0"]
    assert child.similarity_top_k == 2, "the caller's retriever keeps its number"
    assert len(retriever.retrieve_outcome(QUERY).passages) == 9
    assert len(retriever.candidates(QUERY, k=3)) == 3
    without = RankGateRetriever.from_retriever(
        child, scorer=FakeScorer(), policy=policies.of(k=4, top_n=1)
    )
    assert len(without.retrieve_outcome(QUERY).passages) == 4, "the policy's K"
    assert len(without.retrieve(QUERY)) == 1


def test_a_retriever_without_a_number_gives_what_it_gives(policies):
    child = Listed(nodes_of(*THREE))
    small = {"scorer": FakeScorer(), "policy": policies.of(k=2, top_n=5)}
    assert len(RankGateRetriever.from_retriever(child, **small).retrieve(QUERY)) == 3
    assert len(RankGateRetriever.from_retriever(child, k=1, **small).retrieve(QUERY)) == 1


def test_a_number_that_cannot_be_set_on_a_copy_is_left_alone(policies):
    class Shared(Listed):
        def __init__(self, nodes):
            super().__init__(nodes)
            self.config = {"k": 2}

        @property
        def similarity_top_k(self):
            return self.config["k"]

        @similarity_top_k.setter
        def similarity_top_k(self, value):
            self.config["k"] = value

        def _retrieve(self, query_bundle):
            return self.nodes[: self.config["k"]]

    class ReadOnly(Listed):
        similarity_top_k = property(lambda self: 2)

    child = Shared(nodes_of(*THREE))
    made = RankGateRetriever.from_retriever(child, k=3, scorer=FakeScorer(), policy=policies.raw)
    assert len(made.retrieve(QUERY)) == 2
    assert child.config == {"k": 2}
    child = ReadOnly(nodes_of(*THREE))
    made = RankGateRetriever.from_retriever(child, k=3, scorer=FakeScorer(), policy=policies.raw)
    assert len(made.retrieve(QUERY)) == 3


def test_the_queries_bundle_is_not_filled_in(index_in, policies):
    bundle = QueryBundle(QUERY)
    index = index_in("cosine")
    RankGateRetriever.from_chroma(index, scorer=FakeScorer(), policy=policies.raw).retrieve(bundle)
    assert bundle.embedding is None
    # The framework's own writes the embedding into it, so a second embedder would read it.
    index.as_retriever().retrieve(bundle)
    assert bundle.embedding is not None


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

        async def _aretrieve(self, query_bundle):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.01)
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
                await asyncio.sleep(60)
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


def test_from_defaults_sees_the_most_it_can(index_in, policies):
    def kind(first_stage):
        made = RankGateRetriever.from_defaults(
            first_stage, scorer=FakeScorer(), policy=policies.raw
        )
        return made.retrieve_outcome(QUERY).first_stage

    index = index_in("l2")
    assert kind(index) == kind(index.as_retriever()) == "dense"
    assert kind(Listed(nodes_of(*THREE))) == "order"
    assert kind([Listed(nodes_of(*THREE))]) == "order"
    assert kind({"one": index.as_retriever()}) == "order"
    both = Candidate(id="a", text="red", rank=1, dense=0.5, bm25=3.0)
    assert kind(lambda query, k: [both]) == "hybrid"
    with pytest.raises(InputError, match="a first stage must be callable"):
        kind(3)


async def test_candidates_of_the_callers_own_first_stage(policies):
    rows = [
        Candidate(id="a", text="whale", rank=1, metadata={"page": 1}, dense=0.9, bm25=0.0),
        Candidate(id="b", text="red green", rank=2, metadata={"page": 2}, dense=0.8, bm25=4.0),
    ]

    class Async:
        async def acandidates(self, query, k):
            return rows[:k]

    retriever = RankGateRetriever.from_first_stage(
        Async(), scorer=FakeScorer(), policy=policies.raw
    )
    found = await retriever.aretrieve(QUERY)
    assert [(n.node_id, n.metadata["page"], n.metadata["rankgate_bm25"]) for n in found] == [
        ("b", 2, 4.0), ("a", 1, 0.0),
    ]  # fmt: skip
    with pytest.raises(InputError, match="async only"):
        retriever.retrieve(QUERY)
    wrong = RankGateRetriever.from_first_stage(
        lambda query, k: ["text"], scorer=FakeScorer(), policy=policies.raw
    )
    with pytest.raises(InputError, match=r"candidate 0 must be a rankgate\.Candidate, got str"):
        wrong.retrieve(QUERY)


async def test_a_refusal_says_why(index_in, policies, events):
    outcomes = []
    retriever = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=FakeScorer(), policy=policies.refusing,
        on_outcome=outcomes.append,
    )  # fmt: skip
    assert retriever.retrieve(QUERY) == []
    assert await retriever.aretrieve(QUERY) == []
    assert [(o.status, o.reason) for o in outcomes] == [("refused", "below_floor")] * 2
    told = [e for e in events if isinstance(e, RankGateOutcomeEvent)]
    assert [(e.query, e.status, e.path, e.reason, e.kept, e.dropped) for e in told] == [
        (QUERY, "refused", "reranked", "below_floor", 0, 3)
    ] * 2
    assert told[0].detail.startswith("best probability 0.881")
    assert told[0].best_probability == outcomes[0].best_probability
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.refused and len(outcome.dropped) == 3


def test_what_is_set_for_one_call(policies):
    scorer = FakeScorer()
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=scorer, policy=policies.fitted, top_n=2
    )
    assert len(retriever.retrieve_outcome(QUERY, top_n=1).kept) == 1
    assert len(retriever.retrieve_outcome(QUERY).kept) == 2
    calls = scorer.calls
    skipped = retriever.retrieve_outcome(QUERY, force="skip")
    assert (skipped.status, skipped.reason, scorer.calls) == ("skipped", "forced", calls)
    late = retriever.retrieve_outcome(QUERY, deadline=Deadline.after(0.0))
    assert (late.status, late.reason) == ("degraded", "no_time")
    assert [len(n) for n in retriever.retrieve_many([QUERY, "x"], top_n=1)] == [1, 1]
    for wrong, match in (
        ({"top_n": 0}, "top_n must be a whole number"),
        ({"force": "maybe"}, "force must be 'rerank' or 'skip', got 'maybe'"),
        ({"deadline": 3.0}, r"deadline must be a rankgate\.Deadline, got float"),
    ):
        with pytest.raises(InputError, match=match):
            retriever.retrieve_outcome(QUERY, **wrong)
        with pytest.raises(InputError, match=match):
            retriever.retrieve_many([QUERY], **wrong)
    with pytest.raises(InputError, match="a query must be a string or a QueryBundle, got int"):
        retriever.retrieve_outcome(3)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "three"])
def test_a_senseless_k_is_rejected(wrong):
    with pytest.raises(InputError, match="k must be a whole number"):
        RankGateRetriever.from_retriever(Listed([]), k=wrong, scorer=FakeScorer())


def test_an_argument_that_nobody_knows_is_an_error():
    with pytest.raises(TypeError, match="similarity_top_k"):
        RankGateRetriever.from_retriever(Listed([]), similarity_top_k=3, scorer=FakeScorer())


async def test_events_of_a_query_and_of_a_batch(policies, events):
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FakeScorer(), policy=policies.of(top_n=2)
    )
    found = retriever.retrieve(QUERY)
    own = [type(e).__name__ for e in events]
    assert own == [
        "RetrievalStartEvent", "RetrievalStartEvent", "RetrievalEndEvent",
        "ReRankStartEvent", "RankGateOutcomeEvent", "ReRankEndEvent", "RetrievalEndEvent",
    ]  # fmt: skip
    start = next(e for e in events if isinstance(e, ReRankStartEvent))
    assert (start.top_n, start.model_name, start.query.query_str) == (2, "fake", QUERY)
    assert ids(start.nodes) == ["n0", "n1", "n2"]
    assert ids(events[-1].nodes) == ids(found) == ["n2", "n0"]
    for again in ("sync", "async"):
        events.clear()
        if again == "sync":
            retriever.retrieve_many(["red", "green"])
        else:
            await retriever.aretrieve_many(["red", "green"])
        # Two of the inner retriever's and two of ours.
        assert len([e for e in events if isinstance(e, RetrievalStartEvent)]) == 4
        assert len([e for e in events if isinstance(e, RetrievalEndEvent)]) == 4
        assert len([e for e in events if isinstance(e, ReRankStartEvent)]) == 2
        assert len([e for e in events if isinstance(e, ReRankEndEvent)]) == 2
        told = [e.query for e in events if isinstance(e, RankGateOutcomeEvent)]
        assert told == ["red", "green"]
        last = [e for e in events if isinstance(e, RetrievalEndEvent)][-2:]
        assert [e.str_or_query_bundle.query_str for e in last] == ["red", "green"]


def test_events_without_content(policies, events):
    handler = LlamaDebugHandler(print_trace_on_end=False)
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FakeScorer(), policy=policies.fitted,
        events_with_content=False, callback_manager=CallbackManager([handler]),
    )  # fmt: skip
    assert len(retriever.retrieve(QUERY)) == 3
    start = next(e for e in events if isinstance(e, ReRankStartEvent))
    end = next(e for e in events if isinstance(e, ReRankEndEvent))
    told = next(e for e in events if isinstance(e, RankGateOutcomeEvent))
    assert (start.query, start.nodes, end.nodes) == (None, [], [])
    assert (told.query, told.detail, told.status, told.kept) == (None, None, "reranked", 3)
    begun, ended = handler.get_event_pairs(CBEventType.RERANKING)[0]
    assert set(begun.payload) == {"model_name", "top_k"} and ended.payload == {"nodes": []}


def test_events_of_the_older_callback_manager(policies):
    handler = LlamaDebugHandler(print_trace_on_end=False)
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FakeScorer(), policy=policies.raw,
        callback_manager=CallbackManager([handler]),
    )  # fmt: skip
    retriever.retrieve(QUERY)
    (begun, ended), = handler.get_event_pairs(CBEventType.RERANKING)  # fmt: skip
    assert begun.payload["query_str"] == QUERY and ids(ended.payload["nodes"])[0] == "n2"
    assert len(handler.get_event_pairs(CBEventType.RETRIEVE)) == 1
    handler.flush_event_logs()
    retriever.retrieve_many(["red", "green"])
    (begun, ended), = handler.get_event_pairs(CBEventType.RETRIEVE)  # fmt: skip
    assert begun.payload["query_str"] == "red\ngreen" and len(ended.payload["nodes"]) == 6
    assert len(handler.get_event_pairs(CBEventType.RERANKING)) == 1


def test_our_metadata_stays_out_of_prompts_and_embeddings(policies):
    found = RankGateRetriever.from_retrievers(
        [Listed(nodes_of(*THREE, metadata={"title": "Sea"}))],
        scorer=FakeScorer(), policy=policies.fitted,
    ).retrieve(QUERY)  # fmt: skip
    assert "rankgate_found_by" in found[0].metadata
    for node in found:
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            text = node.node.get_content(metadata_mode=mode)
            assert "title: Sea" in text and "rankgate" not in text and "relevance" not in text


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


MARGIN = Gate(
    rules=(
        Rule(name="clear", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.2),)),
    )
)


def test_one_policy_several_profiles(index_in, policies):
    """The same file: dense decides by its margin, order reranks and says what is missing."""
    policy = policies.of(gate=MARGIN)
    index = index_in("ip")

    def outcome(make, first_stage):
        scorer = FakeScorer()
        return make(first_stage, scorer=scorer, policy=policy).retrieve_outcome(QUERY), scorer

    dense, scorer = outcome(RankGateRetriever.from_chroma, index)
    assert (dense.status, dense.reason, scorer.calls) == ("skipped", "clear", 0)
    order, scorer = outcome(RankGateRetriever.from_retriever, index)
    assert (order.status, order.reason, scorer.calls) == ("reranked", "signals_missing", 1)
    assert "dense_margin_12" in order.detail


def test_a_missing_section_names_the_call_that_fits_it(index_in, policies, tmp_path):
    file = tmp_path / "policy.json"
    Policy(name="mine", sections={"hybrid": policies.raw.section("hybrid")}).save(file)
    for first_stage, kind in ((index_in("cosine"), "dense"), (Listed([]), "order")):
        with pytest.raises(
            PolicyError, match=rf"rankgate calibrate .*--first-stage {kind}\b"
        ) as raised:
            RankGateRetriever.from_policy(file, first_stage, scorer=FakeScorer())
        assert "it has: hybrid" in str(raised.value)
    loaded = RankGateRetriever.from_first_stage(
        lambda query, k: [], kind="hybrid", policy=file, scorer=FakeScorer()
    )
    assert loaded.retrieve(QUERY) == []


def test_a_failing_scorer_gives_the_order_of_chroma(index_in, policies):
    found = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=FailingScorer(RuntimeError("no GPU")), policy=policies.fitted
    ).retrieve(QUERY)
    assert [n.node.text for n in found] == ["red apple", "whale", "red green fish"]
    assert {n.metadata["rankgate_outcome"] for n in found} == {"degraded"}


def test_a_batch_degrades_together(policies):
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FailingScorer(RuntimeError("x")), policy=policies.raw
    )
    for found in retriever.retrieve_many(["red", "green"]):
        assert ids(found) == ["n0", "n1", "n2"]


def test_copies_and_pickles(policies):
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=FakeScorer(), policy=policies.fitted, top_n=2
    )
    expected = retriever.retrieve(QUERY)
    twins = copy.copy(retriever), copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))
    for twin in twins:
        assert twin.retrieve(QUERY) == expected and twin.top_n == 2
    twins[0].top_n = 1
    assert len(retriever.retrieve(QUERY)) == 2


def test_the_engine_made_beforehand(policies):
    reranker = Reranker(FakeScorer(), policy=policies.dropping)
    retriever = RankGateRetriever.from_retriever(Listed(nodes_of(*THREE)), reranker=reranker)
    assert ids(retriever.retrieve(QUERY)) == ["n2", "n0"]


def test_the_first_stage_alone(index_in, policies):
    scorer = FakeScorer()
    retriever = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=scorer, policy=policies.fitted
    )
    found = retriever.candidates(QUERY, k=2)
    assert [(c.id, c.rank) for c in found] == [("n0", 1), ("n1", 2)]
    assert [c.dense for c in found] == pytest.approx([0.9, 0.5], abs=1e-5)
    assert scorer.calls == 0
