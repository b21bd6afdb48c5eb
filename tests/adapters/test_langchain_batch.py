"""Batches of the retriever: one call to the scorer, one run a query, errors where they belong."""

import threading

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_rankgate import RankGateRetriever, RefusedError
from rankgate import Candidate
from rankgate.errors import InputError
from rankgate.testing import FailingScorer, FakeScorer, candidates_of

TEXTS = ("red apple", "green pear", "red green fish", "blue whale")
QUERIES = ["red green", "blue whale", "green pear"]
BEST = ["red green fish", "blue whale", "green pear"]


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.started, self.ended, self.failed, self.seen = {}, {}, {}, []

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, **kwargs):
        self.started[run_id] = (kwargs.get("name"), query, parent_run_id)
        self.seen.append((query, kwargs.get("tags"), kwargs.get("metadata")))

    def on_retriever_end(self, documents, *, run_id, **kwargs):
        self.ended[run_id] = [d.page_content for d in documents]

    def on_retriever_error(self, error, *, run_id, **kwargs):
        self.failed[run_id] = error


@pytest.fixture
def scorer():
    return FakeScorer()


@pytest.fixture
def retriever(scorer, policies):
    def first_stage(query, k):
        if query == "broken":
            raise ConnectionError("index down")
        if query == "unusable":
            return ["no candidate"]
        return candidates_of(TEXTS)[:k]

    return RankGateRetriever.from_first_stage(first_stage, scorer=scorer, policy=policies.raw)


def tops(results):
    return [found[0].page_content for found in results]


async def test_the_scorer_is_asked_once_for_all_queries(batch, retriever, scorer):
    results = await batch(retriever, QUERIES)
    assert tops(results) == BEST
    assert scorer.calls == 1 and [job.query for job in scorer.jobs] == QUERIES


async def test_a_batch_gives_what_single_calls_give(batch, retriever):
    results = await batch(retriever, QUERIES, top_n=2)
    assert results == [retriever.invoke(q, top_n=2) for q in QUERIES]
    assert [len(found) for found in results] == [2, 2, 2]


async def test_skipped_queries_do_not_reach_the_scorer(batch, policies, scorer):
    def first_stage(query, k):
        return candidates_of(TEXTS[:1] if query == "blue whale" else TEXTS)

    retriever = RankGateRetriever.from_first_stage(first_stage, scorer=scorer, policy=policies.raw)
    results = await batch(retriever, QUERIES)
    assert scorer.calls == 1 and [j.query for j in scorer.jobs] == ["red green", "green pear"]
    assert [r[0].metadata["rankgate_outcome"] for r in results] == [
        "reranked", "skipped", "reranked",
    ]  # fmt: skip


async def test_of_nothing_comes_nothing(batch, retriever, scorer):
    assert await batch(retriever, []) == []
    assert scorer.calls == 0


async def test_every_query_has_its_run(batch, retriever):
    recorder = Recorder()
    configs = [
        {"callbacks": [recorder], "tags": [f"t{i}"], "metadata": {"n": i}, "run_name": f"run{i}"}
        for i in range(3)
    ]
    await batch(retriever, QUERIES, configs)
    assert [(name, query) for name, query, _ in recorder.started.values()] == [
        ("run0", QUERIES[0]), ("run1", QUERIES[1]), ("run2", QUERIES[2]),
    ]  # fmt: skip
    assert [found[0] for found in recorder.ended.values()] == BEST
    assert [(tags, metadata["n"]) for _, tags, metadata in recorder.seen] == [
        (["t0"], 0), (["t1"], 1), (["t2"], 2),
    ]  # fmt: skip
    assert {m["ls_retriever_name"] for _, _, m in recorder.seen} == {"rankgate"}


async def test_one_config_serves_all(batch, retriever):
    recorder = Recorder()
    await batch(retriever, QUERIES, {"callbacks": [recorder]})
    assert [name for name, _, _ in recorder.started.values()] == ["RankGateRetriever"] * 3
    assert len(recorder.ended) == 3 and recorder.failed == {}


async def test_a_config_list_of_another_length_is_refused(batch, retriever, scorer):
    with pytest.raises(ValueError, match="same length as inputs"):
        await batch(retriever, QUERIES, [{}, {}])
    assert scorer.calls == 0


