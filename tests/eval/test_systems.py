"""Systems under test: adapters, failures, wrong ids."""

import dataclasses
import itertools
import sys
import uuid

import pytest

from rankgate.errors import InputError, MissingExtraError
from rankgate.retrieve import MemoryIndex
from rankgate.testing import candidates_of
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.readers.run import Run
from rankgate_eval.errors import SystemFailedError
from rankgate_eval.run.collect import collect
from rankgate_eval.run.system import (
    CallableStage,
    FirstStage,
    IndexStage,
    RetrieverStage,
    RunStage,
    as_first_stage,
)

DATA = Dataset(
    name="made",
    corpus={"p1": "rain falls", "p2": "snow falls", "p3": "sun shines"},
    queries={"a": "rain", "b": "snow", "c": "snow", "d": "sun"},
    qrels={"a": {"p1": 1}, "b": {"p2": 1}, "d": {"p3": 1}},
    splits={},
)


def passage(identifier, rank=1):
    return Candidate(id=identifier, text=DATA.corpus.get(identifier, "?"), rank=rank)


def ids(candidates):
    return [c.id for c in candidates]


def test_a_function_may_return_candidates_or_ids():
    stage = as_first_stage(lambda query, k: ["p2", passage("p1", 2)][:k], data=DATA)
    assert isinstance(stage, FirstStage)
    found = stage.candidates("rain", 2)
    assert ids(found) == ["p2", "p1"] and found[0].text == "snow falls"
    assert found[0].dense is None and found[0].rank == 1


def test_an_object_with_candidates():
    class Mine:
        def candidates(self, query, k):
            return [passage("p3")]

    assert ids(as_first_stage(Mine()).candidates("x", 5)) == ["p3"]


def test_what_is_no_system():
    async def later(query, k):
        return []

    class Half:
        def candidates_for(self, query_id, query, k):
            return []

    with pytest.raises(InputError, match="got int"):
        as_first_stage(5)
    with pytest.raises(InputError, match="coroutine"):
        as_first_stage(later)
    with pytest.raises(InputError, match="not candidates"):
        as_first_stage(Half())
    with pytest.raises(InputError, match="data="):
        as_first_stage(Run(name="r", lists={}))
    with pytest.raises(InputError, match="expected a function"):
        CallableStage(None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("p1", "expected a list"),
        (None, "expected a list"),
        ([7], "got int"),
        (["ghost"], "'ghost' is not in the corpus"),
    ],
)
def test_wrong_answers_of_a_function(answer, message):
    with pytest.raises(InputError, match=message):
        as_first_stage(lambda query, k: answer, data=DATA).candidates("x", 3)
    with pytest.raises(InputError, match="give the data set"):
        as_first_stage(lambda query, k: ["p1"]).candidates("x", 3)


def test_a_run_is_read_by_query_id():
    run = Run(name="r", lists={"a": ("p3", "p1"), "b": ("p2",), "c": ("p1",)})
    stage = as_first_stage(run, data=DATA)
    assert isinstance(stage, RunStage)
    assert ids(stage.candidates("rain", 1)) == ["p3"]
    with pytest.raises(InputError, match="several queries"):
        stage.candidates("snow", 5)
    with pytest.raises(InputError, match="no query has"):
        stage.candidates("hail", 5)
    found = collect(stage, DATA, list(DATA.queries), k=5).found
    assert {q: ids(f.candidates) for q, f in found.items()} == {
        "a": ["p3", "p1"],
        "b": ["p2"],
        "c": ["p1"],
        "d": [],
    }
    assert all(c.dense is None and c.bm25 is None for c in found["a"].candidates)


def test_the_index_hides_by_query():
    index = MemoryIndex.build(DATA.corpus)
    stage = as_first_stage(index, kind=FirstStageKind.BM25)
    assert ids(stage.candidates("falls", 5)) == ["p1", "p2"]
    hiding = dataclasses.replace(stage, hidden={"b": frozenset({"p2"})})
    assert isinstance(hiding, IndexStage)
    found = collect(hiding, DATA, ["b", "c"], k=5).found
    assert ids(found["b"].candidates) == [] and ids(found["c"].candidates) == ["p2"]


def test_collect_cuts_renumbers_and_leaves_repetitions_out():
    rows = [passage("p2", 9), passage("p2", 9), passage("p1", 4), passage("ghost", 1)]
    found = collect(CallableStage(lambda query, k: rows), DATA, ["a"], k=3).found["a"]
    assert [(c.id, c.rank) for c in found.candidates] == [("p2", 1), ("p1", 2), ("ghost", 3)]
    assert found.repeated == 1 and found.unknown == 1
    cut = collect(CallableStage(lambda query, k: rows), DATA, ["a"], k=1).found["a"]
    assert ids(cut.candidates) == ["p2"]


def test_a_failure_is_recorded_and_counts_as_nothing():
    def fragile(query, k):
        if query == "sun":
            raise ConnectionError("the index is away")
        return ["p1"]

    stage = as_first_stage(fragile, data=DATA)
    collected = collect(stage, DATA, list(DATA.queries), k=5, max_failures=0.25)
    assert list(collected.found) == ["a", "b", "c", "d"], "nothing is dropped"
    assert collected.failures == {"d": "ConnectionError: the index is away"}
    assert collected.found["d"].candidates == ()
    with pytest.raises(SystemFailedError, match=r"1 of the 4 queries.*5% of all 4.*'d'"):
        collect(stage, DATA, list(DATA.queries), k=5)


