"""`rankgate serve` as a process: what it refuses to start with, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from waiting import until

from rag_app.index.data_folder import DataFolder
from rankgate.cli import build_app

RUNNER = CliRunner()
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("RANKGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def serve(*args):
    return RUNNER.invoke(build_app(), ["serve", *args])


def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve("--port", str(port), "--data-dir", str(tmp_path / "d"))
    assert done.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr and "--port" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_other_addresses_want_keys_first(tmp_path, host):
    done = serve("--host", host, "--port", "0", "--data-dir", str(tmp_path / "d"))
    assert done.exit_code == 2
    assert "without keys" in done.stderr and "rankgate keys create" in done.stderr


def test_a_proxys_name_wants_keys_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKGATE_TRUSTED_HOSTS", '["docs.example"]')
    done = serve("--port", "0", "--data-dir", str(tmp_path / "d"))
    assert done.exit_code == 2 and "trusted_hosts" in done.stderr


def test_a_folder_in_use_is_told(tmp_path):
    with DataFolder(tmp_path / "d"):
        done = serve("--port", "0", "--data-dir", str(tmp_path / "d"))
    assert done.exit_code == 2
    assert f"in use by this process ({os.getpid()})" in done.stderr


def test_a_stream_that_has_begun_is_finished_before_the_server_stops(tmp_path):
    process = subprocess.Popen(
        [sys.executable, TESTS / "server_process.py", tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = process.stdout.readline().strip()
        body = {"messages": [{"role": "user", "content": "What is logged?"}], "stream": True}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                lines = answer.iter_lines()
                while "begun " not in next(lines):
                    pass
                process.send_signal(signal.SIGTERM)
                until(lambda: _refused(port))
                assert process.poll() is None
                process.stdin.write("go on\n")
                process.stdin.flush()
                rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert any("and finished" in line for line in rest)
        assert any('"finish_reason": "stop"' in line for line in rest)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out == "closed\n"
        assert not (tmp_path / "data" / "lock.pid").exists(), "the folder was not closed"
    finally:
        process.kill()
        process.wait()


def _refused(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", int(port))) != 0


@pytest.mark.model
def test_the_whole_way_with_the_real_model(tmp_path):
    """Ingest, serve, ask with the openai client, stop."""
    from openai import OpenAI

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bread.md").write_text(
        "# Bread\n\n## Dough\n\nA sourdough needs twelve hours of rest in a cool place. Cover it "
        "with a wet cloth, so that the surface does not dry out.\n"
    )
    rankgate = [sys.executable, "-m", "rankgate.cli"]
    subprocess.run([*rankgate, "ingest", "docs"], check=True, capture_output=True, timeout=120)
    process = subprocess.Popen(
        [*rankgate, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[-1]
        assert process.stdout.readline() == "  default: 1 documents, 1 passages\n"
        assert "no API key" in process.stdout.readline()
        with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60) as client:
            messages = [{"role": "user", "content": "How long does a sourdough rest?"}]
            answer = client.chat.completions.create(model="rankgate", messages=messages)
        assert answer.choices[0].message.content.startswith("A sourdough needs twelve hours")
        assert httpx.get(f"{url}/readyz", timeout=60).json()["ready"] is True
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "POST /v1/chat/completions 200" in err and "sourdough" not in err
        assert "Traceback" not in out + err
    finally:
        process.kill()
        process.wait()


def test_log_lines_as_json(tmp_path):
    code = (
        "import logging; from rag_app.server.transport.middleware import log_to_stderr;"
        "log_to_stderr('json');"
        "logging.getLogger('rankgate.access').info('x', extra={'fields': {'status': 200}});"
        "logging.getLogger('rankgate.server').warning('two\\nlines')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert first["status"] == 200 and first["level"] == "info" and "time" in first
    assert second["message"] == "two\nlines"
