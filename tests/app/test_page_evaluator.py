"""Compare and Quality in a real Chromium."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import browser_kit as kit
import httpx
import pytest
from playwright.sync_api import expect

from rag_app.quality.recent import Recent
from rankgate.scorers import LateInteractionScorer

pytestmark = kit.needs_browser
browser, looking, eyes = kit.browser, kit.looking, kit.eyes
QUESTION, LINK = kit.QUESTION, kit.COMPARE


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with kit.serving_collection(tmp_path_factory, condense="off", skip_audit_rate=1.0) as server:
        yield server


def numbers(page, column):
    cells = page.locator(f"#scores tbody tr td:nth-of-type({column})").all_inner_texts()
    return [int(c) for c in cells]


def test_compare_shows_both_orders_every_score_and_the_reason(eyes):
    page = eyes.page(LINK)
    assert page.locator("#decision-title").inner_text() == "The gate reranks"
    assert page.locator("#decision-detail").inner_text() == "Because no rule for skipping holds."
    before, after = numbers(page, 1), numbers(page, 2)
    assert after == sorted(after) and sorted(before) == after and len(after) >= 5
    lists = [page.locator(f"#{name} li:not(.cut)").count() for name in ("before", "after")]
    assert lists[0] == lists[1] == min(10, len(after))
    # A line for each passage that both lists show, and a mark at the end of those that matter.
    assert page.locator("#lines path:not(.end)").count() >= lists[0]
    facts = dict(
        zip(
            page.locator("#facts dt").all_inner_texts(),
            page.locator("#facts dd").all_inner_texts(),
            strict=True,
        )
    )
    assert facts["Refuse below"] == "0.5" and facts["Drop below"] == "off"
    assert facts["Into the answer"] == str(page.locator("#lines .end.enters").count())
    assert page.locator("#answer-with.given h3").inner_text().endswith("what is answered")
    assert "The gate decides" in page.locator("#answer-with .answer-text").inner_text()
    assert "rerank" in page.locator("#answer-with .time").inner_text()


def test_the_gate_is_told_for_a_question_that_it_skips(eyes):
    page = eyes.page("/compare?q=gate+fitted")
    assert page.locator("#decision-title").inner_text() == "The gate skips"
    detail = page.locator("#decision-detail").inner_text()
    assert detail == "Because the rule \u201cshort\u201d holds (query_words <= 2 (is 2.000))."
    assert page.locator("#answer-without").get_attribute("class") == "given"
    page.get_by_text("Always").click()
    assert page.locator("#answer-with").get_attribute("class") == "given"
    assert page.locator("#decision-eyebrow").inner_text() == "The gate itself skips"


def test_the_address_reproduces_the_comparison(eyes):
    page = eyes.page("/compare")
    page.fill("#q", QUESTION)
    page.press("#q", "Enter")
    page.wait_for_selector("#result:not([hidden])")
    page.fill("#k", "4")
    page.press("#k", "Tab")
    expect(page.locator("#after li:not(.cut)")).to_have_count(4)
    page.fill("#drop", "0.9")
    page.press("#drop", "Tab")
    page.locator("#after .cut").wait_for()
    page.get_by_text("Never").click()
    query = parse_qs(urlsplit(page.url).query)
    assert {n: query[n] for n in ("q", "k", "drop", "gate")} == {
        "q": [QUESTION],
        "k": ["4"],
        "drop": ["0.9"],
        "gate": ["never"],
    }
    path = page.url.removeprefix(eyes.url)
    other = eyes.page(path)
    other.locator("#after .cut").wait_for()
    assert other.locator("#after .cut").inner_text() == "floor 0.9"
    assert other.locator("#after li:not(.cut)").count() == 4
    facts = other.locator("#facts dd").all_inner_texts()
    assert "0.5" in facts, "the threshold that was not changed stays the policy's"
    assert other.locator("input[value=never]").is_checked()
    for row in ("#answer-without .answer-text", "#answer-with .answer-text"):
        assert other.locator(row).inner_text() == page.locator(row).inner_text()


def test_a_score_beside_the_floor_stands_on_its_own_side(eyes, served):
    """A floor just above or below a passage's probability; three digits would be the same."""
    whole = httpx.post(f"{served.url}/v1/compare", json={"question": QUESTION}).json()
    probabilities = [p["relevance_score"] for p in whole["with"]["passages"]]
    value = sorted(set(probabilities))[-2]
    for drop in (value + 1e-6, value - 1e-6, value):
        page = eyes.page(f"{LINK}&drop={drop!r}&refuse=0")
        page.locator("#after .cut").wait_for()
        rows = page.locator("#after li").all_inner_texts()
        at = next(i for i, row in enumerate(rows) if row.startswith("floor"))
        assert at == sum(p >= drop for p in probabilities)
        floor = float(rows[at].removeprefix("floor "))
        scores = [float(s) for s in page.locator("#after .s").all_inner_texts()]
        assert floor == drop
        assert all(s >= floor for s in scores[:at]) and all(s < floor for s in scores[at:])
        assert str(drop) in page.locator("#facts dd").all_inner_texts()


