"""The runnable: a step of a chain over documents, batched, configurable, traced."""

import copy
import pickle

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough

from langchain_rankgate import RankGateRerank, RankGateRetriever, RankGateRunnable, RefusedError
from rankgate.errors import InputError, PolicyError
from rankgate.testing import FakeScorer

TEXTS = ("red apple", "green pear", "red green fish", "blue whale")
QUERIES = ["red green", "blue whale", "green pear"]
BEST = ["red green fish", "blue whale", "green pear"]


def documents():
    return [Document(id=f"d{i}", page_content=t) for i, t in enumerate(TEXTS)]


def given(query):
    return {"query": query, "documents": documents()}


def texts(found):
    return [d.page_content for d in found]


@pytest.fixture
def scorer():
    return FakeScorer()


@pytest.fixture
def runnable(scorer, policies):
    return RankGateRunnable(scorer=scorer, policy=policies.raw)


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.started, self.ended, self.failed = [], [], []

    def on_chain_start(self, serialized, inputs, **kwargs):
        self.started.append(kwargs.get("name"))

    def on_chain_end(self, outputs, **kwargs):
        self.ended.append(outputs)

    def on_chain_error(self, error, **kwargs):
        self.failed.append(type(error))


async def test_behind_a_dictionary(runnable):
    retriever = RunnableLambda(lambda query: documents())
    chain = {"query": RunnablePassthrough(), "documents": retriever} | runnable
    assert texts(chain.invoke("red green"))[0] == "red green fish"
    assert texts(await chain.ainvoke("blue whale"))[0] == "blue whale"


async def test_inside_assign_with_other_names(scorer, policies):
    step = RankGateRunnable(
        query_key="input", documents_key="context", scorer=scorer, policy=policies.raw, top_n=1
    )
    chain = RunnablePassthrough.assign(context=step)
    whole = {"input": "red green", "context": documents(), "history": ["kept"]}
    for result in (chain.invoke(whole), await chain.ainvoke(whole)):
        assert texts(result["context"]) == ["red green fish"]
        assert result["history"] == ["kept"] and result["input"] == "red green"


async def test_the_scorer_is_asked_once_for_all_inputs(batch, runnable, scorer):
    results = await batch(runnable, [given(q) for q in QUERIES])
    assert [texts(found)[0] for found in results] == BEST
    assert scorer.calls == 1 and [job.query for job in scorer.jobs] == QUERIES
    assert results == [runnable.invoke(given(q)) for q in QUERIES]
    assert await batch(runnable, []) == []


async def test_a_chains_batch_reaches_the_scorer_as_one(batch, runnable, scorer):
    retriever = RunnableLambda(lambda query: documents())
    chain = {"query": RunnablePassthrough(), "documents": retriever} | runnable
    assert [texts(found)[0] for found in await batch(chain, QUERIES)] == BEST
    assert scorer.calls == 1


async def test_an_error_stands_in_its_inputs_place(batch, runnable, scorer):
    recorder = Recorder()
    inputs = [given(QUERIES[0]), {"query": "no documents"}, given(7), given(QUERIES[2])]
    results = await batch(runnable, inputs, {"callbacks": [recorder]}, return_exceptions=True)
    assert [type(r) for r in results] == [list, InputError, InputError, list]
    assert texts(results[0])[0] == BEST[0] and texts(results[3])[0] == BEST[2]
    assert recorder.failed == [InputError, InputError] and len(recorder.ended) == 2
    with pytest.raises(InputError, match="no key 'documents', only"):
        await batch(runnable, inputs)


async def test_config_lists_are_honoured(batch, runnable):
    one, two = Recorder(), Recorder()
    configs = [{"callbacks": [one], "run_name": "first"}, {"callbacks": [two]}]
    await batch(runnable, [given(q) for q in QUERIES[:2]], configs)
    assert (one.started, two.started) == (["first"], ["RankGateRunnable"])
    assert [texts(r.ended[0])[0] for r in (one, two)] == BEST[:2]


async def test_overrides_of_one_call(runnable, scorer, batch):
    assert len(runnable.invoke(given("red green"), top_n=3)) == 3
    assert len(await runnable.ainvoke(given("red green"), top_n=1)) == 1
    skipped = runnable.invoke(given("red green"), force="skip")
    assert texts(skipped) == list(TEXTS)
    assert [len(r) for r in await batch(runnable, [given(q) for q in QUERIES], top_n=2)] == [2] * 3
    assert runnable.top_n is None


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"top_n": 0}, "top_n must be"), ({"force": "maybe"}, "force must be"),
        ({"deadline": 1.0}, "deadline must be"), ({"k": 3}, "k is the retriever's"),
        ({"colour": 1}, "does not know the argument 'colour'"),
    ],
)  # fmt: skip
async def test_arguments_that_cannot_be_used_are_rejected(runnable, scorer, kwargs, match):
    with pytest.raises(InputError, match=match):
        runnable.invoke(given("red"), **kwargs)
    with pytest.raises(InputError, match=match):
        await runnable.ainvoke(given("red"), **kwargs)
    assert scorer.calls == 0


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ("red", "must be a mapping with 'query' and 'documents', got str"),
        ({"documents": []}, "no key 'query', only"),
        ({"query": "red", "documents": "text"}, "must be a list of documents, got str"),
        ({"query": "red", "documents": None}, "must be a list of documents, got NoneType"),
        ({"query": "red", "documents": ["text"]}, "document 0 must be a langchain_core Document"),
        ({"query": None, "documents": []}, "query must be a string"),
    ],
)
def test_inputs_that_cannot_be_read_are_rejected(runnable, wrong, match):
    with pytest.raises(InputError, match=match):
        runnable.invoke(wrong)


