"""Every route, asked by every kind of caller for what is theirs and for what is not.

The routes come from the application's own OpenAPI document and from its list of pages: one that
is new and not described here fails the first test, so none can be forgotten.
"""

import pickle
import stat

import fault_kit
import ingest_files as files
import pytest
import pytest_asyncio
import server_rig as rig

from rag_app.index.backup import back_up
from rag_app.server import pages
from rag_app.server.access import COOKIE
from rag_app.server.keys import KeyStore
from rag_app.server.shapes import document_ref

ORIGIN = {"Origin": "http://127.0.0.1:8000"}
MARKER = "plumharbour"
TEXTS = {
    "alpha": {"alpha.txt": "The harbour of kiwigarden opens at nine."},
    "beta": {"beta.txt": f"The harbour of {MARKER} opens at ten."},
}
QUESTION = "When does the harbour open?"
CHAT = {"model": "rankgate:beta", "messages": [{"role": "user", "content": QUESTION}]}

# Who may: everybody, any key, whoever reaches collection beta, its evaluators, all evaluators;
# own: the thing belongs to one key, whatever its collection.
ANY, KEY, BETA, JUDGE, EVALUATOR, OWN = "any", "key", "beta", "beta evaluator", "evaluator", "own"
ALL = "all"  # whoever reaches every collection and may write

# (method, path) -> who may, the query, and the body that asks for what is in collection beta.
ROUTES = {
    ("GET", "/healthz"): (ANY, {}, None),
    ("GET", "/readyz"): (ANY, {}, None),
    ("GET", "/metrics"): (EVALUATOR, {}, None),
    ("POST", "/v1/chat/completions"): (BETA, {}, CHAT),
    ("GET", "/v1/collections"): (KEY, {}, None),
    ("POST", "/v1/collections"): (ALL, {}, {"name": "gamma"}),
    ("PATCH", "/v1/collections/{name}"): (ALL, {}, {"name": "delta"}),
    ("DELETE", "/v1/collections/{name}"): (ALL, {}, None),
    ("POST", "/v1/compare"): (JUDGE, {}, {"question": QUESTION, "collection": "beta"}),
    ("GET", "/v1/compare/scorers"): (JUDGE, {"collection": "beta"}, None),
    ("GET", "/v1/conversations"): (KEY, {}, None),
    ("POST", "/v1/conversations"): (BETA, {}, {"collection": "beta"}),
    ("DELETE", "/v1/conversations"): (KEY, {}, None),
    ("GET", "/v1/conversations/{conversation}"): (OWN, {}, None),
    ("PATCH", "/v1/conversations/{conversation}"): (OWN, {}, {"title": "taken"}),
    ("DELETE", "/v1/conversations/{conversation}"): (OWN, {}, None),
    ("GET", "/v1/conversations/{conversation}/export"): (OWN, {}, None),
    ("DELETE", "/v1/conversations/{conversation}/turns/{turn}"): (OWN, {}, None),
    ("GET", "/v1/documents"): (BETA, {"collection": "beta"}, None),
    ("POST", "/v1/documents"): (BETA, {}, "upload"),
    ("POST", "/v1/documents/delete"): (BETA, {}, "delete"),
    ("DELETE", "/v1/documents/{document}"): (BETA, {"collection": "beta"}, None),
    ("GET", "/v1/documents/{document}/file"): (BETA, {"collection": "beta"}, None),
    ("GET", "/v1/documents/{document}/text"): (BETA, {"collection": "beta"}, None),
    ("POST", "/v1/feedback"): (OWN, {}, "feedback"),
    ("GET", "/v1/jobs/{job}"): (BETA, {}, None),
    ("GET", "/v1/judge/sessions"): (JUDGE, {"collection": "beta"}, None),
    ("POST", "/v1/judge/sessions"): (
        JUDGE, {}, {"name": "may", "collection": "beta", "questions": [QUESTION]},
    ),
    ("GET", "/v1/judge/sessions/{name}"): (JUDGE, {"collection": "beta"}, None),
    ("GET", "/v1/judge/sessions/{name}/export"): (JUDGE, {"collection": "beta"}, None),
    ("POST", "/v1/judge/sessions/{name}/verdicts"): (
        JUDGE, {"collection": "beta"}, {"question": "q1", "kind": "skipped"},
    ),
    ("GET", "/v1/models"): (KEY, {}, None),
    ("GET", "/v1/models/{model}"): (BETA, {}, None),
    ("POST", "/v1/rerank"): (KEY, {}, {"query": "q", "documents": ["d"]}),
    ("POST", "/v1/search"): (BETA, {}, {"query": QUESTION, "collection": "beta"}),
    ("POST", "/v2/rerank"): (KEY, {}, {"query": "q", "documents": ["d"]}),
    # Pages: 303 to /login stands for 401.
    ("GET", "/"): (BETA, {"collection": "beta"}, None),
    ("GET", "/c/{conversation}"): (OWN, {}, None),
    ("GET", "/documents"): (BETA, {"collection": "beta"}, None),
    ("GET", "/compare"): (JUDGE, {"collection": "beta"}, None),
    ("GET", "/judge"): (JUDGE, {"collection": "beta"}, None),
    ("GET", "/quality"): (JUDGE, {"collection": "beta"}, None),
    ("GET", "/quality/reports/{name}"): (EVALUATOR, {}, None),
    ("GET", "/login"): (ANY, {}, None),
    ("POST", "/login"): (ANY, {}, None),
    ("POST", "/logout"): (ANY, {}, None),
}  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("matrix")
    async with rig.in_process(base, files, collections=TEXTS, feedback=True) as client:
        settings = client.settings

        def made(role, collections):
            return rig.bearer(rig.key(settings, role=role, collections=collections))

        revoked = rig.key(settings, collections=["beta"])
        client.callers = {
            "nobody": {},
            "a wrong key": rig.bearer("rk-00000000-wrong"),
            "a revoked key": rig.bearer(revoked),
            "a forged cookie": {"Cookie": f"{COOKIE}=forged", **ORIGIN},
            "user of alpha": made("user", ["alpha"]),
            "evaluator of alpha": made("evaluator", ["alpha"]),
            "user of beta": made("user", ["beta"]),
            "evaluator of beta": made("evaluator", ["beta"]),
            "evaluator of all": made("evaluator", None),
            "owner": made("user", ["beta"]),
        }
        KeyStore(settings.data_dir).revoke(revoked.split("-")[1])
        yield client


