"""The chat page in a real Chromium: ask, watch, stop, sources, refusal, upload, history."""

import re
from pathlib import Path

import browser_kit as kit
import httpx
import pytest
from playwright.sync_api import expect
from waiting import until

pytestmark = kit.needs_browser
browser, looking = kit.browser, kit.looking
QUESTION = kit.QUESTION
SENTENCE = "The gate decides before the second stage whether reranking is worth its time."


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with kit.serving_collection(tmp_path_factory, feedback=True) as server:
        yield server


@pytest.fixture
def eyes(looking, served):
    served.generator.stop_before(None)
    served.scorer.broken = False
    httpx.delete(f"{served.url}/v1/conversations")
    yield looking
    assert looking.rest() == []


def kept(served):
    """Every conversation with its turns."""
    found = httpx.get(f"{served.url}/v1/conversations").json()["conversations"]
    return [httpx.get(f"{served.url}/v1/conversations/{c['id']}").json() for c in found]


def ended(served):
    """How many chats the server is through with."""
    told = httpx.get(f"{served.url}/metrics").text
    rows = re.findall(r'requests_total\{route="/v1/chat/completions",.*?\} (\S+)', told)
    return sum(map(float, rows))


def test_an_answer_streams_and_is_kept(eyes, served):
    served.generator.stop_before("second")
    page = eyes.page()
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    page.wait_for_selector("#stop:visible")
    text = page.locator(".answer-text.streaming")
    text.filter(has_text="gate").wait_for()
    early = text.inner_text()
    served.generator.go.set()
    page.locator(".turn [data-part=under]:not([hidden])").wait_for()
    whole = page.locator(".answer-text")
    assert 0 < len(early) < len(SENTENCE) and SENTENCE.startswith(early.strip())
    assert SENTENCE in whole.inner_text()
    assert page.locator(".answer-text a.cite").first.inner_text() == "1"
    assert page.locator("#stop").is_hidden() and page.locator("#send").is_visible()
    (conversation,) = kept(served)
    assert page.url.endswith(f"/c/{conversation['id']}")
    assert page.locator("#history a[aria-current=page]").inner_text() == QUESTION
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    assert page.locator(".question-text").all_inner_texts() == [QUESTION]
    assert SENTENCE in page.locator(".answer-text").inner_text()


def test_a_stopped_answer_is_not_kept_and_can_be_asked_again(eyes, served):
    served.generator.stop_before("gate")
    page, before = eyes.page(), ended(served)
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    page.locator(".answer-text.streaming").filter(has_text="The").wait_for()
    page.click("#stop")
    page.get_by_text("Stopped. This answer is not kept.").wait_for()
    assert len(page.locator(".answer-text").inner_text()) < len(SENTENCE)
    assert page.evaluate("document.activeElement.id") == "question"
    assert [c["turns"] for c in kept(served)] == [[]]
    until(lambda: ended(served) > before)  # it has seen that nobody waits
    served.generator.go.set()
    page.click("[data-do=retry]")
    page.locator(".answer-text a.cite").first.wait_for()
    assert page.locator(".turn").count() == 1
    (conversation,) = kept(served)
    assert [t["question"] for t in conversation["turns"]] == [QUESTION]


def test_a_citation_opens_its_source_at_the_quoted_words(eyes):
    page = eyes.page()
    turn = kit.ask(page, QUESTION)
    cite = turn.locator("a.cite").first
    cite.click()
    mark = page.locator("#source-text mark").first
    mark.wait_for()
    # The document begins with two letters that JavaScript counts double.
    assert mark.inner_text() == SENTENCE
    assert page.locator("#source-title").inner_text().startswith("Gate")
    assert "Purpose" in page.locator("#source-path").inner_text()
    assert cite.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.id") == "source-title"
    page.keyboard.press("Escape")
    assert page.locator("#source-panel").is_hidden()
    assert page.evaluate("document.activeElement.className") == "cite"
    assert cite.get_attribute("aria-expanded") == "false"


def test_a_refusal_is_calm_and_offers_the_nearest_topics(eyes, served):
    page = eyes.page()
    turn = kit.ask(page, "Which zebra recipe needs paprika tonight?")
    assert turn.locator("[data-part=refusal]").is_visible()
    assert turn.locator("[data-part=failure]").is_hidden()
    assert turn.locator("[data-do=up]").is_hidden()
    topics = turn.locator("[data-topic]")
    assert topics.count() >= 2
    first = topics.first
    asked = first.inner_text()
    assert " > " in first.get_attribute("data-topic") and " > " not in asked
    first.click()
    page.locator(".turn").nth(1).locator("[data-part=under]:not([hidden])").wait_for()
    assert page.locator(".question-text").nth(1).inner_text() == asked


