"""Conversations: kept, exported, owned, and deleted for good."""

import json
import sqlite3
import threading
from datetime import UTC, datetime

import pytest

from rag_app.ask.conversations import (
    Conversations,
    UnknownConversationError,
    export_json,
    export_markdown,
)
from rag_app.errors import StoreError
from rankgate.errors import InputError

SOURCE = {"number": 1, "title": "Guide", "heading": "Guide > Install", "page": 3}


@pytest.fixture
def kept(tmp_path):
    conversations = Conversations(tmp_path)
    yield conversations
    conversations.close()


def add(kept, identifier, question, owner="ann", answer="Yes. [1]"):
    return kept.append(
        identifier,
        owner=owner,
        question=question,
        answer=answer,
        status="answered",
        details={"sources": [SOURCE]},
    )


def test_turns_come_back_in_order_and_the_first_question_is_the_title(kept, tmp_path):
    made = kept.create(owner="ann", collection="default")
    add(kept, made.id, "  How do\nI install it? ")
    add(kept, made.id, "And on Linux?")
    again = Conversations(tmp_path)
    found = again.get(made.id, owner="ann")
    again.close()
    assert [t.question for t in found.turns] == ["  How do\nI install it? ", "And on Linux?"]
    assert found.title == "How do I install it?" and found.collection == "default"
    assert found.turns[0].details == {"sources": [SOURCE]}
    assert found.updated == found.turns[1].asked <= datetime.now(UTC)


def test_the_list_is_the_owners_latest_first(kept):
    first = kept.create(owner="ann", collection="default")
    second = kept.create(owner="ann", collection="default")
    kept.create(owner="bob", collection="default")
    add(kept, first.id, "later")
    assert [c.id for c in kept.all("ann")] == [first.id, second.id]
    assert all(c.turns == () for c in kept.all("ann"))


@pytest.mark.parametrize("call", ["get", "append", "rename", "truncate", "delete"])
def test_nobody_reaches_what_is_somebody_elses(kept, call):
    made = kept.create(owner="ann", collection="default")
    turn = add(kept, made.id, "secret")
    calls = {
        "get": lambda: kept.get(made.id, owner="bob"),
        "append": lambda: add(kept, made.id, "x", owner="bob"),
        "rename": lambda: kept.rename(made.id, "x", owner="bob"),
        "truncate": lambda: kept.truncate(made.id, turn.id, owner="bob"),
        "delete": lambda: kept.delete(made.id, owner="bob"),
    }
    with pytest.raises(UnknownConversationError):
        calls[call]()
    assert len(kept.get(made.id, owner="ann").turns) == 1


def test_deleted_means_deleted_in_the_files_too(kept, tmp_path):
    marker = "quokka-marker-0815"
    made = kept.create(owner="ann", collection="default")
    for n in range(30):
        add(kept, made.id, f"{marker} {n} " + "long " * 200, answer=f"{marker} answer")
    other = kept.create(owner="ann", collection="default")
    add(kept, other.id, "stays")

    def holding():
        return [p.name for p in tmp_path.iterdir() if marker.encode() in p.read_bytes()]

    assert holding()
    kept.delete(made.id, owner="ann")
    assert holding() == []
    assert [c.id for c in kept.all("ann")] == [other.id]
    with sqlite3.connect(kept.path) as db:
        assert db.execute("SELECT count(*) FROM turn").fetchone() == (1,)


def test_asking_anew_drops_what_came_after(kept, tmp_path):
    made = kept.create(owner="ann", collection="default")
    add(kept, made.id, "one")
    second = add(kept, made.id, "two wombats")
    add(kept, made.id, "three")
    kept.truncate(made.id, second.id, owner="ann")
    assert [t.question for t in kept.get(made.id, owner="ann").turns] == ["one"]
    add(kept, made.id, "two again")
    assert [t.question for t in kept.get(made.id, owner="ann").turns] == ["one", "two again"]
    assert not any(b"two wombats" in p.read_bytes() for p in tmp_path.iterdir())
    with pytest.raises(UnknownConversationError):
        kept.truncate(made.id, "nope", owner="ann")


def test_exports(kept):
    made = kept.create(owner="ann", collection="default")
    add(kept, made.id, "How?")
    kept.append(
        made.id, owner="ann", question="Broken?", answer="", status="generator_failed", details={}
    )
    data = json.loads(export_json(kept.get(made.id, owner="ann")))
    assert data["title"] == "How?" and "owner" not in data
    assert data["turns"][0]["details"]["sources"] == [SOURCE]
    text = export_markdown(kept.get(made.id, owner="ann"))
    assert text.startswith(
        "# How?\n\n## How?\n\nYes. [1]\n\n- [1] Guide: Guide > Install, page 3\n"
    )
    assert "*No answer: the generator failed.*" in text


def test_renaming_and_forgetting(kept):
    made = kept.create(owner="ann", collection="default")
    assert kept.rename(made.id, "A" * 200, owner="ann").title == "A" * 79 + "…"
    with pytest.raises(InputError):
        kept.rename(made.id, "  ", owner="ann")
    assert kept.forget_older_than(1) == 0 and kept.count() == 1
    assert kept.forget_older_than(0) == 1 and kept.count() == 0
    kept.create(owner="ann", collection="default")
    kept.create(owner="bob", collection="default")
    assert kept.delete_all("ann") == 1 and kept.count() == 1


def test_another_version_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "conversations.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        Conversations(tmp_path)


def test_many_threads_write_at_once(kept):
    made = kept.create(owner="ann", collection="default")
    others = [kept.create(owner="ann", collection="default") for _ in range(4)]
    failures = []

    def write(conversation):
        try:
            for n in range(10):
                add(kept, conversation.id, f"q{n}")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(c,)) for c in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [len(kept.get(c.id, owner="ann").turns) for c in (made, *others)] == [0, 10, 10, 10, 10]
