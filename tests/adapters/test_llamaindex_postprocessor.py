"""The LlamaIndex postprocessor: over a real Chroma index, events, scores, prompts, copies."""

import copy
import math
import pickle
import uuid

import pytest
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.postprocessor.rankgate import RankGateRerank
from rankgate import FirstStageKind, Reranker
from rankgate.errors import ConfigError, InputError
from rankgate.firststage import cosine_from_distance
from rankgate.testing import FailingScorer, FakeScorer, candidates_of

QUERY = "red green"
COSINES = {"red apple": 0.9, "whale": 0.5, "red green fish": 0.1}


class AtCosines(BaseEmbedding):
    """Unit vectors at known cosines to (1, 0), which every query is embedded as."""

    def _get_text_embedding(self, text):
        cosine = next(c for t, c in COSINES.items() if t in text)
        return [cosine, math.sqrt(1.0 - cosine * cosine)]

    def _get_query_embedding(self, query):
        return [1.0, 0.0]

    async def _aget_query_embedding(self, query):
        return [1.0, 0.0]


@pytest.fixture
def index_in():
    """A real index in a real Chroma collection of the given space."""
    import chromadb

    client = chromadb.EphemeralClient()
    made = []

    def make(space):
        name = f"c{uuid.uuid4().hex}"
        collection = client.create_collection(
            name, metadata={"hnsw:space": space}, embedding_function=None
        )
        made.append(name)
        store = ChromaVectorStore(chroma_collection=collection)
        nodes = [TextNode(id_=f"n{i}", text=t, metadata={"page": i}) for i, t in enumerate(COSINES)]
        return VectorStoreIndex(
            nodes,
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=AtCosines(),
        )

    yield make
    for name in made:
        client.delete_collection(name)


class Collector(BaseEventHandler):
    seen: list = []  # noqa: RUF012 -- pydantic copies it for each instance

    @classmethod
    def class_name(cls):
        return "Collector"

    def handle(self, event, **kwargs):
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.seen.append(event)


@pytest.fixture
def events():
    """Every rerank event of the test, by LlamaIndex's root dispatcher."""
    root = get_dispatcher("root")
    collector = Collector()
    before = list(root.event_handlers)
    root.add_event_handler(collector)
    yield collector.seen
    root.event_handlers[:] = before


def nodes_of(*rows, **kwargs):
    return [
        NodeWithScore(node=TextNode(id_=f"n{i}", text=t, **kwargs), score=s)
        for i, (t, s) in enumerate(rows)
    ]


THREE = (("red apple", 0.9), ("whale", 0.5), ("red green fish", 0.1))


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
async def test_in_a_query_engine_over_chroma(index_in, policies, space):
    outcomes = []
    rerank = RankGateRerank(
        top_n=2, scorer=FakeScorer(), policy=policies.fitted, chroma_space=space,
        on_outcome=outcomes.append,
    )  # fmt: skip
    engine = RetrieverQueryEngine.from_args(
        index_in(space).as_retriever(similarity_top_k=3),
        llm=MockLLM(),
        node_postprocessors=[rerank],
    )
    response = engine.query(QUERY)
    assert [n.node.text for n in response.source_nodes] == ["red green fish", "red apple"]
    # The mock answers with its prompt: metadata of ours must not be in it, the user's is.
    assert "page: 2" in str(response)
    assert "rankgate" not in str(response) and "relevance_score" not in str(response)
    again = await engine.aquery(QUERY)
    assert [n.node_id for n in again.source_nodes] == [n.node_id for n in response.source_nodes]
    found = {p.candidate.text.splitlines()[-1]: p.candidate.dense for p in outcomes[0].passages}
    assert found == pytest.approx(COSINES, abs=1e-5)
    assert outcomes[0].first_stage is FirstStageKind.DENSE


def test_a_refusal_leaves_the_engine_without_nodes(index_in, policies):
    engine = RetrieverQueryEngine.from_args(
        index_in("cosine").as_retriever(similarity_top_k=3),
        llm=MockLLM(),
        node_postprocessors=[RankGateRerank(scorer=FakeScorer(), policy=policies.refusing)],
    )
    response = engine.query(QUERY)
    assert response.source_nodes == [] and str(response) == "Empty Response"


