"""Answers become safe HTML, whatever stands in them."""

import re

import pytest

from rag_app.generate.markdown_html import answer_html, plain_text


def test_markdown_and_citations():
    html = answer_html("A *gate* skips. [1]\n\n- one [2]\n- two [7]", cited=[1, 2])
    assert "<em>gate</em>" in html and "<li>" in html
    assert '<a class="cite" href="#source-1" data-source="1">1</a>' in html
    assert 'data-source="2"' in html
    assert "[7]" in html and 'data-source="7"' not in html


def test_code_keeps_its_brackets():
    html = answer_html("`a[1]` and [1]\n\n```\nb[1]\n```", cited=[1])
    assert "<code>a[1]</code>" in html and "b[1]" in html
    assert html.count("data-source") == 1


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "<a href='javascript:alert(1)'>x</a>",
    "<svg/onload=alert(1)>",
    "[1]\n\n[1]: https://evil.example",
    "[1][1]\n\n[1]: javascript:alert(1)",
    "<style>body{display:none}</style>",
    '<p style="position:fixed" onclick="x()" class="cite" id="source-1">x</p>',
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "`` `<script>` ``",
    "> <iframe src='//evil.example'></iframe>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_survives(text):
    html = answer_html(text, cited=[1])
    for tag in re.findall(r"<([^>]*)>", html):
        name = tag.strip("/ ").split()[0].lower()
        assert name not in {"script", "img", "svg", "iframe", "style", "object"}
        assert not re.search(r"\bon\w+\s*=|style=|javascript:|data:text", tag, re.I)
    if "[1]" in text:  # a citation stays one
        assert 'href="https://evil' not in html


def test_links_that_leave_say_so():
    html = answer_html("[docs](https://example.org/a)")
    assert 'href="https://example.org/a"' in html and "noopener" in html and "nofollow" in html


def test_unseen_letters_go_and_seen_ones_stay():
    assert plain_text("a\u200bb\u202ec\u2066d\ufeff\x00e\U000e0041") == "abcde"
    assert plain_text("naïve 東京 été\n\tline") == "naïve 東京 été\n\tline"
    assert "\u202e" not in answer_html("safe \u202egnp.exe")


def test_a_quote_is_marked_inside_what_it_stands_in():
    from rag_app.generate.markdown_html import passage_html

    text = "- one\n- two and\n- three \ue000\n"
    html = passage_html(text, [(0, 15)])
    assert html.index("\ue000") > html.index("<li>") and html.count("\ue000") == 1
    assert "\ue000one" in html and "and\ue001" in html
    row = "| a | b |\n|---|---|\n| c | d |\n"
    html = passage_html(row, [(20, 29)])
    assert "<td>\ue000c</td>" in html and "<td>d\ue001</td>" in html
    assert passage_html("text", [(0, 0)]) == passage_html("text", [])
    assert "<h3>Fees</h3>" in passage_html("# Fees\n\n## Berths\n\ntext", [])
    assert "<script" not in passage_html("<script>x</script>", [(0, 5)])
