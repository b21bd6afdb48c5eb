"""The extractive generator: verbatim sentences, one to three, from as many sources as needed."""

import re
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import fake_index
import numpy as np
import pytest

from rag_app.generate.answer import REFUSAL, is_refusal
from rag_app.generate.closeness import Closeness, TokenReader
from rag_app.generate.context import build_context
from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.generate.units import units_of
from rag_app.generate.wanted import answers_to
from rankgate.encoders import TokenStore, TokenVectors
from rankgate.judge.sentences import clean
from rankgate.scorers.late_interaction import maxsim

INDEX = fake_index.FakeIndex()
GENERATOR = ExtractiveGenerator()


class WordReader:
    """A token a word, its vector by the word's hash; remembers what it was asked to read."""

    def __init__(self, longest=10_000):
        self.longest = longest
        self.read = []
        self.tokenizer = SimpleNamespace(
            encode=lambda text, add_special_tokens: SimpleNamespace(
                offsets=[m.span() for m in re.finditer(r"\w+", text)]
            )
        )

    def encode(self, texts):
        self.read.extend(texts)
        found = []
        for text in texts:
            words = re.findall(r"\w+", text.lower())
            rows = np.zeros((min(len(words), self.longest), 512), dtype=np.float16)
            for row, word in zip(rows, words, strict=False):
                row[zlib.crc32(word.encode()) % 512] = 1.0
            found.append(
                TokenVectors(
                    tokens=rows,
                    pooled=np.zeros(512, dtype=np.float32),
                    truncated=len(words) > self.longest,
                )
            )
        return found


def store_with(folder, reader, texts):
    store = TokenStore(folder / "tokens.sqlite", encoder="words", dimension=512)
    store.put_many(dict(zip(texts, reader.encode(texts), strict=True)))
    reader.read.clear()
    return store


def index_of(*bodies):
    return fake_index.FakeIndex({"d": ("D", [("D", body) for body in bodies])})


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


@pytest.mark.parametrize("generator", [GENERATOR, ExtractiveGenerator(WordReader())])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_sentence_is_the_sources_own(question, generator):
    answer = generator.answer(question, context_of(list(INDEX.texts)))
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


def test_what_a_document_asks_is_no_answer():
    index = index_of('How long does dough rest? It rests for twelve hours in a cool "larder".')
    answer = GENERATOR.answer("How long does dough rest?", context_of(["d-0"], index))
    assert answer.text == 'It rests for twelve hours in a cool "larder". [1]'
    asking = index_of("How long does dough rest?")
    assert "How long" in GENERATOR.answer("How long?", context_of(["d-0"], asking)).text


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
    assert answer.text == "code: 5; meaning: generator failed [1]"


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


def test_only_the_question_is_encoded_where_token_vectors_are_kept(tmp_path):
    reader = WordReader()
    store = store_with(tmp_path, reader, list(INDEX.texts.values()))
    kept = ExtractiveGenerator(reader, token_store=store)
    question = "How is a gate fitted and what does the floor compare?"
    answer = kept.answer(question, context_of(list(INDEX.texts)))
    assert reader.read == [question, "How is a gate fitted", "what does the floor compare"]
    assert answer == ExtractiveGenerator(WordReader()).answer(
        question, context_of(list(INDEX.texts))
    )
    store.close()


def test_a_passage_that_the_store_lacks_is_encoded_and_no_other(tmp_path):
    reader = WordReader()
    texts = list(INDEX.texts.values())
    store = store_with(tmp_path, reader, texts[1:])
    ExtractiveGenerator(reader, token_store=store).answer(
        "threshold", context_of(list(INDEX.texts))
    )
    assert reader.read == ["threshold", texts[0]]
    store.close()


def spans_of(index, identifier, *wanted):
    (source,) = context_of([identifier], index).sources
    starts = [source.body.index(w) for w in wanted]
    return [(source, at, at + len(w)) for at, w in zip(starts, wanted, strict=True)]


