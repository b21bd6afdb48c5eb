"""Commands in a terminal while a server has the data folder open: they go through it."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from waiting import until

from rag_app.index.data_folder import DataFolder
from rag_app.served import Served, announced
from rag_app.server.keys import KeyStore, Role
from rankgate.cli import build_app

RUNNER = CliRunner()
TESTS = Path(__file__).parent
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path])}


@contextmanager
def process(*args, cwd=None):
    started = subprocess.Popen(
        [sys.executable, *map(str, args)],
        env=ENV,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The data folder of a server in a process of its own."""
    base = tmp_path_factory.mktemp("served")
    with process(TESTS / "server_process.py", base, "quoting") as server:
        assert server.stdout.readline().strip().isdecimal()
        until(lambda: Served.find(base / "data"))
        yield base / "data"


def run(*args, data, code=0):
    done = RUNNER.invoke(build_app(), [*map(str, args), "--data-dir", str(data)])
    assert done.exit_code == code, done.output
    return done


def test_a_question_goes_through_the_server(served):
    done = run("ask", "What does the harbour master log?", data=served)
    assert "logs every ship" in done.stdout and "harbour.txt" in done.stdout
    told = json.loads(run("ask", "What does the gate decide?", "--json", data=served).stdout)
    assert told["status"] == "answered" and told["sources"] and "lines" not in told
    rows = json.loads(run("search", "harbour ship", "--json", data=served).stdout)["passages"]
    assert rows[0]["after"] == 1 and {"dense", "bm25", "kept"} <= set(rows[0])
    assert "harbour" in run("search", "harbour ship", data=served).stdout


def test_a_conversation_goes_through_the_server(served):
    done = RUNNER.invoke(
        build_app(),
        ["chat", "--data-dir", str(served)],
        input="What does the harbour master log?\n/history\n",
    )
    assert done.exit_code == 0, done.output
    assert "logs every ship" in done.stdout and "1. What does the harbour" in done.stdout


def test_a_folder_is_ingested_by_the_server_and_reported_here(served, tmp_path):
    (tmp_path / "tide.md").write_text("# Tide\n\nThe tide turns twice a day in the old harbour.\n")
    (tmp_path / "odd.pdf").write_text("not a PDF")
    report = json.loads(
        run("ingest", tmp_path, "--collection", "sea", "--json", data=served, code=4).stdout
    )
    assert report["added"] == [f"{tmp_path}/tide.md"] and report["documents"] == 1
    assert [f["reason"] for f in report["failed"]] == ["wrong_type"]
    done = run("ask", "When does the tide turn?", "--collection", "sea", data=served)
    assert "twice a day" in done.stdout
    (tmp_path / "tide.md").unlink()
    (tmp_path / "odd.pdf").unlink()
    (tmp_path / "moon.md").write_text("# Moon\n\nThe moon pulls the sea behind it.\n")
    args = ("ingest", tmp_path / "moon.md", "--collection", "sea", "--rebuild", "--json")
    report = json.loads(run(*args, data=served).stdout)
    assert report["documents"] == 1 and report["added"] == [f"{tmp_path}/moon.md"]
    done = run("ask", "x", "--collection", "nowhere", data=served, code=2)
    assert "there is no collection 'nowhere'" in done.stderr
    done = run("ingest", tmp_path / "none.md", data=served, code=2)
    assert "no file or folder" in done.stderr