def test_configurable_fields_through_a_chain(runnable, scorer):
    flexible = runnable.configurable_fields(
        top_n=ConfigurableField(id="top_n"), force=ConfigurableField(id="force")
    )
    chain = RunnablePassthrough() | flexible | RunnableLambda(texts)
    assert chain.invoke(given("red green"), {"configurable": {"top_n": 1}}) == ["red green fish"]
    skipping = chain.with_config(configurable={"force": "skip", "top_n": 2})
    assert skipping.invoke(given("red green")) == ["red apple", "green pear"]
    assert len(chain.invoke(given("red green"))) == 4
    assert scorer.calls == 2, "each configuration made a scorer of its own, or none was skipped"
    with pytest.raises(ValueError, match="top_n"):
        chain.invoke(given("red green"), {"configurable": {"top_n": "3"}})


async def test_what_follows_streams_untouched(runnable):
    answer = "The fish is red and green."

    def model():
        return GenericFakeChatModel(messages=iter([answer] * 2))

    alone = [piece.content for piece in model().stream("anything") if piece.content]
    assert len(alone) > 5
    chain = runnable | RunnableLambda(lambda found: found[0].page_content) | model()
    chain = chain | StrOutputParser()
    assert [piece for piece in chain.stream(given("red green")) if piece] == alone
    later = [piece async for piece in chain.astream(given("red green")) if piece]
    assert later == alone


def test_the_run_is_traced_with_its_error(runnable):
    recorder = Recorder()
    runnable.invoke(given("red green"), {"callbacks": [recorder]})
    with pytest.raises(InputError):
        runnable.invoke({}, {"callbacks": [recorder]})
    assert recorder.started == ["RankGateRunnable"] * 2
    assert texts(recorder.ended[0])[0] == "red green fish" and recorder.failed == [InputError]


def test_refusals_by_setting(policies):
    parts = {"scorer": FakeScorer(), "policy": policies.refusing}
    assert RankGateRunnable(**parts).invoke(given("red green")) == []
    with pytest.raises(RefusedError, match="below_floor: best probability") as caught:
        RankGateRunnable(when_refused="raise", **parts).invoke(given("red green"))
    assert pickle.loads(pickle.dumps(caught.value)).outcome == caught.value.outcome
    marked = RankGateRunnable(when_refused="mark", top_n=2, **parts).invoke(given("red green"))
    assert texts(marked) == ["red green fish", "red apple"]
    assert marked[0].metadata["rankgate_outcome"] == "refused"
    assert 0.0 < marked[0].metadata["relevance_score"] < 0.999


def test_the_compressor_refuses_in_the_same_ways(policies):
    parts = {"scorer": FakeScorer(), "policy": policies.refusing}
    with pytest.raises(RefusedError):
        RankGateRerank(when_refused="raise", **parts).compress_documents(documents(), "red")
    marked = RankGateRerank(when_refused="mark", top_n=1, **parts)
    assert texts(marked.compress_documents(documents(), "red green")) == ["red green fish"]
    skipping = RankGateRerank(force="skip", scorer=FakeScorer(), policy=policies.raw)
    assert texts(skipping.compress_documents(documents(), "red green")) == list(TEXTS)


def test_from_policy_and_a_shared_engine(policies, tmp_path, scorer):
    file = tmp_path / "policy.json"
    policies.dropping.save(file)
    one = RankGateRunnable.from_policy(str(file), scorer=scorer)
    assert texts(one.invoke(given("red green"))) == ["red green fish", "red apple", "green pear"]
    two = RankGateRunnable(engine=one.engine, top_n=1)
    assert texts(two.invoke(given("red green"))) == ["red green fish"]
    assert two.engine.get() is one.engine.get()
    with pytest.raises(InputError, match="engine= was given together"):
        RankGateRunnable(engine=one.engine, scorer=scorer)
    with pytest.raises(PolicyError, match="cannot read policy file"):
        RankGateRunnable.from_policy("no-such-file.json", scorer=scorer)


def test_copies_and_pickles_work_alike(policies):
    runnable = RankGateRunnable(scorer=FakeScorer(), policy=policies.fitted, top_n=2)
    expected = runnable.invoke(given("red green"))
    assert len(expected) == 2
    for twin in (
        copy.copy(runnable),
        copy.deepcopy(runnable),
        runnable.model_copy(),
        pickle.loads(pickle.dumps(runnable)),
    ):
        assert twin.invoke(given("red green")) == expected
    assert "engine" not in repr(runnable) and "engine" not in runnable.model_dump()


def test_settings_can_be_changed_but_not_to_nonsense(runnable):
    runnable.top_n = 1
    assert len(runnable.invoke(given("red green"))) == 1
    with pytest.raises(ValueError, match="top_n"):
        runnable.top_n = 0
    with pytest.raises(ValueError, match="frozen"):
        runnable.dense_key = "cosine"
    with pytest.raises(ValueError, match="topn"):
        RankGateRunnable(topn=3)


def test_numpy_scores_become_plain_numbers(policies):
    import json

    import numpy as np

    from rankgate import Candidate

    def first_stage(query, k):
        return [
            Candidate(
                id="a", text="red", rank=np.int64(1), dense=np.float32(0.5), bm25=np.float32(2)
            )
        ]

    retriever = RankGateRetriever.from_first_stage(
        first_stage, scorer=FakeScorer(), policy=policies.raw
    )
    metadata = retriever.invoke("red")[0].metadata
    assert json.loads(json.dumps(metadata))["rankgate_dense"] == 0.5
