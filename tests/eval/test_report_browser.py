"""The report in a real Chromium: nothing is loaded, nothing runs, nothing overflows."""

from __future__ import annotations

import os
import shutil

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


def test_nothing_is_loaded_and_nothing_runs(opened):
    # Without the page's own security policy too: escaping alone must hold.
    for script in (False, True):
        page = opened(1200, script=script)
        _open_everything(page)
        assert page.locator("h1").is_visible()
        assert page.locator("script, iframe, object, img, form").count() == 0
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
