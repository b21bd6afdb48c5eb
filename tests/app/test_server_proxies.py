"""Behind a proxy, over real HTTP: whose X-Forwarded-* is believed, and what that changes."""

import contextlib
import threading

import httpx
import ingest_files as files
import pytest
import server_rig as rig
import uvicorn
from typer.testing import CliRunner
from waiting import until

from rag_app.cli.serve import server_config
from rag_app.settings import Settings
from rankgate.cli import build_app
from rankgate.errors import ConfigError

HTTPS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


@contextlib.contextmanager
def served(base, **settings):
    """A server just as `rankgate serve` configures it: address, key, settings."""
    chosen, opened = rig.make(base, files, **settings)
    key = rig.key(chosen, role="evaluator")
    config = server_config(chosen, opened)
    config.host, config.port = "127.0.0.1", 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", key
    finally:
        server.should_exit = True
        thread.join(30)
        opened.close()


def cookie_and_redirect(url, key, headers, *, source="127.0.0.1"):
    """The cookie of the page, and where a path with a slash too many is sent."""
    with httpx.Client(
        base_url=url, headers=headers, transport=httpx.HTTPTransport(local_address=source)
    ) as client:
        signed = client.post("/login", data={"key": key, "next": "/"})
        assert signed.status_code == 303, signed.text
        moved = client.get("/v1/models/", headers={"Authorization": f"Bearer {key}"})
        assert moved.status_code == 307, moved.text
        return signed.headers["set-cookie"], moved.headers["location"]


def test_a_proxy_on_this_machine_is_believed_and_others_are_not(tmp_path):
    with served(tmp_path) as (url, key):
        cookie, location = cookie_and_redirect(url, key, HTTPS)
        assert "; Secure" in cookie and location.startswith("https://127.0.0.1:")
        cookie, location = cookie_and_redirect(url, key, {})
        assert "; Secure" not in cookie and location.startswith("http://127.0.0.1:")
        # Another address of this machine stands for another machine.
        cookie, location = cookie_and_redirect(url, key, HTTPS, source="127.0.0.2")
        assert "; Secure" not in cookie and location.startswith("http://127.0.0.1:")


def test_named_networks_are_believed_and_nobody_else(tmp_path, monkeypatch):
    # uvicorn's own variable must not open what the settings close.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with served(tmp_path, trusted_proxies=("127.0.8.0/24", "::1")) as (url, key):
        cookie, location = cookie_and_redirect(url, key, HTTPS, source="127.0.8.7")
        assert "; Secure" in cookie and location.startswith("https://127.0.0.1:")
        for source in ("127.0.0.1", "127.0.9.7"):
            cookie, location = cookie_and_redirect(url, key, HTTPS, source=source)
            assert "; Secure" not in cookie and location.startswith("http://"), source


@pytest.mark.parametrize("wrong", ["*", "proxy", "172.18.0.1/16", "", "1.2.3"])
def test_a_proxy_is_an_address_or_a_network(wrong):
    with pytest.raises(ValueError, match="a proxy is an address or a network"):
        Settings(trusted_proxies=(wrong,))
    with pytest.raises(ConfigError, match="trusted_proxies"):
        Settings.load(overrides={"trusted_proxies": [wrong]})


def test_only_this_machine_is_believed_unless_told_otherwise():
    assert Settings().trusted_proxies == ("127.0.0.1",)


@pytest.mark.parametrize(("proxies", "refused"), [('["172.18.0.0/16"]', True), ('["::1"]', False)])
def test_a_foreign_proxy_wants_keys_first(tmp_path, monkeypatch, proxies, refused):
    monkeypatch.setenv("RANKGATE_TRUSTED_PROXIES", proxies)
    # The port is no free one, so that what is not refused ends there.
    with rig.taken_port() as port:
        done = CliRunner().invoke(
            build_app(), ["serve", "--port", str(port), "--data-dir", str(tmp_path / "d")]
        )
    assert done.exit_code == 2
    assert ("trusted_proxies names another machine" in done.stderr) is refused
    assert ("cannot listen" in done.stderr) is not refused
