"""The report's two files: the result's own numbers, what is missing, hostile words, no surprise."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_example as sample
from markdown_it import MarkdownIt

from rankgate.errors import ConfigError
from rankgate_eval.report import render_markdown, summarise, write_report
from rankgate_eval.report.answers_markdown import answers_markdown, terminal_lines
from rankgate_eval.report.charts import IntervalRow, interval_plot
from rankgate_eval.report.html import render_html
from rankgate_eval.report.numbers import signed
from rankgate_eval.report.safe_text import clean, clip, code, prose
from rankgate_eval.report.words import lead

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Text, tags and the order of headings; fails on an end tag that closes nothing."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.words, self.headings, self.attributes = [], [], [], []
        self.open, self.hidden = [], 0
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def full():
    return sample.example(end_to_end=sample.ANSWERS)


@pytest.fixture(scope="module")
def page(full):
    return Page(render_html(full))


SECTIONS = (
    "Reasons",
    "The arms",
    "Where quality is lost",
    "What moved",
    "Which queries gain, which lose",
    "The gate",
    "The floor",
    "Can the probabilities be trusted",
    "Latency",
    "Did the answers get better?",
    "The worst queries",
    "The data",
    "How it was made",
    "What the words mean",
)
# Every one stands once in the example, so a number in the wrong place is a missing one.
NUMBERS = (
    *("+0.053", "+0.041 to +0.066", "+0.042", "\u22120.029", "\u22120.041 to \u22120.017"),
    *("0.507", "0.477 to 0.537", "0.600", "0.631"),  # nDCG@10 of first stage, policy
    *("0.913", "0.893 to 0.933", "0.253", "+0.211 to +0.295", "35.1%", "+0.090"),
    *("\u22120.061", "+0.111", "0.032", "not tested", "t9"),
    *("29.9%", "+0.002", "\u22120.004 to +0.008", "reranked 238, skipped 103, degraded 3"),
    *("0.0325", "0.021", "4.1%", "2.8%", "73.3%", "64.7%", "44.4%"),
    *("0.191", "+0.213", "55.1%", "57.3%"),
    *("8.2 ms", "64.3 ms", "134 ms", "150 ms"),
    *("\u22120.325", "\u22120.311", "w1-d2", "0.812"),
    *("2,586", "sha256:feedc0de", "85b3822", "1234", "Abacus, 2 beads", "abad1dea"),
    *("rankgate eval data --split dev", "0.4233", "9,999", "dense weight 0.3"),
    *("0.765", "0.710 to 0.820", "\u22120.046", "0.911", "0.322", "4321"),
    *("57 questions in 33 document groups", "about 911 like these", "wrong refusal", "19"),
    *("Policy against first stage: a relevant passage came in", "fewer claims hold"),
    "the known answer",
)
IN_HTML_ALONE = {
    "57 questions in 33 document groups",
    "about 911 like these",
    "fewer claims hold",
    "the known answer",
    "t9",
    "w1-d2",
    "0.812",
    "0.4233",
    "4321",
}


def test_every_section_and_every_number_stands_in_the_html(page):
    for words in (*SECTIONS, *NUMBERS):
        assert words in page.text, words


def test_every_section_and_the_numbers_stand_in_the_markdown(full):
    text = render_markdown(full)
    for words in SECTIONS:
        assert f"## {words}" in text, words
    for words in NUMBERS:
        if words not in IN_HTML_ALONE:
            assert words in text.replace("`", "").replace("\\", ""), words


def test_numbers_stand_in_their_own_row(full):
    html = render_html(full)
    rows = {
        re.sub(r"<[^>]+>", " ", m.group(1)).split()[0]: re.sub(r"<[^>]+>", " ", m.group(0)).split()
        for m in re.finditer(r'<tr><th scope="row">(.*?)</th>.*?</tr>', html, re.S)
    }
    # Of the arms in order: the mean, then its interval.
    assert rows["nDCG@10"][1::4] == ["0.507", "0.538", "0.631", "0.569", "0.600"]
    strata = re.findall(r'data-stratum="([^"]+)".*?</tr>', html, re.S)
    assert strata == ["typos=many", "typos=some", "typos=none", "negation=yes"]
    harmed = re.search(r'data-stratum="typos=many".*?</tr>', html, re.S).group(0)
    assert "loses" in harmed and "mark down loss" in harmed and "\u22120.061" in harmed
    neither = re.search(r'data-stratum="typos=some".*?</tr>', html, re.S).group(0)
    assert "loses" not in neither and "gains" not in neither and "mark ring quiet" in neither
    helped = re.search(r'data-stratum="negation=yes".*?</tr>', html, re.S).group(0)
    assert "gains" in helped and "mark up gain" in helped


def test_the_verdict_is_the_headline_and_two_sentences_follow(full):
    html = render_html(full)
    assert re.search(r"<h1>.*Ship behind the gate</h1>", html, re.S)
    first, second = lead(full)
    assert "344 judged queries" in first
    assert "from 0.538 with the tuned first stage to 0.600" in first
    assert "+0.053 (95% interval +0.041 to +0.066)" in first
    assert "2 relevant passages enter the top 5 and 3 leave it" in second
    assert "70.1% of the queries" in second
    assert "p95 latency goes from 61.3 ms to 64.3 ms, inside the budget of 150 ms" in second


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("tuned_first_stage", "the tuned first stage"),
        ("skipped", "the same policy with everything skipped"),
    ],
)
def test_the_headline_shows_gain_kept_recall_and_both_faults_of_the_floor(full, arm, words):
    changes = {f"policy-{arm}": full.differences["policy-tuned_first_stage"]}
    result = replace(full, baseline=arm, differences=changes)
    html = render_html(result)
    figures = Page(re.search(r'<dl class="figures">.*?</dl>', html, re.S).group(0)).text
    table = render_markdown(result).split("\n\n")[2].replace("\\", "")
    kept = f"{result.arms['policy'].metrics['recall@5'].mean:.3f}"
    for text in (figures, table):
        for seen in (
            *(f"nDCG@10 against {words}", "+0.053", "recall@5 of what is handed over", kept),
            *("+0.042 against that baseline", "False refusals", "4.1%", "14 of 344 answerable"),
            *("False answers", "64.7%", "11 of 17 unanswerable"),
        ):
            assert seen in text, seen
    assert f"The dashed line is the baseline, {words}." in Page(html).text
    if arm == "skipped":
        assert "minus the tuned first stage" not in Page(html).text + render_markdown(result)


def test_every_arm_tells_its_faults_of_the_floor(full):
    html, markdown = render_html(full), render_markdown(full)
    for label, of_policy, of_others in (
        ("False refusals", "4.1%", "0%"),
        ("False answers", "64.7%", "100%"),
    ):
        row = re.search(rf'<tr><th scope="row">{label}</th>(.*?)</tr>', html, re.S).group(1)
        shares = re.findall(r"<td[^>]*>([\d.]+%)", row)
        assert shares == [of_others] * 4 + [of_policy]
        line = next(
            x for x in markdown.split("\n") if x.startswith(f"| {label}") and x.count("|") == 7
        )
        assert of_policy in line
    assert "the data hold no unanswerable question" in Page(render_html(sample.bare())).text


@pytest.mark.parametrize(
    ("verdict", "word", "starts"),
    [
        ("ship", "Ship", "Ship the reranker: over 344"),
        ("dont_ship", "Don't ship", "Do not ship this reranker: whether"),
        ("not_enough_data", "Not enough data", "The data do not decide yet: whether"),
    ],
)
def test_each_verdict_has_its_words(full, verdict, word, starts):
    result = replace(full, verdict=verdict, reasons=("Whether it gains is open.",))
    assert lead(result)[0].startswith(starts)
    assert Page(render_html(result)).text.count(word) >= 2  # title and headline
    assert render_markdown(result).startswith(f"# {word}: covid-qa")


def test_the_number_of_queries_needed_is_told():
    assert "about 812 judged queries like these would settle all" in lead(sample.bare())[1]


def test_what_was_not_measured_is_said():
    html, markdown = Page(render_html(sample.bare())).text, render_markdown(sample.bare())
    for words in (
        "Strata were not measured: too few queries.",
        "Latency was not measured.",
        "Recall by depth was not measured.",
        "frontier was not measured",
        "Not measured: the policy gives no probability here.",
        "No relevant passage crossed the edge of the top 5",
        "No query was singled out.",
        "the data hold none",
        "not set: no query is refused",
        "No budget was given, so none was checked.",
        "not run inside a git tree",
        "no interval",
    ):
        assert words in html, words
    assert markdown.count("not measured") + markdown.count("Not measured") >= 8
    for text in (html, markdown):
        assert "None" not in text.replace("None was recorded", "") and "nan" not in text.split()
        assert "Did the answers get better" not in text


def test_answers_appear_only_where_they_were_measured(full):
    assert "answers" not in re.findall(
        r'<section class="part" id="(\w+)"', render_html(sample.example())
    )
    assert "answers" in re.findall(r'<section class="part" id="(\w+)"', render_html(full))


def test_means_of_different_questions_are_called_so_and_pairs_are_counted():
    """0.77 of 48 questions stood beside 0.70 of 52, and in the terminal nothing was paired."""
    arms = {
        "first_stage": {"faithfulness": {"mean": 0.7, "ci": None, "n": 52}},
        "policy": {"faithfulness": {"mean": 0.77, "ci": None, "n": 48}},
    }
    pair = {"mean": 0.05, "ci": [0.01, 0.09], "p": 0.012, "n": 44, "changed": 9}
    section = {
        **sample.ANSWERS,
        "arms": arms,
        "differences": {"policy-first_stage": {"faithfulness": pair}},
    }
    lines = "\n".join(terminal_lines(section))
    assert "Policy against first stage, over the questions that both have:" in lines
    assert "faithfulness: +0.050 (+0.010 to +0.090, p 0.012, 44 pairs, 9 differ)" in lines
    page = render_html(sample.example(end_to_end=section))
    for text in (lines, "\n".join(answers_markdown(section)), page):
        assert "not to be subtracted" in text and "44 pairs" in text
    same = {**section, "arms": {a: {"faithfulness": {"mean": 0.7, "n": 48}} for a in arms}}
    assert "not to be subtracted" not in "\n".join(terminal_lines(same))


def test_a_section_of_answers_that_nobody_wrote_is_named_and_not_half_shown():
    for change, where in (({"n": "many"}, "at n:"), ({"changed": [{}]}, "at changed/0/query_id")):
        with pytest.raises(ConfigError, match=where):
            render_html(sample.example(end_to_end={**sample.ANSWERS, **change}))


def test_hostile_words_stay_words():
    html = render_html(sample.hostile())
    page = Page(html)
    # The data and the page's own script, which none of the words can end or join.
    assert page.tags.count("script") == 2 and "img" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert not [
        a
        for a in page.attributes
        if a[1] in ("href", "src") and not a[2].startswith(("#", "data:,"))
    ]
    assert "{{ 7*7 }}" in page.text and "49" not in page.text.split()
    assert "<script>alert(1)</script>" in page.text
    assert "👩‍👩‍👧 مرحبا" in page.text
    for char in "\u202e\u2066\x00\x1b\ud800\u2028":
        assert char not in html
        assert f"⟨U+{ord(char):04X}⟩" in page.text or char == "\u2028"
    assert len(html) < 400_000 and "x" * 1000 not in html
    assert f"({10_000 + len(sample.HOSTILE):,} characters)" in page.text


def test_hostile_words_stay_words_in_markdown():
    text = render_markdown(sample.hostile())
    # A parser that lets HTML and links through: what it finds, a forge would show.
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = Page(parser.render(text))
    assert {"h1", "table", "code"} <= set(page.tags)
    assert not {"script", "img", "a", "style"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text
    spans = [
        child.content
        for token in parser.parse(text)
        for child in token.children or ()
        if child.type == "code_inline"
    ]
    called = sum(span.count("@maintainers") for span in spans)
    assert called > 0 and text.count("@maintainers") == called, "somebody would be called"
    for char in "\u202e\x00\x1b\ud800":
        assert char not in text


def _tables(text):
    """Rows of cells, as GitHub splits them: an escaped pipe does not part cells."""
    tables, rows = [], []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            assert line.endswith("|")
            rows.append(re.split(r"(?<!\\)\|", line)[1:-1])
        elif rows:
            tables.append(rows)
            rows = []
    return tables


@pytest.mark.parametrize("make", [sample.example, sample.bare, sample.hostile])
def test_markdown_tables_are_well_formed(make):
    tables = _tables(render_markdown(make()))
    assert len(tables) >= 4
    for rows in tables:
        assert {len(row) for row in rows} == {len(rows[0])}, rows[:2]
        assert all(cell.strip() == "---" for cell in rows[1])


@pytest.mark.parametrize("make", [sample.example, sample.bare, sample.hostile])
def test_the_page_can_be_read_by_everybody(make):
    page = Page(render_html(make()))
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(b <= a + 1 for a, b in steps), page.headings
    html = render_html(make())
    for head in re.findall(r"<th\b[^>]*>", html):
        assert "scope=" in head, head
    ids = [v for _, k, v in page.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg class=\"plot\".*?>", html):
        for ident in re.search(r'aria-labelledby="([^"]+)"', svg).group(1).split():
            assert ident in ids
    for target in re.findall(r'href="#([^"]+)"', html):
        assert target in ids


def test_the_same_result_gives_the_same_files(full, tmp_path):
    first, second = write_report(full, tmp_path / "a"), write_report(full, tmp_path / "new" / "b")
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.markdown.read_bytes() == second.markdown.read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "queries.csv",
        "report.html",
        "report.md",
    ]
    assert first.queries.read_bytes() == second.queries.read_bytes()


def test_a_lone_surrogate_does_not_cost_the_report(tmp_path):
    paths = write_report(sample.hostile(), tmp_path)
    assert "⟨U+D800⟩" in paths.html.read_text("utf-8")
    assert "⟨U+D800⟩" in paths.markdown.read_text("utf-8")


def test_the_short_form_is_a_verdict_and_six_lines(full):
    lines = summarise(full).split("\n")
    assert lines[0] == "**rankgate: Ship behind the gate** (covid-qa, dev, 344 judged queries)"
    assert len(lines) == 8 and lines[1] == "" and all(x.startswith("- ") for x in lines[2:])
    assert "+0.053 (95% interval +0.041 to +0.066), p < 0.001" in lines[2]
    assert "False refusals 4.1% (14 of 344" in lines[4] and "false answers 64.7%" in lines[4]
    assert "2 lifts and 3 inversions" in lines[5] and "29.9%" in lines[5]
    assert "p95 64.3 ms" in lines[6]
    assert len(summarise(sample.bare()).split("\n")) == 8


def test_all_movements_are_drawn_and_harm_has_its_own_shape(full):
    html = render_html(full)
    slopes = re.search(r'<svg class="plot"[^>]*slopes-title.*?<figcaption>', html, re.S).group(0)
    assert slopes.count("slope loss") == 3 and slopes.count("slope gain") == 2
    assert slopes.count('class="mark square loss"') == 6
    assert slopes.count('class="mark up gain"') == 4
    assert "2 came into the first 5, 3 left them." in slopes


def test_a_bound_that_rounds_to_zero_keeps_its_side():
    assert (
        signed(-0.0004) == "\u22120.000" and signed(0.0004) == "+0.000" and signed(0.0) == "0.000"
    )


def test_words_are_cleaned_and_cut():
    assert clean("a\u202eb\n\tc\x00") == "a⟨U+202E⟩b c⟨U+0000⟩"
    assert clean("مرحبا\u200f 👩‍👩‍👧") == "مرحبا\u200f 👩‍👩‍👧"
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcdef … (7 characters)"
    assert code("a`b|c") == "``a`b\\|c``"
    assert code("``") == "``` `` ```"
    assert code("") == "` `"
    assert prose("use `a_b` for a_b, @me and nDCG@10") == "use `a_b` for a\\_b, &#64;me and nDCG@10"
    assert prose("odd ` tick") == "odd \\` tick"


def test_charts_escape_what_they_are_given():
    row = IntervalRow(label="<b>arm</b>", mean=0.5, ci=(0.4, 0.6))
    drawn = interval_plot([row], ident="x", metric='<i a="b">')
    assert "<b>" not in drawn and "<i" not in drawn
    assert drawn.count("&lt;b&gt;arm&lt;/b&gt;") == 2  # the label, and the description


def test_moved_passages_are_listed_from_rank_to_rank_highest_loss_first(full):
    section = re.search(r'id="movement".*?</section>', render_html(full), re.S).group(0)
    rows = re.findall(r'<td class="num">(\w+)</td><td class="num">(\w+)</td></tr>', section)
    # Three inversions, then two lifts.
    assert rows == [("2", "none"), ("4", "14"), ("4", "9"), ("12", "1"), ("31", "2")]
    listed = re.findall(r"\| `p-i\d` \| (\w+) \| (\w+) \|", render_markdown(full))
    assert listed == [("2", "none"), ("4", "14"), ("4", "9")]
