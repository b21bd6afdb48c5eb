"""Who gets in, and what they see: keys, collections, roles, cookies."""

import json
import logging

import ingest_files as files
import pytest
import server_rig as rig
from itsdangerous import URLSafeTimedSerializer

from rag_app.server.access import COOKIE, Access
from rag_app.server.keys import KeyStore
from rag_app.server.shapes import document_ref

APPLES = {"apples.txt": "Apples ripen in autumn and are kept in the cellar."}
BRIDGES = {"bridges.txt": "Bridges rust in winter and are painted in spring."}


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "What rusts?"}], **more}


@pytest.fixture
async def two(tmp_path):
    """Two collections, a user's key for each, an evaluator's for all, a user's for both."""
    options = {"collections": {"apples": APPLES, "bridges": BRIDGES}}
    async with rig.in_process(tmp_path, files, **options) as client:
        settings = client.settings
        client.apples = rig.bearer(rig.key(settings, collections=["apples"]))
        client.bridges = rig.bearer(rig.key(settings, collections=["bridges"]))
        client.both = rig.bearer(rig.key(settings, collections=["apples", "bridges"]))
        client.evaluator = rig.bearer(rig.key(settings, role="evaluator"))
        records = client.collections.store("bridges").manifest.documents("bridges")
        client.bridge = document_ref(records[0].id)
        yield client


def routes(bridge):
    """Every route that reaches a collection, asking for the bridges."""
    return [
        ("POST", "/v1/chat/completions", chat("rankgate:bridges")),
        ("POST", "/v1/chat/completions", chat("rankgate:bridges", stream=True)),
        ("GET", "/v1/models/rankgate:bridges", None),
        ("POST", "/v1/search", {"query": "rust", "collection": "bridges"}),
        ("GET", "/v1/documents?collection=bridges", None),
        ("GET", f"/v1/documents/{bridge}/text?collection=bridges", None),
        ("GET", f"/v1/documents/{bridge}/file?collection=bridges", None),
        ("DELETE", f"/v1/documents/{bridge}?collection=bridges", None),
        ("POST", "/v1/conversations", {"collection": "bridges"}),
    ]


OTHERS = [
    ("GET", "/v1/models", None),
    ("GET", "/v1/collections", None),
    ("GET", "/v1/conversations", None),
    ("DELETE", "/v1/conversations", None),
    ("GET", "/v1/conversations/x/export", None),
    ("GET", "/v1/jobs/x", None),
    ("POST", "/v1/compare", {"question": "rust"}),
    ("POST", "/v1/feedback", {"conversation": "x", "turn": "y", "verdict": "up"}),
    ("POST", "/v1/rerank", {"query": "q", "documents": ["d"]}),
    ("POST", "/v2/rerank", {"query": "q", "documents": ["d"]}),
    ("POST", "/v1/documents", None),
    ("GET", "/v1/no-such-route", None),
]


