"""Misspelt and short questions: what is searched for beside them, and what is left alone."""

import pytest

from rag_app.ask.condense import Exchange, condense
from rag_app.ask.rewrite import Spelling, rewrite
from rag_app.ask.searched import Searched
from rag_app.generate.errors import GeneratorError
from rankgate.retrieve import BM25Index

CORPUS = BM25Index.build(
    [
        ("a", "The gate skips reranking where the first stage is right already"),
        ("b", "Calibration fits the threshold of the gate"),
        ("c", "A ctenophore has colloblasts; calibration again, and thresholds"),
        ("d", "Thomas wrote the reranking chapter"),
    ]
)
SPELLING = Spelling.of(CORPUS)


class Tokenizer:
    def get_vocab(self):
        return {"startew": 1, "##ing": 2, "[CLS]": 3, "ranking": 4}


class Embedder:
    tokenizer = Tokenizer()


class Says:
    def __init__(self, line):
        self.said, self.heard = line, []

    def line(self, task, text, limits):
        self.heard.append(text)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def searched(question, writer=None):
    return rewrite(Searched.plain(question), lambda: SPELLING, writer=writer)


def test_no_english_word_becomes_a_word_of_the_corpus():
    """ "business class" became "approval business", and what is refundable was not asked."""
    index = BM25Index.build(
        [("a", "Refunds are fundable; a glass of classy reimbursed adventures")]
    )
    spelling = Spelling.of(index)
    for word in ("class", "refundable", "reimburse", "adventurer", "diem", "lodging"):
        assert spelling.corrected(f"what about {word} then") is None, word
    assert spelling.corrected("are refunsd possible") == "are refunds possible"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("what does calibraton fit?", "what does calibration fit?"),
        ("What does Calibraiton fit?", "What does Calibration fit?"),  # swapped: one mistake
        ("rerankign or ctenophre", "reranking or ctenophore"),
        ("the gaet", "the gate"),
        ("Thpmas's chapter", "Thomas's chapter"),
    ],
)
def test_unknown_words_are_mended_from_the_corpus(asked, meant):
    found = searched(asked)
    assert [(a.text, a.why) for a in found.also] == [(meant, "spelling")]
    assert (found.scored, found.told) == (asked, asked)  # what was asked is what is scored


@pytest.mark.parametrize(
    "asked",
    [
        "What does calibration fit?",  # nothing is wrong
        "GATF GAET",  # codes
        "gAte iGate",  # names in which capitals mean something
        "gate2x, rerankng_2, x-calibraton.py, /calibraton/x, me@calibraton.org",  # identifiers
        "12345 4.5.6",
        "gat thx",  # too short to know
        "photosynthesis",  # nothing near
        "gates skipped stages",  # other forms of words that are there
        "gqzx",  # two mistakes in four letters
        "where is the first stage",  # stop words
    ],
)
def test_everything_else_stays_as_it_is(asked):
    found = searched(asked)
    assert found == Searched.plain(asked)
    assert found.others == ()


def test_of_equally_close_words_the_most_frequent_is_meant():
    spelling = Spelling(frozenset(), {"gates": 1, "gated": 5, "fates": 9})
    assert spelling.corrected("gatex") == "gated"


def test_the_first_letter_counts_before_the_frequency():
    spelling = Spelling(frozenset(), {"bake": 9, "gaze": 1})
    assert spelling.corrected("gake") == "gaze"


def test_two_mistakes_are_believed_in_long_words_only():
    spelling = Spelling(frozenset(), {"gate": 1, "threshold": 1})
    assert spelling.corrected("gxye") is None
    assert spelling.corrected("thxesholt") == "threshold"


def test_words_of_the_encoders_vocabulary_are_right():
    plain = Spelling(frozenset({"started"}), {"started": 3})
    assert plain.corrected("a startew") == "a started"
    index = BM25Index.build([("a", "started")])
    assert Spelling.of(index).corrected("a startew") == "a started"
    assert Spelling.of(index, Embedder()).corrected("a startew") is None


def test_after_earlier_turns_the_mended_question_stands_before_them():
    history = (Exchange(question="What is a gate?"),)
    found = rewrite(condense("its treshold?", history), lambda: SPELLING)
    assert found.scored == "its treshold? What is a gate?"
    assert found.also[-1].text == "its threshold? What is a gate?"
    assert "its treshold?" in [a.text for a in found.also]


def test_an_llm_is_asked_only_for_what_is_short_or_misspelt():
    writer = Says("What is a gate?")
    assert searched("threshold of the gate", writer).also == ()
    assert writer.heard == []
    found = searched("gate", writer)
    assert [(a.text, a.why) for a in found.also] == [("What is a gate?", "llm")]
    assert found.scored == "gate"
    searched("the gate and calibraton", writer)
    assert writer.heard == ["gate", "the gate and calibraton"]


def test_what_an_llm_has_condensed_is_not_given_to_it_again():
    history = (Exchange(question="What is a gate?"),)
    writer = Says("What does the gate skip?")
    once = condense("skips?", history, writer=writer)
    rewrite(once, lambda: SPELLING, writer=writer)
    assert len(writer.heard) == 1


@pytest.mark.parametrize("said", [GeneratorError("down"), "", "x" * 400])
def test_an_llm_that_fails_is_noted_and_nothing_else(said):
    found = searched("gate", Says(said))
    assert (found.scored, found.also) == ("gate", ())
    assert len(found.notes) == 1 and "LLM" in found.notes[0]


def test_an_empty_index_knows_nothing_and_guesses_nothing():
    empty = Spelling.of(BM25Index.build([]))
    assert empty.corrected("calibraton") is None


def test_frequencies_are_counts_of_passages_and_survive_the_disk(tmp_path):
    assert CORPUS.frequencies["calibration"] == 2
    assert CORPUS.frequencies["gate"] == 2
    assert "the" not in CORPUS.frequencies
    CORPUS.save(tmp_path / "bm25")
    assert BM25Index.load(tmp_path / "bm25").frequencies == CORPUS.frequencies
