"""What stands behind the page, over HTTP: signing in, feedback, quality, static files."""

import json
from types import SimpleNamespace

import browser_kit as kit
import httpx
import pytest

from rag_app.quality import figures
from rag_app.quality.ratings import Ratings
from rag_app.quality.recent import Recent
from rag_app.server.keys import KeyStore
from rag_app.server.pages import local_target
from rankgate.feedback import read_feedback

QUESTION = kit.QUESTION


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("served")
    with kit.serving(base, feedback=True) as server:
        kit.small_collection(server, base)
        yield server


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.url, timeout=60) as made:
        yield made


def answered(client):
    """A kept, answered question: conversation and turn."""
    conversation = client.post("/v1/conversations", json={}).json()["id"]
    body = {"messages": [{"role": "user", "content": QUESTION}], "conversation": conversation}
    shape = client.post("/v1/chat/completions", json=body).json()["rankgate"]
    return conversation, shape["turn"], shape["sources"]


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/compare?q=a%20b", "/compare?q=a%20b"),
        ("//evil.example/x", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(given, target):
    assert local_target(given) == target


def test_pages_are_never_stored_and_have_nothing_inline(client):
    for path in ("/", "/documents", "/compare", "/quality"):
        page = client.get(path)
        assert page.status_code == 200 and page.headers["cache-control"] == "no-store"
        assert (
            "style=" not in page.text and "<style" not in page.text and "onclick" not in page.text
        )
        scripts = page.text.count("<script")
        external = page.text.count('<script src="/static/') + page.text.count(
            '<script type="module" src="/static/'
        )
        # The one without an address holds data, which is not run.
        assert scripts == external + 1 and 'type="application/json"' in page.text
        assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")


def test_static_files_are_asked_about_again(client):
    first = client.get("/static/js/chat.js")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"].startswith("text/javascript")
    again = client.get("/static/js/chat.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/static/../server/pages.py").status_code == 404
    assert client.get("/static/%2e%2e/templates/base.html").status_code == 404


def test_a_title_is_text_on_the_page(client):
    conversation, _, _ = answered(client)
    title = "<script>alert(1)</script>"
    client.patch(f"/v1/conversations/{conversation}", json={"title": title})
    page = client.get(f"/c/{conversation}").text
    assert title not in page and "&lt;script&gt;alert(1)" in page


def test_unknown_conversations_are_a_page_with_404(client):
    page = client.get("/c/none")
    assert page.status_code == 404
    assert "There is no conversation" in page.text and "text/html" in page.headers["content-type"]


def test_a_thumb_up_judges_the_cited_passages(client, served):
    conversation, turn, sources = answered(client)
    (served.data / "feedback.jsonl").unlink(missing_ok=True)
    sent = {"conversation": conversation, "turn": turn, "verdict": "up"}
    done = client.post("/v1/feedback", json=sent)
    assert done.status_code == 201 and done.json() == {"judgements": len(sources)}
    rows = read_feedback(served.data / "feedback.jsonl").judgements
    assert [r.passage_id for r in rows] == [s["chunk_id"] for s in sources]
    assert all(r.relevant and r.source == "thumb" and r.session == conversation for r in rows)
    assert "decides before the second stage" in rows[0].passage_text


def test_only_bad_sources_blame_the_passages(client, served):
    conversation, turn, sources = answered(client)
    sent = {"conversation": conversation, "turn": turn, "verdict": "down"}
    judged = {
        reason: client.post("/v1/feedback", json={**sent, "reason": reason}).json()["judgements"]
        for reason in ("incomplete", "outdated", "beside_the_point", "sources")
    }
    assert judged == {
        "incomplete": 0,
        "outdated": 0,
        "beside_the_point": 0,
        "sources": len(sources),
    }
    counts = Ratings(served.data).counts()
    assert counts.reasons["sources"] >= 1, "the latest rating of an answer counts"
    assert "outdated" not in counts.reasons


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"verdict": None}, 400),
        ({"opened": 1}, 400),
        ({"verdict": "up", "reason": "sources"}, 400),
        ({"verdict": None, "opened": 99}, 400),
        ({"turn": "none"}, 404),
        ({"conversation": "none"}, 404),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(client, change, status):
    conversation, turn, _ = answered(client)
    sent = {"conversation": conversation, "turn": turn, "verdict": "up", **change}
    assert client.post("/v1/feedback", json=sent).status_code == status


def test_feedback_is_off_until_somebody_switches_it_on(tmp_path):
    with kit.serving(tmp_path) as server:
        sent = {"conversation": "a", "turn": "b", "verdict": "up"}
        refused = httpx.post(f"{server.url}/v1/feedback", json=sent)
        assert refused.status_code == 409 and "feedback = true" in refused.json()["message"]
        assert 'data-feedback="no"' in httpx.get(server.url).text
        assert not (server.data / "feedback.jsonl").exists()


