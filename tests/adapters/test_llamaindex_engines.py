"""Query and chat engines of LlamaIndex around our components, over a real index, scripted LLM."""

from typing import Any

import llamaindex_index as kit
import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.llms import CustomLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import QueryEngineTool, RetrieverTool

from llama_index.postprocessor.rankgate import RankGateRerank, RankGateRetriever
from rankgate.testing import FakeScorer

QUERY, index_in = kit.QUERY, kit.index_in


class Scripted(CustomLLM):
    """Answers from a list, and remembers its prompts."""

    replies: list[str]
    prompts: list[str] = []  # noqa: RUF012 -- pydantic copies it for each instance

    @property
    def metadata(self):
        return LLMMetadata(model_name="scripted", context_window=4096)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        self.prompts.append(prompt)
        return CompletionResponse(text=self.replies[len(self.prompts) - 1])

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        text = ""
        for word in self.complete(prompt).text.split():
            text += word + " "
            yield CompletionResponse(text=text, delta=word + " ")


@pytest.fixture(params=["postprocessor", "retriever"])
def parts(request, index_in):
    """What an engine is made of: a retriever, and perhaps postprocessors."""

    def make(policy, **kwargs):
        index = index_in("cosine")
        if request.param == "retriever":
            ours = RankGateRetriever.from_chroma(
                index, scorer=FakeScorer(), policy=policy, **kwargs
            )
            return {"retriever": ours}
        ours = RankGateRerank(scorer=FakeScorer(), policy=policy, chroma_space="cosine", **kwargs)
        return {
            "retriever": index.as_retriever(similarity_top_k=3),
            "node_postprocessors": [ours],
        }

    return make


def memory():
    """A plain list: the default one leaves an open SQLite connection behind."""
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


def sources(response):
    return [n.node.text for n in response.source_nodes]


async def test_query_engine(parts, policies):
    llm = Scripted(replies=["It is a fish.", "Still a fish."])
    engine = RetrieverQueryEngine.from_args(llm=llm, **parts(policies.fitted, top_n=1))
    response = engine.query(QUERY)
    assert str(response) == "It is a fish." and sources(response) == ["red green fish"]
    assert response.source_nodes[0].score == pytest.approx(0.8808, abs=1e-4)
    response = await engine.aquery(QUERY)
    assert str(response) == "Still a fish." and sources(response) == ["red green fish"]
    for prompt in llm.prompts:
        assert "red green fish" in prompt and "red apple" not in prompt
        assert "page: 2" in prompt, "the user's own metadata is still there"
        assert "rankgate" not in prompt and "relevance_score" not in prompt


async def test_query_engine_streams(parts, policies):
    llm = Scripted(replies=["It is a fish."])
    engine = RetrieverQueryEngine.from_args(llm=llm, streaming=True, **parts(policies.raw))
    assert "".join(engine.query(QUERY).response_gen).strip() == "It is a fish."


async def test_query_engine_without_an_answer_never_asks_the_llm(parts, policies):
    llm = Scripted(replies=[])
    outcomes = []
    engine = RetrieverQueryEngine.from_args(
        llm=llm, **parts(policies.refusing, on_outcome=outcomes.append)
    )
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert str(response) == "Empty Response" and sources(response) == []
    assert llm.prompts == []
    assert [(o.status, o.reason) for o in outcomes] == [("refused", "below_floor")] * 2


async def test_context_chat_engine(parts, policies):
    llm = Scripted(replies=["A fish.", "Yes, a fish."])
    engine = ContextChatEngine.from_defaults(
        llm=llm, memory=memory(), **parts(policies.fitted, top_n=1)
    )
    response = engine.chat(QUERY)
    assert str(response) == "A fish." and sources(response) == ["red green fish"]
    response = await engine.achat("red green again")
    assert str(response) == "Yes, a fish." and sources(response) == ["red green fish"]
    assert "A fish." in llm.prompts[1], "the history"
    assert all("rankgate" not in p and "red apple" not in p for p in llm.prompts)


async def test_condensing_chat_engine_reranks_for_the_condensed_question(parts, policies):
    llm = Scripted(replies=[QUERY, "A fish.", QUERY, "A fish again."])
    engine = CondensePlusContextChatEngine.from_defaults(
        llm=llm, memory=memory(), **parts(policies.fitted, top_n=1)
    )
    history = [
        ChatMessage(role="user", content="tell me of colours"),
        ChatMessage(role="assistant", content="which ones?"),
    ]
    response = engine.chat("those two", chat_history=history)
    # "those two" alone matches nothing: the first passage would have stayed first.
    assert str(response) == "A fish." and sources(response) == ["red green fish"]
    response = await engine.achat("once more")
    assert str(response) == "A fish again." and sources(response) == ["red green fish"]


async def test_chat_engine_streams(parts, policies):
    llm = Scripted(replies=["A fish."])
    engine = ContextChatEngine.from_defaults(
        llm=llm, memory=memory(), **parts(policies.raw, top_n=1)
    )
    response = engine.stream_chat(QUERY)
    assert "".join(response.response_gen).strip() == "A fish."
    assert sources(response) == ["red green fish"]


async def test_chat_engine_without_an_answer_never_asks_the_llm(parts, policies):
    llm = Scripted(replies=[])
    engine = ContextChatEngine.from_defaults(llm=llm, memory=memory(), **parts(policies.refusing))
    for response in (engine.chat(QUERY), await engine.achat(QUERY)):
        assert str(response) == "Empty Response" and sources(response) == []
    assert llm.prompts == []


async def test_as_a_tool(parts, policies):
    made = parts(policies.fitted, top_n=1)
    retriever = RetrieverTool.from_defaults(**made)
    for output in (retriever.call(QUERY), await retriever.acall(QUERY)):
        assert "red green fish" in output.content and "red apple" not in output.content
        assert "rankgate" not in output.content
    engine = RetrieverQueryEngine.from_args(llm=Scripted(replies=["A fish."]), **made)
    assert QueryEngineTool.from_defaults(engine).call(QUERY).content == "A fish."