def test_closeness_is_maxsim_over_the_spans_own_tokens():
    index = index_of("Cats sleep all day. Dogs bark at night.")
    spans = spans_of(index, "d-0", "Cats sleep all day.", "Dogs bark at night.")
    close = Closeness(WordReader())(["dogs bark loudly", "cats"], spans)
    np.testing.assert_allclose(close, [[0.0, 1.0], [2 / 3, 0.0]], atol=0.02)


def test_what_the_encoder_did_not_read_is_not_measured():
    index = index_of("Cats sleep all day. Dogs bark at night. Birds sing at dawn.")
    wanted = ("Cats sleep all day.", "Dogs bark at night.", "Birds sing at dawn.")
    # One token is the heading's: six leave the second sentence a single one of four.
    close = Closeness(WordReader(longest=6))(["dogs"], spans_of(index, "d-0", *wanted))
    assert np.isnan(close[:, 0]).tolist() == [False, True, True]
    close = Closeness(WordReader(longest=7))(["dogs"], spans_of(index, "d-0", *wanted))
    assert np.isnan(close[:, 0]).tolist() == [False, False, True]


def test_a_sentence_beyond_the_encoders_end_is_found_by_its_words():
    index = index_of("Cats sleep nearly all day. Dogs bark only at night. Birds sing at dawn.")
    answer = ExtractiveGenerator(WordReader(longest=6)).answer(
        "When do birds sing?", context_of(["d-0"], index)
    )
    assert answer.text == "Birds sing at dawn. [1]"


@pytest.mark.model
def test_closeness_of_a_whole_text_is_the_scorers_value(encoder):
    index = index_of("Zo\u00eb\u2019s caf\u00e9 serves **na\u00efve** crepes \u2014 20\u20ac each.")
    index.texts["d-0"] = index.texts["d-0"].removeprefix("D\n")
    index.metadata["d-0"] = {**index.metadata["d-0"], "body_offset": 0}
    text = index.texts["d-0"]
    assert isinstance(encoder, TokenReader)
    close = Closeness(encoder)(["What does the caf\u00e9 serve?"], spans_of(index, "d-0", text))
    (asked,) = encoder.encode(["What does the caf\u00e9 serve?"])
    want = maxsim(asked.tokens.astype(np.float32), encoder.encode([text]))
    np.testing.assert_allclose(close[:, 0], want, rtol=1e-6)
    (read,) = encoder.encode([text])
    offsets = encoder.tokenizer.encode(text, add_special_tokens=False).offsets
    assert len(offsets) == read.tokens.shape[0]


def test_a_term_is_quoted_with_what_it_means():
    term, told = "`max_connections`", "It limits how many connections are open at once."
    both = index_of(f"{term}\n\n{told}")
    question = "What does max_connections do?"
    assert GENERATOR.answer(question, context_of(["d-0"], both)).text == f"{term}: {told} [1]"
    alone = index_of(term)
    assert GENERATOR.answer(question, context_of(["d-0"], alone)).text == f"{term} [1]"


def test_a_lead_in_brings_its_code_and_the_quote_is_verbatim():
    body = "Constraints exist.\n\nTo add a constraint, use this syntax:\n\n```\nALTER x\\_y;\n```\n"
    index = index_of(body)
    answer = GENERATOR.answer("How do I add a constraint?", context_of(["d-0"], index))
    assert answer.text == "To add a constraint, use this syntax: `ALTER x\\_y;` [1]"
    (quote,) = answer.sources[0].quotes
    assert index.document_text("d")[quote.start : quote.end] == quote.text
    assert quote.text.endswith("```\nALTER x\\_y;")


def test_an_item_is_not_repeated_after_its_lead_in():
    body = "The gate skips reranking in two cases:\n\n- the gate skips what is already right\n"
    answer = GENERATOR.answer(
        "When does the gate skip reranking?", context_of(["d-0"], index_of(body))
    )
    assert answer.text.count("already right") == 1


def test_escaped_markdown_is_shown_plain_and_quoted_verbatim():
    index = index_of("Use pg\\_dump to save a database.")
    answer = GENERATOR.answer("How to save a database?", context_of(["d-0"], index))
    assert answer.text == "Use pg_dump to save a database. [1]"
    assert answer.sources[0].quotes[0].text == "Use pg\\_dump to save a database."