def test_a_deleted_turn_takes_what_followed_with_it(client):
    conversation, first, _ = answered(client)
    body = {"messages": [{"role": "user", "content": QUESTION}], "conversation": conversation}
    client.post("/v1/chat/completions", json=body)
    path = f"/v1/conversations/{conversation}"
    assert len(client.get(path).json()["turns"]) == 2
    assert client.delete(f"{path}/turns/none").status_code == 404
    assert client.delete(f"{path}/turns/{first}").status_code == 200
    assert client.get(path).json()["turns"] == []


def test_who_has_no_key_is_sent_to_sign_in_and_comes_back(tmp_path):
    with kit.serving(tmp_path) as server:
        _, key = KeyStore(server.data).create(name="Ada")
        with httpx.Client(base_url=server.url) as client:
            sent = client.get("/documents?collection=default")
            assert sent.status_code == 303
            assert sent.headers["location"] == "/login?next=%2Fdocuments%3Fcollection%3Ddefault"
            form = {"key": key, "next": "//evil.example"}
            entered = client.post("/login", data=form)
            assert entered.status_code == 303 and entered.headers["location"] == "/"
            cookie = entered.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie
            assert client.get("/documents").status_code == 200
            # Another site's page cannot post for whoever has the cookie.
            foreign = client.post("/logout", headers={"Origin": "https://evil.example"})
            assert foreign.status_code == 403
            copied = dict(client.cookies)
            again = httpx.post(f"{server.url}/login", data={"key": key})
            assert again.status_code == 303 and dict(again.cookies) != copied
            client.cookies = httpx.Cookies(copied)
            own = client.post("/logout", headers={"Origin": server.url})
            assert own.headers["location"] == "/login"
            assert client.get("/documents").status_code == 303
            # A copy of the cookie opens nothing any more; another browser's still does.
            client.cookies = httpx.Cookies(copied)
            assert client.get("/documents").status_code == 303
            client.cookies = httpx.Cookies(again.cookies)
            assert client.get("/documents").status_code == 200


def handled(recent, n, *, status="reranked", ms=100.0):
    for i in range(n):
        outcome = SimpleNamespace(
            status=SimpleNamespace(value=status),
            path=SimpleNamespace(value=status),
            path_reason="worth_it",
        )
        timings = {"total": ms + i}
        recent.add(SimpleNamespace(outcome=outcome, timings_ms=timings, status="answered"))


def summary(tmp_path, recent):
    settings = SimpleNamespace(data_dir=tmp_path, feedback=False)
    traffic = SimpleNamespace(watched=lambda collection: None)
    audit = SimpleNamespace(summary=lambda: None)
    return figures.summary(settings, recent, audit, traffic, None, "default")


def test_percentiles_appear_once_the_samples_carry_them(tmp_path):
    shown = {}
    for n in (4, 5, 20, 100):
        recent = Recent()
        handled(recent, n)
        row = next(r for r in summary(tmp_path, recent)["stages"] if r["stage"] == "total")
        shown[n] = [p for p in (50, 95, 99) if row[f"p{p}"] is not None]
        assert row["n"] == n
    assert shown == {4: [], 5: [50], 20: [50, 95], 100: [50, 95, 99]}
    assert row["p50"] == pytest.approx(149.5)


def test_rates_have_wilsons_interval_and_only_the_latest_count(tmp_path):
    recent = Recent(kept=10)
    handled(recent, 50, status="skipped")
    handled(recent, 9)
    found = summary(tmp_path, recent)
    rates = {r["status"]: r for r in found["rates"]}
    assert found["n"] == 10 and rates["reranked"]["count"] == 9
    # Wilson's interval of 9 of 10, as tables have it.
    assert rates["reranked"]["low"] == pytest.approx(0.5958, abs=1e-4)
    assert rates["reranked"]["high"] == pytest.approx(0.9821, abs=1e-4)
    assert summary(tmp_path, Recent())["rates"][0]["high"] == 1.0


def test_reports_are_found_by_name_and_never_by_path(tmp_path):
    folder = tmp_path / "reports" / "may"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>May</h1>")
    (folder / "result.json").write_text("not JSON")
    (tmp_path / "reports" / "june.html").write_text("<h1>June</h1>")
    (tmp_path / "report.html").write_text("secret")
    assert {(r.name, r.verdict) for r in figures.reports(tmp_path)} == {("may", ""), ("june", "")}
    assert figures.find_report(tmp_path, "..") is None
    (folder / "result.json").write_text(json.dumps({"verdict": "ship", "n": 7}))
    found = figures.find_report(tmp_path, "may")
    assert (found.verdict, found.queries) == ("ship", 7)
