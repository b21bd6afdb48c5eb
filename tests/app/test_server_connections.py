"""Connections without a key: endless headers, silence, readers that do not read."""

import asyncio
import socket

import pytest
from test_server_proxies import served

from rag_app.server.transport import connections


def answered(url):
    """Whether a new client gets its answer."""
    import httpx

    return httpx.get(f"{url}/healthz", timeout=10).status_code == 200


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def closed(client):
    """Waits until the server has hung up, and returns what it said before."""
    said = b""
    try:
        while part := client.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HEADERS_S", 0.5)
    monkeypatch.setattr(connections, "WRITE_S", 0.5)
    monkeypatch.setattr(connections, "PER_ADDRESS", 8)
    with served(tmp_path, trusted_proxies=[]) as (url, _):
        yield url


def test_endless_headers_end_the_connection(url):
    with connect(url) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises(OSError):
            for _ in range(1000):
                client.sendall(b"X-More: " + b"a" * 8000 + b"\r\n")
    assert answered(url)


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
def test_silence_ends_the_connection(url, said):
    with connect(url) as client:
        client.sendall(said)
        closed(client)


def test_a_second_request_has_to_end_its_headers_too(url):
    with connect(url) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTT")
        assert closed(client).count(b"200 OK") == 1


def test_one_address_does_not_shut_everyone_out(url):
    clients = [connect(url) for _ in range(40)]
    for client in clients[8:]:
        closed(client)
    for client in clients:
        client.close()
    assert answered(url)
    assert set(connections.OPEN) <= {"127.0.0.1"}


async def test_who_does_not_read_is_let_go(monkeypatch):
    monkeypatch.setattr(connections, "WRITE_S", 0.1)
    hung_up = asyncio.Event()

    class Served(connections.Connection):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            hung_up.set()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            if hung_up.is_set():
                return

    import uvicorn
    from uvicorn.server import ServerState

    config = uvicorn.Config(endless, lifespan="off", log_config=None)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Served(config, state, {}), "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.run_in_executor(None, client.sendall, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.wait_for(hung_up.wait(), 20)
