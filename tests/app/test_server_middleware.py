"""What stands around every request: hosts, origins, sizes, headers, log lines, broken routes."""

import json
import logging

import httpx
import ingest_files as files
import pytest
import server_rig as rig

from rag_app.server.transport.middleware import JsonLines

HERE = "http://127.0.0.1:8000"


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(
        tmp_path, files, max_body_mb=0.01, max_upload_mb=0.02, trusted_hosts=("docs.example",)
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("docs.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("docs.example@evil.example", 421),
        ("[", 421),
        ("", 421),
    ],
)
async def test_only_its_own_names_are_answered_to(client, host, status):
    answer = await client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["error"]["code"] == "unknown_host"
    assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": HERE}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_other_sites_pages_change_nothing(client, headers, status):
    answer = await client.post("/v1/conversations", json={}, headers=headers)
    assert answer.status_code == (201 if status == 200 else status)
    kept = (await client.get("/v1/conversations")).json()["conversations"]
    assert len(kept) == (1 if status == 200 else 0)
    assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_a_permitted_origin_may_call_and_read_refusals(tmp_path):
    page = "https://intranet.example"
    async with rig.in_process(tmp_path, files, cors_origins=(page,)) as client:
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/v1/search", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == page
        answer = await client.post("/v1/search", json={"query": "gate"}, headers={"Origin": page})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert "access-control-allow-credentials" not in answer.headers
        rig.key(client.settings)
        refused = await client.post("/v1/search", json={"query": "gate"}, headers={"Origin": page})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == page
        other = {**asked, "Origin": "https://other.example"}
        assert (
            "access-control-allow-origin"
            not in (await client.options("/v1/search", headers=other)).headers
        )


def test_an_origin_that_is_none_is_refused_at_once(tmp_path):
    from pydantic import ValidationError

    for wrong in ("*", "https://a.example/", "a.example", "https://*.example"):
        with pytest.raises(ValidationError, match="an origin is like"):
            files.make_settings(tmp_path, cors_origins=(wrong,))


async def test_large_bodies_are_refused_declared_or_not(client):
    small = int(0.01 * 2**20)
    question = json.dumps({"query": "x" * 10, "collection": None})
    padded = question + " " * (small - len(question))
    json_type = {"Content-Type": "application/json"}
    assert (await client.post("/v1/search", content=padded, headers=json_type)).status_code == 200

    async def chunked(text):
        for start in range(0, len(text), 1000):
            yield text[start : start + 1000].encode()

    fits = await client.post("/v1/search", content=chunked(padded), headers=json_type)
    assert fits.status_code == 200
    for content in (padded + " ", chunked(padded + " ")):
        answer = await client.post("/v1/search", content=content, headers=json_type)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
        assert answer.headers["connection"] == "close"


async def test_what_is_declared_as_too_large_is_not_read(client):
    read = []

    async def body():
        read.append(1)
        yield b"x"

    answer = await client.post("/v1/search", content=body(), headers={"Content-Length": "99999"})
    assert answer.status_code == 413 and read == []


async def test_uploads_have_a_limit_of_their_own(client):
    fits = {"files": ("a.txt", b"word " * 3000)}
    assert (await client.post("/v1/documents", files=fits)).status_code == 202
    for path in ("/v1/documents", "/v1/documents/"):
        large = {"files": ("b.txt", b"word " * 5000)}
        assert (await client.post(path, files=large)).status_code == 413
    request = client.build_request(
        "POST", "/v1/documents", files={"files": ("b.txt", b"w " * 9999)}
    )
    whole = request.read()

    async def chunked():
        for start in range(0, len(whole), 999):
            yield whole[start : start + 999]

    kind = {"Content-Type": request.headers["Content-Type"]}
    assert (await client.post("/v1/documents", content=chunked(), headers=kind)).status_code == 202
    whole = whole.replace(b"w " * 100, b"w " * 300)
    assert (await client.post("/v1/documents", content=chunked(), headers=kind)).status_code == 413


def test_limits_hold_over_a_real_connection(tmp_path):
    with rig.on_port(tmp_path, files, max_body_mb=0.01) as (url, _, _):
        with httpx.Client(base_url=url, timeout=20) as client:
            big = b" " * 3_000_000
            assert client.post("/v1/search", content=big).status_code == 413
            answer = client.post(
                "/v1/search", content=(big[i : i + 9999] for i in range(0, len(big), 9999))
            )
            assert answer.status_code == 413
            assert client.post("/v1/search", json={"query": "gate"}).status_code == 200


async def test_every_answer_carries_the_headers(client):
    for method, path in (
        ("GET", "/healthz"),
        ("GET", "/v1/nothing"),
        ("POST", "/healthz"),
        ("GET", "/"),
    ):
        answer = await client.request(method, path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-request-id"]
    kept = await client.get("/healthz", headers={"X-Request-Id": "mine-1"})
    assert kept.headers["x-request-id"] == "mine-1"
    strange = await client.get("/healthz", headers={"X-Request-Id": "a b" * 99})
    assert len(strange.headers["x-request-id"]) == 16


async def test_a_broken_route_tells_nothing_and_keeps_the_shape(client, caplog):
    def broken(_name):
        raise RuntimeError("the secret word is sesame")

    client.collections.pipeline = broken
    with caplog.at_level(logging.INFO, "rankgate"):
        answer = await client.post("/v1/search", json={"query": "open"})
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal")
    assert "sesame" not in answer.text and answer.headers["x-request-id"] in error["message"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sesame" in caplog.text
    assert any(getattr(r, "fields", {}).get("status") == 500 for r in caplog.records)
    # Over a real connection it does not break off either.
    assert (await client.get("/healthz")).status_code == 200


async def test_a_log_line_has_neither_questions_nor_keys_nor_made_up_paths(client, caplog):
    secret = rig.key(client.settings)
    with caplog.at_level(logging.INFO, "rankgate.access"):
        await client.post(
            "/v1/search?q=hush", json={"query": "whisper whisper"}, headers=rig.bearer(secret)
        )
        await client.get("/v1/documents/c2VjcmV0LnR4dA/text", headers=rig.bearer(secret))
        await client.get("/v1/x%0AINFO forged line", headers=rig.bearer(secret))
    lines = [r.getMessage() for r in caplog.records if r.name == "rankgate.access"]
    assert [line.split(" ", 1)[1].rsplit(" ms ", 1)[0].rsplit(" ", 1)[0] for line in lines] == [
        "POST /v1/search 200",
        "GET /v1/documents/{document}/text 404",
        "GET unmatched 404",
    ]
    whole = "\n".join(lines)
    for word in ("whisper", "hush", secret, secret.split("-", 2)[2], "c2VjcmV0", "forged"):
        assert word not in whole
    assert f"key={secret.split('-')[1]}" in lines[0]
    shown = json.loads(JsonLines().format(caplog.records[0]))
    assert shown["route"] == "/v1/search" and shown["status"] == 200


async def test_metrics_count_by_route_and_not_by_path(client):
    for n in range(3):
        await client.get(f"/v1/jobs/{n}")
        await client.get(f"/made-up-{n}")
    text = (await client.get("/metrics")).text
    assert 'rankgate_requests_total{route="/v1/jobs/{job}",status="404"} 3.0' in text
    assert 'rankgate_requests_total{route="unmatched",status="404"} 3.0' in text
    assert "made-up" not in text
