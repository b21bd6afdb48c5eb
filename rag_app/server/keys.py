"""API keys: who may ask what. Only hashes are kept.

A key is `rk-ID-SECRET`; the secret has 256 random bits. So a plain SHA-256 is enough: slow
hashes protect passwords that people choose, and nobody guesses 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import JSON, String, create_engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rag_app.errors import StoreError
from rag_app.index.private import private_folder
from rag_app.names import UnknownCollectionError, check_name
from rag_app.served import write_private
from rag_app.sessions import session_on, unusable
from rankgate.errors import InputError

if TYPE_CHECKING:
    from rag_app.server.collections import Collections

_PREFIX = "rk"
_WHAT = "the API keys"


class Role(StrEnum):
    """What a key may see."""

    READER = "reader"
    USER = "user"
    EVALUATOR = "evaluator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever may ask: the holder of a key, without its secret.

    Attributes:
        id: 8 hexadecimal digits that stand in the key itself and in log lines; `local` where no
            key is configured. Owns conversations.
        collections: what may be asked; None: all.
        created: when the key was made, in UTC.
    """

    id: str
    name: str
    role: Role
    collections: tuple[str, ...] | None
    created: datetime

    @property
    def evaluator(self) -> bool:
        """Whether scores, traces, Compare and Quality are shown."""
        return self.role is Role.EVALUATOR

    @property
    def writes(self) -> bool:
        """Whether documents may be uploaded and deleted."""
        return self.role is not Role.READER

    def check(self, collection: str) -> None:
        """Refuse a collection that is not this caller's, as if there were none of that name.

        Raises:
            UnknownCollectionError: it is not theirs.
        """
        if self.collections is not None and collection not in self.collections:
            raise UnknownCollectionError(f"there is no collection {collection!r}")

    def visible(self, collections: Collections) -> list[str]:
        """Collections that there are and that this caller may ask."""
        names = collections.names()
        return names if self.collections is None else [n for n in names if n in self.collections]


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    collections: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    sha256: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]

    def record(self) -> Principal:
        """The row as a value."""
        return Principal(
            id=self.id,
            name=self.name,
            role=Role(self.role),
            collections=None if self.collections is None else tuple(self.collections),
            created=self.created.replace(tzinfo=UTC),
        )


class _SignedOut(_Base):
    __tablename__ = "signed_out"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    until: Mapped[datetime]


class KeyStore:
    """The keys of a data folder, in `keys.sqlite`. Thread-safe; several processes may share it.

    So keys can be made and revoked while the server runs.

    Args:
        folder: the data folder; made with the first key.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.sqlite"
        self.marker = folder / "keys.expected"
        self._engine = create_engine(f"sqlite:///{self.path}")
        self._made = False

    def _session(self) -> AbstractContextManager[Session]:
        if self._made:
            return session_on(self._engine, self.path, _WHAT)
        try:
            private_folder(self.path.parent)
            new = not self.path.exists()
            _Base.metadata.create_all(self._engine)
            if new:
                self.path.chmod(0o600)
            self._made = True
        except (SQLAlchemyError, OSError) as exc:
            raise unusable(self.path, _WHAT, exc) from exc
        return session_on(self._engine, self.path, _WHAT)

    def create(
        self, *, name: str, role: Role = Role.USER, collections: Sequence[str] | None = None
    ) -> tuple[Principal, str]:
        """Make a key.

        Returns:
            Its record, and the key itself, which cannot be shown again.

        Raises:
            InputError: no name, or an empty list of collections.
        """
        if not name.strip():
            raise InputError("a key needs a name, such as that of the person who gets it")
        if collections is not None and not collections:
            raise InputError("a key needs at least one collection; leave them out for all")
        for collection in collections or ():
            check_name(collection)  # what no upload could make
        identifier, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        row = _Row(
            id=identifier,
            name=name.strip(),
            role=role.value,
            collections=None if collections is None else list(dict.fromkeys(collections)),
            sha256=_hash(secret),
            created=datetime.now(UTC).replace(tzinfo=None),
        )
        with self._session() as session:
            session.add(row)
            session.flush()
            record = row.record()
        self._expect()
        return record, f"{_PREFIX}-{identifier}-{secret}"

    def all(self) -> list[Principal]:
        """Every key, oldest first."""
        if not self.path.exists():
            return []
        with self._session() as session:
            rows = session.scalars(select(_Row).order_by(_Row.created, _Row.id))
            return [row.record() for row in rows]

    def any(self) -> bool:
        """Whether there is a key at all."""
        if not self.path.exists():
            return False
        with self._session() as session:
            return bool(session.scalar(select(func.count()).select_from(_Row)))

    @property
    def expected(self) -> bool:
        """Whether there ever was a key: then their loss opens nothing.

        The file comes with the first one, so an empty one, too, has been emptied.
        """
        return self.marker.exists() or self.path.exists()

    @property
    def lost(self) -> bool:
        """Whether there were keys and none can be read now."""
        try:
            return self.expected and not self.any()
        except StoreError:
            return True

    def _expect(self) -> None:
        said = (
            "This server has API keys. Delete this file and keys.sqlite to let everybody on this "
            "machine in without one.\n"
        )
        try:
            write_private(self.marker, said)
        except OSError as exc:
            raise unusable(self.marker, "the mark that there are keys", exc) from exc

    def rename_collection(self, old: str, new: str) -> None:
        """Keys that reach a collection go on reaching it under its new name."""
        if not self.path.exists():
            return
        with self._session() as session:
            for row in session.scalars(select(_Row).where(_Row.collections.is_not(None))):
                row.collections = [new if c == old else c for c in row.collections or ()]

    def sign_out(self, cookie: str, *, until: datetime) -> None:
        """Remember that a cookie is not to be taken any more, as long as it would be valid."""
        now = datetime.now(UTC).replace(tzinfo=None)
        with self._session() as session:
            session.execute(delete(_SignedOut).where(_SignedOut.until < now))
            session.merge(_SignedOut(sha256=_hash(cookie), until=until.replace(tzinfo=None)))

    def signed_out(self, cookie: str) -> bool:
        """Whether this cookie was given back."""
        with self._session() as session:
            return session.get(_SignedOut, _hash(cookie)) is not None

    def revoke(self, identifier: str) -> None:
        """Delete a key; it stops working with the next request.

        Raises:
            InputError: there is none.
        """
        found = 0
        if self.path.exists():
            with self._session() as session:
                found = len(
                    session.scalars(
                        delete(_Row).where(_Row.id == identifier).returning(_Row.id)
                    ).all()
                )
        if not found:
            raise InputError(f"there is no key {identifier!r}; `rankgate keys list` shows them")

    def get(self, identifier: str) -> Principal | None:
        """The key of this id; None where it was revoked or never was."""
        if not self.path.exists():
            return None
        with self._session() as session:
            row = session.get(_Row, identifier)
            return None if row is None else row.record()

    def authenticate(self, key: str) -> Principal | None:
        """Whose key this is; None where it is nobody's. Compares in constant time."""
        prefix, _, rest = key.partition("-")
        identifier, _, secret = rest.partition("-")
        if prefix != _PREFIX or not secret or not self.path.exists():
            return None
        with self._session() as session:
            row = session.get(_Row, identifier)
            # An unknown id takes as long as a wrong secret.
            known = _hash("") if row is None else row.sha256
            same = hmac.compare_digest(known, _hash(secret))
            return row.record() if row is not None and same else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
