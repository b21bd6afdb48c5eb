"""What a model says: without its thoughts, however it comes in pieces; the JSON in its words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankgate.scorers.remote.spoken import Spoken, denies, json_values, spoken

WORDS = st.sampled_from(["a ", "<", "<b>", "\n", "<think>", "</think>", "<thi", "nk>", ">", "é "])


@given(st.lists(WORDS, max_size=12), st.integers(1, 5))
def test_pieces_say_what_the_whole_says(words, size):
    text = "".join(words)
    whole = Spoken()
    expected = whole.feed(text) + whole.finish()
    filtered = Spoken()
    pieces = [filtered.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join([*pieces, filtered.finish()]) == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_thought_leaves_nothing(draft, answer):
    draft, answer = draft.replace("<", ""), answer.replace("<", "")
    assert spoken(f"<think>{draft}</think>{answer}") == answer.strip()
    assert spoken(f"{draft}</think>{answer}") == answer.strip()
    assert spoken(f"<think>{draft}") == ""


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
def test_json_is_found_whatever_stands_in_its_strings(value):
    value = {**value, "code": "```json {x} ```"}
    said = f"Sure:\n```json\n{json.dumps(value)}\n```\nHope that helps [really]."
    assert [v for v in json_values(said) if isinstance(v, dict)] == [value]


@pytest.mark.parametrize("text", ["[" * 5000, "{" * 5000, '{"a": ' * 2000])
def test_what_only_begins_like_json_is_none(text):
    assert list(json_values(text)) == []


def test_a_denial_cites_nothing_and_is_short():
    assert denies("The context does not explicitly state the price.")
    assert not denies("The context does not state the price [1].")
    assert not denies("The context does not state it. " + "But much else. " * 40)
    assert not denies("Uploads are limited to 20 MB.")