def test_documents_and_collections_go_through_the_server(served, tmp_path):
    for name in ("gull", "tern"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nThe {name} eats fish at sea.\n")
    run("collections", "create", "birds", data=served)
    run("ingest", tmp_path, "--collection", "birds", data=served)
    done = run("documents", "list", "--collection", "birds", data=served)
    assert "gull.md" in done.stdout and "tern.md" in done.stdout
    run("documents", "delete", "gull.md", "--collection", "birds", "--yes", data=served)
    run("collections", "rename", "birds", "seabirds", data=served)
    rows = json.loads(run("collections", "list", "--json", data=served).stdout)
    assert {r["name"]: r["documents"] for r in rows}["seabirds"] == 1
    asked = run("ask", "What does the tern eat?", "--collection", "seabirds", data=served)
    assert "eats fish" in asked.stdout
    run("collections", "delete", "seabirds", "--yes", data=served)
    assert "seabirds" not in run("collections", "list", data=served).stdout
    done = run("collections", "delete", "seabirds", "--yes", data=served, code=2)
    assert "there is no collection 'seabirds'" in done.stderr


def test_the_servers_own_folder_is_not_ingested(served):
    (served / "notes.md").write_text("# Notes\n\nThese lie in the data folder.\n")
    done = run("ingest", served, data=served, code=2)
    assert "of the data folder" in done.stderr
    (served / "notes.md").unlink()


def test_a_running_server_is_no_problem_to_the_doctor(served):
    found = RUNNER.invoke(build_app(), ["doctor", "--json", "--data-dir", str(served)])
    checks = {c["name"]: c for c in json.loads(found.stdout)["checks"]}
    assert checks["server"]["verdict"] == "ok" and "http://127.0.0.1:" in checks["server"]["detail"]
    assert checks["index"]["verdict"] == "ok" and "3 documents" in checks["index"]["detail"]
    assert checks["bm25"]["verdict"] == "ok"


def test_another_command_in_the_folder_is_no_problem_to_the_doctor(tmp_path):
    with DataFolder(tmp_path / "data"):
        found = RUNNER.invoke(
            build_app(), ["doctor", "--json", "--data-dir", str(tmp_path / "data")]
        )
    checks = {c["name"]: c for c in json.loads(found.stdout)["checks"]}
    assert checks["index"]["verdict"] == "note" and "in use" in checks["index"]["detail"]


def test_only_the_owner_gets_in(served):
    known = json.loads((served / "server.json").read_text())
    assert stat.S_IMODE((served / "server.json").stat().st_mode) == 0o600
    body = {"question": "ship", "collection": "default"}
    for headers in ({}, {"Authorization": "Bearer owner-guessed"}):
        asked = httpx.post(f"{known['url']}/v1/local/ask", json=body, headers=headers)
        assert asked.status_code == 403 and asked.json()["error"]["code"] == "owner_only"
    store = KeyStore(served)
    store.create(name="Ada", role=Role.USER)
    try:
        asked = httpx.post(f"{known['url']}/v1/local/ask", json=body)
        assert asked.status_code == 401
        assert "ship" in run("ask", "What does the harbour master log?", data=served).stdout
    finally:
        store.path.unlink()
        store.marker.unlink()


def test_a_server_that_was_killed_is_not_asked(tmp_path):
    with announced(tmp_path, "http://127.0.0.1:9"):
        assert Served.find(tmp_path) is None
    assert not (tmp_path / "server.json").exists()
    (tmp_path / "server.json").write_text("{")
    assert Served.find(tmp_path) is None


def test_the_address_goes_with_the_server(tmp_path):
    with process(TESTS / "server_process.py", tmp_path, "quoting") as server:
        server.stdout.readline()
        until(lambda: Served.find(tmp_path / "data"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert not (tmp_path / "data" / "server.json").exists()


def test_a_watched_folder_is_read_as_it_changes(served, tmp_path):
    (tmp_path / "one.md").write_text("# One\n\nThe first note is about lighthouses.\n")
    args = ("ingest", tmp_path, "--watch", "--collection", "watched", "--data-dir", served)
    with process("-m", "rankgate.cli", *args) as watching:

        def answer(question):
            args = ("ask", question, "--collection", "watched", "--data-dir", str(served))
            return RUNNER.invoke(build_app(), args).output

        until(lambda: "lighthouses" in answer("What is the first note about?"))
        (tmp_path / "two.md").write_text("# Two\n\nThe second note is about foghorns.\n")
        until(lambda: "foghorns" in answer("What is the second note about?"))
        (tmp_path / "one.md").unlink()
        until(lambda: "lighthouses" not in answer("What is the first note about?"))
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130


def test_everything_is_the_owners_alone(tmp_path):
    """Of a real ingestion and a real server: every file 0600 in folders 0700."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text("# One\n\nLighthouses stand on rocks.\n")
    rankgate = [sys.executable, "-m", "rankgate.cli"]
    made = {"env": ENV, "cwd": tmp_path, "check": True, "capture_output": True, "timeout": 120}
    subprocess.run([*rankgate, "ingest", "docs"], **made)
    subprocess.run([*rankgate, "keys", "create", "--name", "Ada", "--all-collections"], **made)
    with ExitStack() as opened:
        opened.enter_context(process("-m", "rankgate.cli", "serve", "--port", "0", cwd=tmp_path))
        server = until(lambda: Served.find(tmp_path / ".rankgate"))
        part = {"files": ("two.md", b"# Two\n\nFoghorns are loud.\n")}
        client = opened.enter_context(server.client())
        client.post("/v1/documents", files=part).raise_for_status()
        until(lambda: client.get("/v1/collections").json()["collections"][0]["documents"] > 1)
        list(server.stream("ask", question="What is loud?", collection="default"))
        client.post("/v1/conversations", json={"collection": "default"}).raise_for_status()
        open_to_others = {
            str(p.relative_to(tmp_path)): oct(stat.S_IMODE(p.stat().st_mode))
            for p in [tmp_path / ".rankgate", *(tmp_path / ".rankgate").rglob("*")]
            if p.stat().st_mode & 0o077
        }
    assert open_to_others == {}