def test_chroma_under_either_framework_gives_the_gate_the_same_numbers(policies):
    outcomes = []
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.raw, chroma_space="l2", on_outcome=outcomes.append
    )
    distances = [0.2, 1.0, 1.8]
    texts = [t for t, _ in THREE]
    rerank.postprocess_nodes(
        nodes_of(*((t, math.exp(-d)) for t, d in zip(texts, distances, strict=True))),
        query_str=QUERY,
    )
    there = Reranker(FakeScorer(), policy=policies.raw).rerank(
        QUERY,
        candidates_of(texts, dense=[cosine_from_distance(d, "l2") for d in distances]),
    )
    for name, value in there.signals.values().items():
        assert outcomes[0].signals.values()[name] == pytest.approx(value, abs=1e-12), name


def test_the_score_is_the_probability_else_the_raw_score_else_what_it_was(policies):
    def scores(policy, scorer):
        found = RankGateRerank(scorer=scorer, policy=policy).postprocess_nodes(
            nodes_of(*THREE), query_str=QUERY
        )
        return [(n.node_id, n.score) for n in found]

    def sigmoid(x):
        return 1.0 / (1.0 + math.exp(-x))

    assert scores(policies.fitted, FakeScorer()) == [
        ("n2", pytest.approx(sigmoid(2.0))),
        ("n0", pytest.approx(sigmoid(0.0))),
        ("n1", pytest.approx(sigmoid(-2.0))),
    ]
    assert scores(policies.raw, FakeScorer()) == [("n2", 1.0), ("n0", 0.5), ("n1", 0.0)]
    failing = FailingScorer(RuntimeError("down"))
    assert scores(policies.raw, failing) == [("n0", 0.9), ("n1", 0.5), ("n2", 0.1)]


def test_our_keys_stay_out_of_prompts_and_of_a_second_pass(policies):
    scorer = FakeScorer()
    rerank = RankGateRerank(scorer=scorer, policy=policies.fitted)
    given = nodes_of(*THREE, metadata={"title": "Sea"}, excluded_llm_metadata_keys=["title"])
    once = rerank.postprocess_nodes(given, query_str=QUERY)
    twice = rerank.postprocess_nodes(once, query_str=QUERY)
    assert sorted(scorer.jobs[0].texts) == sorted(scorer.jobs[1].texts)
    assert all(t.startswith("title: Sea") for t in scorer.jobs[0].texts)
    for found in (once, twice):
        for n in found:
            assert "rankgate" not in n.node.get_content(metadata_mode=MetadataMode.LLM)
            assert "title" not in n.node.get_content(metadata_mode=MetadataMode.LLM)
            assert len(set(n.node.excluded_llm_metadata_keys)) == len(
                n.node.excluded_llm_metadata_keys
            )
    assert [n.node.metadata["rankgate_rank_before"] for n in twice] == [1, 2, 3]
    assert given[0].node.excluded_llm_metadata_keys == ["title"]


def test_nodes_keep_their_class_and_relationships(policies):
    image = ImageNode(id_="i", text="red", image_path="a.png")
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    found = rerank.postprocess_nodes([NodeWithScore(node=image)], query_str=QUERY)
    assert type(found[0].node) is ImageNode and found[0].node.image_path == "a.png"
    assert found[0].node is not image and image.metadata == {}


async def test_events_of_the_dispatcher(policies, events):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.of(top_n=2))
    given = nodes_of(*THREE)
    found = rerank.postprocess_nodes(given, query_str=QUERY)
    start, end = events
    assert isinstance(start, ReRankStartEvent) and isinstance(end, ReRankEndEvent)
    assert (start.top_n, start.model_name, start.query.query_str) == (2, "fake", QUERY)
    assert [n.node_id for n in start.nodes] == ["n0", "n1", "n2"]
    assert [n.node_id for n in end.nodes] == [n.node_id for n in found] == ["n2", "n0"]
    await rerank.apostprocess_nodes(given, query_str=QUERY)
    assert [type(e) for e in events[2:]] == [ReRankStartEvent, ReRankEndEvent]


