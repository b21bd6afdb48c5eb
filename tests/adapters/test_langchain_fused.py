"""Several retrievers behind one: fused by reciprocal ranks, twins joined, failures survived."""

import asyncio
import threading

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_rankgate import RankGateRetriever
from rankgate import FirstStageKind, Status
from rankgate.errors import InputError
from rankgate.retrieve import reciprocal_rank_fusion
from rankgate.testing import FakeScorer

QUERY = "red green"


class Fixed(BaseRetriever):
    rows: list

    def _get_relevant_documents(self, query, *, run_manager):
        return self.rows


class Takes(Fixed):
    """Takes one argument, and remembers it."""

    seen: list

    def _get_relevant_documents(self, query, *, run_manager, colour=None):
        self.seen.append(colour)
        return self.rows


class Broken(BaseRetriever):
    error: Exception

    def _get_relevant_documents(self, query, *, run_manager):
        raise self.error


def docs(*names, **metadata):
    return [Document(id=n, page_content=f"text {n}", metadata=dict(metadata)) for n in names]


def fused_over(policies, retrievers, **settings):
    settings = {"scorer": FakeScorer(), "policy": policies.raw, **settings}
    return RankGateRetriever.from_retrievers(retrievers, **settings)


def order(outcome):
    by_rank = sorted(outcome.passages, key=lambda p: p.candidate.rank)
    return [p.candidate.id for p in by_rank]


def test_the_order_is_the_engines_rrf(policies):
    lists = [["a", "b", "c", "d"], ["d", "b", "e"]]
    retriever = fused_over(policies, [Fixed(rows=docs(*names)) for names in lists], rrf_k=10.0)
    outcome = retriever.retrieve_outcome(QUERY)
    expected = reciprocal_rank_fusion(lists, k=10.0)
    assert order(outcome) == [i for i, _ in expected] == ["b", "d", "a", "c", "e"]
    fused = {p.candidate.id: p.candidate.fused for p in outcome.passages}
    assert fused == pytest.approx(dict(expected))
    assert outcome.first_stage is FirstStageKind.ORDER and outcome.notes == ()


@pytest.mark.parametrize("weights", [[0.2, 1.0], {"two": 1.0, "one": 0.2}])
def test_weights(policies, weights):
    named = {"one": Fixed(rows=docs("a", "b")), "two": Fixed(rows=docs("c", "b"))}
    retrievers = list(named.values()) if isinstance(weights, list) else named
    assert order(fused_over(policies, retrievers, weights=weights).retrieve_outcome(QUERY)) == [
        "b", "c", "a",
    ]  # fmt: skip


def test_a_retriever_of_weight_zero_is_not_asked(policies):
    broken = Broken(error=AssertionError("asked"))
    retriever = fused_over(policies, [Fixed(rows=docs("a")), broken], weights=[1, 0])
    outcome = retriever.retrieve_outcome(QUERY)
    assert order(outcome) == ["a"] and outcome.notes == ()


def test_ranks_by_retriever_stand_in_the_metadata(policies):
    retriever = fused_over(
        policies, {"dense": Fixed(rows=docs("a", "b")), "words": Fixed(rows=docs("b"))}
    )
    found = {d.id: d.metadata for d in retriever.invoke(QUERY)}
    assert found["b"]["rankgate_found_by"] == {"dense": 2, "words": 1}
    assert found["a"]["rankgate_found_by"] == {"dense": 1}
    assert found["b"]["rankgate_fused"] == pytest.approx(1 / 62 + 1 / 61)
    assert "rankgate_failed_retrievers" not in found["a"]


def test_retrievers_of_one_class_are_told_apart(policies):
    retriever = fused_over(policies, [Fixed(rows=docs("a")), Fixed(rows=docs("b"))])
    found_by = [d.metadata["rankgate_found_by"] for d in retriever.invoke(QUERY)]
    assert found_by == [{"Fixed": 1}, {"Fixed-2": 1}]


