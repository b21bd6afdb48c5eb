"""What a refusal and a failed scorer give: documents, errors, words, and a line in the trace."""

from dataclasses import replace

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rankgate import (
    DegradedError,
    RankGateRerank,
    RankGateRetriever,
    RankGateRunnable,
    create_retriever_tool,
)
from rankgate.adapters.refusal import REFUSAL, WEAK
from rankgate.testing import FailingScorer, FakeScorer

TEXTS = ["red apple", "green pear"]
FOUND = [Document(id=str(i), page_content=t) for i, t in enumerate(TEXTS)]
QUERY = "red green"


def over(policy, scorer=None, **settings):
    return RankGateRetriever.from_retriever(
        RunnableLambda(lambda query: FOUND),
        scorer=FakeScorer() if scorer is None else scorer,
        policy=policy,
        **settings,
    )


class Runs(BaseCallbackHandler):
    """What a tracer hears of chain runs."""

    def __init__(self):
        self.parents, self.retrievers, self.outputs = [], [], []

    def on_retriever_start(self, serialized, query, *, run_id, **kwargs):
        self.retrievers.append(run_id)

    def on_chain_start(self, serialized, inputs, *, parent_run_id=None, name=None, **kwargs):
        if name == "rankgate_outcome":
            self.parents.append(parent_run_id)

    def on_chain_end(self, outputs, *, parent_run_id=None, **kwargs):
        if parent_run_id in self.parents and isinstance(outputs, dict):
            self.outputs.append(outputs)


async def test_a_refusal_stands_in_the_trace_with_its_reason(policies):
    """Its run once ended with no documents, like that of a query to which there are none."""
    retriever = over(policies.refusing)
    for call in ("invoke", "ainvoke", "batch", "abatch"):
        runs = Runs()
        given = [QUERY, QUERY] if "batch" in call else QUERY
        result = getattr(retriever, call)(given, {"callbacks": [runs]})
        result = await result if call.startswith("a") else result
        assert result == ([[], []] if "batch" in call else [])
        assert runs.parents == runs.retrievers
        for said in runs.outputs:
            assert (said["outcome"], said["reason"]) == ("refused", "below_floor")
            assert "0.999" in said["detail"]
        assert len(runs.outputs) == len(runs.retrievers)


@pytest.mark.parametrize("of_langchain", [False, True])
async def test_an_agents_tool_says_a_refusal_in_words(policies, of_langchain):
    from langchain_core.tools import create_retriever_tool as langchains_own

    if of_langchain:
        tool = langchains_own(over(policies.refusing, when_refused="say"), "docs", "finds")
    else:
        tool = create_retriever_tool(over(policies.refusing), "docs", "finds")
    assert tool.invoke({"query": QUERY}) == await tool.ainvoke({"query": QUERY}) == REFUSAL
    answered = create_retriever_tool(over(policies.fitted), "docs", "finds")
    assert answered.invoke({"query": QUERY}) == "\n\n".join(TEXTS)


def test_a_tool_leaves_the_retriever_and_other_choices_alone(policies):
    retriever = over(policies.refusing)
    create_retriever_tool(retriever, "docs", "finds")
    assert retriever.invoke(QUERY) == []
    marked = create_retriever_tool(over(policies.refusing, when_refused="mark"), "docs", "finds")
    assert marked.invoke({"query": QUERY}) == "\n\n".join(TEXTS)


def test_weak_evidence_is_said_before_its_documents(policies):
    """Only a metadata key told it once, which a tool's text drops."""
    section = policies.refusing.section("order")
    weak = policies.refusing.with_section(
        "order", floor=replace(section.floor, refuse_below=0.0, weak_below=1.0)
    )
    assert [d.page_content for d in over(weak).invoke(QUERY)] == TEXTS
    first, *rest = over(weak, when_refused="say").invoke(QUERY)
    assert first.page_content == WEAK and [d.page_content for d in rest] == TEXTS
    assert create_retriever_tool(over(weak), "docs", "finds").invoke(QUERY).startswith(WEAK)


def test_say_says_it_when_nothing_was_found_either(policies):
    retriever = RankGateRetriever.from_retriever(
        RunnableLambda(lambda query: []),
        scorer=FakeScorer(), policy=policies.raw, when_refused="say",
    )  # fmt: skip
    (said,) = retriever.invoke(QUERY)
    assert said.page_content == REFUSAL
    assert said.metadata == {"rankgate_outcome": "skipped", "rankgate_reason": "no_candidates"}


def components(policy, scorer, **settings):
    how = {"scorer": scorer, "policy": policy, **settings}
    given = {"query": QUERY, "documents": FOUND}
    return (
        lambda: over(policy, scorer, **settings).invoke(QUERY),
        lambda: RankGateRerank(**how).compress_documents(FOUND, QUERY),
        lambda: RankGateRunnable(**how).invoke(given),
    )


def test_a_failed_scorer_keeps_the_order_or_raises_as_one_likes(policies):
    for run in components(policies.raw, FailingScorer(RuntimeError("no GPU"))):
        documents = run()
        assert [d.page_content for d in documents] == TEXTS
        assert {d.metadata["rankgate_outcome"] for d in documents} == {"degraded"}
    for run in components(
        policies.raw, FailingScorer(RuntimeError("no GPU")), when_degraded="raise"
    ):
        with pytest.raises(DegradedError, match="scorer") as caught:
            run()
        assert caught.value.outcome.path.value == "degraded"
    for run in components(policies.fitted, FakeScorer(), when_degraded="raise"):
        assert len(run()) == 2


def test_a_degraded_retriever_falls_back(policies):
    broken = over(policies.raw, FailingScorer(RuntimeError("no GPU")), when_degraded="raise")
    spare = RunnableLambda(lambda query: ["spare"])
    assert broken.with_fallbacks([spare]).invoke(QUERY) == ["spare"]
