"""The tools for MCP clients, used by the SDK's own client over HTTP and over stdin and stdout."""

import asyncio
import contextlib
import os
import subprocess
import sys

import httpx
import httpx2
import ingest_files as files
import pytest
import server_rig as rig
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from waiting import until

from rag_app.ingest.ingestion import ingest_into
from rag_app.server.collections import Collections
from rag_app.server.mcp import mcp_routes

TOOLS = {"ask", "compare", "list_collections", "list_documents", "search"}


@contextlib.asynccontextmanager
async def over_http(base, *, secret=None):
    headers = {} if secret is None else rig.bearer(secret)
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"{base}/mcp", http_client=http)) as client,
    ):
        yield client


async def test_a_client_finds_asks_and_lists_over_http(tmp_path):
    with rig.on_port(tmp_path, files) as (base, _, _):
        async with over_http(base) as client:
            tools = (await client.list_tools()).tools
            assert {t.name for t in tools} == TOOLS
            assert all(t.annotations.read_only_hint and t.description for t in tools)
            found = await client.call_tool("search", {"query": "the gate decides", "top_n": 1})
            same = httpx.post(f"{base}/v1/search", json={"query": "the gate decides", "top_n": 1})
            assert found.structured_content["results"] == same.json()["results"]
            assert found.structured_content["results"][0]["text"] == rig.TEXTS["gate.txt"]
            answer = await client.call_tool("ask", {"question": "What does the gate decide?"})
            said = answer.structured_content
            assert said["status"] == "answered" and said["sources"][0]["title"] == "gate"
            assert "html" not in said
            listed = await client.call_tool("list_documents", {})
            assert [d["title"] for d in listed.structured_content["data"]] == [
                "bread",
                "gate",
                "harbour",
            ]
            compared = await client.call_tool("compare", {"question": "What does the gate decide?"})
            assert not compared.is_error


async def test_keys_roles_and_collections_are_those_of_http(tmp_path):
    texts = {"alpha": {"a.txt": "The alpha report is red."}, "beta": {"b.txt": "Beta is blue."}}
    with rig.on_port(tmp_path, files, collections=texts) as (base, _, opened):
        secret = rig.key(opened.settings, collections=["alpha"])
        assert httpx.post(f"{base}/mcp", json={}).status_code == 401
        async with over_http(base, secret=secret) as client:
            listed = await client.call_tool("list_collections", {})
            assert [c["name"] for c in listed.structured_content["collections"]] == ["alpha"]
            foreign = await client.call_tool("search", {"query": "blue", "collection": "beta"})
            assert foreign.is_error and "there is no collection 'beta'" in foreign.content[0].text
            wanting = await client.call_tool("compare", {"question": "What is red?"})
            assert wanting.is_error and "role evaluator" in wanting.content[0].text
            own = await client.call_tool("search", {"query": "What is red?", "collection": "alpha"})
            assert [r["title"] for r in own.structured_content["results"]] == ["a"]


async def test_nothing_runs_on_when_the_tools_have_stopped():
    before = asyncio.all_tasks()
    async with httpx.AsyncClient() as http:
        for _ in range(2):
            async with mcp_routes(http) as routes:
                assert [r.path for r in routes] == ["/mcp"]
                assert asyncio.all_tasks() > before
            assert asyncio.all_tasks() == before


async def test_a_page_of_another_site_reaches_nothing(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        got = await client.post("/mcp", json={}, headers={"Origin": "http://evil.example"})
        assert got.status_code == 403
        assert (await client.post("/mcp", json={}, headers={"Host": "evil"})).status_code == 421


@contextlib.contextmanager
def served(folder):
    """`rankgate serve` over a folder."""
    serve = [sys.executable, "-m", "rankgate.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        [*serve, "--data-dir", str(folder)], cwd=folder.parent, stdout=subprocess.PIPE
    ) as server:
        try:
            until(lambda: (folder / "server.json").exists(), 120)
            yield
        finally:
            server.terminate()
            server.communicate(timeout=60)


@pytest.mark.model
async def test_the_command_serves_stdin_and_stdout(tmp_path):
    settings = files.make_settings(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "gate.md").write_text(
        "# Gate\n\nThe gate decides whether a question is reranked at all.\n"
    )
    with Collections(settings) as opened:
        opened.write("default", lambda s: ingest_into(s, [tmp_path / "docs"])).result(120)
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "rankgate.cli", "mcp", "--data-dir", str(settings.data_dir)],
        env=dict(os.environ),
        cwd=tmp_path,
    )
    async with Client(command, read_timeout_seconds=120) as client:
        answer = await client.call_tool("ask", {"question": "What does the gate decide?"})
        assert answer.structured_content["status"] == "answered"
        assert "reranked at all" in answer.structured_content["answer"]
        secret = rig.key(settings)
        refused = await client.call_tool("search", {"query": "gate"})
        assert refused.is_error and "wants an API key" in refused.content[0].text
    with served(settings.data_dir):  # it has the folder open, and its owner needs no key
        async with Client(command, read_timeout_seconds=120) as client:
            assert not (await client.call_tool("search", {"query": "gate"})).is_error
    command.env["RANKGATE_API_KEY"] = secret
    async with Client(command, read_timeout_seconds=120) as client:
        assert not (await client.call_tool("search", {"query": "gate"})).is_error