def texts_found(policies, lists, **settings):
    retriever = fused_over(policies, [Fixed(rows=rows) for rows in lists], **settings)
    return [(d.id, d.page_content) for d in retriever.invoke(QUERY)]


def test_the_same_id_is_the_same_passage_and_the_first_list_gives_the_document(policies):
    first = [Document(id="x", page_content="old", metadata={"from": 1})]
    second = [Document(id="x", page_content="new", metadata={"from": 2})]
    assert texts_found(policies, [first, second]) == [("x", "old")]


def test_without_an_id_the_text_is_what_counts(policies):
    bare = [Document(page_content="text a"), Document(page_content="text z")]
    assert texts_found(policies, [bare, docs("a")]) == [
        (None, "text a"), (None, "text z"),
    ]  # fmt: skip
    # Two stores' own ids for one text stay two passages, unless content is what counts.
    twins = [Document(id="other", page_content="text a")]
    assert len(texts_found(policies, [docs("a"), twins])) == 2
    assert len(texts_found(policies, [docs("a"), twins], same_by="content")) == 1


def test_ids_may_stand_in_the_metadata(policies):
    one = [Document(page_content="v1", metadata={"key": 7})]
    two = [Document(page_content="v2", metadata={"key": 7})]
    assert texts_found(policies, [one, two], id_key="key") == [(None, "v1")]
    assert len(texts_found(policies, [one, two])) == 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_failing_retriever_is_left_out_and_named(policies, how, caplog):
    retriever = fused_over(
        policies,
        {"dense": Broken(error=ConnectionError("index down")), "words": Fixed(rows=docs("a"))},
    )
    found = getattr(retriever, how)(QUERY)
    if how == "ainvoke":
        found = await found
    assert [d.id for d in found] == ["a"]
    assert found[0].metadata["rankgate_failed_retrievers"] == {
        "dense": "ConnectionError: index down"
    }
    assert "dense failed: ConnectionError: index down" in caplog.text
    outcome = await retriever.aretrieve_outcome(QUERY)
    assert outcome.notes == ("retriever_failed: dense: ConnectionError: index down",)
    assert outcome.status is Status.SKIPPED  # one candidate; the second stage did not fail


@pytest.mark.parametrize("how", ["retrieve_outcome", "aretrieve_outcome"])
async def test_when_all_fail_nothing_found_is_not_claimed(policies, how):
    retriever = fused_over(
        policies, [Broken(error=ConnectionError("one")), Broken(error=OSError("two"))]
    )
    with pytest.raises(ConnectionError, match="one") as caught:
        result = getattr(retriever, how)(QUERY)
        if how == "aretrieve_outcome":
            await result
    assert caught.value.__notes__ == ["all retrievers failed: Broken, Broken-2"]


def test_a_callers_mistake_is_no_failure_of_a_retriever(policies):
    inner = fused_over(policies, [Fixed(rows=docs("a"))])
    outer = fused_over(policies, [inner, Fixed(rows=docs("b"))])
    with pytest.raises(InputError, match="does not know the argument 'colour'"):
        outer.invoke(QUERY, colour="red")
    not_documents = RunnableLambda(lambda query: ["text"])
    with pytest.raises(InputError, match="must be a langchain_core Document"):
        fused_over(policies, [not_documents, Fixed(rows=docs("b"))]).invoke(QUERY)


def test_an_argument_goes_to_the_retrievers_that_take_it(policies):
    takes = Takes(rows=docs("a"), seen=[])
    retriever = fused_over(policies, [takes, Fixed(rows=docs("b"))])
    assert len(retriever.invoke(QUERY, colour="red")) == 2
    assert takes.seen == ["red"]
    with pytest.raises(InputError, match=r"argument 'size'; known: .*colour"):
        retriever.invoke(QUERY, size=3)