def test_events_of_the_older_callback_manager(policies):
    class Handler(BaseCallbackHandler):
        def __init__(self):
            super().__init__([], [])
            self.seen = []

        def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
            self.seen.append(("start", event_type))
            return event_id

        def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
            self.seen.append(("end", event_type, len(payload["nodes"])))

        def start_trace(self, trace_id=None):
            pass

        def end_trace(self, trace_id=None, trace_map=None):
            pass

    handler = Handler()
    RankGateRerank(
        scorer=FakeScorer(), policy=policies.raw, callback_manager=CallbackManager([handler])
    ).postprocess_nodes(nodes_of(*THREE), query_str=QUERY)
    kind = CBEventType.RERANKING
    assert handler.seen == [("start", kind), ("end", kind, 3)]


async def test_without_a_query_it_says_so(policies):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    with pytest.raises(ValueError, match="Missing query bundle"):
        rerank.postprocess_nodes(nodes_of(*THREE))
    with pytest.raises(InputError, match="Missing query bundle"):
        await rerank.apostprocess_nodes(nodes_of(*THREE))
    found = rerank.postprocess_nodes(nodes_of(*THREE), query_bundle=QueryBundle(QUERY))
    assert found[0].node_id == "n2"


@pytest.mark.parametrize("score", [0.0, -0.5, 1.2, math.exp(-2.5), math.nan, math.inf])
def test_a_score_that_is_no_exponential_of_a_distance_is_refused(policies, score):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw, chroma_space="cosine")
    with pytest.raises(InputError):
        rerank.postprocess_nodes(nodes_of(("red", score)), query_str=QUERY)


def test_a_node_without_a_score_has_no_cosine(policies):
    outcomes = []
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.raw, chroma_space="ip", on_outcome=outcomes.append
    )
    rerank.postprocess_nodes(nodes_of(("red", 0.9), ("green", None)), query_str=QUERY)
    assert [p.candidate.dense is None for p in outcomes[0].passages] == [False, True]


def test_arguments_that_cannot_be_used_are_rejected(policies):
    with pytest.raises(ConfigError, match="unknown vector space 'jaccard'"):
        RankGateRerank(scorer=FakeScorer(), policy=policies.raw, chroma_space="jaccard")
    with pytest.raises(ValueError, match="topn"):
        RankGateRerank(topn=3)
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    with pytest.raises(ValueError, match="top_n"):
        rerank.top_n = 0
    with pytest.raises(InputError, match="node 0 must be a NodeWithScore, got str"):
        rerank.postprocess_nodes(["red"], query_str=QUERY)


def test_copies_and_pickles_keep_the_scorer(policies):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.fitted, top_n=2)
    expected = rerank.postprocess_nodes(nodes_of(*THREE), query_str=QUERY)
    assert len(expected) == 2
    for twin in (
        copy.copy(rerank),
        copy.deepcopy(rerank),
        rerank.model_copy(),
        pickle.loads(pickle.dumps(rerank)),
    ):
        assert twin.postprocess_nodes(nodes_of(*THREE), query_str=QUERY) == expected
    # What cannot be pickled is an error, not a component that has silently lost its scorer.
    local = RankGateRerank(scorer=FakeScorer({"red": 1.0}), policy=policies.raw)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(local)


def test_serialised_as_llamaindex_does(policies):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw, top_n=2)
    assert RankGateRerank.class_name() == "RankGateRerank"
    assert rerank.to_dict() == {
        "top_n": 2, "chroma_space": None, "class_name": "RankGateRerank",
    }  # fmt: skip
    twin = RankGateRerank.from_dict(rerank.to_dict(), scorer=FakeScorer(), policy=policies.raw)
    assert len(twin.postprocess_nodes(nodes_of(*THREE), query_str=QUERY)) == 2


def test_importing_it_sets_no_global_llm():
    assert Settings._llm is None and Settings._embed_model is None
