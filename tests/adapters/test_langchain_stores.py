"""Any LangChain vector store as a first stage: scores become cosines, and BM25 stands beside."""

import hashlib
import pickle
import warnings

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore, VectorStoreRetriever

from langchain_rankgate import RankGateRetriever
from rankgate import FirstStageKind, Policy, ScorerInfo
from rankgate.errors import ConfigError, InputError
from rankgate.scorers import RemoteScorer
from rankgate.testing import FakeScorer

TEXTS = [f"passage number n{i} of {'red' if i % 3 else 'green'} things" for i in range(40)]
QUERY = "which passage is number n7"


class Random(Embeddings):
    """Unit vectors, or of lengths from 1 to 5, that depend on the text alone."""

    def __init__(self, long=False):
        self.long = long

    def embed_query(self, text):
        seed = int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)
        rng = np.random.default_rng(seed)
        vector = rng.normal(size=24)
        vector[0] += 3.0  # cosines of different signs, most above 0
        length = rng.uniform(1.0, 5.0) if self.long else 1.0
        return (vector / np.linalg.norm(vector) * length).tolist()

    def embed_documents(self, texts):
        return [self.embed_query(t) for t in texts]


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2, as users have it."""

    model_name = "sentence-transformers/all-MiniLM-L6-v2"

    def __init__(self, encoder):
        self.encoder = encoder

    def embed_query(self, text):
        return self.encoder.embed([text])[0].tolist()

    def embed_documents(self, texts):
        return self.encoder.embed(list(texts)).tolist()


def dimensions(embeddings):
    return len(embeddings.embed_query("how long"))


def in_memory(embeddings):
    return InMemoryVectorStore(embeddings)


def chroma(space):
    def make(embeddings):
        import chromadb
        from langchain_chroma import Chroma

        name = f"s{np.random.default_rng().integers(1 << 60)}"
        how = {"hnsw": {"space": space}}
        return Chroma(
            name, embeddings, client=chromadb.EphemeralClient(), collection_configuration=how
        )

    return make


def faiss(strategy, **more):
    def make(embeddings):
        library = pytest.importorskip("faiss")  # absent from the oldest environment

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package is being sunset
            from langchain_community.docstore.in_memory import InMemoryDocstore
            from langchain_community.vectorstores import FAISS
            from langchain_community.vectorstores.utils import DistanceStrategy

        inner = strategy == "MAX_INNER_PRODUCT"
        index = (library.IndexFlatIP if inner else library.IndexFlatL2)(dimensions(embeddings))
        return FAISS(
            embeddings, index, InMemoryDocstore(), {},
            distance_strategy=DistanceStrategy[strategy], **more,
        )  # fmt: skip

    return make


def qdrant(distance):
    def make(embeddings):
        pytest.importorskip("langchain_qdrant")
        from langchain_qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient
        from qdrant_client.models import Distance, VectorParams

        client = QdrantClient(":memory:")
        size = dimensions(embeddings)
        client.create_collection("c", VectorParams(size=size, distance=Distance[distance]))
        return QdrantVectorStore(client, "c", embeddings, distance=Distance[distance])

    return make


STORES = {
    "memory": in_memory,
    "chroma-cosine": chroma("cosine"),
    "chroma-l2": chroma("l2"),
    "chroma-ip": chroma("ip"),
    "faiss-l2": faiss("EUCLIDEAN_DISTANCE"),
    "faiss-ip": faiss("MAX_INNER_PRODUCT"),
    "qdrant-cosine": qdrant("COSINE"),
    "qdrant-dot": qdrant("DOT"),
    "qdrant-l2": qdrant("EUCLID"),
}


@pytest.fixture(params=STORES)
def make_store(request):
    """Makes a store over embeddings, filled with the texts."""

    def make(embeddings, texts=TEXTS):
        store = STORES[request.param](embeddings)
        metadatas = [{"colour": "red" if "red" in t else "green"} for t in texts]
        store.add_texts(list(texts), metadatas=metadatas)
        return store

    return make


@pytest.fixture
def over(policies):
    """Makes a retriever over a store with a scorer that needs no model."""

    def make(store, **settings):
        how = {"scorer": FakeScorer(), "policy": policies.raw, **settings}
        return RankGateRetriever.from_vectorstore(store, **how)

    return make


def cosine(one, other):
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def true_cosines(embeddings, candidates, query=QUERY):
    asked = embeddings.embed_query(query)
    return [cosine(asked, embeddings.embed_query(c.text)) for c in candidates]


@pytest.mark.parametrize("long", [False, True], ids=["unit", "long"])
async def test_every_store_gives_true_cosines_and_keeps_its_order(make_store, over, long):
    embeddings = Random(long)
    store = make_store(embeddings)
    retriever = over(store)
    for query in (QUERY, "another question"):
        asked = (retriever.candidates(query, 10), await retriever.acandidates(query, 10))
        for found in asked:
            assert [c.text for c in found] == [
                d.page_content for d in store.similarity_search(query, k=10)
            ]
            expected = true_cosines(embeddings, found, query)
            assert [c.dense for c in found] == pytest.approx(expected, abs=1e-4)
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.DENSE
    assert outcome.notes == ()
    (said,) = [n for n in retriever.describe().notes if n.startswith("scores: ")]
    assert "is better)" in said and ("seen on" in said or "as it is configured" in said)
    assert retriever.profile.space in ("cosine", "l2", "ip")
    if type(store).__name__ == "Chroma":  # before the first question as after it
        assert over(store).profile.space == retriever.profile.space


@pytest.mark.model
def test_over_real_embeddings_the_default_policys_cosines_are_read(make_store, encoder):
    """Gate and floor of `dense` are on, over whatever store, as soon as its embedder is known."""
    store = make_store(MiniLM(encoder), texts=TEXTS[:12])
    default = Policy.default()
    usual = default.section(FirstStageKind.DENSE).profile
    names = ("scale", "weights", "dtype", "max_length")
    info = ScorerInfo(id=usual.scorer, **{name: getattr(usual, name) for name in names})
    retriever = RankGateRetriever.from_vectorstore(store, scorer=FakeScorer(info=info))
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.DENSE and outcome.policy == default.name
    assert outcome.notes == ()
    found = [p.candidate for p in outcome.passages]
    expected = true_cosines(MiniLM(encoder), found)
    assert [c.dense for c in found] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_a_wrong_space_is_an_error_and_never_turns_the_order_round(policies, space):
    """`space="cosine"` over a store in memory, whose scores are similarities, once gave a cosine
    of .1 for .9: the first stage upside down, and no word."""
    embeddings = Random()
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    retriever = RankGateRetriever.from_chroma(
        store, space=space, scorer=FakeScorer(), policy=policies.raw
    )
    if space == "l2":
        with pytest.raises(ConfigError, match="cosine similarity \\(higher is better\\)"):
            retriever.invoke(QUERY)
        return
    found = retriever.candidates(QUERY, 10)
    assert [c.dense for c in found] == pytest.approx(true_cosines(embeddings, found))


@pytest.mark.filterwarnings("ignore:legacy embedding function:DeprecationWarning")
@pytest.mark.parametrize("search_type", ["similarity", "similarity_score_threshold", "mmr"])
async def test_a_stores_own_retriever_is_looked_into(make_store, policies, search_type):
    embeddings = Random()
    store = make_store(embeddings)
    extra = {"similarity_score_threshold": {"score_threshold": 0.1}, "mmr": {"fetch_k": 30}}
    child = store.as_retriever(
        search_type=search_type, search_kwargs={"k": 12, **extra.get(search_type, {})}
    )
    retriever = RankGateRetriever.from_retriever(
        child, scorer=FakeScorer(), policy=policies.raw, top_n=12
    )
    if search_type == "similarity_score_threshold" and isinstance(store, InMemoryVectorStore):
        for asked in (child.invoke, retriever.candidates):
            with pytest.raises(NotImplementedError):  # LangChain's own, which ours does not hide
                asked(QUERY)
        return
    expected = [d.page_content for d in child.invoke(QUERY)]
    assert expected
    for found in (retriever.candidates(QUERY), await retriever.acandidates(QUERY)):
        assert [c.text for c in found] == expected
        assert [c.dense for c in found] == pytest.approx(true_cosines(embeddings, found), abs=1e-4)
    assert len(retriever.candidates(QUERY, 5)) <= 5
    assert retriever.tags == child.tags


def test_without_a_number_of_its_own_it_is_asked_for_the_policys(over, policies):
    store = InMemoryVectorStore.from_texts(TEXTS, Random())
    retriever = RankGateRetriever.from_retriever(
        store.as_retriever(), scorer=FakeScorer(), policy=policies.raw
    )
    assert len(retriever.candidates(QUERY)) == len(TEXTS)


def test_a_subclass_that_asks_in_its_own_way_is_left_alone(policies):
    class Own(VectorStoreRetriever):
        def _get_relevant_documents(self, query, *, run_manager, **kwargs):
            return [Document(page_content="mine")]

    store = InMemoryVectorStore.from_texts(TEXTS, Random())
    retriever = RankGateRetriever.from_retriever(
        Own(vectorstore=store), scorer=FakeScorer(), policy=policies.raw
    )
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.ORDER
    assert [p.candidate.text for p in outcome.passages] == ["mine"]


def test_filters_stand_in_the_constructor_and_a_call_overrules_them(over):
    store = STORES["chroma-cosine"](Random())
    store.add_texts(TEXTS, metadatas=[{"colour": t.split()[4]} for t in TEXTS])
    green = {"colour": "green"}
    for settings in ({"filter": green}, {"search_kwargs": {"filter": green, "k": 30}}):
        retriever = over(store, **settings)
        assert {d.metadata["colour"] for d in retriever.invoke(QUERY)} == {"green"}
        red = retriever.invoke(QUERY, filter={"colour": "red"})
        assert {d.metadata["colour"] for d in red} == {"red"}
    with pytest.raises(InputError, match="does not know the argument 'fliter'"):
        over(store, search_kwargs={"fliter": green})


def test_a_mistaken_name_is_told_the_known_ones_once_each(over):
    """`fetch_k` and `score_threshold` stood there twice."""
    retriever = over(STORES["faiss-l2"](Random()))
    with pytest.raises(InputError) as told:
        retriever.invoke("red", fetchk=3)
    known = str(told.value).rpartition("known: ")[2].split(", ")
    assert sorted(known) == sorted(set(known)) and "fetch_k" in known


def test_faiss_filters_among_enough(over):
    """It filters what it has fetched, which is 20 by default, however many are wanted."""
    store = STORES["faiss-l2"](Random())
    store.add_texts(TEXTS, metadatas=[{"n": i} for i in range(len(TEXTS))])
    found = over(store, filter=lambda m: m["n"] < 15).candidates(QUERY)
    assert len(found) == 15
    with pytest.raises(InputError, match="FAISS does not know the argument 'fliter'"):
        over(store).invoke(QUERY, fliter={})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"search_type": "nearest"}, "search_type must be"),
        ({"search_type": "similarity_score_threshold"}, "score_threshold"),
        ({"search_kwargs": {"k": 0}}, "must be a whole number of at least 1, got 0"),
        ({"search_kwargs": 5}, "search_kwargs must be a mapping"),
        ({"hybrid": True, "search_type": "mmr"}, "hybrid=True fuses whole lists"),
        ({"hybrid": True, "filter": {"n": {"$gt": 1}}}, "BM25 beside it cannot apply it"),
        ({"space": "jaccard"}, "unknown vector space"),
    ],
)
def test_what_cannot_work_is_said_at_construction(over, settings, match):
    with pytest.raises((InputError, ConfigError), match=match):
        over(InMemoryVectorStore(Random()), **settings)


def test_only_a_store_is_a_store(policies):
    with pytest.raises(InputError, match="must be a LangChain VectorStore, got list"):
        RankGateRetriever.from_vectorstore([], policy=policies.raw)


class Plain(VectorStore):
    """A store of which nothing is known but what it returns."""

    def __init__(self, rows):
        self.rows = rows

    def similarity_search(self, query, k=4, **kwargs):
        return [Document(page_content=t) for t, _ in self.rows][:k]

    @classmethod
    def from_texts(cls, texts, embedding, metadatas=None, **kwargs):
        raise NotImplementedError


class Scored(Plain):
    def similarity_search_with_score(self, query, k=4, **kwargs):
        return [(Document(page_content=t), s) for t, s in self.rows][:k]


ROWS = [("a red thing", 0.9), ("a green thing", 0.4), ("a whale", 0.1)]


class Diverse(Plain):
    def max_marginal_relevance_search(self, query, k=4, fetch_k=20, lambda_mult=0.5, **kwargs):
        return self.similarity_search(query, k)


def test_mmr_without_scores_is_an_order(over):
    outcome = over(Diverse(ROWS), search_type="mmr").retrieve_outcome("red thing")
    assert outcome.first_stage is FirstStageKind.ORDER and len(outcome.passages) == 3


@pytest.mark.parametrize(("store", "why"), [(Plain, "no scores"), (Scored, "cannot be told")])
async def test_what_nobody_can_read_is_an_order_and_says_so(over, store, why):
    retriever = over(store(ROWS))
    for outcome in (
        retriever.retrieve_outcome("red thing"),
        await retriever.aretrieve_outcome("red thing"),
    ):
        assert outcome.first_stage is FirstStageKind.ORDER
        assert outcome.signals.dense_top1 is None
        (note,) = outcome.notes
        assert note.startswith("scores_unread: ") and why in note


def test_a_named_space_is_believed_where_nothing_can_be_compared(over):
    outcome = over(Scored(ROWS), space="cosine").retrieve_outcome("red thing")
    assert [p.candidate.dense for p in outcome.passages] == [0.9, 0.4, 0.1]
    away = [(t, 1 - s) for t, s in ROWS]
    outcome = over(Scored(away), space="cosine").retrieve_outcome("red thing")
    assert [p.candidate.dense for p in outcome.passages] == pytest.approx([0.9, 0.4, 0.1])


async def test_bm25_stands_beside_every_store_that_lists_its_passages(make_store, over):
    embeddings = Random()
    store = make_store(embeddings)
    retriever = over(store, hybrid=True)
    for found in (retriever.candidates(QUERY, 50), await retriever.acandidates(QUERY, 50)):
        assert len({c.id for c in found}) == len(found) == len(TEXTS)
        assert [c.dense for c in found] == pytest.approx(true_cosines(embeddings, found), abs=1e-4)
        assert all(c.bm25 is not None for c in found)
        best = max(found, key=lambda c: c.bm25)
        assert best.text.startswith("passage number n7 "), "only words can find it"
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.HYBRID
    # What is added is seen with the next question, what is deleted after a refresh.
    store.add_texts(["a wholly new zebra"])
    assert any("zebra" in c.text and c.bm25 > 0 for c in retriever.candidates("zebra new", 50))
    retriever.refresh()


@pytest.mark.parametrize("settings", [{}, {"hybrid": True}, {"search_type": "mmr"}])
def test_a_filter_of_equal_values_holds_over_every_store(make_store, over, settings):
    store = make_store(Random())
    retriever = over(store, filter={"colour": "green"}, **settings)
    found = retriever.candidates(QUERY)
    assert {c.metadata["colour"] for c in found} == {"green"}
    assert len(found) == sum("green" in t for t in TEXTS)


def test_a_hybrid_filter_of_the_stores_own_is_refused(over):
    store = STORES["chroma-cosine"](Random())
    store.add_texts(TEXTS)
    with pytest.raises(InputError, match="cannot apply it"):
        over(store, hybrid=True).invoke(QUERY, where_document={"$contains": "red"})


def test_hybrid_without_a_list_or_cosines_says_what_is_missing(over):
    with pytest.raises(InputError, match="cannot list its passages"):
        over(Scored(ROWS), hybrid=True).invoke("red thing")
    with pytest.raises(InputError, match="nothing to refresh"):
        over(Scored(ROWS)).refresh()


def test_it_pickles_with_what_it_has_found(over):
    store = InMemoryVectorStore.from_texts(TEXTS, Random())
    for settings in ({}, {"hybrid": True}):
        retriever = over(store, **settings)
        before = retriever.candidates(QUERY, 10)
        assert pickle.loads(pickle.dumps(retriever)).candidates(QUERY, 10) == before


def test_no_key_goes_into_a_retrievers_pickle(policies, monkeypatch):
    scorer = RemoteScorer("http://127.0.0.1:9", dialect="tei", model="m", api_key="sk-secret-9")
    store = InMemoryVectorStore.from_texts(TEXTS, Random())
    retriever = RankGateRetriever.from_vectorstore(store, scorer=scorer, policy=policies.raw)
    with pytest.raises(ConfigError, match="Put it into an environment variable"):
        pickle.dumps(retriever)
    monkeypatch.setenv("MY_KEY", "sk-secret-9")
    data = pickle.dumps(retriever)
    assert b"sk-secret-9" not in data
    twin = pickle.loads(data)
    assert twin.candidates(QUERY, 3) == retriever.candidates(QUERY, 3)


def test_a_store_of_one_passage_or_none_is_a_store(make_store, over):
    store = make_store(Random(), texts=["one"])
    for k in (1, 200):
        assert len(over(store).candidates(QUERY, k)) == 1
    empty = in_memory(Random())
    for retriever in (over(empty), over(empty, hybrid=True)):
        assert retriever.invoke(QUERY) == []
        assert not retriever.retrieve_outcome(QUERY).refused
    empty.add_texts(["which passage"])
    assert len(retriever.invoke(QUERY)) == 1
