"""Who is asking, and what they may see.

Without any key everybody on this machine may do everything, and the server listens nowhere else.
With keys a request carries one as its bearer token, or, from the page, in a signed cookie.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from rag_app.server.errors import ApiError
from rag_app.server.hub import Hub, UnknownCollectionError
from rag_app.server.keys import KeyRecord, KeyStore, Role

__all__ = ["Access", "Evaluator", "Principal", "SignedIn"]

COOKIE = "rankgate_session"
_SESSION_S = 14 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever sent the request.

    Attributes:
        id: of the key; `local` where no key is configured. Owns conversations.
        name: for people.
        role: user or evaluator.
        collections: what may be asked; None: all.
    """

    id: str
    name: str
    role: Role
    collections: tuple[str, ...] | None

    @property
    def evaluator(self) -> bool:
        """Whether scores, traces, Compare and Quality are shown."""
        return self.role is Role.EVALUATOR

    def check(self, collection: str) -> None:
        """Refuse a collection that is not this caller's, as if there were none of that name.

        Raises:
            UnknownCollectionError: it is not theirs.
        """
        if self.collections is not None and collection not in self.collections:
            raise UnknownCollectionError(f"there is no collection {collection!r}")

    def visible(self, hub: Hub) -> list[str]:
        """Collections that there are and that this caller may ask."""
        names = hub.names()
        return names if self.collections is None else [n for n in names if n in self.collections]

    @classmethod
    def of(cls, record: KeyRecord) -> Principal:
        """The holder of a key."""
        return cls(id=record.id, name=record.name, role=record.role, collections=record.collections)


LOCAL = Principal(id="local", name="local", role=Role.EVALUATOR, collections=None)


class Access:
    """Recognises callers.

    Args:
        folder: the data folder, with the keys and the secret that signs cookies.
    """

    def __init__(self, folder: Path) -> None:
        self.keys = KeyStore(folder)
        self._signer = URLSafeTimedSerializer(_secret(folder / "session.secret"), salt="session")

    @property
    def open(self) -> bool:
        """Whether no key is configured."""
        return not self.keys.any()

    def recognise(self, request: Request) -> Principal | None:
        """The caller; None where they have to say who they are."""
        if self.open:
            return LOCAL
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            record = self.keys.authenticate(token.strip())
            return None if record is None else Principal.of(record)
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        try:
            identifier = self._signer.loads(cookie, max_age=_SESSION_S)
        except BadSignature:
            return None
        record = self.keys.get(str(identifier))
        return None if record is None else Principal.of(record)

    def sign_in(self, key: str, response: Response, *, secure: bool) -> Principal | None:
        """Give the browser of a key's holder a cookie; None where the key is nobody's.

        Args:
            key: as it was made.
            response: gets the cookie.
            secure: whether the request came over HTTPS.
        """
        record = self.keys.authenticate(key.strip())
        if record is None:
            return None
        response.set_cookie(
            COOKIE,
            self._signer.dumps(record.id),
            max_age=_SESSION_S,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )
        return Principal.of(record)

    def sign_out(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(COOKIE, path="/")


def _secret(file: Path) -> str:
    """What signs cookies: made once a data folder, readable by its owner alone."""
    try:
        return file.read_text("ascii")
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32), "ascii")
        return file.read_text("ascii")


def _signed_in(request: Request) -> Principal:
    access: Access = request.app.state.access
    principal = access.recognise(request)
    if principal is None:
        raise ApiError(
            401,
            "invalid_api_key",
            "this server wants an API key: send it as `Authorization: Bearer rk-...`. Whoever runs "
            "the server makes one with `rankgate keys create`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.principal = principal
    return principal


def _evaluator(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    if not principal.evaluator:
        raise ApiError(
            403, "evaluators_only", "this needs a key with the role evaluator; yours is a user's"
        )
    return principal


SignedIn = Annotated[Principal, Depends(_signed_in)]
"""Dependency: any known caller."""

Evaluator = Annotated[Principal, Depends(_evaluator)]
"""Dependency: a caller who may see scores and traces."""