async def test_a_childs_runs_stand_below_their_own_parents(batch, policies, scorer):
    inner = RankGateRetriever.from_first_stage(
        lambda query, k: candidates_of(TEXTS), scorer=FakeScorer(), policy=policies.raw
    )
    outer = RankGateRetriever.from_retriever(inner, scorer=scorer, policy=policies.raw, name="o")
    recorder = Recorder()
    await batch(outer, QUERIES, {"callbacks": [recorder]})
    parents = {run: query for run, (name, query, _) in recorder.started.items() if name == "o"}
    children = [(q, up) for name, q, up in recorder.started.values() if name != "o"]
    assert len(parents) == len(children) == 3
    assert all(parents[up] == query for query, up in children)
    assert scorer.calls == 1


@pytest.mark.parametrize(("bad", "error"), [("broken", ConnectionError), ("unusable", InputError)])
async def test_an_error_stands_in_its_querys_place(batch, retriever, scorer, bad, error):
    recorder = Recorder()
    queries = [QUERIES[0], bad, QUERIES[2]]
    results = await batch(retriever, queries, {"callbacks": [recorder]}, return_exceptions=True)
    assert isinstance(results[1], error)
    assert tops([results[0], results[2]]) == [BEST[0], BEST[2]]
    assert [type(e) for e in recorder.failed.values()] == [error]
    assert len(recorder.ended) == 2
    if bad == "broken":
        assert scorer.calls == 1


async def test_a_question_that_is_none_is_an_error_before_the_first_stage(batch, policies):
    asked = []

    def first_stage(query, k):
        asked.append(query)
        return candidates_of(TEXTS)

    retriever = RankGateRetriever.from_first_stage(
        first_stage, scorer=FakeScorer(), policy=policies.raw
    )
    results = await batch(retriever, [QUERIES[0], None, {"query": "x"}], return_exceptions=True)
    assert [type(r) for r in results] == [list, InputError, InputError]
    assert "query must be a string, got NoneType" in str(results[1])
    assert asked == QUERIES[:1]


async def test_without_return_exceptions_the_first_error_is_raised(batch, retriever, scorer):
    recorder = Recorder()
    with pytest.raises(ConnectionError, match="index down"):
        await batch(retriever, [QUERIES[0], "broken"], {"callbacks": [recorder]})
    assert scorer.calls == 0, "the scorer worked for nothing"
    assert len(recorder.failed) == 2 and recorder.ended == {}, "a run stays open"


@pytest.mark.parametrize("isolate", [True, False])
async def test_a_senseless_argument_is_every_querys_error(batch, retriever, isolate):
    recorder = Recorder()
    call = batch(retriever, QUERIES, {"callbacks": [recorder]}, return_exceptions=isolate, top_n=0)
    if isolate:
        assert [type(r) for r in await call] == [InputError] * 3
    else:
        with pytest.raises(InputError, match="top_n must be"):
            await call
    assert len(recorder.failed) == 3


async def test_a_failing_scorer_degrades_all(batch, policies):
    scorer = FailingScorer(RuntimeError("no GPU"))
    retriever = RankGateRetriever.from_first_stage(
        lambda query, k: candidates_of(TEXTS), scorer=scorer, policy=policies.raw
    )
    results = await batch(retriever, QUERIES)
    assert scorer.calls == 1 + 3, "together, then one by one: whose fault it was is seen there"
    assert [found[0].metadata["rankgate_outcome"] for found in results] == ["degraded"] * 3


async def test_what_on_outcome_raises_is_one_querys_error(batch, retriever):
    def told(outcome):
        if outcome.query == QUERIES[1]:
            raise LookupError("told")

    retriever.on_outcome = told
    results = await batch(retriever, QUERIES, return_exceptions=True)
    assert [type(r) for r in results] == [list, LookupError, list]
    with pytest.raises(LookupError, match="told"):
        await batch(retriever, QUERIES)


async def test_refusals_by_setting(batch, policies):
    def make(**settings):
        return RankGateRetriever.from_first_stage(
            lambda query, k: candidates_of(TEXTS),
            scorer=FakeScorer(), policy=policies.refusing, **settings,
        )  # fmt: skip

    assert await batch(make(), QUERIES) == [[], [], []]
    raised = await batch(make(when_refused="raise"), QUERIES, return_exceptions=True)
    assert [type(r) for r in raised] == [RefusedError] * 3
    assert raised[0].outcome.reason == "below_floor"
    marked = await batch(make(when_refused="mark", top_n=2), QUERIES)
    assert tops(marked) == BEST and [len(found) for found in marked] == [2, 2, 2]
    assert {d.metadata["rankgate_outcome"] for found in marked for d in found} == {"refused"}
    with pytest.raises(ValueError, match="when_refused"):
        make(when_refused="shrug")


