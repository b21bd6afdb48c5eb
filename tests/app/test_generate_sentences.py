"""Sentences: what is one, what is none, and that its place is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_app.generate.sentences import clean, other_lines, split_sentences


def shown(text):
    return [s.shown for s in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One is here. Two is there.", ["One is here.", "Two is there."]),
        ("Use e.g. Chroma, i.e. a store. Done.", ["Use e.g. Chroma, i.e. a store.", "Done."]),
        ("Mr. Smith et al. wrote it.", ["Mr. Smith et al. wrote it."]),
        ("Version 1.5 is out. It works.", ["Version 1.5 is out.", "It works."]),
        ("It ends there. rankgate begins.", ["It ends there.", "rankgate begins."]),
        ("He went home... and slept.", ["He went home... and slept."]),
        ("Is it? Yes! Good.", ["Is it?", "Yes!", "Good."]),
        ("Run `a. B` now. Then stop.", ["Run `a. B` now.", "Then stop."]),
        ("Broken over\ntwo lines. End.", ["Broken over two lines.", "End."]),
        (
            "\u7b2c\u4e00\u53e5\u3002\u7b2c\u4e8c\u53e5\u3002",
            ["\u7b2c\u4e00\u53e5\u3002", "\u7b2c\u4e8c\u53e5\u3002"],
        ),
        ("", []),
        ("--- ... !!", []),
    ],
)
def test_running_text(text, expected):
    assert shown(text) == expected


def test_headings_code_tables_images_and_rules_hold_no_sentence():
    text = (
        "# Title here.\n\nSetext title\n------------\n\n```python\nx = 'Not. This'\n```\n\n"
        "| a. | b. |\n|---|---|\n\n    indented. code\n\n![alt. text](x.png)\n\n***\n\n"
        "[ref]: http://example.org/x.y\n\n<!-- a. comment -->\n\nOnly this counts.\n"
    )
    assert shown(text) == ["Only this counts."]


def test_list_items_lose_their_markers_and_count_as_finished():
    found = split_sentences("- first thing\n* [x] second thing\n  goes on\n3. third thing\n")
    assert [s.shown for s in found] == ["first thing", "second thing goes on", "third thing"]
    assert all(s.item and s.finished for s in found)


def test_a_paragraph_without_full_stop_is_unfinished():
    assert [s.finished for s in split_sentences("This breaks off in the")] == [False]


def test_quoted_lines_lose_their_markers():
    assert shown("> It goes\n> over lines. End.") == ["It goes over lines.", "End."]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('see [the guide](https://x.y "title") now', "see the guide now"),
        ("see [the guide](docs/x.md) now", "see the guide now"),
        ("**bold** and *light* and _low_", "bold and light and low"),
        ("snake_case_name and 2*3*4 stay", "snake_case_name and 2*3*4 stay"),
        ("`**code**` stays", "`**code**` stays"),
        ("as shown [3], and [^1] too [4, 5]", "as shown, and too"),
        ("visit <https://x.y>", "visit https://x.y"),
    ],
)
def test_markup_goes_and_words_stay(raw, expected):
    assert clean(raw) == expected


def test_other_lines_are_what_sentences_leave_over():
    text = "A sentence.\n\n| code | meaning |\n|---|---|\n| 5 | generator failed |\n"
    assert [s.shown for s in other_lines(text)] == ["code | meaning", "5 | generator failed"]


@given(st.text(alphabet="ab .!?`*_[]()#>-|\n1\u3002", max_size=120))
def test_places_are_ordered_disjoint_and_verbatim(text):
    found = split_sentences(text)
    previous = 0
    for s in found:
        assert previous <= s.start < s.end <= len(text)
        assert s.shown == clean(text[s.start : s.end])
        previous = s.end
    for line in other_lines(text):
        assert not any(s.start < line.end and line.start < s.end for s in found)
