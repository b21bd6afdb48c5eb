"""A Chroma server as the place of the vectors, instead of the data folder.

Chroma's server has had no access control since 1.0: whoever reaches its port reads and writes
everything. It belongs on a private network, beside the one application that uses it.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from rag_app.errors import StoreError
from rankgate.texts import whole_file

if TYPE_CHECKING:
    import httpx
    from chromadb.api.client import Client

_ID_FILE = "chroma.id"
_HEARTBEAT = "/api/v2/heartbeat"
_CONNECT_S = 5.0


def connect(url: str, *, timeout_s: float) -> Client:
    """A client of the server at `url`; whatever goes wrong comes as it is.

    Args:
        url: `http://host:port` or `https://host:port`, as the settings check it.

    Raises:
        StoreError: something else than Chroma answers there.
    """
    import chromadb
    import httpx
    from chromadb.config import Settings

    timeout = httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
    # Asked first, because the requests of Chroma's constructor have no limit of time.
    with httpx.Client(timeout=timeout) as asking:
        _check(asking.get(f"{url}{_HEARTBEAT}"))
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if secure else 80)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    # Declared as an interface without `close`.
    client = cast(
        "Client",
        chromadb.HttpClient(
            host=str(host),
            port=port,
            ssl=secure,
            # A project's .env is not Chroma's to read.
            settings=Settings(
                _env_file=None,  # type: ignore[call-arg]
                anonymized_telemetry=False,
            ),
        ),
    )
    # Chroma's client waits for ever and has no setting for it: a server that hangs would take
    # one worker after the other.
    for session in _sessions(client):
        session.timeout = timeout
    return client


def disconnect(client: Client) -> None:
    """Close a client of a server with its connections, which Chroma's own `close` leaves open."""
    sessions = _sessions(client)
    client.close()
    for session in sessions:
        session.close()


def _sessions(client: Client) -> list[httpx.Client]:
    """What Chroma sends its requests with, twice; there is no public way to them."""
    servers: tuple[Any, ...] = (client._server, client._admin_client._server)  # type: ignore[attr-defined]
    return [server._session for server in servers]


def _check(answer: httpx.Response) -> None:
    try:
        known = "nanosecond heartbeat" in answer.json()
    except (ValueError, TypeError):
        known = False
    if answer.status_code != 200 or not known:
        raise StoreError(
            f"{answer.url} answers with status {answer.status_code}, but not as Chroma 1.x does; "
            "chroma_url must name a server started with `chroma run`"
        )


def collection_on_server(data_dir: Path, collection: str) -> str:
    """Name of a data folder's collection on a server that other folders may use too.

    Two folders with a collection of the same name would otherwise delete each other's vectors,
    since each removes what its own manifest does not know. The folder's part of the name is made
    once and moves with the folder.

    Raises:
        StoreError: the folder's id cannot be read or written.
    """
    file = data_dir / _ID_FILE
    try:
        if not file.exists():
            with whole_file(file) as part:
                part.write_text(secrets.token_hex(6), "ascii")
        identifier = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise StoreError(f"{file}, the folder's name on the Chroma server, fails: {exc}") from exc
    if not re.fullmatch(r"[0-9a-f]{12}", identifier):
        raise StoreError(
            f"{file} must hold 12 hexadecimal digits, got {identifier[:40]!r}. Delete it; the "
            "vectors are then written to the server again under a new name."
        )
    return f"{collection}-{identifier}"