def test_a_failed_reranker_shows_a_badge_with_the_reason_in_words(eyes, served):
    served.scorer.broken = True
    page = eyes.page()
    turn = kit.ask(page, QUESTION)
    badge = turn.locator("[data-part=degraded]")
    assert badge.inner_text().strip() == "Not reranked: the reranker failed"
    assert turn.locator("a.cite").count() >= 1
    served.scorer.broken = False
    assert kit.ask(page, QUESTION).locator("[data-part=degraded]").is_hidden()


def test_what_documents_say_never_becomes_markup(eyes):
    page = eyes.page()
    turn = kit.ask(page, "What does the villain write into documents?")
    assert "<img src=x onerror" in turn.locator(".answer-text").inner_text()
    turn.locator("a.cite").first.click()
    page.locator("#source-text mark").first.wait_for()
    assert page.locator(".turn img, .turn b, #source-text img, #source-text b").count() == 0
    assert "owned" not in page.title()


def test_an_edited_question_replaces_its_turn_and_what_followed(eyes, served):
    page = eyes.page()
    first = kit.ask(page, QUESTION)
    kit.ask(page, "When does the floor refuse a question?")
    first.hover()
    first.locator("[data-do=edit]").click()
    field = first.locator(".edit textarea")
    assert field.input_value() == QUESTION
    field.fill("On what is a gate fitted?")
    field.press("Enter")
    dialog = page.locator("#ask")
    dialog.wait_for()
    assert "The answer after this one will be deleted" in dialog.inner_text()
    page.click("#ask-ok")
    page.locator(".question-text", has_text="fitted").wait_for()
    page.locator(".turn [data-part=under]:not([hidden])").wait_for()
    assert page.locator(".question-text").all_inner_texts() == ["On what is a gate fitted?"]
    (conversation,) = kept(served)
    assert [t["question"] for t in conversation["turns"]] == ["On what is a gate fitted?"]


def test_what_was_searched_for_is_said_and_a_question_can_stand_alone(eyes, served):
    page = eyes.page()
    assert kit.ask(page, QUESTION).locator("[data-part=searched]").is_hidden()
    second = kit.ask(page, "And does it need paprika tonight?")
    said = second.locator("[data-part=searched]")
    assert "Read together with your earlier questions." in said.inner_text()
    together = page.url
    second.get_by_text("Ask it alone").click()
    page.locator(".turn [data-part=refusal]:visible").wait_for()
    assert page.locator(".turn").count() == 1 and page.url != together
    assert sorted(len(c["turns"]) for c in kept(served)) == [1, 2]


def test_thumbs_and_opened_sources_are_kept(eyes, served):
    from rankgate.feedback import read_feedback

    log = served.data / "feedback.jsonl"
    log.unlink(missing_ok=True)
    page = eyes.page()
    turn = kit.ask(page, QUESTION)
    with page.expect_response("**/v1/feedback") as opened:
        turn.locator("a.cite").first.click()
    assert opened.value.status == 201
    page.keyboard.press("Escape")
    with page.expect_response("**/v1/feedback"):
        turn.locator("[data-do=down]").click()
    with page.expect_response("**/v1/feedback"):
        turn.locator("[data-reason=sources]").click()
    down, up = turn.locator("[data-do=down]"), turn.locator("[data-do=up]")
    assert down.get_attribute("aria-pressed") == "true"
    # The server knows it: after a reload, and for whoever opens the conversation from the list.
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    assert down.get_attribute("aria-pressed") == "true"
    assert down.get_attribute("aria-label") == "Bad answer: the sources do not fit"
    assert up.get_attribute("aria-pressed") == "false"
    with page.expect_response("**/v1/feedback"):
        up.click()
    page.goto("/")
    page.locator("#history a").first.click()
    page.wait_for_selector("body[data-ready=yes]")
    assert up.get_attribute("aria-pressed") == "true"
    assert down.get_attribute("aria-pressed") == "false"
    rows = read_feedback(log).judgements
    assert [(j.source, j.relevant) for j in rows][:1] == [("opened", True)]
    assert {(j.source, j.relevant) for j in rows[1:]} == {("thumb", False), ("thumb", True)}
    assert rows[0].query == QUESTION and SENTENCE in rows[0].passage_text


def test_history_renames_exports_and_deletes(eyes, served):
    page = eyes.page()
    kit.ask(page, QUESTION)
    item = page.locator("#history li").first

    def choose(name):
        item.hover()
        item.locator("summary").click()
        item.get_by_text(name).click()

    choose("Rename")
    page.fill("#ask-input", "About gates")
    page.press("#ask-input", "Enter")
    item.get_by_text("About gates", exact=True).wait_for()
    assert kept(served)[0]["title"] == "About gates"
    with page.expect_download() as download:
        choose("Export as Markdown")
    exported = Path(download.value.path()).read_text("utf-8")
    assert exported.startswith("# About gates") and SENTENCE in exported
    choose("Delete")
    page.click("#ask-ok")
    page.wait_for_url(re.compile(r"/\?collection="))
    assert kept(served) == []


