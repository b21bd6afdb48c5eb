"""What the adapter tests share: unit vectors in a real Chroma, and policies."""

import math
import uuid
from types import SimpleNamespace

import pytest

from rankgate import Floor, Gate, Policy, RelevanceModel, Section
from rankgate.decide.gate import Condition, Rule
from rankgate.decide.logistic import Feature, Logistic

RAW = RelevanceModel(
    model=Logistic(intercept=-2.0, features=(Feature(name="raw", weight=4.0),)), scale="fake"
)
BY_RANK = RelevanceModel(
    model=Logistic(intercept=2.0, features=())  # as it came, each as probable as the others
)
ALWAYS = Rule(name="always", conditions=(Condition(signal="candidates", op=">=", value=0.0),))


def policy_of(**section):
    """One section for every kind of first stage."""
    kinds = ("order", "dense", "hybrid", "bm25")
    return Policy(name="test", sections=dict.fromkeys(kinds, Section(**section)))


@pytest.fixture(scope="session")
def policies():
    """Policies by what they do; `of` makes another."""
    return SimpleNamespace(
        of=policy_of,
        raw=policy_of(),
        fitted=policy_of(reranked=RAW, first_stage=BY_RANK),
        skipping=policy_of(gate=Gate(rules=(ALWAYS,)), reranked=RAW, first_stage=BY_RANK),
        refusing=policy_of(reranked=RAW, first_stage=BY_RANK, floor=Floor(refuse_below=0.999)),
        zero_floor=policy_of(
            reranked=RAW, first_stage=BY_RANK, floor=Floor(refuse_below=0.0, drop_below=0.0)
        ),
        weak=policy_of(
            reranked=RAW, first_stage=BY_RANK, floor=Floor(refuse_below=0.0, weak_below=0.999)
        ),
        dropping=policy_of(reranked=RAW, first_stage=BY_RANK, floor=Floor(drop_below=0.5)),
    )


def vector_at(cosine):
    """A unit vector with this cosine to (1, 0), which every query is embedded as."""
    return [cosine, math.sqrt(1.0 - cosine * cosine)]


@pytest.fixture
def make_chroma():
    """Makes a langchain Chroma in memory that holds texts at given cosines to any query."""
    import chromadb
    from langchain_chroma import Chroma
    from langchain_core.embeddings import Embeddings

    class AtCosines(Embeddings):
        def __init__(self, cosines):
            self.cosines = cosines

        def embed_documents(self, texts):
            return [vector_at(self.cosines[t]) for t in texts]

        def embed_query(self, text):
            return [1.0, 0.0]

    client = chromadb.EphemeralClient()
    made = []

    def make(cosines, *, space="cosine", ids=None, metadatas=None, **kwargs):
        how = kwargs or {"collection_configuration": {"hnsw": {"space": space}}}
        store = Chroma(f"c{uuid.uuid4().hex}", AtCosines(dict(cosines)), client=client, **how)
        made.append(store)
        texts = [t for t, _ in cosines]
        if texts:
            store.add_texts(texts, ids=ids, metadatas=metadatas)
        return store

    yield make
    for store in made:
        store.delete_collection()


@pytest.fixture(params=["batch", "abatch"])
def batch(request):
    """Calls `batch` or awaits `abatch`."""

    async def call(runnable, *args, **kwargs):
        result = getattr(runnable, request.param)(*args, **kwargs)
        return await result if request.param == "abatch" else result

    return call
