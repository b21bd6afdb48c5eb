"""Sentences: what is one, what is none, and that its place is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_app.generate.lead_in import completed
from rankgate.judge.sentences import clean, other_lines, split_sentences


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


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r"run pg\_dump and pg\_restore", "run pg_dump and pg_restore"),
        (r"\*not emphasis\* but *this*", "*not emphasis* but this"),
        (r"a `back\_slash` in code stays", r"a `back\_slash` in code stays"),
        (r"the share \\server\name", r"the share \\server\name"),
        (r"as shown \[3\] there", "as shown there"),
        ("a private \ue05f glyph", "a private \ue05f glyph"),
    ],
)
def test_backslashes_of_markdown_go_and_others_stay(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("`max_connections`", True),
        ("max_connections (integer)", True),
        ("Write Ahead Log Configuration Reference", True),
        ("- the maximal size of a block", True),
        ("Use this syntax to do it:", True),
        ("Yes, it is.", True),
        ("The default is 100 connections", False),
        ("It cannot be undone.", False),
        ("- sets the number of connections", False),
        ("Never before, never after.", False),
        ("\u7b2c\u4e00\u53e5\u8bdd\u3002", False),
    ],
)
def test_what_says_nothing_by_itself_is_a_fragment(text, fragment):
    (sentence,) = split_sentences(text)
    assert sentence.fragment is fragment


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        ("\n\n```sh\npg_dump db > file\n\npsql db\n```\nMore.", "`pg_dump db > file` `psql db`"),
        ("\n\n    pg_dump db\n\nMore.", "`pg_dump db`"),
        ("\n\n- one *thing*;\n  goes on\n- another\n\nMore.", "one thing; goes on; another"),
        ("\n- a1\n- b2\n- c3\n- d4\n", "a1; b2; c3; d4"),
        ("\n\nALTER TABLE product\\_no;\n\nMore.", "ALTER TABLE product_no;"),
    ],
)
def test_a_lead_in_takes_along_the_lines_that_it_announces(after, shown):
    text = f"Before it. Use this to do it:{after}"
    plain = split_sentences(text)[1]
    whole = completed(text, plain)
    assert whole.shown == f"Use this to do it: {shown}"
    assert whole.finished and not whole.fragment and not plain.finished
    assert text[whole.start : whole.end].startswith("Use this to do it:\n")
    assert "More" not in text[whole.start : whole.end]
    assert "```" not in text[whole.end - 3 : whole.end]


@pytest.mark.parametrize(
    "after", ["", "\n\n# Heading\n\nText.", "\n\n| a | b |\n", "\n\n```\n```\n"]
)
def test_a_lead_in_to_nothing_stays_a_fragment(after):
    text = f"Use this to do it now:{after}"
    plain = split_sentences(text)[0]
    assert completed(text, plain) == plain
    assert plain.fragment


def test_a_long_block_is_cut_after_a_whole_line():
    lines = [f"line {n} " + "x" * 150 for n in range(3)]
    text = "Use this to do it:\n\n```\n" + "\n".join(lines) + "\n```\n"
    whole = completed(text, split_sentences(text)[0])
    assert text[whole.start : whole.end].endswith(lines[0])


@given(st.text(alphabet="ab .:`*-|#\n1 ", max_size=120))
def test_a_completed_sentence_only_grows(text):
    for plain in split_sentences(text):
        whole = completed(text, plain)
        assert whole.start == plain.start
        assert plain.end <= whole.end <= len(text)
        assert whole.shown.startswith(plain.shown)
        assert whole == plain or plain.announces
