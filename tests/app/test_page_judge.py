"""Judging in a real Chromium, and over HTTP: by keys, by mouse, left and gone on with."""

import json
import re

import browser_kit as kit
import httpx
import pytest
from playwright.sync_api import expect
from waiting import until

import rankgate_eval.judging as core
from rag_app.server.keys import KeyStore, Role
from rankgate.feedback import FEEDBACK_FILE, Judgement, append_feedback
from rankgate_eval.data.loading import load_dataset

pytestmark = kit.needs_browser
browser, looking, eyes = kit.browser, kit.looking, kit.eyes
QUESTIONS = [
    "What decides before the second stage?",
    "Which passages are dropped one by one?",
    "How is a gate fitted on questions?",
    "When does the floor refuse a question?",
    "Which zebra recipe needs paprika tonight?",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with kit.serving_collection(tmp_path_factory, judging=core) as server:
        yield server


def begin(server, name, questions=QUESTIONS):
    """A session whose questions are run."""
    sent = httpx.post(
        f"{server.url}/v1/judge/sessions", json={"name": name, "questions": questions}
    )
    assert sent.status_code == 202, sent.text
    until(lambda: session(server, name) is not None)


def session(server, name):
    file = server.data / "judging" / "default" / f"{name}.jsonl"
    return core.Session.open(file) if file.exists() else None


def open_desk(eyes, name):
    page = eyes.page("/judge")
    page.get_by_label(f"Judge {name}").click()
    page.locator("#question:not(:empty)").wait_for()
    return page


def answered(page, count):
    expect(page.locator("#count")).to_have_text(re.compile(f"^{count} of "))


def test_a_session_is_begun_on_the_page_and_judged_by_keys(eyes, served):
    page = eyes.page("/judge")
    page.fill("#name", "by-keys")
    page.fill("#questions", "\n".join(QUESTIONS))
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("Judge by-keys").click()
    page.locator("#question:not(:empty)").wait_for()
    assert page.locator("#interval").inner_text() == "No question is judged yet."
    drawn = session(served, "by-keys").questions
    assert page.inner_text("#question") == drawn[0].text
    shown = page.locator(".passages p").all_inner_texts()
    assert len(shown) == len(drawn[0].shown) > 1
    for key in "2" + "1" * (len(shown) - 1):
        page.keyboard.press(key)
    answered(page, 1)
    page.keyboard.press("u")
    answered(page, 2)
    page.keyboard.press("s")
    answered(page, 3)
    page.keyboard.press("n")
    answered(page, 4)
    assert "95% between" in page.inner_text("#interval")
    said = session(served, "by-keys").by("local")
    kinds = [said[q.id].kind for q in drawn[:4]]
    assert kinds == ["graded", "unanswerable", "skipped", "graded"]
    assert list(said[drawn[0].id].grades.values()) == [2] + [1] * (len(shown) - 1)
    assert not any(said[drawn[3].id].grades.values())
    assert all(said[q.id].seconds > 0.0 for q in drawn[:4])
    # Gone on with by another visit, where it was left; and the end is told.
    page.close()
    page = open_desk(eyes, "by-keys")
    assert page.inner_text("#question") == drawn[4].text
    page.keyboard.press("n")
    page.locator("#over:not([hidden])").wait_for()


def test_back_and_the_mouse_and_a_relevant_passage_that_is_nowhere(eyes, served):
    begin(served, "by-mouse")
    page = open_desk(eyes, "by-mouse")
    drawn = session(served, "by-mouse").questions
    page.locator(".passages li").nth(0).get_by_text("Fully").click()
    page.get_by_role("button", name="Nowhere").click()
    assert "relevant already" in page.inner_text("#problem")
    page.keyboard.press("b")
    page.get_by_role("button", name="Nowhere").click()
    answered(page, 1)
    page.get_by_role("button", name="Skip").click()
    answered(page, 2)
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#question")).to_have_text(drawn[1].text)
    page.keyboard.press("n")
    expect(page.locator("#question")).to_have_text(drawn[2].text)
    said = session(served, "by-mouse").by("local")
    assert [said[q.id].kind for q in drawn[:2]] == ["unanswerable", "graded"]


def test_no_score_and_no_way_is_told(served):
    begin(served, "blind")
    found = httpx.get(f"{served.url}/v1/judge/sessions/blind").json()["question"]
    assert set(found) == {"id", "text", "passages", "grades"}
    assert all(set(p) == {"id", "text"} for p in found["passages"])


def test_what_was_judged_is_exported_for_eval(eyes, served, tmp_path):
    begin(served, "exported")
    page = open_desk(eyes, "exported")
    assert page.locator("#export").is_hidden()
    page.keyboard.press("2")
    page.keyboard.press("n")
    answered(page, 1)
    page.keyboard.press("u")
    answered(page, 2)
    with page.expect_download() as waiting:
        page.click("#export")
    file = tmp_path / "judged.jsonl"
    waiting.value.save_as(file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 2 and rows[1]["answerability"] == "unanswerable"
    texts = session(served, "exported").passages
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": p, "text": t}) + "\n" for p, t in texts.items()))
    data, _ = load_dataset(file, corpus=corpus)
    assert len(data.judged()) == len(data.unanswerable()) == 1


def test_questions_of_the_log_can_be_judged(eyes, served):
    from datetime import UTC, datetime

    rows = [
        Judgement(
            query=text,
            passage_id="p",
            passage_text="t",
            relevant=True,
            source="thumb",
            time=datetime.now(UTC),
            collection=collection,
        )
        for text, collection in (("What is a floor?", "default"), ("Elsewhere?", "other"))
    ]
    append_feedback(served.data / FEEDBACK_FILE, rows)
    page = eyes.page("/judge")
    page.fill("#name", "from-log")
    page.check("#log")
    assert "the 1 questions" in page.inner_text("#log-label")
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("Judge from-log").click()
    expect(page.locator("#question")).to_have_text("What is a floor?")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "sessions/nobody", None, 404),
        ("POST", "sessions", {"name": "twice", "questions": ["?"]}, 400),
        ("POST", "sessions", {"name": "empty", "questions": [" "]}, 400),
        ("POST", "sessions", {"name": "../up", "questions": ["?"]}, 400),
        ("POST", "sessions", {"name": "there", "questions": ["?"], "collection": "no"}, 404),
        ("GET", "sessions/twice?question=q99", None, 404),
        ("GET", "sessions/twice/export", None, 400),
        ("POST", "sessions/twice/verdicts", {"question": "q1", "kind": "graded"}, 400),
        ("POST", "sessions/twice/verdicts", {"question": "q9", "kind": "skipped"}, 400),
        (
            "POST",
            "sessions/twice/verdicts",
            {"question": "q1", "kind": "skipped", "grades": {"p": 1}},
            400,
        ),
    ],
)
def test_what_does_not_fit_is_refused(served, method, path, body, status):
    if session(served, "twice") is None:
        begin(served, "twice")
    found = httpx.request(method, f"{served.url}/v1/judge/{path}", json=body)
    assert found.status_code == status, found.text
    assert found.json()["error"]["message"]