async def test_no_route_is_forgotten(served):
    found = {
        (method.upper(), path)
        for path, of in served.app.openapi()["paths"].items()
        for method in of
    }  # fmt: skip
    found |= {(m, route.path) for route in pages.router.routes for m in route.methods}
    assert found - ROUTES.keys() == set(), "say above who may ask the new route"
    assert ROUTES.keys() - found == set(), "there is no such route any more"


def may(who, caller):
    known = caller.startswith(("user", "evaluator", "owner"))
    judge = caller.startswith("evaluator")
    beta = caller.endswith((" beta", " all")) or caller == "owner"
    return {
        ANY: True,
        KEY: known,
        BETA: beta,
        JUDGE: judge and beta,
        EVALUATOR: judge,
        OWN: caller == "owner",
        ALL: caller.endswith(" all"),
    }[who]


async def prepared(client):
    """A document, a job, and the owner's conversation with a turn, made anew for each try."""
    owner = client.callers["owner"]
    job = await rig.upload(
        client, ("beta.txt", TEXTS["beta"]["beta.txt"].encode()), collection="beta", headers=owner
    )
    talk = (
        await client.post("/v1/conversations", json={"collection": "beta"}, headers=owner)
    ).json()
    body = {**CHAT, "conversation": talk["id"]}
    turn = (await client.post("/v1/chat/completions", json=body, headers=owner)).json()
    store = client.collections.store("beta")
    return {
        "job": job["id"],
        "conversation": talk["id"],
        "turn": turn["rankgate"]["turn"],
        "document": document_ref(store.documents()[0].id),
        "model": "rankgate:beta",
        "name": "nothing",
    }