def test_a_broken_system_is_not_asked_to_the_end():
    calls = []

    def broken(query, k):
        calls.append(query)
        raise ValueError("no")

    with pytest.raises(SystemFailedError, match="ValueError: no"):
        collect(CallableStage(broken), DATA, list(DATA.queries), k=5, max_failures=0.25)
    assert len(calls) == 2
    assert len(collect(CallableStage(broken), DATA, ["a"], k=5, max_failures=1.0).failures) == 1


def test_ids_of_another_world_fail_the_run():
    stage = CallableStage(lambda query, k: candidates_of(["rain falls"]))
    with pytest.raises(SystemFailedError, match=r"'c0'.*'p1'.*id_key"):
        collect(stage, DATA, ["a", "b"], k=5)


def test_finding_nothing_at_all_is_a_result():
    found = collect(CallableStage(lambda query, k: []), DATA, ["a"], k=5).found
    assert found["a"].candidates == () and found["a"].error is None


def test_time_and_progress():
    ticks = itertools.count(step=0.25)
    seen = []
    collected = collect(
        as_first_stage(lambda query, k: ["p1"], data=DATA),
        DATA,
        ["a", "b", "a"],
        k=1,
        progress=lambda done, total: seen.append((done, total)),
        clock=lambda: float(next(ticks)),
    )
    assert [f.ms for f in collected.found.values()] == [250.0, 250.0] and seen == [(1, 2), (2, 2)]


def test_collect_refuses_wrong_arguments():
    stage = CallableStage(lambda query, k: [])
    with pytest.raises(InputError, match="'zz'"):
        collect(stage, DATA, ["zz"], k=5)
    with pytest.raises(InputError, match="k must be"):
        collect(stage, DATA, ["a"], k=0)
    with pytest.raises(InputError, match="share"):
        collect(stage, DATA, ["a"], k=1, max_failures=5)


@pytest.fixture
def chroma():
    """A real Chroma collection in memory with the three passages."""
    import chromadb
    from langchain_chroma import Chroma
    from langchain_core.embeddings import Embeddings

    axes = {"rain": [1.0, 0.0, 0.0], "snow": [0.6, 0.8, 0.0], "sun": [0.0, 0.0, 1.0]}

    class ByWord(Embeddings):
        def embed_query(self, text):
            return axes[text.split()[0]]

        def embed_documents(self, texts):
            return [self.embed_query(t) for t in texts]

    client = chromadb.EphemeralClient()
    store = Chroma(
        collection_name=f"c{uuid.uuid4().hex}",
        embedding_function=ByWord(),
        client=client,
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(
        list(DATA.corpus.values()),
        ids=[f"row-{i}" for i in range(3)],
        metadatas=[{"pid": i} for i in DATA.corpus],
    )
    yield store
    store.delete_collection()


def test_chroma_gives_cosines_under_the_data_sets_ids(chroma):
    stage = as_first_stage(chroma, id_key="pid")
    found = stage.candidates("rain", 3)
    assert ids(found) == ["p1", "p2", "p3"]
    assert [c.dense for c in found] == pytest.approx([1.0, 0.6, 0.0], abs=1e-5)
    assert len(collect(stage, DATA, ["a", "d"], k=2).found["d"].candidates) == 2
    with pytest.raises(InputError, match="no metadata 'nope'; its keys: pid"):
        as_first_stage(chroma, id_key="nope").candidates("rain", 1)
    with pytest.raises(SystemFailedError, match="'row-0'"):
        collect(as_first_stage(chroma), DATA, ["a"], k=3)


def test_a_langchain_retriever_is_asked_for_k(chroma):
    retriever = chroma.as_retriever(search_kwargs={"k": 1})
    found = as_first_stage(retriever, id_key="pid").candidates("rain", 3)
    assert ids(found) == ["p1", "p2", "p3"], "not the retriever's own 1"
    assert [c.dense for c in found] == pytest.approx([1.0, 0.6, 0.0], abs=1e-5), "as it is served"


def test_anything_with_invoke_will_do():
    class Document:
        def __init__(self, identifier):
            self.id, self.page_content, self.metadata = identifier, "text", {"n": 1}

    class Retriever:
        def invoke(self, query):
            return [Document("p2"), Document(None), Document("p1")]

    found = RetrieverStage(Retriever()).candidates("x", 2)
    assert ids(found) == ["p2", "document-2"] and found[0].metadata == {"n": 1}


def test_without_the_adapter_a_store_is_refused_by_name(chroma, monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_rankgate.stores", None)
    with pytest.raises(MissingExtraError, match=r"rankgate\[app\]"):
        RetrieverStage(chroma)
    retriever = chroma.as_retriever(search_kwargs={"k": 2})
    assert ids(RetrieverStage(retriever, id_key="pid").candidates("rain", 3)) == ["p1", "p2"]
