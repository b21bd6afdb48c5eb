"""The report in a real Chromium: nothing is loaded, nothing foreign runs, nothing overflows."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
import report_example as sample

from rankgate_eval.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MAKERS = {"full": sample.example, "bare": sample.bare, "hostile": sample.hostile}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ,
    reason="no chromium here; CI installs one (.ci/run)",
)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(params=sorted(MAKERS))
def opened(request, browser, tmp_path):
    """A function that opens one of the reports, and what went wrong meanwhile."""
    made = write_report(MAKERS[request.param](), tmp_path)
    pages, wrong = [], []

    def open_page(width, scheme="light", script=False):
        # With scripts on, so that one that should not be there would run.
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=script
        )
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        page.on("dialog", lambda d: (wrong.append(f"dialog: {d.message}"), d.dismiss()))
        page.on("request", lambda r: wrong.append(r.url) if r.url != made.html.as_uri() else None)
        page.goto(made.html.as_uri())
        pages.append(context)
        return page

    open_page.wrong = wrong
    yield open_page
    for context in pages:
        context.close()


def _open_everything(page):
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")


def test_nothing_is_loaded_and_nothing_runs_but_the_pages_own_script(opened):
    # Without the page's own security policy too: escaping alone must hold.
    for script in (False, True):
        page = opened(1200, script=script)
        _open_everything(page)
        assert page.locator("h1").is_visible()
        assert page.locator("iframe, object, img, form").count() == 0
        scripts = page.locator("script")
        types = [s.get_attribute("type") for s in scripts.all()]
        assert types in ([None], ["application/json", None])
        for button in page.locator("#questions button.open").all():
            button.click()
    assert opened.wrong == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(opened, width):
    page = opened(width)
    _open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """width => [...document.querySelectorAll("h1,h2,h3,p,li,dd,dt,summary,figcaption,bdi")]
        .filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > width + 0.5)
        .map(e => e.textContent.slice(0, 60))""",
        width,
    )
    assert outside == []


def test_all_strata_stand_on_a_phone_too(browser, tmp_path):
    made = write_report(sample.example(), tmp_path)
    for width in (360, 1280):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(made.html.as_uri())
        rows = page.locator("[data-stratum]")
        assert [r.get_attribute("data-stratum") for r in rows.all()] == [
            "typos=many",
            "typos=some",
            "typos=none",
            "negation=yes",
        ]
        assert all(r.is_visible() for r in rows.all())
        assert page.locator(".strata svg.strip .mark:visible").count() == 3
        page.close()


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
    return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest("title, desc, style")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.closest("svg") ? style.fill : style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${e.tagName} ${e.textContent.slice(0, 40)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_told_from_what_is_behind_it(opened, scheme):
    page = opened(1280, scheme)
    _open_everything(page)
    assert page.evaluate(CONTRAST) == []


def test_the_dark_page_is_dark_and_paper_is_white(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = opened(1280, "dark"), opened(1280)
    assert max(_channels(dark.evaluate(ground))) < 50 < 200 < min(_channels(light.evaluate(ground)))
    dark.emulate_media(media="print", color_scheme="dark")
    assert _channels(dark.evaluate(ground)) == [255, 255, 255]


def _channels(colour):
    return [int(x) for x in colour.removeprefix("rgb(").removesuffix(")").split(",")]


def test_hostile_words_are_seen_as_words(browser, tmp_path):
    made = write_report(sample.hostile(), tmp_path)
    page = browser.new_page()
    page.goto(made.html.as_uri())
    seen = page.locator("body").inner_text()
    assert "<script>alert(1)</script>" in seen and "⟨U+202E⟩gnp.exe" in seen
    assert "{{ 7*7 }}" in seen and "👩‍👩‍👧 مرحبا" in seen
    assert page.title().startswith("Ship behind the gate: <script>")
    page.close()


def test_paper_shows_the_folded_lists(browser, tmp_path):
    made = write_report(sample.example(), tmp_path)
    page = browser.new_page()
    page.goto(made.html.as_uri())
    folded = page.locator("details.query:not([open]) .lists").first
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert folded.is_visible()
    assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")
    page.close()


@pytest.fixture
def asked(browser, tmp_path):
    """A function that opens the report of a result and gives its page, the example's by default."""
    pages = []

    def open_page(result=None, **settings):
        made = write_report(sample.example() if result is None else result, tmp_path)
        pages.append(browser.new_page(**settings))
        pages[-1].goto(made.html.as_uri())
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def _ids(page):
    return [
        small.inner_text().split(" ")[0]
        for small in page.locator("#questions tbody tr:not(.detail) > th small").all()
    ]


def _said(page):
    return page.locator("#questions [data-count]").inner_text()