async def ask(client, method, path, query, body, things, headers):
    target = path.format(**things)
    options = {"params": query, "headers": headers}
    if body == "upload":
        options["files"] = {"files": ("more.txt", b"words of some kind")}
        options["data"] = {"collection": "beta"}
    elif body == "delete":
        options["json"] = {"ids": [things["document"]], "collection": "beta"}
    elif body == "feedback":
        named = {k: things[k] for k in ("conversation", "turn")}
        options["json"] = {**named, "verdict": "up"}
    elif body is not None:
        options["json"] = body
    answer = await client.request(method, target, **options)
    client.cookies.clear()
    return answer


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
async def test_who_may(served, method, path):
    who, query, body = ROUTES[method, path]
    changes = method in ("DELETE", "PATCH") or body == "delete"
    things = await prepared(served)
    for caller, headers in served.callers.items():
        if changes and may(who, caller):
            things = await prepared(served)
        answer = await ask(served, method, path, query, body, things, headers)
        told = (caller, answer.status_code, answer.text[:200])
        fault_kit.figure("access", route=f"{method} {path}", caller=caller)
        location = answer.headers.get("location", "")
        if may(who, caller):
            # What does not exist (a session, a report) is 404 for those who may ask, too.
            wrong_key = answer.status_code == 401 and path == "/login"
            assert wrong_key or answer.status_code not in (401, 403, 500), told
            assert answer.status_code != 404 or "{name}" in path, told
            continue
        refused = answer.status_code in (401, 403, 404)
        assert refused or (answer.status_code == 303 and location.startswith("/login")), told
        assert MARKER not in answer.text and "beta.txt" not in answer.text, told
        if "user" not in caller and "evaluator" not in caller and caller != "owner":
            assert answer.status_code in (401, 303, 403), told
    things = await prepared(served)
    owner = served.callers["owner"]
    kept = await served.get(f"/v1/conversations/{things['conversation']}", headers=owner)
    assert kept.status_code == 200 and kept.json()["title"] != "taken"


GUESSES = ["%2e%2e%2e", "..%2f..%2fkeys.sqlite", "../../keys.sqlite", "%00", "0", "1", "*",
           "' OR 1=1 --", "beta.txt", "uploads/beta/beta.txt", "a" * 3000, "%F0%9F"]  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted({p for _, p in ROUTES if "{" in p})
)  # fmt: skip
async def test_guessed_ids_lead_nowhere(served, path):
    alpha = served.callers["evaluator of alpha"]
    for guess in GUESSES:
        target = path
        for name in ("document", "conversation", "turn", "job", "model", "name"):
            target = target.replace(f"{{{name}}}", guess)
        methods = [m for m, p in ROUTES if p == path]
        for method in methods:
            body = ROUTES[method, path][2]
            answer = await served.request(
                method, target, headers=alpha, json=body if isinstance(body, dict) else None
            )
            fault_kit.figure("guess", route=f"{method} {path}")
            assert answer.status_code in (303, 400, 403, 404, 405, 409, 414, 422), (
                method, target, answer.status_code, answer.text[:200],
            )  # fmt: skip
            assert MARKER not in answer.text and "SQLite" not in answer.text


@pytest.mark.parametrize(
    "smuggled",
    [
        {"query": QUESTION, "collection": {"$ne": "alpha"}},
        {"query": QUESTION, "collection": ["alpha", "beta"]},
        {"query": QUESTION, "collection": "alpha", "where": {"collection": "beta"}},
        {"query": QUESTION, "collection": "alpha", "filter": "beta"},
        {"query": QUESTION, "collection": "alpha\x00beta"},
        {"query": QUESTION, "collection": "beta/../alpha"},
        {"query": QUESTION, "collection": "BETA"},
        {"query": QUESTION, "collection": "alpha' UNION SELECT"},
        {"query": f"{QUESTION} collection:beta", "collection": "alpha"},
        {"query": QUESTION, "collection": "alpha", "k": 10**9},
    ],
)
async def test_no_filter_is_smuggled_in(served, smuggled):
    alpha = served.callers["user of alpha"]
    answer = await served.post("/v1/search", json=smuggled, headers=alpha)
    assert answer.status_code in (200, 400, 404)
    assert MARKER not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::1", "localhost.x"])
