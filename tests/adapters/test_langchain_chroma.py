"""The LangChain retriever over a real Chroma: spaces, distances, filters."""

import pytest

from langchain_rankgate import RankGateRetriever
from rankgate import FirstStageKind
from rankgate.errors import ConfigError, InputError
from rankgate.testing import FakeScorer

COSINES = [("red apple", 0.9), ("green pear", 0.5), ("red green fish", 0.1), ("whale", -0.4)]

QUERY = "red green"


def texts(documents):
    return [d.page_content for d in documents]


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_distances_of_every_space_become_cosines(make_chroma, policies, space):
    store = make_chroma(COSINES, space=space)
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw)
    outcome = retriever.retrieve_outcome(QUERY)
    found = {p.candidate.text: p.candidate.dense for p in outcome.passages}
    assert found == pytest.approx(dict(COSINES), abs=1e-5)
    assert outcome.first_stage is FirstStageKind.DENSE
    assert outcome.signals.dense_margin_12 == pytest.approx(0.4, abs=1e-5)


def test_the_space_of_an_older_collection_stands_in_its_metadata(make_chroma, policies):
    store = make_chroma(COSINES, collection_metadata={"hnsw:space": "cosine"})
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw)
    assert retriever.finder.scores.space == "cosine"


def test_a_collection_that_names_no_space_is_l2(make_chroma, policies):
    store = make_chroma(COSINES, collection_metadata={"about": "fish"})
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw)
    assert retriever.finder.scores.space == "l2"
    assert retriever.retrieve_outcome(QUERY).passages[0].candidate.dense == pytest.approx(
        0.1, abs=1e-5
    )


class Named:
    """The part of a collection that names a space."""

    def __init__(self, configuration, metadata=None):
        self.configuration_json, self.metadata = configuration, metadata


class Shell:
    """A store around such a collection."""

    def __init__(self, collection):
        self._collection = collection


@pytest.mark.parametrize(
    ("store", "match"),
    [
        (object(), "shows no Chroma collection"),
        (Shell(object()), "shows no Chroma collection"),
        (Shell(Named({"hnsw": {"space": "jaccard"}})), "unknown vector space 'jaccard'"),
        (Shell(Named({"spann": {"space": "hamming"}})), "unknown vector space 'hamming'"),
        (Shell(Named(None, {"hnsw:space": "odd"})), "unknown vector space 'odd'"),
    ],
)
def test_a_space_that_is_not_understood_is_refused(store, match):
    with pytest.raises(ConfigError, match=match):
        RankGateRetriever.from_chroma(store)


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_vectors_that_are_not_of_unit_length_give_cosines_too(make_chroma, policies, space):
    store = make_chroma([], space=space)
    store._collection.add(ids=["long"], embeddings=[[30.0, 40.0]], documents=["x"])
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw, k=1)
    (passage,) = retriever.retrieve_outcome(QUERY).passages
    assert passage.candidate.dense == pytest.approx(0.6, abs=1e-5)


def test_chroma_filters_are_handed_on_and_slips_are_not(make_chroma, policies):
    metadatas = [{"lang": "en"}, {"lang": "de"}, {"lang": "en"}, {"lang": "de"}]
    store = make_chroma(COSINES, metadatas=metadatas)
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw)
    assert texts(retriever.invoke(QUERY, filter={"lang": "de"})) == ["green pear", "whale"]
    found = retriever.invoke(QUERY, where_document={"$contains": "fish"})
    assert texts(found) == ["red green fish"]
    with pytest.raises(InputError, match="does not know the argument 'fliter'"):
        retriever.invoke(QUERY, fliter={"lang": "de"})