def test_without_a_script_the_questions_are_read_as_with_one(asked):
    plain, scripted = asked(java_script_enabled=False), asked()
    rows = [p.locator("#questions tbody").inner_text().split() for p in (plain, scripted)]
    assert rows[0] == rows[1] and "\u22120.500" in rows[0]
    assert _ids(plain) == ["s2", "s10", "s3", "s1", "n1", "n2"]
    assert "queries.csv" in plain.locator("#questions .static").inner_text()
    assert plain.locator("#questions .filters").is_hidden()
    assert scripted.locator("#questions .static").count() == 0


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"text": "QUOTED 1+1"}, ["s10"]),
        ({"text": "s3"}, ["s3"]),
        ({"group": "doc-"}, ["s2", "s3", "s1"]),
        ({"against": "lost"}, ["s2", "s10"]),
        ({"against": "equal"}, ["s3"]),
        ({"path": "skipped"}, ["s2"]),
        ({"refused": "true"}, ["s2", "n2"]),
        ({"refused": "false", "judged": "unanswerable"}, ["n1"]),
        ({"strata": "topic=a, b"}, ["s1"]),
        ({"strata": "typos=none", "against": "lost", "path": "reranked"}, ["s10"]),
        ({"text": "no such words"}, []),
    ],
)
def test_questions_are_filtered(asked, chosen, left):
    page = asked()
    for name, value in chosen.items():
        field = page.locator(f"#questions [data-filter={name}]")
        if name in ("text", "group"):
            field.fill(value)
        elif name == "strata":
            field.select_option(label=value)
        else:
            field.select_option(value)
    assert _ids(page) == left and _said(page).startswith(f"{len(left)} of 6 questions")
    assert left or "No question is like this" in page.locator("#questions tbody").inner_text()
    page.get_by_role("button", name="Clear the filter").click()
    assert len(_ids(page)) == 6


def test_any_column_sorts_both_ways_by_keyboard_and_nothing_known_stays_last(asked):
    page = asked()
    head = page.get_by_role("columnheader")
    assert head.filter(has_text="Change").get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Best p").focus()
    page.keyboard.press("Enter")
    assert _ids(page) == ["n1", "n2", "s2", "s10", "s1", "s3"]
    page.keyboard.press("Enter")
    assert _ids(page) == ["s2", "s10", "s1", "n1", "n2", "s3"]
    assert head.filter(has_text="Best p").get_attribute("aria-sort") == "descending"
    assert head.filter(has_text="Change").get_attribute("aria-sort") is None
    page.get_by_role("button", name="Question", exact=True).click()
    assert _ids(page)[-1] == "s3" and _ids(page)[:2] == ["s10", "n1"]


def test_both_lists_of_a_question_are_shown_on_demand(asked):
    page = asked()
    page.get_by_role("button", name="Lists of: what of s1?").click()
    detail = page.locator("#questions tr.detail")
    lists = [part.inner_text().split("\n") for part in detail.locator(".lists > div").all()]
    assert lists[0][0] == "First stage" and "the beginning of s1-d1" in lists[0]
    first, second = detail.locator(".lists > div").nth(1).locator("li").all()
    assert "s1-d2" in first.inner_text() and "not handed over" not in first.inner_text()
    assert "s1-d1 relevant" in second.inner_text() and "not handed over" in second.inner_text()
    facts = detail.locator("dl").inner_text()
    assert "typos=many, topic=a, b" in facts and "Policy 1.000" in facts
    assert "3, 2 not among the candidates" in facts
    page.get_by_role("button", name="Lists of: what of s1?").click()
    assert detail.count() == 0
    page.get_by_role("button", name="Lists of: what of s3?").click()
    assert "does not hold its lists" in detail.inner_text()
    page.get_by_role("button", name="Lists of: what of s2?").click()
    assert "refused, nothing is handed over" in detail.first.inner_text()


def test_what_is_filtered_is_downloaded_as_it_stands_in_the_file_beside_the_page(asked, tmp_path):
    page = asked()
    for name in ("s1", ""):  # s1 and s10, then all
        page.locator("#questions [data-filter=text]").fill(name)
        with page.expect_download() as found:
            page.get_by_role("button", name="Download CSV").click()
        assert found.value.suggested_filename == "questions.csv"
        with open(found.value.path(), encoding="utf-8-sig", newline="") as file:
            lines = file.read().split("\r\n")
        whole = (tmp_path / "queries.csv").read_bytes().decode().split("\r\n")
        wanted = [line for line in whole[1:] if name in line]
        assert len(wanted) in (2, 7) and lines == [whole[0], *wanted, *([""] if name else [])]


def test_a_stratum_leads_to_its_questions(asked):
    page = asked()
    page.locator("#questions [data-filter=text]").fill("nothing")
    page.locator('[data-stratum="typos=many"] a').click()
    assert _ids(page) == ["s1"]
    assert page.evaluate("location.hash") == "#questions"


def test_five_thousand_questions_stay_small_and_stand_on_pages(asked, tmp_path):
    names = [f"a question of quite usual length, number {i}, about a thing?" for i in range(5000)]
    rows = tuple(
        sample.question(f"q{i}", i % 97 / 97, i % 89 / 89, words=name)
        for i, name in enumerate(names)
    )
    lists = tuple(
        replace(
            row,
            lists=replace(
                row.lists,
                first_stage=tuple(f"passage-{(i + j) % 20000}" for j in range(10)),
                policy=tuple(f"passage-{(i + 9 - j) % 20000}" for j in range(10)),
            ),
        )
        for i, row in enumerate(rows)
    )
    snippets = {f"passage-{i}": "many words of a passage " * 8 for i in range(4000)}
    page = asked(replace(sample.example(), per_query=lists, unanswerable=(), snippets=snippets))
    assert (tmp_path / "report.html").stat().st_size < 4_000_000
    assert _said(page) == "5,000 of 5,000 questions, 1 to 50 shown"
    first = _ids(page)
    assert len(first) == 50 and page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    assert "51 to 100 shown" in _said(page) and not set(first) & set(_ids(page))
    assert page.locator("#questions [data-page]").inner_text() == "Page 2 of 100"
    page.locator("#questions [data-filter=text]").fill("number 4999,")
    assert _ids(page) == ["q4999"]
    assert page.get_by_role("button", name="Next").is_disabled()