def test_k_cuts_the_fused_list(policies):
    retriever = fused_over(policies, [Fixed(rows=docs("a", "b")), Fixed(rows=docs("c", "b"))])
    assert order(retriever.retrieve_outcome(QUERY, k=2)) == ["b", "a"]
    policy = policies.of(k=1)
    cut = fused_over(policies, [Fixed(rows=docs("a", "b"))], policy=policy)
    assert order(cut.retrieve_outcome(QUERY)) == ["a"]


class Sized(BaseRetriever):
    """Takes k, and remembers it."""

    rows: list
    asked: list

    def _get_relevant_documents(self, query, *, run_manager, k=4):
        self.asked.append(k)
        return self.rows[:k]


def test_fewer_fused_candidates_are_the_head_of_more(policies):
    names = [f"p{i}" for i in range(120)]
    children = [
        Sized(rows=docs(*names), asked=[]),
        Sized(rows=docs(*(names[(i * 37) % 120] for i in range(120))), asked=[]),
    ]
    retriever = fused_over(policies, children)
    long = [c.id for c in retriever.candidates(QUERY, 100)]
    for k in (3, 50, 51):
        assert [c.id for c in retriever.candidates(QUERY, k)] == long[:k]
    # Each list is read in whole pages; a child's own number stands where nobody names k.
    assert children[0].asked == children[1].asked == [100, 50, 50, 100]
    retriever.retrieve_outcome(QUERY)
    assert children[0].asked[-1] == 4


def test_blocking_retrievers_run_side_by_side(policies):
    together = threading.Barrier(2, timeout=10)

    def wait(query):
        together.wait()  # breaks unless the other is here at the same time
        return docs("a")

    retriever = fused_over(policies, [RunnableLambda(wait), RunnableLambda(wait)])
    outcome = retriever.retrieve_outcome(QUERY)
    assert order(outcome) == ["a"] and outcome.notes == ()


async def test_async_retrievers_run_side_by_side(policies):
    here, arrived = asyncio.Event(), []

    async def wait(query):
        arrived.append(query)
        if len(arrived) == 2:
            here.set()
        await asyncio.wait_for(here.wait(), 10)
        return docs("a")

    child = RunnableLambda(lambda query: [], afunc=wait)
    outcome = await fused_over(policies, [child, child]).aretrieve_outcome(QUERY)
    assert order(outcome) == ["a"] and outcome.notes == ()


async def test_a_cancelled_call_is_cancelled(policies):
    started = asyncio.Event()

    async def wait(query):
        started.set()
        await asyncio.Event().wait()  # for ever

    child = RunnableLambda(lambda query: [], afunc=wait)
    task = asyncio.ensure_future(fused_over(policies, [child, child]).ainvoke(QUERY))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("retrievers", "settings", "match"),
    [
        ([], {}, "at least one retriever"),
        (2, {"weights": [1.0]}, "2 retrievers, but 1 weights"),
        (2, {"weights": [1.0, -1.0]}, "must be a number >= 0, got -1.0"),
        (2, {"weights": [1.0, float("nan")]}, "must be a number >= 0, got nan"),
        (2, {"weights": [0.0, 0.0]}, "one of the weights must be above 0"),
        (2, {"weights": {"Fixed": 1.0, "x": 1.0}}, "must name the retrievers"),
        (2, {"rrf_k": 0}, "rrf_k must be"),
        (2, {"same_by": "text"}, "same_by must be 'id' or 'content'"),
    ],
)
def test_what_does_not_fit_is_refused(policies, retrievers, settings, match):
    made = [Fixed(rows=[]) for _ in range(retrievers)] if retrievers else []
    with pytest.raises(InputError, match=match):
        fused_over(policies, made, **settings)


def test_tracing_knows_the_first_store(policies, make_chroma):
    store = make_chroma([("red", 0.9)])
    retriever = fused_over(policies, [Fixed(rows=docs("a")), store.as_retriever()])
    assert retriever._get_ls_params()["ls_vector_store_provider"] == "Chroma"
    assert retriever._get_ls_params()["ls_retriever_name"] == "rankgate"
