"""Who is asking, and what they may see.

Without any key everybody on this machine may do everything, and the server listens nowhere else.
With keys a request carries one as its bearer token, or, from the page, in a signed cookie.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from rag_app.errors import StoreError
from rag_app.served import is_owner, write_private
from rag_app.server.errors import ApiError
from rag_app.server.keys import KeyStore, Principal, Role

COOKIE = "rankgate_session"
_SESSION_S = 14 * 24 * 3600
_SECRET_LENGTH = 32


LOCAL = Principal(
    id="local", name="local", role=Role.EVALUATOR, collections=None, created=datetime.now(UTC)
)


OWNER = replace(LOCAL, id="owner", name="owner")
"""A command in a terminal of whoever the data folder belongs to; see `rag_app.served`."""


class Access:
    """Recognises callers.

    Args:
        folder: the data folder, with the keys and the secret that signs cookies.
        may_be_open: whether everybody is let in while there is no key: only where nobody but
            this machine reaches the server.
    """

    def __init__(self, folder: Path, *, may_be_open: bool = True) -> None:
        self.folder = folder
        self.keys = KeyStore(folder)
        # At once, not with the first request that brings a key.
        self._may_be_open = may_be_open and not self.keys.expected
        self._signer = URLSafeTimedSerializer(_secret(folder / "session.secret"), salt="session")

    @property
    def open(self) -> bool:
        """Whether no key is configured, and none ever was.

        Revoking the last key, or losing or damaging the file, shuts people out; it lets nobody
        in, after a restart neither.
        """
        if self._may_be_open and self.keys.expected:
            self._may_be_open = False
        return self._may_be_open

    def recognise(self, request: HTTPConnection) -> Principal | None:
        """The caller; None where they have to say who they are."""
        if is_owner(self.folder, _bearer(request)):
            return OWNER
        if self.open:
            return LOCAL if _from_here(request) else None
        with contextlib.suppress(StoreError):  # unusable keys are nobody's
            return self._holder(request)
        return None

    def _holder(self, request: HTTPConnection) -> Principal | None:
        token = _bearer(request)
        if token:
            return self.keys.authenticate(token)
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        try:
            identifier, _ = self._signer.loads(cookie, max_age=_SESSION_S)
        except (BadSignature, ValueError):  # not ours, too old, or of an earlier version
            return None
        return None if self.keys.signed_out(cookie) else self.keys.get(str(identifier))

    def sign_in(self, key: str, response: Response, *, secure: bool) -> Principal | None:
        """Give the browser of a key's holder a cookie; None where the key is nobody's.

        Args:
            secure: whether the request came over HTTPS.
        """
        record = self.keys.authenticate(key.strip())
        if record is None:
            return None
        response.set_cookie(
            COOKIE,
            self._signer.dumps([record.id, secrets.token_hex(8)]),  # this browser's alone
            max_age=_SESSION_S,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )
        return record

    def unauthorised(self) -> ApiError:
        """What a caller without a valid key gets; where keys are lost, how to get them back."""
        return _lost() if self.keys.lost else _unauthorised()

    def sign_out(self, request: HTTPConnection, response: Response) -> None:
        """Take the cookie away; a copy of it opens nothing any more."""
        response.delete_cookie(COOKIE, path="/")
        cookie = request.cookies.get(COOKIE)
        if cookie is not None and self.recognise(request) not in (None, LOCAL):
            self.keys.sign_out(cookie, until=datetime.now(UTC) + timedelta(seconds=_SESSION_S))


def _bearer(request: HTTPConnection) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_here(request: HTTPConnection) -> bool:
    """Whether nobody but this machine asks, as far as a proxy on it tells."""
    told = request.headers.get("x-forwarded-for", "")
    asked = [] if request.client is None else [request.client.host]
    asked += [part.strip() for part in told.split(",") if part.strip()]
    return bool(asked) and all(is_local(host) for host in asked)


def _secret(file: Path) -> str:
    """What signs cookies: made once a data folder, readable by its owner alone."""
    try:
        found = file.read_text("ascii").strip()
    except FileNotFoundError:
        found = ""
    if len(found) >= _SECRET_LENGTH:
        return found
    # Whole or not at all: cookies signed with an empty secret could be made by anybody.
    made = secrets.token_urlsafe(32)
    write_private(file, made)
    return made


def _unauthorised(
    words: str = "send it as `Authorization: Bearer rk-...`. Whoever runs the server makes one "
    "with `rankgate keys create`.",
) -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        f"this server wants an API key: {words}",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _lost() -> ApiError:
    return _unauthorised(
        "but its keys are gone or damaged. Whoever runs it brings keys.sqlite back from a backup, "
        "or moves it away and makes new ones with `rankgate keys create`; deleting keys.expected "
        "and keys.sqlite in the data folder lets everybody on that machine in without one."
    )


def _signed_in(request: Request) -> Principal:
    # The guard has looked already where a body follows.
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    access: Access = request.app.state.access
    principal = access.recognise(request)
    if principal is None:
        raise access.unauthorised()
    request.state.principal = principal
    return principal


def need_evaluator(principal: Principal) -> Principal:
    """The caller, who may see scores and traces.

    Raises:
        ApiError: 403, a user's key.
    """
    if not principal.evaluator:
        raise ApiError(
            403, "evaluators_only", "this needs a key with the role evaluator; yours is a user's"
        )
    return principal


def _owner(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    if principal.id != OWNER.id:
        raise ApiError(
            403, "owner_only", "this is for the commands of whoever the data folder belongs to"
        )
    return principal


def need_writer(principal: Principal, *, everywhere: bool = False) -> Principal:
    """The caller, who may change documents.

    Args:
        everywhere: and collections themselves, which is for keys that reach all of them.

    Raises:
        ApiError: 403.
    """
    if not principal.writes:
        raise ApiError(403, "read_only", "this key may ask and read, and change nothing")
    if everywhere and principal.collections is not None:
        raise ApiError(403, "not_all_collections", "this needs a key for all collections")
    return principal


def _writer(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    return need_writer(principal)


def _keeper(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    return need_writer(principal, everywhere=True)


def _evaluator(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    return need_evaluator(principal)


SignedIn = Annotated[Principal, Depends(_signed_in)]
"""Dependency: any known caller."""

Evaluator = Annotated[Principal, Depends(_evaluator)]
"""Dependency: a caller who may see scores and traces."""

Owner = Annotated[Principal, Depends(_owner)]
"""Dependency: a command of the data folder's owner, on this machine."""

Writer = Annotated[Principal, Depends(_writer)]
"""Dependency: a caller who may upload and delete documents."""

Keeper = Annotated[Principal, Depends(_keeper)]
"""Dependency: a caller who may make, rename and delete collections."""