async def test_nobody_gets_in_without_a_key(two):
    for method, path, body in [*routes(two.bridge), *OTHERS]:
        for headers in (
            {},
            rig.bearer("rk-00000000-wrong"),
            rig.bearer("sk-openai"),
            {"Cookie": f"{COOKIE}=x"},
        ):
            if method != "GET" and "Cookie" in headers:
                headers = {**headers, "Sec-Fetch-Site": "same-origin"}
            answer = await two.request(method, path, json=body, headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.json()["error"]["type"] == "authentication_error"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (
        "Bridges"
        in (
            await two.post(
                "/v1/search", json={"query": "rust", "collection": "bridges"}, headers=two.bridges
            )
        ).text
    )


async def test_no_body_is_read_without_a_key(two):
    read = []

    async def body():
        for _ in range(50):
            read.append(1)
            yield b"x" * 1000

    answer = await two.post(
        "/v1/documents", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 401
    answer = await two.post("/v1/chat/completions", content=b"{not json")
    assert answer.status_code == 401


async def test_another_keys_collection_is_as_if_it_were_not_there(two):
    for method, path, body in routes(two.bridge):
        answer = await two.request(method, path, json=body, headers=two.apples)
        assert answer.status_code == 404, (method, path, answer.text)
        assert "rust" not in answer.text.replace("What rusts?", "")
        # Word for word the answer for a collection that nobody has.
        other = json.loads(json.dumps(body).replace("bridges", "nothing"))
        missing = await two.request(
            method,
            path.replace("=bridges", "=nothing").replace(":bridges", ":nothing"),
            json=other,
            headers=two.apples,
        )
        assert missing.json() == json.loads(answer.text.replace("bridges", "nothing"))
    assert len(two.collections.store("bridges").documents()) == 1
    # A document's id does not lead around the collection either.
    for path in (f"/v1/documents/{two.bridge}/text", f"/v1/documents/{two.bridge}/file"):
        assert (await two.get(path, headers=two.apples)).status_code == 404


async def test_the_owner_of_the_collection_gets_all_of_it(two):
    for method, path, body in routes(two.bridge):
        answer = await two.request(method, path, json=body, headers=two.bridges)
        assert answer.status_code in (200, 201), (method, path, answer.text)


async def test_lists_show_what_the_key_reaches(two):
    async def ids(headers):
        return [m["id"] for m in (await two.get("/v1/models", headers=headers)).json()["data"]]

    async def named(headers):
        answer = (await two.get("/v1/collections", headers=headers)).json()["collections"]
        return [(c["name"], c["usual"]) for c in answer]

    assert await ids(two.apples) == ["rankgate", "rankgate:apples"]
    assert await ids(two.both) == ["rankgate:apples", "rankgate:bridges"]
    assert await ids(two.evaluator) == [
        "rankgate",
        "rankgate:default",
        "rankgate:apples",
        "rankgate:bridges",
    ]
    assert await named(two.apples) == [("apples", True)]
    assert await named(two.both) == [("apples", False), ("bridges", False)]
    assert await named(two.evaluator) == [("apples", False), ("bridges", False), ("default", True)]


async def test_a_key_for_several_collections_names_one(two):
    answer = await two.post("/v1/search", json={"query": "rust"}, headers=two.both)
    assert answer.status_code == 404
    assert "apples, bridges" in answer.json()["error"]["message"]
    answer = await two.post("/v1/chat/completions", json=chat("rankgate:bridges"), headers=two.both)
    assert "Bridges" in answer.json()["choices"][0]["message"]["content"]


async def test_a_key_uploads_where_it_reaches_and_nowhere_else(two):
    part = {"files": ("x.txt", b"words of some kind")}
    for collection in ("bridges", "brandnew"):
        answer = await two.post(
            "/v1/documents", files=part, data={"collection": collection}, headers=two.apples
        )
        assert answer.status_code == 404
    planned = rig.bearer(rig.key(two.settings, collections=["planned"]))
    assert (await two.get("/v1/models", headers=planned)).json()["data"] == []
    job = await rig.upload(
        two, ("x.txt", b"words of some kind"), collection="planned", headers=planned
    )
    assert [f["state"] for f in job["files"]] == ["done"]
    assert (await two.get(f"/v1/jobs/{job['id']}", headers=two.apples)).status_code == 404
    found = await two.post("/v1/search", json={"query": "words"}, headers=planned)
    assert len(found.json()["results"]) == 1


async def test_folders_cannot_be_named_as_collections(two):
    for name in ("../../outside", "..", "a/b/c", "a", ".hidden"):
        answer = await two.post(
            "/v1/documents",
            files={"files": ("x.txt", b"w")},
            data={"collection": name},
            headers=two.evaluator,
        )
        assert answer.status_code == 400, name
    uploads = two.settings.data_dir / "uploads"
    assert not uploads.exists() or list(uploads.iterdir()) == []


async def test_scores_are_for_evaluators(two):
    question = {"query": "What rusts in winter?", "collection": "bridges"}
    user = (await two.post("/v1/search", json=question, headers=two.bridges)).json()
    seen = (await two.post("/v1/search", json=question, headers=two.evaluator)).json()
    hidden = {"dense", "bm25", "fused", "raw_score", "relevance_score", "before", "after"}
    assert not hidden & set(user["results"][0])
    assert hidden <= set(seen["results"][0])
    assert set(seen) - set(user) == {"dropped", "trace"}
    asked = chat("rankgate:bridges")
    user = (await two.post("/v1/chat/completions", json=asked, headers=two.bridges)).json()[
        "rankgate"
    ]
    seen = (await two.post("/v1/chat/completions", json=asked, headers=two.evaluator)).json()[
        "rankgate"
    ]
    assert "trace" in seen and "trace" not in user
    assert "relevance_score" in seen["sources"][0] and "relevance_score" not in user["sources"][0]


async def test_compare_is_for_evaluators(two):
    body = {"question": "What rusts?", "collection": "bridges"}
    answer = await two.post("/v1/compare", json=body, headers=two.bridges)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "evaluators_only"
    assert (await two.post("/v1/compare", json=body, headers=two.evaluator)).status_code == 200


async def test_what_is_wrong_with_the_server_is_told_to_evaluators_alone(two, caplog):
    secret = "/very/secret/place"
    two.app.state.server.collections.pipeline = _raising(secret)
    body = {"query": "rust", "collection": "bridges"}
    with caplog.at_level(logging.ERROR, "rankgate.server"):
        user = await two.post("/v1/search", json=body, headers=two.bridges)
    assert user.status_code == 503
    assert secret not in user.text and user.headers["X-Request-Id"] in user.json()["message"]
    assert secret in caplog.text
    assert secret in (await two.post("/v1/search", json=body, headers=two.evaluator)).text
    for headers, shown in ((None, False), (two.bridges, False), (two.evaluator, True)):
        ready = await two.get("/readyz", headers=headers)
        assert ready.status_code == 503
        assert ready.json()["checks"]["models"]["ok"] is False
        assert (secret in ready.text) is shown


def _raising(text):
    from rag_app.errors import StoreError

    def fail(_name):
        raise StoreError(f"the folder {text} is gone")

    return fail


async def test_a_passage_of_another_collection_is_never_handed_out(two):
    """Should the index ever return one, the second look stops it."""
    bridges = two.collections.pipeline("bridges")
    apples = two.collections.pipeline("apples")
    two.collections.pipeline = lambda name: _with_settings_of(bridges, apples)
    for path, body in (
        ("/v1/search", {"query": "rust", "collection": "apples"}),
        ("/v1/chat/completions", chat("rankgate:apples")),
    ):
        answer = await two.post(path, json=body, headers=two.apples)
        assert answer.status_code == 500
        assert "Bridges" not in answer.text


def _with_settings_of(pipeline, other):
    pipeline.settings = other.settings
    return pipeline


async def test_without_a_key_everybody_on_this_machine_gets_in(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        for headers in ({}, rig.bearer("anything"), rig.bearer("rk-00000000-x")):
            answer = await client.post("/v1/compare", json={"question": "gate"}, headers=headers)
            assert answer.status_code == 200
        secret = rig.key(client.settings)
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=rig.bearer(secret))).status_code == 200


async def test_revoking_the_last_key_lets_nobody_in(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        secret = rig.key(client.settings)
        assert (await client.get("/v1/models", headers=rig.bearer(secret))).status_code == 200
        KeyStore(client.settings.data_dir).revoke(secret.split("-")[1])
        for headers in ({}, rig.bearer(secret)):
            assert (await client.get("/v1/models", headers=headers)).status_code == 401
        (client.settings.data_dir / "keys.sqlite").unlink()
        assert (await client.get("/v1/models")).status_code == 401


@pytest.mark.parametrize("damage", ["revoked", "gone", "empty", "zeros", "a folder"])
async def test_once_there_were_keys_their_loss_opens_nothing(tmp_path, damage):
    """Also after a restart, and before any request has brought a key."""
    async with rig.in_process(tmp_path, files) as client:
        folder, secret = client.settings.data_dir, rig.key(client.settings)
    file = folder / "keys.sqlite"
    if damage == "revoked":
        KeyStore(folder).revoke(secret.split("-")[1])
    else:
        file.unlink()
    if damage == "empty":
        file.touch()
    if damage == "zeros":
        file.write_bytes(b"\0" * 9000)
    if damage == "a folder":
        file.mkdir()
    async with rig.in_process(tmp_path, files) as client:
        for headers in ({}, rig.bearer(secret)):
            answer = await client.get("/v1/models", headers=headers)
            assert answer.status_code == 401
            assert "keys create" in answer.json()["error"]["message"]
            assert "keys.expected" in answer.json()["error"]["message"]


async def test_a_store_that_was_emptied_opens_nothing_without_the_mark_either(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        folder = client.settings.data_dir
    (folder / "keys.sqlite").touch()
    async with rig.in_process(tmp_path, files) as client:
        assert (await client.get("/v1/models")).status_code == 401


@pytest.mark.parametrize("told", ["203.0.113.9", "203.0.113.9, 127.0.0.1", "nonsense"])
async def test_without_a_key_nobody_gets_in_through_a_proxy(tmp_path, told):
    async with rig.in_process(tmp_path, files) as client:
        for headers, status in (({"X-Forwarded-For": told}, 401), ({}, 200)):
            assert (await client.get("/v1/models", headers=headers)).status_code == status


async def test_deleting_the_mark_and_the_keys_opens_a_server_again(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        folder, secret = client.settings.data_dir, rig.key(client.settings)
    KeyStore(folder).revoke(secret.split("-")[1])
    (folder / "keys.expected").unlink()
    (folder / "keys.sqlite").unlink()
    async with rig.in_process(tmp_path, files) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_an_address_of_the_network_is_never_open(tmp_path):
    async with rig.in_process(tmp_path, files, host="0.0.0.0") as client:
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/healthz")).status_code == 200


async def test_a_cookie_lets_the_page_in_until_its_key_is_revoked(two):
    secret = two.bridges["Authorization"].removeprefix("Bearer ")
    wrong = await two.post(
        "/login", data={"key": "rk-00000000-x"}, headers={"Origin": "http://127.0.0.1:8000"}
    )
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    done = await two.post(
        "/login", data={"key": secret}, headers={"Origin": "http://127.0.0.1:8000"}
    )
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and secret not in cookie
    found = (await two.get("/v1/models")).json()["data"]
    assert [m["id"] for m in found] == ["rankgate", "rankgate:bridges"]
    KeyStore(two.settings.data_dir).revoke(secret.split("-")[1])
    assert (await two.get("/v1/models")).status_code == 401


async def test_a_cookie_is_worth_nothing_from_another_site_or_signed_by_another(two):
    secret = two.bridges["Authorization"].removeprefix("Bearer ")
    await two.post("/login", data={"key": secret}, headers={"Origin": "http://127.0.0.1:8000"})
    body = {"query": "rust"}
    for headers, status in (
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ):
        assert (await two.post("/v1/search", json=body, headers=headers)).status_code == status, (
            headers
        )
    forged = URLSafeTimedSerializer("", salt="session").dumps(secret.split("-")[1])
    two.cookies.clear()
    answer = await two.get("/v1/models", headers={"Cookie": f"{COOKIE}={forged}"})
    assert answer.status_code == 401


def test_an_empty_secret_is_never_used(tmp_path):
    """A process killed while making it must not leave cookies that anybody can sign."""
    file = tmp_path / "session.secret"
    file.write_text("")
    Access(tmp_path)
    made = file.read_text()
    assert len(made) >= 32 and file.stat().st_mode & 0o077 == 0
    Access(tmp_path)
    assert file.read_text() == made
