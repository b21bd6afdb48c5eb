"""Documents and uploads on the page: search, sort, many at once; nothing in the way."""

import browser_kit as kit
import httpx
import pytest
from playwright.sync_api import expect

from rag_app.server.keys import KeyStore, Role

pytestmark = kit.needs_browser
browser, looking, eyes = kit.browser, kit.looking, kit.eyes


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with kit.serving_collection(tmp_path_factory) as server:
        yield server


def notes(folder, count, words="of the lighthouse"):
    """So many small files."""
    made = []
    for number in range(count):
        made.append(folder / f"note{number:02}.md")
        made[-1].write_text(f"# Note {number}\n\nThe note {number} {words} {'x' * number}.\n")
    return [str(file) for file in made]


def names(page):
    return page.locator("#documents tbody .name").all_inner_texts()


def test_many_uploads_leave_room_for_the_question(eyes, served, tmp_path):
    served.collections.store("uploads", create=True)
    page = eyes.page("/?collection=uploads")
    page.set_input_files("#files", notes(tmp_path, 25))
    page.locator(".upload-count", has_text="25 of 25 read").wait_for(timeout=90_000)
    rows = page.locator(".upload-rows").first
    assert rows.evaluate("e => e.scrollHeight > e.clientHeight"), "it does not scroll"
    box = page.locator("#question").bounding_box()
    assert box["y"] + box["height"] <= 800
    page.get_by_label("Close the list of uploads").first.click()
    assert page.locator(".upload").count() == 0
    assert page.locator("[data-uploads]").first.inner_text() == ""


def test_the_page_follows_a_new_answer(eyes, tmp_path):
    page = eyes.page(context=eyes.context(height=560))
    for _ in range(3):
        turn = kit.ask(page, kit.QUESTION)
        dock = page.locator(".composer-dock").bounding_box()
        end = turn.locator("[data-part=under]").bounding_box()
        head = turn.locator(".question").bounding_box()
        assert head["y"] >= 0
        assert end["y"] + end["height"] <= dock["y"] + 20 or head["y"] < 60
    # Whoever scrolls up to read stays there.
    page.locator("#main").evaluate("e => { e.scrollTop = 0 }")
    assert page.locator("#main").evaluate("e => e.scrollTop") == 0


def test_dropping_says_where(eyes, served):
    page = eyes.page("/documents")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "x.md"));
          dispatchEvent(new DragEvent("dragover", { dataTransfer: data, cancelable: true }));
        }"""
    )
    said = page.evaluate("getComputedStyle(document.body, '::after').content")
    assert "Drop here" in said and "default" in said


FEES = """# Fees

## Berths

| berth | fee |
|-------|-----|
| north | 12 euro a night |
| south | **15 euro** a night |

