"""The page for everybody: keyboard, phone, dark, axe, and two keys that see only their own."""

import browser_kit as kit
import pytest

from rag_app.server.keys import KeyStore, Role

pytestmark = kit.needs_browser
browser, looking, eyes = kit.browser, kit.looking, kit.eyes
QUESTION, COMPARE = kit.QUESTION, kit.COMPARE


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with kit.serving_collection(tmp_path_factory, feedback=True) as server:
        server.collections.store("nothing-yet", create=True)
        yield server


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with two keys: an evaluator's for `alpha`, a user's for `beta`."""
    base = tmp_path_factory.mktemp("locked")
    with kit.serving(base) as server:
        for name in ("alpha", "beta"):
            file = base / f"{name}.md"
            file.write_text(f"# {name}\n\nThe password of the vault is {name}-secret today.\n")
            server.ingest(file, collection=name)
        keys = KeyStore(server.data)
        _, server.alpha = keys.create(name="Ada", role=Role.EVALUATOR, collections=["alpha"])
        _, server.beta = keys.create(name="Bob", role=Role.USER, collections=["beta"])
        yield server


@pytest.fixture
def outside(browser, locked):
    looking = kit.Eyes(browser, locked.url)
    yield looking
    looking.close()
    assert looking.wrong == []


def faults(page, within=None, rules=None):
    """What axe finds serious or critical: rule and places."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"]}
    if rules is not None:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = Axe().run(page, context=within, options=options).response["violations"]
    return [
        (v["id"], [n["html"][:120] for n in v["nodes"]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def faults_in_both(page, within=None):
    """In the light everything; in the dark colours, as nothing else is another there."""
    found = faults(page, within)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    found += faults(page, within, rules=["color-contrast"])
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    return found


def test_axe_finds_nothing_serious(eyes):
    # axe is put into the page, which our content policy rightly forbids to anybody else.
    context = eyes.context(bypass_csp=True, reduced_motion="reduce")
    page = eyes.page(context=context)
    assert faults_in_both(page) == []
    kit.ask(page, "Which zebra recipe needs paprika tonight?")
    turn = kit.ask(page, QUESTION)
    turn.locator("a.cite").first.click()
    page.locator("#source-text mark").first.wait_for()
    assert faults_in_both(page) == []
    page.keyboard.press("Escape")
    turn.locator("[data-do=down]").click()
    page.keyboard.press("?")
    # What lies behind an open dialog is inert, and no business of anybody's.
    assert faults_in_both(page, within="#shortcuts") == []
    for path in (COMPARE, "/judge", "/documents", "/?collection=nothing-yet", "/quality"):
        page.goto(path)
        page.wait_for_selector("body" if path == "/quality" else "body[data-ready=yes]")
        assert (path, faults_in_both(page)) == (path, [])


def test_colours_follow_the_system_until_they_are_chosen(eyes):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page = eyes.page()
    light = paper(page)
    page.emulate_media(color_scheme="dark")
    dark = paper(page)
    assert dark != light
    page.click("#theme")
    assert page.inner_text("#theme-name") == "Light"
    assert paper(page) == light
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    assert paper(page) == light, "the choice is remembered"
    page.emulate_media(color_scheme="light")


def test_nothing_overflows_a_phone(eyes):
    context = eyes.context(width=360, height=740, has_touch=True, reduced_motion="reduce")

    def overflow(page):
        return page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def widths(page):
        for width in (390, 360):
            page.set_viewport_size({"width": width, "height": 740})
            page.wait_for_function(f"innerWidth === {width}")
            yield width

    page = eyes.page(context=context)
    for path in (COMPARE, "/judge", "/documents", "/quality", "/?collection=nothing-yet"):
        page.goto(path)
        page.wait_for_selector("body" if path == "/quality" else "body[data-ready=yes]")
        for width in widths(page):
            main = page.evaluate("document.querySelector('main').scrollWidth - innerWidth")
            assert (path, width, overflow(page), main) == (path, width, 0, 0)
    page.goto("/")
    page.wait_for_selector("body[data-ready=yes]")
    turn = kit.ask(page, QUESTION)
    turn.locator("a.cite").first.click()
    page.locator("#source-text mark").first.wait_for()
    for width in widths(page):
        box = page.locator("#source-panel").bounding_box()
        assert box["x"] == 0 and box["width"] == width and box["y"] + box["height"] <= 741
    assert page.locator("#source-panel").get_attribute("aria-modal") == "true"
    assert page.evaluate("document.querySelector('.page').inert") is True
    page.click("#source-close")
    assert page.evaluate("document.querySelector('.page').inert") is False
    page.click("#side-open")
    assert page.evaluate("document.activeElement.id") == "side-close"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "side-open"
    assert overflow(page) == 0


def test_everything_works_by_keyboard(eyes):
    page = eyes.page()
    key = page.keyboard
    assert page.evaluate("document.activeElement.id") == "question"
    key.type(QUESTION)
    key.press("Enter")
    page.locator(".turn [data-part=under]:not([hidden])").wait_for()
    # Letters are letters while one writes.
    key.type("?ne")
    assert page.input_value("#question") == "?ne"
    assert page.locator("#shortcuts").is_hidden()
    page.fill("#question", "")
    page.evaluate("document.activeElement.blur()")
    key.press("s")
    page.locator("#source-text mark").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "source-title"
    key.press("Escape")
    assert page.evaluate("document.activeElement.dataset.source") == "1"
    key.press("e")
    page.locator(".edit textarea").wait_for()
    key.press("Escape")
    assert page.evaluate("document.activeElement.dataset.do") == "edit"
    key.press("?")
    assert page.locator("#shortcuts").is_visible()
    page.uncheck("#letters")
    key.press("Escape")
    key.press("s")
    assert page.locator("#source-panel").is_hidden(), "single letters can be switched off"
    page.goto("/documents")
    page.wait_for_selector("body[data-ready=yes]")
    key.press("Tab")
    skip = page.evaluate("document.activeElement.className")
    assert skip == "skip"
    key.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def sign_in(page, key):
    page.fill("#key", key)
    page.press("#key", "Enter")


def test_a_wrong_key_is_told_and_the_right_one_comes_back(outside, locked):
    outside.expected.add(401)
    page = outside.page("/documents?collection=alpha", ready=False)
    assert "/login?next=" in page.url
    sign_in(page, "rk-00000000-nonsense")
    page.locator("#wrong").wait_for()
    assert faults_without_policy(outside, page.url) == []
    sign_in(page, locked.alpha)
    page.locator("#documents tbody tr").wait_for()
    assert page.url.endswith("/documents?collection=alpha")
    page.get_by_label("Sign out Ada").click()
    page.wait_for_url("**/login")


def faults_without_policy(eyes, url):
    return faults(eyes.page(url, ready=False, bypass_csp=True))


def test_two_keys_cannot_see_each_other(outside, locked):
    pages = {}
    for name, key in (("alpha", locked.alpha), ("beta", locked.beta)):
        page = outside.page("/", ready=False, context=outside.context())
        sign_in(page, key)
        page.wait_for_selector("body[data-ready=yes]")
        pages[name] = page
    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        page = pages[name]
        options = page.locator("#collection option").all_inner_texts()
        assert [o.split(" ")[0] for o in options] == [name]
        turn = kit.ask(page, "What is the password of the vault today?")
        text = turn.locator(".answer-text").inner_text()
        assert f"{name}-secret" in text and other not in text
    theirs = pages["beta"].url
    outside.expected |= {403, 404}
    page = pages["alpha"]
    page.goto(theirs)
    assert "there is no conversation" in page.inner_text("main").lower()
    assert "beta-secret" not in page.content()
    page.goto("/documents?collection=beta")
    assert "there is no collection 'beta'" in page.inner_text("main").lower()
    # The user's key has no Compare, no Quality, and no scores.
    user = pages["beta"]
    assert user.get_by_role("link", name="Compare").count() == 0
    assert user.locator("[data-part=measured]:visible").count() == 0
    user.goto("/quality")
    assert "Not for this key" in user.inner_text("h1")