def test_a_weakly_related_passage_adds_no_second_sentence():
    index = index_of(
        "The floor refuses a question when the best passage is too weak.",
        "Maximum size to let the log grow during automatic checkpoints.",
    )
    answer = GENERATOR.answer(
        "When does the floor refuse a question?", context_of(["d-0", "d-1"], index)
    )
    assert [s.chunk_id for s in answer.sources] == ["d-0"]


def test_a_missing_word_of_the_question_brings_no_sentence_that_is_far_from_it():
    index = index_of(
        "The floor refuses a question when the best passage is too weak.",
        "Bananas are grown on large plantations near the sea.",
    )
    answer = GENERATOR.answer(
        "When does the floor refuse a weak question on bananas?", context_of(["d-0", "d-1"], index)
    )
    assert [s.chunk_id for s in answer.sources] == ["d-0"]


def test_quotes_do_not_overlap_where_a_lead_in_ends_inside_a_sentence():
    body = (
        "Save the database following these proven simple steps:\n\nsave the database\nwith a\n"
        "call\nthat administrators of large installations make carefully every night.\n"
    )
    answer = GENERATOR.answer("How to save the database?", context_of(["d-0"], index_of(body)))
    assert [len(s.quotes) for s in answer.sources] == [1]


def test_the_same_statement_in_other_words_order_is_quoted_once():
    index = index_of(
        "The gate skips reranking when the first stage is right.",
        "When the first stage is right, the gate skips reranking.",
    )
    answer = GENERATOR.answer("When does the gate skip?", context_of(["d-0", "d-1"], index))
    assert len(re.findall(r"\[\d\]", answer.text)) == 1


def test_a_question_for_a_number_prefers_a_sentence_with_one():
    index = index_of("The old bridge was opened by the king. The old bridge was opened in 1894.")
    context = context_of(["d-0"], index)
    assert GENERATOR.answer("When was the old bridge opened?", context).text.startswith(
        "The old bridge was opened in 1894. [1]"
    )
    assert GENERATOR.answer("Who was it that opened the old bridge?", context).text.startswith(
        "The old bridge was opened by the king. [1]"
    )


PDF_TABLE = """Command Description

cat Utility to concatenate files to standard output
chgrp Utility to change file group ownership
dd Utility to convert and copy
login Utility to begin a session on the system"""
MARKDOWN_TABLE = """| Task | Installed size (MB) | Download size (MB) |
|---|---|---|
| Desktop environment | | |
| GNOME | 3216 | 859 |
| Web server | 85 | 19 |"""
LIST = "Forward these ports:\n\n- UDP 3478\n- TCP 3478\n- UDP 5349\n- UDP 49152-50175\n"
TERMS = (
    "noshell\n\nPrevents the installer from offering shells on tty2. It is meant for public rooms."
    "\n\nlowmem\n\nForces the installer to a lower level than it would set by itself."
)
SECRET = (
    "The secret key of the setup is in a file of its own. "
    "The secret key of the setup is in the file /var/lib/plinth/secret."
)


