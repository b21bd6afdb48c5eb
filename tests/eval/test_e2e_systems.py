"""Whole systems and frameworks, compared by their answers."""

from __future__ import annotations

import e2e_planted as planted
import pytest

from rankgate.errors import InputError
from rankgate_eval.answers import (
    Comparison,
    LocalGenerator,
    SystemAnswer,
    as_system,
    compare_answers,
)
from rankgate_eval.answers.rehearsal import best_sentence


def test_systems_of_every_kind_are_compared():
    from langchain_core.documents import Document
    from langchain_core.runnables import RunnableLambda
    from llama_index.core.base.response.schema import Response
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import CustomQueryEngine
    from llama_index.core.schema import NodeWithScore, TextNode

    questions = planted.questions(3)

    def number(question):
        return int("".join(c for c in question if c.isdigit()))

    chain = RunnableLambda(
        lambda asked: {
            "answer": best_sentence(asked["input"], planted.right(number(asked["input"])).texts),
            "context": [
                Document(page_content=t, id=i)
                for i, t in zip(
                    planted.right(number(asked["input"])).ids,
                    planted.right(number(asked["input"])).texts,
                    strict=True,
                )
            ],
        }
    )

    class Engine(CustomQueryEngine):
        def custom_query(self, query_str: str):
            handed = planted.right(number(query_str))
            nodes = [
                NodeWithScore(node=TextNode(id_=i, text=t))
                for i, t in zip(handed.ids, handed.texts, strict=True)
            ]
            return Response(response="Something else entirely.", source_nodes=nodes)

    async def wrong(question):
        handed = planted.wrong(number(question))
        return SystemAnswer(
            text=best_sentence(question, handed.texts),
            contexts=tuple(zip(handed.ids, handed.texts, strict=True)),
        )

    assert MockLLM is not None
    systems = {
        "wrong": as_system(wrong, name="wrong"),
        "chain": as_system(chain, name="chain"),
        "engine": as_system(Engine(), name="engine"),
    }
    result = compare_answers(
        questions, systems, comparison=Comparison(before="wrong", after="chain")
    )
    assert result.section["arms"]["wrong"]["containment"]["mean"] == 0.0
    assert result.section["arms"]["chain"]["containment"]["mean"] == 1.0
    # The engine worked from the chain's passages, so the chain's answers are its own.
    assert result.samples["engine"]["q0"].answer == result.samples["chain"]["q0"].answer
    assert result.samples["engine"]["q0"].shared_with == ("chain",)
    assert result.samples["chain"]["q0"].handed.ids == ("p0", "n0")


def test_a_system_that_raises_or_gives_no_passages_is_counted():
    def raising(question):
        raise ValueError("down")

    systems = {
        "bare": as_system(lambda question: "only words", name="bare"),
        "raising": as_system(raising, name="raising"),
        "pair": as_system(lambda question: ("an answer", ["a text"]), name="pair"),
    }
    result = compare_answers(
        planted.questions(2), systems, comparison=Comparison(before="bare", after="pair")
    )
    for name in ("bare", "raising"):
        assert result.section["arms"][name]["containment"]["missing_reasons"] == {"system_error": 2}
    assert result.section["arms"]["pair"]["containment"]["n"] == 2
    with pytest.raises(InputError, match="system under test"):
        as_system(3, name="three")


def test_a_langchain_runnable_is_a_generator_too():
    from langchain_core.runnables import RunnableLambda

    chain = RunnableLambda(lambda asked: best_sentence(asked["question"], [asked["context"]]))
    questions = planted.questions(2)
    right = planted.hand(questions, planted.right)
    result = planted.keyless(questions, right, right, generator=LocalGenerator(chain, name="chain"))
    assert result.section["arms"]["policy"]["containment"]["mean"] == 1.0