def test_what_stops_the_questions_is_shown_and_the_name_is_free_again(served):
    served.scorer.broken = False
    pipeline = served.collections.pipeline("default")
    with pytest.raises(Exception, match="letters, digits"):
        served.app.state.server.judging.begin(pipeline, "x", ["?"])

    class Broken:
        settings = pipeline.settings

        def searched_for(self, *args, **kwargs):
            raise OSError("the disk is gone")

        def writer(self):
            return None

    judging = served.app.state.server.judging
    judging.begin(Broken(), "broken", ["a", "b"])
    state = until(
        lambda: next((s for s in judging.sessions("default") if s["state"] == "failed"), None)
    )
    assert "the disk is gone" in state["error"]
    judging.begin(pipeline, "broken", QUESTIONS[:2])
    until(lambda: session(served, "broken") is not None)


def test_only_evaluators_judge_and_only_their_collections(tmp_path):
    with kit.serving(tmp_path, judging=core) as server:
        file = tmp_path / "a.md"
        file.write_text("# A\n\nThe password is in the vault today.\n")
        for collection in ("alpha", "beta"):
            server.ingest(file, collection=collection)
        keys = KeyStore(server.data)
        _, ada = keys.create(name="Ada", role=Role.EVALUATOR, collections=["alpha"])
        _, bob = keys.create(name="Bob", role=Role.USER, collections=["alpha"])

        def status(secret, path, **more):
            headers = {"Authorization": f"Bearer {secret}"}
            return httpx.request("GET", f"{server.url}{path}", headers=headers, **more).status_code

        assert status(bob, "/judge") == status(bob, "/v1/judge/sessions?collection=alpha") == 403
        assert status(ada, "/judge?collection=alpha") == 200
        assert status(ada, "/v1/judge/sessions?collection=alpha") == 200
        assert status(ada, "/v1/judge/sessions?collection=beta") == 404
        assert status(ada, "/v1/judge/sessions/may?collection=beta") == 404


@pytest.mark.parametrize("width", [360, 1280])
def test_the_desk_is_accessible_and_fits(eyes, served, width):
    from axe_playwright_python.sync_playwright import Axe

    name = f"axe-{width}"
    begin(served, name)
    # axe is put into the page, which our content policy rightly forbids to anybody else.
    context = eyes.context(bypass_csp=True, reduced_motion="reduce", width=width)
    page = eyes.page("/judge", context=context)
    page.get_by_label(f"Judge {name}").click()
    page.locator("#question:not(:empty)").wait_for()
    page.keyboard.press("1")
    assert page.evaluate("document.activeElement.tagName") == "FIELDSET"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_without_the_evaluation_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("rag_app.quality.judging.GROUP", "rankgate.nothing")
    with kit.serving(tmp_path) as server:
        kit.small_collection(server, tmp_path)
        found = httpx.get(f"{server.url}/v1/judge/sessions")
        assert found.status_code == 409 and "rankgate[eval]" in found.json()["error"]["message"]
