"""The LlamaIndex postprocessor: over a real Chroma index, events, scores, prompts, copies."""

import copy
import json
import math
import pickle

import llamaindex_index as kit
import pytest
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate import RankGateOutcomeEvent, RankGateRerank
from rankgate import FirstStageKind, Profile, Reranker, ScorerInfo
from rankgate.errors import ConfigError, InputError, ProfileMismatchError
from rankgate.retrieve import cosine_from_distance
from rankgate.testing import FailingScorer, FakeScorer, candidates_of

QUERY, COSINES, THREE, nodes_of = kit.QUERY, kit.COSINES, kit.THREE, kit.nodes_of
index_in, events = kit.index_in, kit.events


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


def test_the_score_is_the_probability_or_absent(policies):
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
    assert scores(policies.raw, FakeScorer()) == [("n2", None), ("n0", None), ("n1", None)]
    failing = FailingScorer(RuntimeError("down"))
    assert scores(policies.raw, failing) == [("n0", None), ("n1", None), ("n2", None)]


def test_a_similarity_cutoff_meets_probabilities_and_nothing_else(policies):
    def after(policy):
        rerank = RankGateRerank(scorer=FakeScorer(), policy=policy)
        found = rerank.postprocess_nodes(nodes_of(*THREE), query_str=QUERY)
        cut = SimilarityPostprocessor(similarity_cutoff=0.4)
        raw = {n.node_id: n.node.metadata["rankgate_raw_score"] for n in found}
        return [n.node_id for n in cut.postprocess_nodes(found, query_str=QUERY)], raw

    kept, raw = after(policies.fitted)
    assert kept == ["n2", "n0"], "probabilities .88, .5 and .12"
    assert raw == {"n2": 1.0, "n0": 0.5, "n1": 0.0}
    # Where there is no probability, LlamaIndex's own cut-off keeps nothing: not a raw score of 1.
    kept, raw = after(policies.raw)
    assert kept == [] and raw["n2"] == 1.0


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
    start, told, end = events
    assert isinstance(start, ReRankStartEvent) and isinstance(end, ReRankEndEvent)
    assert isinstance(told, RankGateOutcomeEvent)
    assert (told.status, told.kept, told.dropped, told.scorer) == ("reranked", 2, 1, "fake")
    assert json.loads(told.model_dump_json())["reason"] == "no_gate"
    assert (start.top_n, start.model_name, start.query.query_str) == (2, "fake", QUERY)
    assert [n.node_id for n in start.nodes] == ["n0", "n1", "n2"]
    assert [n.node_id for n in end.nodes] == [n.node_id for n in found] == ["n2", "n0"]
    await rerank.apostprocess_nodes(given, query_str=QUERY)
    assert [type(e) for e in events[3:]] == [
        ReRankStartEvent, RankGateOutcomeEvent, ReRankEndEvent,
    ]  # fmt: skip


def test_events_without_content(policies, events):
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.fitted, top_n=2, events_with_content=False
    )
    given = nodes_of(*THREE)
    assert len(rerank.postprocess_nodes(given, query_str=QUERY)) == 2
    start, told, end = events
    assert (start.query, start.nodes, end.nodes) == (None, [], [])
    assert (start.model_name, start.top_n) == ("fake", 2)
    assert (told.query, told.detail, told.status) == (None, None, "reranked")
    assert all("red" not in e.model_dump_json() for e in (start, told))


def test_a_refusal_says_why_in_its_event(policies, events):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.refusing)
    assert rerank.postprocess_nodes(nodes_of(*THREE), query_str=QUERY) == []
    told = next(e for e in events if isinstance(e, RankGateOutcomeEvent))
    assert (told.status, told.path, told.reason) == ("refused", "reranked", "below_floor")
    assert told.best_probability == pytest.approx(0.8808, abs=1e-4)


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


