"""What a refusal and a failed scorer give in LlamaIndex: nodes, errors, and words for a model."""

import pickle

import llamaindex_index as kit
import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import QueryEngineTool, RetrieverTool

from llama_index.postprocessor.rankgate import (
    DegradedError,
    RankGateRerank,
    RankGateRetriever,
    RefusedError,
)
from rankgate.adapters.refusal import REFUSAL
from rankgate.errors import InputError
from rankgate.testing import FailingScorer, FakeScorer

QUERY = kit.QUERY
NODES = kit.nodes_of(*kit.THREE)


def both(**settings):
    """The retriever and the postprocessor, as functions of a query."""
    settings = {"scorer": FakeScorer(), **settings}
    rerank = RankGateRerank(**settings)
    return (
        RankGateRetriever.from_retriever(kit.Listed(NODES), **settings).retrieve,
        lambda query: rerank.postprocess_nodes(NODES, query_str=query),
    )


def test_a_refusal_gives_what_was_chosen(policies):
    for ask in both(policy=policies.refusing):
        assert ask(QUERY) == []
    for ask in both(policy=policies.refusing, when_refused="raise"):
        with pytest.raises(RefusedError, match="below_floor"):
            ask(QUERY)
    for ask in both(policy=policies.refusing, when_refused="mark"):
        found = ask(QUERY)
        assert found and {n.metadata["rankgate_outcome"] for n in found} == {"refused"}
    for ask in both(policy=policies.refusing, when_refused="say"):
        (node,) = ask(QUERY)
        assert (node.text, node.score) == (REFUSAL, None)
        assert node.metadata["rankgate_reason"] == "below_floor"
        assert "rankgate" not in node.get_content(metadata_mode="llm")
    for ask in both(policy=policies.raw, when_refused="say"):
        assert next(n.text for n in ask(QUERY)) == "red green fish"


async def test_an_agents_tools_get_words(policies):
    """LlamaIndex's own give an empty text and `Empty Response`."""
    retriever = RankGateRetriever.from_retriever(
        kit.Listed(NODES), scorer=FakeScorer(), policy=policies.refusing, when_refused="say"
    )
    tool = RetrieverTool.from_defaults(retriever)
    for said in (tool.call(QUERY), await tool.acall(QUERY)):
        assert said.content.strip() == REFUSAL
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    said = QueryEngineTool.from_defaults(engine).call(QUERY)
    assert REFUSAL in said.content  # the mock repeats its prompt
    nodes = kit.Listed(NODES)
    silent = RankGateRetriever.from_retriever(nodes, scorer=FakeScorer(), policy=policies.refusing)
    assert RetrieverTool.from_defaults(silent).call(QUERY).content == ""


async def test_a_failed_scorer_gives_what_was_chosen(policies):
    for ask in both(scorer=FailingScorer(ValueError("no GPU")), policy=policies.raw):
        assert {n.metadata["rankgate_outcome"] for n in ask(QUERY)} == {"degraded"}
    for ask in both(
        scorer=FailingScorer(ValueError("no GPU")), policy=policies.raw, when_degraded="raise"
    ):
        with pytest.raises(DegradedError, match="scorer_error"):
            ask(QUERY)


def test_a_choice_that_does_not_exist_and_copies(policies):
    for wrong in ({"when_refused": "words"}, {"when_degraded": "empty"}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be one of"):
            both(**wrong)
    rerank = RankGateRerank(
        scorer=FakeScorer(), policy=policies.refusing, when_refused="say", when_degraded="raise"
    )
    copy = pickle.loads(pickle.dumps(rerank))
    again = RankGateRerank.from_dict(rerank.to_dict(), scorer=FakeScorer())
    for one in (copy, again):
        assert (one.when_refused, one.when_degraded) == ("say", "raise")
