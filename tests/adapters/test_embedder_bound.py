"""A policy is bound to its embedder: asked of the store, named by an option, never assumed."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import llamaindex_index as kit
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda
from llama_index.core.base.base_retriever import BaseRetriever as LlamaBase
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rankgate import RankGateRerank, RankGateRetriever, RankGateRunnable
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from llama_index.postprocessor.rankgate import RankGateRetriever as LlamaRetriever
from rankgate import FirstStageKind, Policy, Profile, Reranker, ScorerInfo, Section
from rankgate.adapters.embedders import chroma_embedder, embedder_name, known_profile
from rankgate.encoders.locate import find_minilm
from rankgate.errors import InputError, ProfileMismatchError, warn_once
from rankgate.fit import embedder_notes
from rankgate.profile import same_embedder
from rankgate.testing import FakeScorer, candidates_of

pytestmark = pytest.mark.usefixtures("afresh")

MINILM = "all-MiniLM-L6-v2"
COSINES = [("red apple", 0.9), ("green pear", 0.5), ("whale", 0.1)]
index_in = kit.index_in
DENSE, ORDER = FirstStageKind.DENSE, FirstStageKind.ORDER


def usual_scorer():
    """Says that it is the scorer that the default policy was fitted for."""
    p = Policy.default().section(ORDER).profile
    info = ScorerInfo(
        id=p.scorer, scale=p.scale, weights=p.weights, dtype=p.dtype, max_length=p.max_length
    )
    return FakeScorer(lambda q, t: 0.6, info=info)


@pytest.fixture
def afresh():
    warn_once.cache_clear()


class Named(Embeddings):
    """LangChain embeddings that say which model they are."""

    def __init__(self, **names):
        self.__dict__.update(names)

    def embed_documents(self, texts):
        return [[1.0, 0.0] for _ in texts]

    def embed_query(self, text):
        return [1.0, 0.0]


@pytest.fixture
def store_of(make_chroma):
    """A Chroma whose embeddings carry these attributes."""

    def make(**names):
        store = make_chroma(COSINES)
        for name, value in names.items():
            setattr(store.embeddings, name, value)
        return store

    return make


def over(store, **settings):
    return RankGateRetriever.from_chroma(store, scorer=usual_scorer(), **settings)


# --- which model a store has -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"model_name": MINILM}, MINILM),
        ({"model": "text-embedding-3-small"}, "text-embedding-3-small"),
        ({"model_id": "amazon.titan"}, "amazon.titan"),
        ({"repo_id": "BAAI/bge-m3", "model": None}, "BAAI/bge-m3"),
        ({"underlying_embeddings": Named(model_name="bge")}, "bge"),
        ({"encoder": Named(model_card_data=Named(base_model="bge"))}, "bge"),
        ({"model_name": "unknown"}, "class Named"),
        ({"model_name": ""}, "class Named"),
        ({}, "class Named"),
    ],
)
def test_embeddings_are_asked_for_their_models_name(names, expected):
    assert embedder_name(Named(**names)) == expected
    assert chroma_embedder(SimpleNamespace(embeddings=Named(**names))) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ({"type": "known", "name": "default", "config": {}}, MINILM),
        ({"name": "openai", "config": {"model_name": "te-3"}}, "te-3"),
        ({"type": "legacy"}, None),
        (None, None),
    ],
)
def test_a_collection_without_embeddings_is_asked_itself(function, expected):
    collection = SimpleNamespace(configuration_json={"embedding_function": function})
    store = SimpleNamespace(embeddings=None, _collection=collection)
    assert chroma_embedder(store) == expected


@pytest.mark.model
def test_a_folder_with_the_published_weights_is_that_model(encoder, tmp_path):
    assert embedder_name(Named(model_name=str(find_minilm().folder))) == MINILM
    (tmp_path / "mine").mkdir()
    assert embedder_name(Named(model_name=str(tmp_path / "mine"))) == "mine"


class Other:
    """Names no model either."""


def test_embeddings_of_ones_own_are_known_by_their_class():
    """A policy that was fitted over them was used over any others without a word."""
    mine, other = embedder_name(Named()), embedder_name(Other())
    assert (mine, other, embedder_name(None)) == ("class Named", "class Other", None)
    for pair in ((mine, other), (mine, mine), (mine, MINILM), (MINILM, mine)):
        assert same_embedder(*pair), "a class may hold any model"


@pytest.mark.parametrize(
    ("fitted", "actual", "noted"),
    [
        ("class Named", "class Named", ""),
        ("bge", "bge", ""),
        ("class Named", "class Other", "has the class Other"),
        ("class Named", "bge", "has the bge"),
        ("bge", "class Named", "has the class Named"),
        ("class Named", None, "does not say which"),
    ],
)
def test_a_policy_says_where_its_embeddings_may_be_others(fitted, actual, noted):
    policy = Policy(name="mine", sections={"dense": Section(profile=Profile(embedder=fitted))})
    policy.check_profile("dense", Profile(embedder=actual))
    notes = embedder_notes(policy, DENSE, Profile(embedder=actual))
    assert bool(notes) is bool(noted)
    assert all(n.startswith("embedder_unconfirmed") and noted in n for n in notes)


def test_what_is_said_goes_before_what_is_found():
    profile = known_profile(Profile(chunking="200/40"), found="a", space="l2")
    assert profile == Profile(chunking="200/40", embedder="a", space="l2")
    assert known_profile(Profile(embedder="b"), found="a").embedder == "b"
    assert known_profile(Profile(embedder="b"), embedder="c", found="a").embedder == "c"


@pytest.mark.parametrize("name", [MINILM, f"sentence-transformers/{MINILM}", MINILM.lower()])
def test_usual_names_of_one_model_are_one(name):
    fitted = Policy.default().section(DENSE).profile
    assert not fitted.differing(Profile(embedder=name))
    assert fitted.differing(Profile(embedder="all-MiniLM-L12-v2")) == ("embedder",)


# --- what the default policy does over it ----------------------------------------------------


def test_over_its_own_embedder_it_is_used_as_it_is(store_of):
    for retriever in (
        over(store_of(model_name=f"sentence-transformers/{MINILM}")),
        over(store_of(), embedder=MINILM),
        over(store_of(), profile=Profile(embedder=MINILM)),
    ):
        assert retriever.engine.get().policy is Policy.default()
        assert not [n for n in retriever.retrieve_outcome("red").notes if "embedder" in n]


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        ({}, "embedder_unknown", "was fitted for all-MiniLM-L6-v2"),
        ({"model": "te-3"}, "embedder_differs", "fitted for 'all-MiniLM-L6-v2', in use is 'te-3'"),
    ],
)
def test_over_another_or_nobodys_no_cosine_is_read_and_it_is_said(
    store_of, caplog, names, code, said
):
    with caplog.at_level(logging.WARNING, "rankgate"):
        retriever, again = over(store_of(**names)), over(store_of(**names))
        outcome = retriever.retrieve_outcome("red")
        again.retrieve_outcome("red")
    used = retriever.engine.get().policy.section(DENSE)
    order = Policy.default().section(ORDER)
    assert (used.reranked, used.first_stage) == (order.reranked, order.first_stage)
    assert used.gate == order.gate and used.may_skip
    assert used.floor == order.floor and used.floor != Policy.default().section(DENSE).floor
    (note,) = [n for n in outcome.notes if n.startswith(code)]
    assert said in note and "'order', which reads no cosine" in note
    warned = [r.message for r in caplog.records if code in r.message]
    assert len(warned) == 1, "once in a process"
    assert "embedder='NAME'" in warned[0] and "rankgate calibrate" in warned[0]


def test_the_level_of_the_cosines_moves_nothing_where_the_embedder_is_unknown(make_chroma):
    """The same file over other embeddings once answered 73 foreign questions of 100, not 9."""
    low = over(make_chroma([(t, c / 3) for t, c in COSINES])).retrieve_outcome("red")
    high = over(make_chroma(COSINES)).retrieve_outcome("red")
    assert [p.relevance_score for p in low.passages] == [p.relevance_score for p in high.passages]


def test_candidates_of_unknown_kind_are_treated_alike(caplog):
    found = candidates_of(["a", "b"], dense=[0.9, 0.1])
    unnamed = RankGateRetriever.from_first_stage(lambda q, k: found, scorer=usual_scorer())
    assert any("embedder_unknown" in n for n in unnamed.retrieve_outcome("a").notes)
    named = RankGateRetriever.from_first_stage(
        lambda q, k: found, scorer=usual_scorer(), embedder=MINILM
    )
    assert named.engine.get().policy is Policy.default()
    bm25 = RankGateRetriever.from_first_stage(
        lambda q, k: found, scorer=usual_scorer(), kind="bm25"
    )
    assert bm25.engine.get().policy is Policy.default(), "reads no vector"


def test_llamaindex_asks_the_indexs_embed_model(index_in):
    index = index_in("cosine")
    unknown = LlamaRetriever.from_chroma(index, scorer=usual_scorer())
    assert unknown.profile == Profile(space="cosine", embedder="class AtCosines")
    assert any("embedder_unknown" in n for n in unknown.retrieve_outcome("red").notes)
    named = LlamaRetriever.from_chroma(index, scorer=usual_scorer(), embedder=MINILM)
    assert not any("embedder" in n for n in named.retrieve_outcome("red").notes)
    child = VectorIndexRetriever(index, embed_model=MockEmbedding(embed_dim=2, model_name="bge-m3"))
    assert LlamaRetriever.from_chroma(child, scorer=usual_scorer()).profile.embedder == "bge-m3"


# --- a policy of one's own -------------------------------------------------------------------


def own_policy(embedder):
    section = Policy.default().section(ORDER)

    return Policy(
        name="own", sections={"dense": replace(section, profile=Profile(embedder=embedder))}
    )


def test_ones_own_policy_over_another_embedder_is_an_error_that_blames_the_embedder(store_of):
    with pytest.raises(ProfileMismatchError, match="another EMBEDDER: embedder: fitted for 'mine'"):
        over(store_of(model="te-3"), policy=own_policy("mine"))
    with pytest.raises(ProfileMismatchError, match="another EMBEDDER"):
        # Before any scorer is loaded.
        RankGateRetriever.from_chroma(store_of(model="te-3"), policy=own_policy("mine"))


def test_ones_own_policy_over_an_unknown_embedder_is_used_not_in_silence(store_of, caplog):
    with caplog.at_level(logging.WARNING, "rankgate"):
        outcome = over(store_of(), policy=own_policy("mine")).retrieve_outcome("red")
    assert any(n.startswith("embedder_unconfirmed") for n in outcome.notes)
    assert "Name it with embedder='NAME'" in caplog.text
    quiet = over(store_of(), policy=own_policy("mine"), embedder="mine").retrieve_outcome("red")
    assert not any("embedder" in n for n in quiet.notes)


def test_a_finished_reranker_is_held_against_the_stores_embedder(store_of):
    reranker = Reranker(usual_scorer())
    with pytest.raises(ProfileMismatchError, match="another EMBEDDER"):
        RankGateRetriever.from_chroma(store_of(model="te-3"), reranker=reranker)
    with pytest.raises(InputError, match="together with embedder"):
        RankGateRetriever.from_chroma(store_of(), reranker=reranker, embedder="x")


def test_a_policy_for_another_scorer_than_the_default_one_is_an_error_at_once(policies):
    other = policies.of(profile=Profile(scorer="cross-encoder/x"))
    for make in (
        lambda: RankGateRetriever.from_first_stage(lambda q, k: [], policy=other),
        lambda: RankGateRerank(policy=other),
        lambda: LlamaRerank(policy=other),
    ):
        with pytest.raises(ProfileMismatchError, match="another scorer"):
            make()


def test_another_number_of_candidates_than_the_policys_is_noted(policies):
    found = candidates_of([f"t{i}" for i in range(60)])
    for k, expected in ((None, 0), (50, 0), (20, 1), (60, 1)):
        retriever = RankGateRetriever.from_first_stage(
            lambda q, k: found[:k], scorer=FakeScorer(), policy=policies.fitted, k=k
        )
        notes = [n for n in retriever.retrieve_outcome("t").notes if n.startswith("k_differs")]
        assert len(notes) == expected, k
    assert "60 candidates, and the policy was fitted for 50" in notes[0]


@pytest.mark.parametrize(("own", "noted"), [(None, False), (4, True), (50, False)])
def test_a_stores_own_number_is_noted_like_a_callers(policies, store_of, own, noted):
    """A policy for 50 served 4 candidates without a word."""
    search = {} if own is None else {"search_kwargs": {"k": own}}
    retriever = RankGateRetriever.from_retriever(
        store_of().as_retriever(**search), scorer=FakeScorer(), policy=policies.fitted
    )
    notes = retriever.retrieve_outcome("t").notes
    assert any(n.startswith("k_differs") for n in notes) == noted, notes


def test_fewer_than_the_policys_number_is_noted_where_nobody_could_ask_for_more(policies):
    """A query engine's two nodes, or a retriever's four, met a policy for 50 without a word."""
    nodes = [NodeWithScore(node=TextNode(text=f"t {i}")) for i in range(4)]
    documents = [Document(page_content=f"t {i}") for i in range(4)]
    told = []
    given = {"scorer": FakeScorer(), "policy": policies.fitted, "on_outcome": told.append}

    class Four(LlamaBase):
        def _retrieve(self, query_bundle):
            return nodes

    LlamaRerank(**given).postprocess_nodes(nodes, query_str="t")
    LlamaRetriever.from_retriever(Four(), **given).retrieve("t")
    RankGateRerank(**given).compress_documents(documents, "t")
    RankGateRetriever.from_retriever(RunnableLambda(lambda query: documents), **given).invoke("t")
    noted = [[n for n in outcome.notes if n.startswith("k_differs")] for outcome in told]
    wanted = "k_differs: 4 candidates, and the policy was fitted for 50; let the first stage give"
    assert noted == [[f"{wanted} more"]] * 4
    RankGateRerank(**given).compress_documents([], "t")
    assert not any(n.startswith("k_differs") for n in told[-1].notes)


# --- describe ----------------------------------------------------------------------------------


def components(index, **parts):
    return (
        RankGateRetriever.from_first_stage(lambda q, k: [], kind="order", **parts),
        RankGateRerank(**parts),
        RankGateRunnable(**parts),
        LlamaRerank(**parts),
        LlamaRetriever.from_retrievers([index.as_retriever()], **parts),
    )


def test_every_component_says_what_is_active(index_in):
    for component in components(index_in("cosine"), scorer=usual_scorer()):
        said = component.describe()
        (section,) = said.sections
        assert (said.policy, section.first_stage) == (Policy.default().name, "order")
        assert (
            section.floor
            == f"refuses a query below {Policy.default().section(ORDER).floor.refuse_below:g}"
        )
        assert "reranked from" in section.probabilities and said.fitted_on.startswith("fitted on")
        assert said.notes == ()


def test_what_is_off_is_said_with_the_command_that_mends_it(caplog, index_in):
    with caplog.at_level(logging.WARNING, "rankgate"):
        made = components(index_in("cosine"), scorer=FakeScorer())
    for component in made:
        said = component.describe()
        (section,) = said.sections
        for line in (section.gate, section.floor, section.probabilities):
            assert line.startswith("off") and "rankgate calibrate DATA" in line
        assert said.notes[0].startswith("no_policy") and "(in use: fake)" in str(said)
    assert len([r for r in caplog.records if "no_policy" in r.message]) == 1
    outcome = made[0].retrieve_outcome("q")
    assert any(n.startswith("no_policy") for n in outcome.notes)
