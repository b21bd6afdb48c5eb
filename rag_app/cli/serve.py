"""`rankgate serve`: the server with its page; `rankgate mcp`: its tools over stdin and stdout."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack
from ipaddress import ip_network
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from rag_app.cli.options import GeneratorOption, Where
from rag_app.cli.render import busy
from rag_app.index.private import private_files
from rankgate.cli import grouped
from rankgate.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import uvicorn

    from rag_app.server.collections import Collections
    from rag_app.server.keys import KeyStore
    from rag_app.settings import Settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address; other than this machine needs keys.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Usually 8000; 0: any free one.")
    ] = None,
    generator: GeneratorOption = None,
    *,
    where: Where,
) -> None:
    """Serve the page and the API over the ingested documents."""
    settings = where.settings(generator=generator, host=host, port=port)
    with busy("Opening the index"):
        from rag_app.server.access import is_local
        from rag_app.server.collections import Collections
        from rag_app.server.keys import KeyStore
        from rag_app.server.transport.middleware import log_to_stderr
    store = KeyStore(settings.data_dir)
    keys = len(store.all())
    if store.lost:
        typer.echo(
            "There were API keys and there are none now, so nobody gets in. Bring keys.sqlite back "
            "from a backup, or make new ones: rankgate keys create --name NAME",
            err=True,
        )
    if not keys and not is_local(settings.host):
        raise ConfigError(
            f"without keys the server listens on this machine only, not on {settings.host}. Make "
            "one first: rankgate keys create --name NAME"
        )
    if not keys and not all(is_local(name) for name in settings.trusted_hosts):
        raise ConfigError(
            "trusted_hosts names more than this machine, so a proxy lets others in, and without "
            "keys they may do everything. Make one first: rankgate keys create --name NAME"
        )
    if not keys and not all(ip_network(p).is_loopback for p in settings.trusted_proxies):
        raise ConfigError(
            "trusted_proxies names another machine, so a proxy lets others in, and without keys "
            "they may do everything. Make one first: rankgate keys create --name NAME"
        )
    bound = _bind(settings.host, settings.port)
    with private_files(), bound, Collections(settings) as collections:
        _greet(settings, collections, bound.getsockname()[1], store)
        log_to_stderr(settings.log_format)
        run_server(settings, collections, bound)


def own_address(bound: socket.socket) -> str:
    """Where this machine reaches a listening socket, also one that listens everywhere."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(settings: Settings, collections: Collections, bound: socket.socket) -> None:
    """Serve until a signal comes; then finish what has been begun, and raise SystemExit(0).

    Args:
        collections: the opened data folder; the caller closes it.
    """
    import uvicorn

    from rag_app.served import announced

    # uvicorn sends itself the signal again when it is through; the folder is to be closed then.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    server = uvicorn.Server(server_config(settings, collections))
    with announced(settings.data_dir, own_address(bound)):
        server.run(sockets=[bound])


def server_config(settings: Settings, collections: Collections) -> uvicorn.Config:
    """How uvicorn serves the application, without where it listens."""
    import uvicorn

    from rag_app.server.app import create_app
    from rag_app.server.transport.connections import MAX_HEADERS, Connection

    return uvicorn.Config(
        create_app(settings, collections=collections),
        http=Connection,
        h11_max_incomplete_event_size=MAX_HEADERS,
        log_config=None,
        access_log=False,
        # Whatever has been begun may finish; nothing is allowed to take longer.
        timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
        server_header=False,
        # Behind a known proxy, the caller's own address and scheme; given here, so that
        # uvicorn's own FORWARDED_ALLOW_IPS in the environment means nothing.
        proxy_headers=True,
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Leave in good order: stopping is how a server ends."""
    sys.exit(0)


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is told before anything is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as exc:
        bound.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {exc.strerror or exc}. Choose another with "
            "--port, or stop what listens there."
        ) from exc
    return bound


def _greet(settings: Settings, collections: Collections, port: int, store: KeyStore) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    typer.echo(f"rankgate serves http://{host}:{port}")
    for name in collections.names():
        info = collections.info(name)
        typer.echo(f"  {name}: {info.documents} documents, {info.passages} passages")
        if not info.passages:
            typer.echo("    nothing in it yet: upload on the page, or `rankgate ingest FOLDER`")
    keys = len(store.all())
    if keys or store.expected:
        typer.echo(f"  {keys} API key{'' if keys == 1 else 's'}; nobody gets in without one")
    else:
        typer.echo("  no API key: everybody on this machine gets in, nobody else does")
    typer.echo("Stop with Ctrl+C.")


def mcp(
    url: Annotated[
        str | None,
        typer.Option(help="A running server, such as http://127.0.0.1:8000; its /mcp is the same."),
    ] = None,
    *,
    where: Where,
) -> None:
    """Search, ask, compare and list documents over stdin and stdout.

    A client starts it: {"command": "rankgate", "args": ["mcp", "--data-dir", "/path/.rankgate"]}.
    A server that runs over the folder is asked. Where there are keys, RANKGATE_API_KEY has yours.
    `rankgate serve` has the same tools over HTTP at /mcp.
    """
    settings = where.settings()
    try:
        import httpx

        from rag_app.server.mcp import mcp_server
    except ImportError as exc:
        raise MissingExtraError("`rankgate mcp`", "mcp") from exc
    from rag_app.served import Served

    # Inside the server everything has its own limit; the client's is beyond it.
    wait = settings.request_timeout_s + 10.0
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    server = Served.find(settings.data_dir) if url is None else None
    if server is not None:  # it has the folder open
        url, key = server.url, server.secret if key is None else key

    async def run() -> None:
        async with AsyncExitStack() as stack:
            if url is not None:
                http = httpx.AsyncClient(base_url=url, timeout=wait)
            else:
                from rag_app.server.app import create_app, in_process

                app = create_app(settings)
                await stack.enter_async_context(app.router.lifespan_context(app))
                http = in_process(app, wait)
            await stack.enter_async_context(http)
            if key is not None:
                http.headers["Authorization"] = f"Bearer {key}"
            await mcp_server(http).run_stdio_async()

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(grouped(serve))
    app.command("mcp")(grouped(mcp))
