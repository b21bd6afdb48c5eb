"""What LlamaIndex's retriever tells of itself: events, reasons, metadata."""

import llamaindex_index as kit
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.llama_debug import LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.schema import MetadataMode

from llama_index.postprocessor.rankgate import RankGateOutcomeEvent, RankGateRetriever
from rankgate.testing import FakeScorer

QUERY, COSINES, THREE, nodes_of = kit.QUERY, kit.COSINES, kit.THREE, kit.nodes_of
Listed, Sized, ids = kit.Listed, kit.Sized, kit.ids
index_in, events = kit.index_in, kit.events


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
