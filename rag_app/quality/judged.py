"""What people say about the passages of an answer, in the feedback log: by thumb or by deed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from rag_app.ask.conversations import Conversation, Turn
from rag_app.errors import UnknownDocumentError
from rag_app.quality.reask import asked_again, mended_spelling
from rankgate.feedback import FEEDBACK_FILE, Judgement, append_feedback

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings

logger = logging.getLogger("rankgate.server")


class Stores(Protocol):
    """The opened collections."""

    def store(self, name: str) -> Store:
        """The store of the collection of this name."""


def judge(
    stores: Stores,
    kept: Conversation,
    turn: Turn,
    sources: Sequence[dict[str, Any]],
    *,
    relevant: bool,
    kind: str,
) -> int:
    """Write down what was said about sources of a turn; how many passages were judged.

    Args:
        sources: of the turn, as they were sent.
        kind: one of `rankgate.feedback.FEEDBACK_SOURCES`.

    Raises:
        StoreError: the passages cannot be read.
    """
    store = stores.store(kept.collection)
    now = datetime.now(UTC)
    rows = [
        Judgement(
            # A follow-up says little alone: what the passages were scored by is judged.
            query=turn.details.get("searched_for", turn.question),
            passage_id=source["chunk_id"],
            passage_text=text,
            relevant=relevant,
            source=kind,
            time=now,
            rank=source["number"],
            relevance_score=source.get("relevance_score"),
            outcome=turn.details.get("retrieval", {}).get("status"),
            policy=turn.details.get("trace", {}).get("policy"),
            session=kept.id,
            collection=kept.collection,
        )
        for source in sources
        if (text := _text(store, source["chunk_id"])) is not None
    ]
    append_feedback(store.data_dir / FEEDBACK_FILE, rows)
    return len(rows)


def note_reask(
    stores: Stores,
    settings: Settings,
    kept: Conversation,
    question: str,
    details: Mapping[str, Any],
) -> int:
    """Where a question is an earlier one asked again, judge what was shown for that.

    Never fails: the answer to the new question has nothing to do with it.

    Args:
        stores: where the passages of its collection are.
        settings: say whether feedback is kept at all.
        details: of its answer; the corrected spelling is read from them.

    Returns:
        How many passages were judged.
    """
    if not settings.feedback or not kept.turns:
        return 0
    try:
        earlier = asked_again(
            question, kept.turns, datetime.now(UTC), mended=mended_spelling(details)
        )
        if earlier is None:
            return 0
        sources = list(earlier.details.get("sources", ()))
        return judge(stores, kept, earlier, sources, relevant=False, kind="reask")
    except Exception:  # whatever it was, the answer is finished and has to be kept and sent
        logger.exception("a question asked again could not be noted")
        return 0


def _text(store: Store, chunk_id: str) -> str | None:
    try:
        ((text, _),) = store.fetch([chunk_id])
    except UnknownDocumentError:
        return None  # the document went meanwhile; without its text nothing can be learnt
    return text
