"""The local judge: what is supported, by which words, and what nobody can be asked about."""

from __future__ import annotations

import itertools

import pytest

from rankgate.encoders.packing import packed
from rankgate.errors import InputError, WeightsMismatchError
from rankgate.judge import GroundingJudge, grounded, statements_of

BOILER = (
    "The boiler holds 1.8 litres of water. It must be descaled every six months, or the warranty "
    "ends. A red lamp shows that the tank is empty."
)
MINE = "Zinc was mined in Bleiberg until 1993. The shaft is 300 metres deep."
PASSAGES = [BOILER, MINE]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def judge(encoder):
    return GroundingJudge(encoder)


@pytest.mark.parametrize(
    ("statement", "passage", "sentence"),
    [
        ("The boiler holds 1.8 litres.", 0, "The boiler holds 1.8 litres of water."),
        ("Zinc was mined in Bleiberg until 1993.", 1, "Zinc was mined in Bleiberg until 1993."),
        (
            "A red lamp shows an empty tank.",
            0,
            "A red lamp shows that the tank is empty.",
        ),
    ],
)
def test_what_the_passages_say_is_supported_by_that_sentence(judge, statement, passage, sentence):
    found = judge.grounded(statement, PASSAGES)
    assert found.supported
    best = found.support[0]
    assert (best.passage, best.text) == (passage, sentence)
    assert PASSAGES[passage][best.start : best.end] == sentence
    assert found.against is None


@pytest.mark.parametrize(
    "statement",
    [
        "The moon is made of cheese.",
        "Copper was found in Carinthia by two brothers.",
        "The machine was designed in Milan.",
    ],
)
def test_what_they_do_not_say_is_not(judge, statement):
    found = judge.grounded(statement, PASSAGES)
    assert not found.supported
    assert found.support == ()
    assert found.lacking


def test_another_number_is_less_likely_than_the_right_one(judge):
    right = judge.grounded("The boiler holds 1.8 litres of water.", PASSAGES)
    wrong = judge.grounded("The boiler holds 2.4 litres of water.", PASSAGES)
    assert wrong.probability < right.probability
    assert "2.4" in wrong.lacking
    assert right.lacking == ()


def test_several_statements_are_judged_as_each_alone_and_passages_in_any_order(judge):
    statements = ["The boiler holds 1.8 litres.", "The shaft is deep."]
    together = judge.judge(statements, PASSAGES)
    for order in itertools.permutations(PASSAGES):
        for statement, found in zip(statements, together, strict=True):
            alone = judge.grounded(statement, list(order))
            assert alone.probability == pytest.approx(found.probability, abs=1e-4)


def test_a_sentence_at_the_end_of_a_long_passage_is_found_at_its_place(judge):
    long = "The valley is green and quiet in spring. " * 400 + MINE
    found = judge.grounded("The shaft is 300 metres deep.", [long])
    assert found.supported
    best = found.support[0]
    assert long[best.start : best.end] == "The shaft is 300 metres deep."


@pytest.mark.parametrize(
    "statement",
    [
        "x",
        "word " * 3000,
        "\u597d\u7684\uff0c\u950c\u77ff\u4e8e1993\u5e74\u5173\u95ed\u3002",
        "\u0648\u0627\u062d\u062f",
        "print('boiler')",
        "- one\n- two",
        "NUL \x00 and \ud800 surrogate",
        "1993",
        "the of and",
    ],
)
def test_odd_statements_have_a_probability(judge, statement):
    assert 0.0 <= judge.grounded(statement, PASSAGES).probability <= 1.0


@pytest.mark.parametrize("passages", [[], [""], ["  ", "\n"], ["---"], ["\x00"]])
def test_nothing_supports_where_nothing_is_said(judge, passages):
    found = judge.grounded("The boiler holds 1.8 litres.", passages)
    assert (found.probability, found.supported, found.support) == (0.0, False, ())


@pytest.mark.parametrize("statement", ["", "  ", "?!", None, 3])
def test_a_statement_without_a_word_is_an_error(judge, statement):
    with pytest.raises(InputError, match="at least one word"):
        judge.grounded(statement, PASSAGES)


@pytest.mark.parametrize("passages", ["a text", [None], [3]])
def test_passages_are_a_list_of_texts(judge, passages):
    with pytest.raises(InputError, match="list of texts"):
        judge.grounded("The boiler holds 1.8 litres.", passages)


class Counting:
    """The encoder, counting what it reads."""

    def __init__(self, encoder):
        self.tokenizer, self.encoder, self.read = encoder.tokenizer, encoder, []

    def encode(self, texts, *, should_stop=None):
        self.read += texts
        return self.encoder.encode(texts, should_stop=should_stop)


class Held(dict):
    """Vectors that are kept."""

    def get_many(self, texts):
        return {t: self[t] for t in texts if t in self}


def test_passages_whose_vectors_are_kept_are_not_read_again(encoder):
    held = Held({t: packed(v) for t, v in zip(PASSAGES, encoder.encode(PASSAGES), strict=True)})
    reader = Counting(encoder)
    found = GroundingJudge(reader, token_store=held).grounded("The shaft is deep.", PASSAGES)
    assert reader.read == ["The shaft is deep."]
    fresh = GroundingJudge(encoder).grounded("The shaft is deep.", PASSAGES)
    assert found.probability == pytest.approx(fresh.probability, abs=1e-6)


def test_it_stops_when_it_should(judge):
    assert judge.judge(["The shaft is deep."], PASSAGES, should_stop=lambda: True) == ()


def test_another_encoder_is_refused(encoder):
    class Other:
        tokenizer, sha256 = encoder.tokenizer, "0" * 64

        def encode(self, texts, *, should_stop=None):
            return encoder.encode(texts)

    with pytest.raises(WeightsMismatchError, match="fitted with the encoder"):
        GroundingJudge(Other())


def test_the_function_is_the_judge_that_comes_with_the_package(judge):
    statement = "The boiler holds 1.8 litres."
    assert grounded(statement, PASSAGES) == judge.grounded(statement, PASSAGES)


def test_statements_are_what_an_answer_claims():
    answer = (
        "Here are the steps:\n\n1. The lid opens [1].\n2. It closes **at once** [2][3].\n\n"
        "```\ncode()\n```\n\nDo you see? The lamp is red. I don't have this information.\n\n# Title"
    )
    found = statements_of(answer)
    assert [s.text for s in found] == [
        "The lid opens.",
        "It closes at once.",
        "The lamp is red.",
    ]
    assert answer[found[0].start : found[0].end] == "The lid opens [1]."
    assert statements_of("") == statements_of("?!") == ()
    assert statements_of("I cannot find this in the sources.") == ()
