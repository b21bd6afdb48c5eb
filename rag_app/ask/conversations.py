"""Conversations kept on disk: questions, answers, sources; exported, and deleted for good.

One SQLite file of the application's own, beside the manifest. What is deleted is overwritten in
the file (`secure_delete`), and what the write-ahead log has of it goes with the checkpoint that
follows.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, ForeignKey, create_engine, delete, event, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from rag_app.errors import StoreError
from rag_app.index.private import private_folder
from rag_app.sessions import session_on, unusable
from rankgate.errors import InputError

_VERSION = 1
_WHAT = "the conversations"
_TITLE = 80


class UnknownConversationError(InputError):
    """There is no such conversation, or it is somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question with its answer.

    Attributes:
        answer: the text; "" where the generator failed.
        status: `answered`, `refused` or `generator_failed`.
        details: sources, nearest topics and trace, as they were sent.
        asked: when, in UTC.
    """

    id: str
    question: str
    answer: str
    status: str
    details: Mapping[str, Any]
    asked: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation; its turns oldest first, none where only the list was asked for.

    Attributes:
        owner: id of the key; `local` without keys.
        title: its first question, until it is renamed.
        updated: when the last turn came, in UTC.
    """

    id: str
    owner: str
    collection: str
    title: str
    updated: datetime
    turns: tuple[Turn, ...] = ()


class _Base(DeclarativeBase):
    pass


class _ConversationRow(_Base):
    __tablename__ = "conversation"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    collection: Mapped[str]
    title: Mapped[str]
    updated: Mapped[datetime]
    turns: Mapped[list[_TurnRow]] = relationship(
        order_by="_TurnRow.position", cascade="all, delete-orphan"
    )


class _TurnRow(_Base):
    __tablename__ = "turn"

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversation.id", ondelete="CASCADE"), index=True
    )
    position: Mapped[int]
    question: Mapped[str]
    answer: Mapped[str]
    status: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    asked: Mapped[datetime]


class Conversations:
    """The conversations of a data folder. Thread-safe.

    Raises:
        StoreError: the file cannot be used, or another version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "conversations.sqlite"
        self._engine = create_engine(f"sqlite:///{self.path}")
        event.listen(self._engine, "connect", _configure)
        try:
            private_folder(folder)
            new = not self.path.exists()
            with self._engine.begin() as db:
                found = int(db.scalar(text("PRAGMA user_version")) or 0)
                if found not in (0, _VERSION):
                    raise StoreError(
                        f"{self.path} has version {found}, this rankgate reads {_VERSION}. Install "
                        "the rankgate that wrote it, or move the file away to begin anew."
                    )
                _Base.metadata.create_all(db)
                db.execute(text(f"PRAGMA user_version={_VERSION}"))
            if new:
                self.path.chmod(0o600)
        except (SQLAlchemyError, OSError) as exc:
            raise unusable(self.path, _WHAT, exc) from exc

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _session(self) -> AbstractContextManager[Session]:
        return session_on(self._engine, self.path, _WHAT)

    def rename_collection(self, old: str, new: str) -> None:
        """Conversations follow their collection to its new name."""
        with self._session() as session:
            session.execute(
                update(_ConversationRow)
                .where(_ConversationRow.collection == old)
                .values(collection=new)
            )

    def create(self, *, owner: str, collection: str) -> Conversation:
        """Begin one; it has no title before its first question."""
        row = _ConversationRow(
            id=uuid.uuid4().hex, owner=owner, collection=collection, title="", updated=_now()
        )
        with self._session() as session:
            session.add(row)
            session.flush()
            return _conversation(row, turns=False)

    def all(self, owner: str) -> list[Conversation]:
        """Somebody's conversations, the latest first, without their turns."""
        with self._session() as session:
            rows = session.scalars(
                select(_ConversationRow)
                .where(_ConversationRow.owner == owner)
                .order_by(_ConversationRow.updated.desc(), _ConversationRow.id)
            )
            return [_conversation(row, turns=False) for row in rows]

    def get(self, identifier: str, *, owner: str) -> Conversation:
        """One conversation with its turns.

        Raises:
            UnknownConversationError: there is none, or it is somebody else's.
        """
        with self._session() as session:
            return _conversation(self._row(session, identifier, owner), turns=True)

    def append(
        self,
        identifier: str,
        *,
        owner: str,
        question: str,
        answer: str,
        status: str,
        details: Mapping[str, Any],
    ) -> Turn:
        """Add a question with its answer.

        Raises:
            UnknownConversationError: as `get`.
        """
        with self._session() as session:
            row = self._row(session, identifier, owner)
            turn = _TurnRow(
                id=uuid.uuid4().hex,
                conversation_id=row.id,
                position=1 + max((t.position for t in row.turns), default=0),
                question=question,
                answer=answer,
                status=status,
                details=json.loads(json.dumps(details)),
                asked=_now(),
            )
            session.add(turn)
            row.updated = turn.asked
            if not row.title:
                row.title = _shortened(question)
            session.flush()
            return _turn(turn)

    def rename(self, identifier: str, title: str, *, owner: str) -> Conversation:
        """Give it another title.

        Raises:
            InputError: an empty title.
            UnknownConversationError: as `get`.
        """
        if not title.strip():
            raise InputError("a conversation's title must not be empty")
        with self._session() as session:
            row = self._row(session, identifier, owner)
            row.title = _shortened(title)
            return _conversation(row, turns=False)

    def truncate(self, identifier: str, turn: str, *, owner: str) -> None:
        """Delete a turn and all after it: the question is asked anew.

        Raises:
            UnknownConversationError: no such conversation, or no such turn in it.
        """
        with self._session() as session:
            row = self._row(session, identifier, owner)
            first = next((t.position for t in row.turns if t.id == turn), None)
            if first is None:
                raise UnknownConversationError(f"there is no turn {turn!r} in this conversation")
            row.turns[:] = [t for t in row.turns if t.position < first]
        self._overwrite()

    def delete(self, identifier: str, *, owner: str) -> None:
        """Delete a conversation, in the file too.

        Raises:
            UnknownConversationError: as `get`.
        """
        with self._session() as session:
            session.delete(self._row(session, identifier, owner))
        self._overwrite()

    def delete_all(self, owner: str) -> int:
        """Delete everything of somebody's; how many conversations that were."""
        return self._delete(_ConversationRow.owner == owner)

    def forget_older_than(self, days: float) -> int:
        """Delete what has not been touched for so many days; how many conversations that were.

        Raises:
            StoreError: the file cannot be written to.
        """
        return self._delete(_ConversationRow.updated < _now() - timedelta(days=days))

    def _delete(self, condition: Any) -> int:
        with self._session() as session:
            gone = session.scalars(
                delete(_ConversationRow).where(condition).returning(_ConversationRow.id)
            ).all()
        # Also where nothing was too old: a process that was killed may have left its log behind.
        self._overwrite()
        return len(gone)

    def count(self) -> int:
        """Number of conversations of everybody."""
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(_ConversationRow)) or 0

    def _row(self, session: Session, identifier: str, owner: str) -> _ConversationRow:
        row = session.get(_ConversationRow, identifier)
        if row is None or row.owner != owner:
            raise UnknownConversationError(f"there is no conversation {identifier!r}")
        return row

    def _overwrite(self) -> None:
        """Move the deletion from the log into the file, and empty the log."""
        try:
            with self._engine.connect() as db:
                db.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        except SQLAlchemyError as exc:
            raise unusable(self.path, _WHAT, exc) from exc