async def test_a_rebound_name_is_refused(served, host):
    """DNS rebinding: the browser sends the foreign name as Host."""
    for path in ("/", "/v1/models", "/login", "/openapi.json"):
        answer = await served.get(path, headers={**served.callers["owner"], "Host": host})
        assert answer.status_code == 421, (host, path)


async def test_a_foreign_page_may_neither_write_nor_read(served):
    secret = served.callers["owner"]["Authorization"].removeprefix("Bearer ")
    await served.post("/login", data={"key": secret}, headers=ORIGIN)
    for path in sorted(p for m, p in ROUTES if m == "POST" and "{" not in p and p != "/login"):
        for headers in (
            {"Origin": "http://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "null"},
        ):
            answer = await served.post(path, json={}, headers=headers)
            assert answer.status_code == 403, (path, headers)
            assert "access-control-allow-origin" not in answer.headers
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = await served.options("/v1/search", headers=asked)
    assert "access-control-allow-origin" not in preflight.headers
    served.cookies.clear()


@pytest.mark.parametrize("name", ["x.txt", "x.md", "x.html", "x.csv", "x.svg"])
async def test_an_uploaded_page_is_never_shown_as_one(served, name):
    evil = b"<html><script>alert(document.cookie)</script>words of a page</html>"
    owner = served.callers["owner"]
    job = await rig.upload(served, (name, evil), collection="beta", headers=owner)
    listed = await served.get("/v1/documents", params={"collection": "beta"}, headers=owner)
    for document in listed.json()["data"]:
        answer = await served.get(
            f"/v1/documents/{document['id']}/file", params={"collection": "beta"}, headers=owner
        )
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert job["files"][0]["state"] in ("done", "failed")


async def test_a_secret_is_written_nowhere(served, caplog, tmp_path):
    """Neither in logs, nor on disk, nor in a copy; what is pickled holds none either."""
    owner = served.callers["owner"]
    secret = owner["Authorization"].removeprefix("Bearer ")
    with caplog.at_level("DEBUG"):
        things = await prepared(served)
        await served.post("/login", data={"key": secret}, headers=ORIGIN)
        await served.get("/v1/models", params={"key": secret})
        export = await served.get(
            f"/v1/conversations/{things['conversation']}/export", headers=owner
        )
    served.cookies.clear()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("rankgate", "uvicorn"))]
    assert ours and not any(secret in line for line in ours) and secret not in export.text
    folder = served.settings.data_dir
    copy = back_up(folder, tmp_path / "copy").folder
    for root in (folder, copy):
        for file in (p for p in root.rglob("*") if p.is_file()):
            assert secret.split("-", 2)[2].encode() not in file.read_bytes(), file
            mode = stat.S_IMODE(file.stat().st_mode)
            assert not mode & 0o077 or not stat.S_IMODE(root.stat().st_mode) & 0o077, (
                file,
                oct(mode),
            )
    settings = served.settings.model_copy(update={"openai_api_key": None})
    for thing in (settings, KeyStore(folder).get(secret.split("-")[1])):
        assert secret.encode() not in pickle.dumps(thing)


async def test_how_long_a_refusal_takes_says_nothing(served):
    """An unknown id and a wrong secret of a known id take the same path: one look and one hash."""
    known = served.callers["owner"]["Authorization"].removeprefix("Bearer ").split("-")[1]
    answers = [
        await served.get("/v1/models", headers=rig.bearer(f"rk-{identifier}-wrong"))
        for identifier in (known, "00000000")
    ]
    assert answers[0].status_code == answers[1].status_code == 401
    assert answers[0].json() == answers[1].json()