async def test_max_concurrency_bounds_the_first_stage(batch, policies):
    lock, now, most = threading.Lock(), [0], [0]
    gate = threading.Event()

    def first_stage(query, k):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(0.02)
        with lock:
            now[0] -= 1
        return candidates_of(TEXTS)

    retriever = RankGateRetriever.from_first_stage(
        first_stage, scorer=FakeScorer(), policy=policies.raw
    )
    await batch(retriever, QUERIES * 3, {"max_concurrency": 2})
    assert most[0] <= 2


async def test_first_stages_run_side_by_side(batch, policies):
    together = threading.Barrier(3, timeout=10)

    def first_stage(query, k):
        together.wait()  # breaks unless all three are here
        return candidates_of(TEXTS)

    retriever = RankGateRetriever.from_first_stage(
        first_stage, scorer=FakeScorer(), policy=policies.raw
    )
    assert tops(await batch(retriever, QUERIES)) == BEST


async def test_a_chain_over_a_batch_asks_the_scorer_once(batch, retriever, scorer):
    chain = retriever | RunnableLambda(lambda documents: documents[0].page_content)
    assert await batch(chain, QUERIES) == BEST
    assert scorer.calls == 1
    isolated = await batch(chain, [QUERIES[0], "broken"], return_exceptions=True)
    assert isolated[0] == BEST[0] and isinstance(isolated[1], ConnectionError)


async def test_bound_arguments_keep_the_batch_together(batch, retriever, scorer):
    results = await batch(retriever.bind(top_n=1), QUERIES)
    assert [[d.page_content for d in found] for found in results] == [[b] for b in BEST]
    assert scorer.calls == 1


async def test_configurable_fields_are_honoured_query_by_query(batch, retriever):
    flexible = retriever.configurable_fields(
        top_n=ConfigurableField(id="top_n"), force=ConfigurableField(id="force")
    )
    chain = flexible | RunnableLambda(
        lambda found: [(d.page_content, d.metadata["rankgate_outcome"]) for d in found]
    )
    configs = [{"configurable": {"top_n": 1}}, {"configurable": {"top_n": 2, "force": "skip"}}]
    assert await batch(chain, QUERIES[:2], configs) == [
        [("red green fish", "reranked")],
        [("red apple", "skipped"), ("green pear", "skipped")],
    ]
    fixed = chain.with_config(configurable={"top_n": 1})
    assert await batch(fixed, QUERIES[:1]) == [[("red green fish", "reranked")]]
    with pytest.raises(ValueError, match="top_n"):
        await batch(chain, QUERIES[:1], {"configurable": {"top_n": 0}})


def test_the_first_stage_alone_for_calibration(policies, make_chroma):
    store = make_chroma([(t, 0.9 - i / 10) for i, t in enumerate(TEXTS)])
    retriever = RankGateRetriever.from_chroma(store, scorer=FakeScorer(), policy=policies.raw, k=3)
    given = retriever.candidates("red")
    assert [c.text for c in given] == list(TEXTS[:3]) and isinstance(given[0], Candidate)
    assert [c.dense for c in given] == pytest.approx([0.9, 0.8, 0.7], abs=1e-5)
    assert len(retriever.candidates("red", k=1)) == 1


async def test_the_first_stage_alone_without_blocking(retriever, scorer):
    assert await retriever.acandidates("red", k=2) == candidates_of(TEXTS)[:2]
    assert scorer.calls == 0


def test_from_policy_sees_what_it_is_over(policies, tmp_path, make_chroma):
    file = tmp_path / "policy.json"
    policies.raw.save(file)
    store = make_chroma([(t, 0.9 - i / 10) for i, t in enumerate(TEXTS)])
    child = RunnableLambda(lambda query: [Document(page_content=t) for t in TEXTS])
    for first_stage, source in (
        (store, "StoreFinder"),
        (store.as_retriever(), "StoreFinder"),
        (child, "RetrieverFinder"),
        ([child, store.as_retriever()], "FusedFinder"),
        ({"a": child}, "FusedFinder"),
        (lambda query, k: candidates_of(TEXTS), "CandidateFinder"),
    ):
        made = RankGateRetriever.from_policy(str(file), first_stage, scorer=FakeScorer(), top_n=1)
        assert type(made.finder).__name__ == source
        assert [d.page_content for d in made.invoke("red green")] == ["red green fish"]