def test_a_pdf_is_uploaded_and_answers_with_its_page(eyes, served, tmp_path):
    pdf = kit.files.write_pdf(
        tmp_path / "lighthouse.pdf",
        ["An introduction to the coast.", "The lighthouse keeper polishes the lens every Tuesday."],
        headings=("Coast", "Lighthouse"),
    )
    (tmp_path / "notes.xyz").write_text("no such kind")
    page = eyes.page()
    page.set_input_files("#files", [str(pdf), str(tmp_path / "notes.xyz")])
    rows = page.locator(".composer-dock .upload")
    rows.filter(has_text="lighthouse.pdf").filter(has_text="Ready").wait_for(timeout=90_000)
    refused = rows.filter(has_text="notes.xyz")
    assert "Not read" in refused.inner_text() and ".pdf" in refused.inner_text()
    turn = kit.ask(page, "When does the lighthouse keeper polish the lens?")
    turn.locator("a.cite").first.click()
    page.locator("#source-text mark").first.wait_for()
    assert "page 2" in page.locator("#source-path").inner_text()
    assert "every Tuesday" in page.locator("#source-text mark").first.inner_text()
    href = page.locator("#source-file").get_attribute("href")
    assert href.endswith("#page=2")
    answered = httpx.get(served.url + href)
    assert answered.headers["content-type"] == "application/pdf"
    assert answered.content.startswith(b"%PDF")


def test_a_quote_has_its_own_page_where_a_passage_goes_on_over_two(eyes, tmp_path):
    pdf = kit.files.write_pdf(
        tmp_path / "harbour.pdf",
        ["The pilot boat leaves the harbour at dawn.", "The quay is swept by the porter at noon."],
    )
    page = eyes.page()
    page.set_input_files("#files", str(pdf))
    page.locator(".composer-dock .upload").filter(has_text="Ready").wait_for(timeout=90_000)
    turn = kit.ask(page, "Who sweeps the quay at noon?")
    assert "page 2" in turn.locator(".sources .h").first.inner_text()
    turn.locator("a.cite").first.click()
    page.locator("#source-text mark").first.wait_for()
    assert page.locator("#source-file").get_attribute("href").endswith("#page=2")
    # It is one passage: what the first page says stands right before it.
    assert "pilot boat" in page.locator("#source-text").inner_text()


def test_a_thumb_that_is_not_kept_is_taken_back(eyes, served):
    page = eyes.page()
    turn = kit.ask(page, QUESTION)
    httpx.delete(f"{served.url}/v1/conversations")
    eyes.expected.add(404)
    turn.locator("[data-do=up]").click()
    page.locator("#toasts p").wait_for()
    assert turn.locator("[data-do=up]").get_attribute("aria-pressed") == "false"


def test_a_kept_answer_says_that_its_source_is_gone(eyes, served, tmp_path):
    note = tmp_path / "almanac.md"
    note.write_text("# Almanac\n\nThe almanac lists every eclipse of the coming century.\n")
    page = eyes.page()
    page.set_input_files("#files", str(note))
    page.locator(".composer-dock .upload").filter(has_text="Ready").wait_for(timeout=90_000)
    kit.ask(page, "What does the almanac list?")
    (told,) = kept(served)
    (source,) = told["turns"][0]["details"]["sources"]
    httpx.delete(f"{served.url}/v1/documents/{source['document']}").raise_for_status()
    page = eyes.page(f"/c/{told['id']}")
    page.locator(".turn a.cite").first.click()
    expect(page.locator("#source-text")).to_contain_text("The source is gone")
    assert "every eclipse" in page.locator("#source-text mark").first.inner_text()
    assert page.locator("#source-file").is_hidden()


def test_an_empty_collection_says_how_to_begin(eyes, served, tmp_path):
    served.collections.store("beginning", create=True)
    page = eyes.page("/?collection=beginning")
    assert page.locator("#question").is_disabled()
    assert "rankgate ingest FOLDER" in page.locator("#begin").inner_text()
    note = tmp_path / "tides.md"
    note.write_text("# Tides\n\nThe tide turns twice a day at the old harbour.\n")
    page.set_input_files("#files", str(note))
    page.get_by_text("Ready. What do you want to know?").wait_for(timeout=90_000)
    expect(page.locator("#collection option:checked")).to_have_text("beginning (1)")
    turn = kit.ask(page, "When does the tide turn at the harbour?")
    assert "twice a day" in turn.locator(".answer-text").inner_text()