@pytest.mark.parametrize(
    ("body", "question", "said"),
    [
        (PDF_TABLE, "What does chgrp do?", "chgrp Utility to change file group ownership"),
        (
            MARKDOWN_TABLE,
            "What is the download size of the web server?",
            "Task: Web server; Installed size (MB): 85; Download size (MB): 19",
        ),
        (
            LIST,
            "Which ports do I have to forward?",
            "Forward these ports: UDP 3478; TCP 3478; UDP 5349; UDP 49152-50175",
        ),
        (
            TERMS,
            "What does noshell do?",
            "noshell: Prevents the installer from offering shells on tty2.",
        ),
        (
            SECRET,
            "In which file is the secret key of the setup?",
            "The secret key of the setup is in the file /var/lib/plinth/secret.",
        ),
        (
            "Who leads it was long open. The board asked Ada Byron to lead the office.",
            "Who leads the office?",
            "The board asked Ada Byron to lead the office.",
        ),
        (
            "- Part: Brazing rod; Reorder at: 100\n- Part: Fork crown; Reorder at: 25\n",
            "At what stock are fork crowns reordered?",
            "Part: Fork crown; Reorder at: 25",
        ),
        (
            "-- Ada Byron\n\nThis part names who did it.\n\n- Czech: Miroslav Kure\n- Dutch: Luk",
            "Who did the Czech part?",
            "Czech: Miroslav Kure",
        ),
        (
            "## Stand\n\n- Hall 4, B12\n- 24 square metres\n\nThe fair is opened by a mayor.",
            "Which stand is ours?",
            "Hall 4, B12",
        ),
        (
            "3.1. Closing times\n\nThe office closes at noon on Fridays.",
            "When does the office close?",
            "The office closes at noon on Fridays.",
        ),
    ],
)
def test_the_unit_that_answers_is_quoted(body, question, said):
    index = index_of(body)
    answer = GENERATOR.answer(question, context_of(["d-0"], index))
    assert answer.text.startswith(f"{said} [1]")
    for quote in answer.sources[0].quotes:
        assert index.document_text("d")[quote.start : quote.end] == quote.text


def test_lines_of_running_text_are_no_rows():
    prose = (
        "The gate skips what is right already, so that the\nsecond stage is not asked for nothing"
        " and nobody\nwaits for it; the floor refuses what is too weak.\nThat is all."
    )
    assert [u.row for u in units_of(prose)] == [False, False]
    assert [u.row for u in units_of(PDF_TABLE)] == [True] * 4


def test_another_passage_is_quoted_for_another_part_alone():
    index = index_of(
        "The gate skips what is right already.", "The gate skips what is right, too, they say."
    )
    single = GENERATOR.answer("What does the gate skip?", context_of(["d-0", "d-1"], index))
    assert len(single.sources) == 1


@pytest.mark.parametrize(
    ("question", "has", "lacks"),
    [
        ("When will version 14 come?", "It comes in May 2026.", "Version 14 is the next one."),
        ("When does it skip?", "It skips when nothing is left.", "It skips."),
        ("How much does it cost?", "It costs $12.", "It costs a lot."),
        ("Which port does it use?", "It listens on 8118.", "It listens."),
        ("Where is the log?", "See /var/log/syslog.", "See the log."),
        ("Why is it slow?", "It is slow because it waits.", "It is slow."),
        ("Who wrote it?", "It was written by Ada Byron.", "It was written long ago."),
        ("What is the doubling time?", "It doubles in 6 days.", "It doubles."),
        ("How do I stop it?", "Press Enter twice.", "It stops."),
        ("Which phases does it have?", "It has a first, a second and a third.", "It has some."),
    ],
)
def test_what_a_question_asks_for(question, has, lacks):
    test = answers_to(question)
    assert test(has) > test(lacks) == 0.0
    assert answers_to("Wo steht das Haus?")(has) == 0.0


@pytest.mark.parametrize("question", ["What is it?", "What does it do?", "Which class is it?"])
def test_a_verb_is_no_plural(question):
    assert answers_to(question)("It is a first, a second and a third.") == 0.0


def test_extractive_mode_loads_no_llm_client():
    import subprocess

    code = (
        "import sys; import rag_app.ask.pipeline, rag_app.generate.extractive;"
        "print([m for m in ('langchain_openai', 'openai', 'torch', 'chromadb')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "body",
    [
        "Trash | Recycling \n| \nFAQ | Climate Action \n| \nBulk waste is collected on Mondays.",
        "| | |\n|---|---|\n| | |\n| | |",
        "- \n- \n* \n\n> \n\n---\n",
        "\u200b\n\u2022\n\u2022 ",
    ],
)
@pytest.mark.parametrize("question", ["When is bulk waste collected?", "who?"])
def test_what_has_no_letter_is_never_quoted(question, body):
    index = index_of(body)
    for writer in (GENERATOR, ExtractiveGenerator(WordReader())):
        answer = writer.answer(question, context_of(["d-0"], index))
        quoted = [q.text for s in answer.sources for q in s.quotes]
        assert all(any(c.isalnum() for c in q) for q in quoted)
        assert is_refusal(answer.text) or quoted