_FETCHING = re.compile(
    r"<(?=(?:img|image|picture|source|video|audio|track|iframe|frame|object|embed|link|script|style"
    r"|svg|input|base|meta|form)\b)",
    re.I,
)


def export_json(conversation: Conversation) -> str:
    """A conversation as JSON, without its owner."""
    plain = asdict(conversation)
    del plain["owner"]
    return json.dumps(plain, ensure_ascii=False, indent=2, default=str) + "\n"


def export_markdown(conversation: Conversation) -> str:
    """A conversation as Markdown, sources below each answer."""
    lines = [f"# {conversation.title or 'Conversation'}", ""]
    for turn in conversation.turns:
        lines += [f"## {' '.join(turn.question.split())}", ""]
        lines += [turn.answer or "*No answer: the generator failed.*", ""]
        for source in turn.details.get("sources", ()):
            page = "" if source.get("page") is None else f", page {source['page']}"
            lines.append(f"- [{source['number']}] {source['title']}: {source['heading']}{page}")
        lines += [""] if turn.details.get("sources") else []
    # An image would be fetched by whoever opens the file, and tell its host so.
    text = "\n".join(lines).rstrip().replace("![", "!\\[")
    return _FETCHING.sub("&lt;", text) + "\n"


def _configure(connection: Any, _: Any) -> None:
    """Of each connection: SQLite forgets these."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _shortened(title: str) -> str:
    plain = " ".join(title.split())
    return plain if len(plain) <= _TITLE else plain[: _TITLE - 1].rstrip() + "\u2026"


def _conversation(row: _ConversationRow, *, turns: bool) -> Conversation:
    return Conversation(
        id=row.id,
        owner=row.owner,
        collection=row.collection,
        title=row.title,
        updated=row.updated.replace(tzinfo=UTC),
        turns=tuple(_turn(t) for t in row.turns) if turns else (),
    )


def _turn(row: _TurnRow) -> Turn:
    return Turn(
        id=row.id,
        question=row.question,
        answer=row.answer,
        status=row.status,
        details=row.details,
        asked=row.asked.replace(tzinfo=UTC),
    )
