"""The LangChain compressor: in its usual place, traced, and strict about what it is given."""

import copy
import pickle

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document

from langchain_rankgate import RankGateRerank
from rankgate.errors import InputError, PolicyError
from rankgate.testing import FailingScorer, FakeScorer

QUERY = "red green"
TEXTS = ("red apple", "whale", "red green fish")


def documents(*cosines):
    return [
        Document(page_content=t, metadata={} if c is None else {"cosine": c})
        for t, c in zip(TEXTS, cosines or (None,) * 3, strict=True)
    ]


def texts(found):
    return [d.page_content for d in found]


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.runs, self.ended, self.failed = [], [], []

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, **kwargs):
        self.runs.append((kwargs.get("name"), run_id, parent_run_id))

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.runs.append((kwargs.get("name"), run_id, parent_run_id))
        assert inputs["query"] == QUERY

    def on_chain_end(self, outputs, **kwargs):
        self.ended.append(outputs)

    def on_chain_error(self, error, **kwargs):
        self.failed.append(type(error))


async def test_in_a_contextual_compression_retriever(make_chroma, policies):
    store = make_chroma([(t, 0.9 - i / 10) for i, t in enumerate(TEXTS)])
    retriever = ContextualCompressionRetriever(
        base_compressor=RankGateRerank(scorer=FakeScorer(), policy=policies.fitted, top_n=2),
        base_retriever=store.as_retriever(search_kwargs={"k": 3}),
    )
    for run in (retriever.invoke, retriever.ainvoke):
        recorder = Recorder()
        found = run(QUERY, {"callbacks": [recorder]})
        if run == retriever.ainvoke:
            found = await found
        assert texts(found) == ["red green fish", "red apple"]
        names = [name for name, _, _ in recorder.runs]
        assert names == ["ContextualCompressionRetriever", "VectorStoreRetriever", "RankGateRerank"]
        outer, ours = recorder.runs[0], recorder.runs[2]
        assert ours[2] == outer[1], "the run hangs in the air"
        assert [(e["outcome"], e["reason"]) for e in recorder.ended] == [("reranked", "no_gate")]
        assert recorder.ended[0]["documents"] == found


async def test_an_async_handler_is_served_too(policies):
    seen = []

    class Handler(AsyncCallbackHandler):
        async def on_chain_start(self, serialized, inputs, **kwargs):
            seen.append(("start", inputs["query"]))

        async def on_chain_end(self, outputs, **kwargs):
            seen.append(("end", outputs["outcome"]))

    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    await compressor.acompress_documents(documents(), QUERY, callbacks=[Handler()])
    assert seen == [("start", QUERY), ("end", "reranked")]


async def test_an_error_ends_the_run(policies):
    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.raw, dense_key="cosine")
    recorder = Recorder()
    with pytest.raises(InputError, match="cosine in"):
        compressor.compress_documents(documents(1, 5, 0), QUERY, callbacks=[recorder])
    with pytest.raises(InputError, match="cosine in"):
        await compressor.acompress_documents(documents(1, 5, 0), QUERY, callbacks=[recorder])
    assert recorder.failed == [InputError, InputError] and recorder.ended == []


def test_a_degraded_run_is_no_error(policies):
    compressor = RankGateRerank(scorer=FailingScorer(OSError("gone")), policy=policies.raw)
    recorder = Recorder()
    found = compressor.compress_documents(documents(), QUERY, callbacks=[recorder])
    assert texts(found) == list(TEXTS) and recorder.failed == []
    assert recorder.ended[0]["outcome"] == "degraded" and "gone" in recorder.ended[0]["detail"]


@pytest.mark.parametrize("wrong", [1.5, -1.01, float("nan"), float("inf"), "0.5", True])
def test_only_a_cosine_counts_as_one(policies, wrong):
    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.raw, dense_key="cosine")
    with pytest.raises(InputError, match=r"document 1: metadata\['cosine'\] should be a cosine"):
        compressor.compress_documents(documents(0.9, wrong, 0.1), QUERY)


def test_scores_in_metadata_are_read_only_if_asked_for(policies):
    outcomes = []
    settings = {"scorer": FakeScorer(), "policy": policies.raw, "on_outcome": outcomes.append}
    RankGateRerank(**settings).compress_documents(documents(0.9, 0.5, 0.0), QUERY)
    RankGateRerank(dense_key="cosine", **settings).compress_documents(
        documents(0.9, 0.5, 0.0), QUERY
    )
    RankGateRerank(dense_key="cosine", **settings).compress_documents(
        documents(0.9, None, 0.0), QUERY
    )
    assert [o.first_stage.value for o in outcomes] == ["order", "dense", "dense"]
    assert [o.signals.dense_margin_12 for o in outcomes] == [None, pytest.approx(0.4), None]


def test_a_document_keeps_its_class(policies):
    class Page(Document):
        number: int = 0

    given = [Page(id="p", page_content="red", number=7)]
    found = RankGateRerank(scorer=FakeScorer(), policy=policies.raw).compress_documents(
        given, QUERY
    )
    assert type(found[0]) is Page and found[0].number == 7 and found[0].id == "p"


def test_what_is_no_document_is_refused(policies):
    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    with pytest.raises(InputError, match="document 0 must be a langchain_core Document, got str"):
        compressor.compress_documents(["red"], QUERY)


def test_unknown_fields_are_refused_and_the_engine_is_not_swapped(policies):
    with pytest.raises(ValueError, match="topn"):
        RankGateRerank(topn=3)
    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.raw)
    compressor.top_n = 1
    assert len(compressor.compress_documents(documents(), QUERY)) == 1
    with pytest.raises(ValueError, match="top_n"):
        compressor.top_n = 0
    with pytest.raises(ValueError, match="frozen"):
        compressor.policy = policies.fitted


def test_from_policy(policies, tmp_path):
    file = tmp_path / "policy.json"
    policies.dropping.save(file)
    compressor = RankGateRerank.from_policy(str(file), scorer=FakeScorer(), top_n=2)
    assert texts(compressor.compress_documents(documents(), QUERY)) == [
        "red green fish",
        "red apple",
    ]
    with pytest.raises(PolicyError, match="cannot read policy file"):
        RankGateRerank.from_policy("no-such-file.json", scorer=FakeScorer())


def test_copies_and_pickles_work_alike(policies):
    compressor = RankGateRerank(scorer=FakeScorer(), policy=policies.fitted, top_n=2)
    expected = compressor.compress_documents(documents(), QUERY)
    for twin in (
        copy.copy(compressor),
        copy.deepcopy(compressor),
        compressor.model_copy(update={"top_n": 2}),
        pickle.loads(pickle.dumps(compressor)),
    ):
        assert twin.compress_documents(documents(), QUERY) == expected
    assert "scorer" not in repr(compressor) and "scorer" not in compressor.model_dump()