def test_a_second_pass_reads_the_cosine_not_the_probability_in_its_place(policies):
    outcomes = []
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.fitted, chroma_space="cosine",
        on_outcome=outcomes.append,
    )  # fmt: skip
    rows = [(text, math.exp(cosine - 1.0)) for text, cosine in THREE]
    once = rerank.postprocess_nodes(nodes_of(*rows), query_str=QUERY)
    rerank.postprocess_nodes(once, query_str=QUERY)
    first, second = ({p.candidate.id: p.candidate.dense for p in o.passages} for o in outcomes)
    assert second == first == pytest.approx({"n0": 0.9, "n1": 0.5, "n2": 0.1})
    # A pass that knew no cosine leaves none: its score is not one.
    plain = RankGateRerank(scorer=FakeScorer(), policy=policies.fitted)
    rerank.postprocess_nodes(
        plain.postprocess_nodes(nodes_of(*rows), query_str=QUERY), query_str=QUERY
    )
    assert {p.candidate.dense for p in outcomes[-1].passages} == {None}


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
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.dropping, top_n=2, chroma_space="l2",
        profile=Profile(embedder="mine"),
    )  # fmt: skip
    assert RankGateRerank.class_name() == "RankGateRerank"
    saved = rerank.to_json()
    data = json.loads(saved)
    assert data == rerank.to_dict() == {
        "top_n": 2, "chroma_space": "l2", "events_with_content": True,
        "when_refused": "empty", "when_degraded": "keep",
        "class_name": "RankGateRerank", "policy": policies.dropping.to_dict(),
        "profile": {"embedder": "mine"}, "needs": ["scorer"],
    }  # fmt: skip
    rows = [(t, math.exp(-2.0 * (1.0 - c))) for t, c in THREE]
    expected = rerank.postprocess_nodes(nodes_of(*rows), query_str=QUERY)
    assert [n.node_id for n in expected] == ["n2", "n0"]
    for twin in (
        RankGateRerank.from_dict(data, scorer=FakeScorer()),
        RankGateRerank.from_json(saved, scorer=FakeScorer()),
    ):
        assert twin.postprocess_nodes(nodes_of(*rows), query_str=QUERY) == expected
        assert twin.to_dict() == data
    assert data == json.loads(saved), "from_dict changes nothing"


def test_what_plain_data_cannot_hold_is_asked_for(policies):
    rerank = RankGateRerank(scorer=FakeScorer(), policy=policies.raw, lexicon={"red"})
    data = rerank.to_dict()
    assert data["needs"] == ["scorer", "lexicon"]
    with pytest.raises(ConfigError, match=r"own scorer and lexicon.*Pass scorer= to from_dict"):
        RankGateRerank.from_dict(data)
    with pytest.raises(ConfigError, match=r"its own lexicon.*Pass lexicon="):
        RankGateRerank.from_dict(data, scorer=FakeScorer())
    twin = RankGateRerank.from_dict(data, scorer=FakeScorer(), lexicon={"red"})
    assert twin.to_dict() == data
    whole = Reranker(FakeScorer(), policy=policies.dropping)
    other = RankGateRerank.from_dict(data, reranker=whole)
    assert other.to_dict()["policy"] == policies.dropping.to_dict()
    changed = RankGateRerank.from_dict(
        data, scorer=FakeScorer(), lexicon=["red"], policy=policies.dropping, top_n=1
    )
    assert (changed.top_n, changed.to_dict()["policy"]["name"]) == (1, "test")
    # A plain default needs nothing.
    assert RankGateRerank().to_dict()["needs"] == []
    assert RankGateRerank.from_dict(RankGateRerank(top_n=3).to_dict()).top_n == 3


def test_a_saved_policy_is_checked_against_the_scorer_that_it_comes_back_with(policies):
    fitted = policies.raw.with_section("order", profile=Profile(scorer="fake", scale="fake"))
    data = RankGateRerank(scorer=FakeScorer(), policy=fitted).to_dict()
    other = FakeScorer(info=ScorerInfo(id="other", scale="fake"))
    with pytest.raises(ProfileMismatchError, match="fitted for 'fake', in use is 'other'"):
        RankGateRerank.from_dict(data, scorer=other)


def test_from_defaults_is_the_constructor(policies):
    rerank = RankGateRerank.from_defaults(2, scorer=FakeScorer(), policy=policies.raw)
    found = rerank.postprocess_nodes(nodes_of(*THREE), query_str=QUERY)
    assert [n.node_id for n in found] == ["n2", "n0"]


def test_importing_it_sets_no_global_llm():
    assert Settings._llm is None and Settings._embed_model is None