The *south* berth is closed in `winter` by the harbour master.
"""


def test_a_source_is_rendered_and_says_file_and_evidence(eyes, served, tmp_path):
    (tmp_path / "fees.md").write_text(FEES)
    served.ingest(tmp_path / "fees.md", collection="fees")
    page = eyes.page("/?collection=fees")
    turn = kit.ask(page, "Which berth is closed in winter by the harbour master?")
    assert "Good evidence" in turn.locator("[data-part=good]").inner_text()
    assert "fees.md" in turn.locator(".sources .file").first.inner_text()
    turn.locator("a.cite").first.click()
    passage = page.locator("#source-text")
    expect(passage.locator("mark").first).to_be_visible()
    said = "".join(passage.locator("mark").all_inner_texts())
    assert said == "The south berth is closed in winter by the harbour master."
    assert passage.locator("td").count() == 4 and passage.locator("td strong").count() == 1
    text = passage.inner_text()
    assert "**" not in text and "##" not in text and "|" not in text
    assert not any(mark in text for mark in "\ue000\ue001")


def test_compare_has_no_blank_tail(eyes, served, tmp_path):
    served.ingest(*notes(tmp_path, 30, words="decides before the second stage"), collection="long")
    page = eyes.page(kit.COMPARE + "&collection=long")

    def tail():
        """From the longer list to the end of the drawing, in pixels."""
        ends = page.locator(".rank-list > :last-child").evaluate_all(
            "all => Math.max(...all.map(e => e.getBoundingClientRect().bottom))"
        )
        box = page.locator("#ranks").bounding_box()
        return box["y"] + box["height"] - ends

    page.locator("#scores tbody tr").first.wait_for()
    assert tail() < 10
    page.click("#all")
    assert tail() < 10
    page.set_viewport_size({"width": 700, "height": 800})
    page.set_viewport_size({"width": 1280, "height": 800})
    page.fill("#q", "note 3")
    page.fill("#k", "2")
    page.click("#run")
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    assert tail() < 10, "the lines of the last comparison hold the place open"


def test_documents_are_searched_sorted_opened_and_deleted_together(eyes, served, tmp_path):
    served.ingest(*notes(tmp_path, 12), collection="papers")
    page = eyes.page("/documents?collection=papers")
    assert names(page)[:2] == ["note00.md", "note01.md"]
    first = page.locator("#documents tbody tr").first.inner_text()
    assert " B" in first and "202" in first, "size and date"
    page.get_by_role("button", name="Size").click()
    assert names(page)[0] == "note00.md"
    page.get_by_role("button", name="Size").click()
    assert names(page)[0] == "note11.md"
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Size")
    page.fill("#search", "note 11")
    assert names(page) == ["note11.md"]
    page.get_by_role("button", name="note11.md", exact=True).click()
    expect(page.locator("#reader-text")).to_contain_text("The note 11")
    page.keyboard.press("Escape")
    page.fill("#search", "note1")
    page.check("#choose-all")
    page.get_by_role("button", name="Delete 2 chosen").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#count")).to_have_text("0 of 10 shown")
    page.fill("#search", "")
    assert len(names(page)) == 10 and "note11.md" not in names(page)
    left = httpx.get(f"{served.url}/v1/documents?collection=papers").json()["data"]
    assert len(left) == 10


def test_a_collection_is_made_renamed_and_deleted(eyes, served):
    page = eyes.page("/documents")

    def press(name, value=None, ok=None):
        page.get_by_role("button", name=name).click()
        if value is not None:
            page.fill("#ask-input", value)
        page.click("#ask-ok")

    press("New collection", "letters")
    page.wait_for_url("**/documents?collection=letters")
    page.wait_for_selector("body[data-ready=yes]")
    press("Rename letters", "post-office")
    page.wait_for_url("**/documents?collection=post-office")
    page.wait_for_selector("body[data-ready=yes]")
    eyes.expected.add(400)
    press("New collection", "x")
    expect(page.locator("#toasts")).to_contain_text("3 to 63")
    press("Delete post-office")
    page.wait_for_url("**/documents?")
    page.wait_for_selector("body[data-ready=yes]")
    options = page.locator("#collection option").all_inner_texts()
    assert not any("post-office" in o or "letters" in o for o in options)


def test_a_reader_sees_no_way_to_change_anything(browser, tmp_path_factory):
    base = tmp_path_factory.mktemp("reading")
    with kit.serving(base) as server:
        kit.small_collection(server, base)
        _, key = KeyStore(server.data).create(name="Rea", role=Role.READER)
        looking = kit.Eyes(browser, server.url)
        page = looking.page("/documents", ready=False)
        page.fill("#key", key)
        page.press("#key", "Enter")
        page.wait_for_selector("body[data-ready=yes]")
        assert sorted(names(page)) == ["floor.md", "gate.md"]
        for gone in ("Choose files", "New collection", "Delete gate.md"):
            assert page.get_by_role("button", name=gone).count() == 0
        assert page.locator("#documents input").count() == 0
        page.goto("/")
        page.wait_for_selector("body[data-ready=yes]")
        assert page.get_by_label("Upload documents").count() == 0
        looking.close()
        assert looking.wrong == []