def test_digits_never_lose_the_decision(eyes):
    page = eyes.page("/compare")
    lost = page.evaluate(
        """async () => {
          const { probability } = await import("/static/js/words.js");
          const lost = [];
          for (let i = 0; i < 3000; i += 1) {
            const limit = Math.round(Math.random() * 4000) / 4000;
            const value = limit + (Math.random() - 0.5) * 10 ** -Math.floor(Math.random() * 18);
            const shown = Number(probability(value, [limit, null]));
            if (shown < limit !== value < limit) lost.push([value, limit, shown]);
          }
          return [lost, probability(0.3, [0.5]), probability(0.02496, [0.025]), probability(null)];
        }"""
    )
    assert lost == [[], "0.300", "0.02496", "\u2013"]


def test_another_scorer_is_compared_and_the_link_carries_it(browser, tmp_path):
    scorer = LateInteractionScorer(kit.FakeEncoder())
    policy = kit.policy_file(tmp_path, scale="maxsim-mean", scorer=scorer.info.id)
    with kit.serving(tmp_path, scorer=scorer, policy=policy) as server:
        kit.small_collection(server, tmp_path)
        eyes = kit.Eyes(browser, server.url)
        page = eyes.page(LINK)
        page.locator("#result:not([hidden])").wait_for()
        choices = page.locator("#scorer option")
        expect(choices).to_have_count(2)
        own, head = choices.all_inner_texts()
        assert own == "late-interaction/fake"
        assert head.startswith("late-interaction/fake+head-")
        assert page.locator("#scorer-note").is_hidden()
        page.select_option("#scorer", head)
        expect(page.locator("#after-title")).to_have_text(f"With reranking by {head}")
        expect(page.locator("#decision-title")).to_have_text(
            "Reranked: no gate is fitted for this scorer"
        )
        assert parse_qs(urlsplit(page.url).query)["scorer"] == [head]
        other = eyes.page(page.url.removeprefix(server.url))
        other.locator("#result:not([hidden])").wait_for()
        assert other.input_value("#scorer") == head
        note = other.inner_text("#scorer-note")
        assert "order of the raw scores (maxsim-head)" in note and "late-interaction/fake'" in note
        assert all(s.startswith("raw ") for s in other.locator("#after .s").all_inner_texts())
        assert other.locator("#decision-detail").is_hidden()
        eyes.expected.add(400)
        lost = eyes.page("/compare?q=gate&scorer=mine", ready=False)
        lost.locator("#problem:not([hidden])").wait_for()
        assert "'mine'" in lost.inner_text("#problem") and head in lost.inner_text("#problem")
        assert eyes.rest() == []
        eyes.close()


def test_a_refused_question_says_so_in_the_lists(eyes):
    page = eyes.page("/compare?q=Which+zebra+recipe+needs+paprika+tonight%3F")
    assert page.locator("#after .cut").first.inner_text().startswith("refused: best 0.")
    assert page.locator("#after .kept").count() == 0


def test_quality_counts_what_happened(eyes, served):
    served.app.state.server.metrics.recent = Recent()
    page = eyes.page("/quality", ready=False)
    assert "No question since the server started" in page.inner_text("main")
    assert "100% of the skipped questions are reranked" in page.inner_text("main")
    chat = eyes.page()
    for question in (QUESTION, "gate fitted", "Which zebra recipe needs paprika tonight?"):
        kit.ask(chat, question)
    for _ in range(2):
        kit.ask(chat, QUESTION)
    served.app.state.server.skip_audit.drain()
    page.reload()
    shown = {
        page.locator(".figures dt").nth(i).inner_text(): page.locator(".figures > div")
        .nth(i)
        .inner_text()
        for i in range(4)
    }
    assert "60%" in shown["Reranked"] and "3 of 5, 23% to 88%" in shown["Reranked"]
    assert "1 of 5" in shown["Skipped"] and "1 of 5" in shown["Refused"]
    assert "0 of 5" in shown["Not reranked"]
    whole = page.locator("tr", has_text="Whole answer").locator("td").all_inner_texts()
    assert whole[0].endswith("ms") and whole[1:] == ["\u2013", "\u2013", "5"]
    assert re.search(r"Harmed\s+\d+\.\d%\s+[01] of 1, ", page.inner_text("main"))
    assert "feedback = true" in page.inner_text("main")


def test_reports_are_listed_and_cannot_touch_the_page(eyes, served):
    folder = served.data / "reports" / "may"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(
        "<style>h1{color:rgb(1, 2, 3)}</style><h1>Report</h1>"
        "<script>document.querySelector('h1').textContent='ran'</script>"
    )
    (folder / "result.json").write_text(json.dumps({"verdict": "ship_behind_gate", "n": 121}))
    page = eyes.page("/quality", ready=False)
    row = page.locator(".reports li", has_text="may").inner_text()
    assert "Ship behind the gate" in row and "121 questions" in row
    report = eyes.page("/quality/reports/may", ready=False)
    assert report.inner_text("h1") == "Report"
    assert report.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    # That it was kept from running is told in the console: the only line there is.
    (blocked,) = eyes.wrong
    assert "script" in blocked
    eyes.wrong.clear()
