"""The extractive generator: verbatim sentences, one to three, from as many sources as needed."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from rag_app.generate.answer import REFUSAL, is_refusal
from rag_app.generate.context import build_context
from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.generate.sentences import clean


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


fake_index = _load("fake_index")
INDEX = fake_index.FakeIndex()
GENERATOR = ExtractiveGenerator(INDEX.embedder.embed)


def context_of(ids, index=INDEX):
    passages = fake_index.passages_of(index, ids)
    return build_context(passages, budget=10_000, count_tokens=len)


QUESTIONS = [
    "When does the gate skip reranking?",
    "What does the floor refuse?",
    "How is a gate fitted and what does the floor compare?",
    "threshold",
    "completely unrelated bananas",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_sentence_is_the_sources_own(question):
    answer = GENERATOR.answer(question, context_of(list(INDEX.texts)))
    assert not answer.refused
    told = [s.strip() for s in re.split(r"\[\d+\]", answer.text) if s.strip()]
    assert 1 <= len(told) <= 3
    quotes = [q for s in answer.sources for q in s.quotes]
    assert sorted(told) == sorted(clean(q.text) for q in quotes)
    for source in answer.sources:
        document = INDEX.document_text(source.document_id)
        for quote in source.quotes:
            assert document[quote.start : quote.end] == quote.text
            assert quote.overlap == 1.0


@pytest.mark.parametrize("question", QUESTIONS)
def test_numbers_in_the_text_are_those_of_the_sources_in_order(question):
    answer = GENERATOR.answer(question, context_of(list(INDEX.texts)))
    numbers = [int(n) for n in re.findall(r"\[(\d+)\]", answer.text)]
    assert list(dict.fromkeys(numbers)) == [s.number for s in answer.sources]
    assert [s.number for s in answer.sources] == list(range(1, len(answer.sources) + 1))


def test_the_sentence_that_answers_is_taken():
    answer = GENERATOR.answer(
        "When does the gate skip reranking?", context_of(["floor-1", "gate-0"])
    )
    assert answer.sources[0].chunk_id == "gate-0"
    assert "It skips reranking when the first stage is already right. [1]" in answer.text


def test_a_question_of_two_parts_cites_both_passages():
    answer = GENERATOR.answer(
        "How is a gate fitted on labelled queries and what does the floor refuse?",
        context_of(list(INDEX.texts)),
    )
    assert {"gate-1", "floor-0"} <= {s.chunk_id for s in answer.sources}


def test_markup_is_gone_from_the_text_but_not_from_the_quote():
    answer = GENERATOR.answer("What does it compare, probabilities?", context_of(["floor-0"]))
    assert "It compares probabilities, never raw scores." in answer.text
    quotes = [q.text for s in answer.sources for q in s.quotes]
    assert "It compares [probabilities](prob.md), never raw scores." in quotes


def test_overlapping_chunks_do_not_repeat_a_sentence():
    index = fake_index.FakeIndex()
    body = "The gate skips reranking when the first stage is right."
    for n, identifier in enumerate(("gate-0", "gate-1")):
        index.texts[identifier] = body
        index.metadata[identifier] = {
            **index.metadata[identifier], "body_offset": 0, "start": 0, "position": n,
        }  # fmt: skip
    answer = GENERATOR.answer("When does the gate skip?", context_of(["gate-0", "gate-1"], index))
    assert answer.text == f"{body} [1]"


def test_where_there_is_only_a_table_its_best_row_is_quoted():
    documents = {"t": ("T", [("T", "| code | meaning |\n|---|---|\n| 5 | generator failed |\n")])}
    index = fake_index.FakeIndex(documents)
    answer = GENERATOR.answer("generator failed", context_of(["t-0"], index))
    assert answer.text.startswith("5 | generator failed [1]")


def test_nothing_to_read_is_the_refusal():
    answer = GENERATOR.answer("Anything?", context_of([]))
    assert (answer.text, answer.refused, answer.sources) == (REFUSAL, True, ())


def test_it_is_deterministic():
    context = context_of(list(INDEX.texts))
    assert GENERATOR.answer("gate floor", context) == GENERATOR.answer("gate floor", context)


def test_the_refusal_is_plain_ascii_and_recognised_in_its_variants():
    assert REFUSAL == "I don't have this information"
    assert is_refusal("I don\u2019t have this information.")
    assert is_refusal('"I DON\'T have this information"')
    assert not is_refusal("Sadly, I don't have this information")


def test_extractive_mode_loads_no_llm_client():
    import subprocess

    code = (
        "import sys; import rag_app.pipeline, rag_app.generate.extractive;"
        "print([m for m in ('langchain_openai', 'openai', 'torch', 'chromadb')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
