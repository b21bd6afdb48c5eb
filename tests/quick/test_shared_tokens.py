"""The token vectors that programs share: kept, bounded, and never a reason to fail."""

import logging
import multiprocessing
import os
import pickle
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from rankgate.encoders import SharedTokens, TokenStore, TokenVectors, packed
from rankgate.errors import ConfigError

DIMENSION = 16


def reader(name="words", sha256="a" * 64):
    return SimpleNamespace(name=name, sha256=sha256, dimension=DIMENSION)


def vectors(text, tokens=40):
    rng = np.random.default_rng(sum(text.encode()))
    rows = rng.normal(size=(tokens, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return TokenVectors(tokens=rows.astype(np.float16), pooled=rows[0], truncated=False)


def fill(folder, prefix, count):
    """Run in a process of its own."""
    shared = SharedTokens(folder, SimpleNamespace(name="words", sha256="a" * 64, dimension=16))
    for i in range(count):
        text = f"{prefix} {i}"
        shared.put_many({text: vectors(text)})
        assert shared.get_many([text])
    assert shared.failure is None, shared.failure


def test_what_is_put_is_found_by_another_that_opens_the_folder(tmp_path):
    SharedTokens(tmp_path / "deep" / "down", reader()).put_many({"a": vectors("a")})
    other = SharedTokens(tmp_path / "deep" / "down", reader())
    assert np.array_equal(other.get_many(["a"])["a"].codes, packed(vectors("a")).codes)
    assert other.missing(["b", "a", "b"]) == ["b"]
    assert other.get_many([]) == {} and other.failure is None
    assert not SharedTokens(tmp_path / "deep" / "down", reader("other", "b" * 64)).get_many(["a"])


def test_files_in_somebodys_open_folder_are_their_owners_alone(tmp_path):
    tmp_path.chmod(0o755)
    shared = SharedTokens(tmp_path, reader())
    shared.put_many({"a": vectors("a")})
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) > 1  # SQLite's own beside it


def test_two_processes_fill_one_folder_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    folder = tmp_path / "made" / "by whoever is first"
    both = [spawn.Process(target=fill, args=(folder, name, 40)) for name in ("one", "two")]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [p.exitcode for p in both] == [0, 0]
    wanted = [f"{name} {i}" for name in ("one", "two") for i in range(40)]
    assert SharedTokens(folder, reader()).missing(wanted) == []


def test_a_forked_child_opens_the_file_for_itself(tmp_path):
    shared = SharedTokens(tmp_path, reader())
    shared.put_many({"parent": vectors("parent")})
    child = os.fork()
    if child == 0:
        shared.put_many({"child": vectors("child")})
        os._exit(0 if not shared.missing(["parent", "child"]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.missing(["parent", "child"]) == []


def test_pickling_carries_the_folder(tmp_path):
    shared = SharedTokens(tmp_path, reader(), max_bytes=123_456)
    shared.put_many({"a": vectors("a")})
    again = pickle.loads(pickle.dumps(shared))
    assert again.max_bytes == 123_456 and again.missing(["a"]) == []


def test_the_least_recently_used_goes_where_room_is_short(tmp_path):
    now = [0.0]
    room = 100_000
    store = TokenStore(
        tmp_path / "t.sqlite", encoder="e", dimension=16, max_bytes=room, clock=lambda: now[0]
    )
    texts = [f"text {i}" for i in range(400)]
    store.put_many({"favourite": vectors("favourite")})
    for text in texts:
        now[0] += 100.0
        assert store.get_many(["favourite"]), "what is read again and again stays"
        store.put_many({text: vectors(text)})
    kept = set(texts) - set(store.missing(texts))
    assert 0 < len(kept) < len(texts)
    assert kept == set(texts[-len(kept) :]), "the oldest went first"
    store.close()
    assert os.path.getsize(tmp_path / "t.sqlite") < room * 1.5


def test_a_store_without_a_bound_forgets_nothing(tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder="e", dimension=16)
    texts = [f"text {i}" for i in range(300)]
    store.put_many({t: vectors(t) for t in texts})
    assert store.missing(texts) == []
    with pytest.raises(ConfigError, match="max_bytes"):
        TokenStore(tmp_path / "t.sqlite", encoder="e", dimension=16, max_bytes=0)


def test_a_folder_that_cannot_be_made_costs_a_warning_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING, "rankgate"):
        shared = SharedTokens(tmp_path / "file" / "cache", reader())
        shared.put_many({"a": vectors("a")})
        assert shared.get_many(["a"]) == {} and shared.missing(["a", "a"]) == ["a"]
    assert len(caplog.records) == 1 and "file/cache" in caplog.text
    assert "file/cache" in shared.failure


@pytest.mark.parametrize("broken", ["before it is opened", "while it is open"])
def test_a_corrupt_file_costs_a_warning_and_nothing_else(tmp_path, caplog, broken):
    before = TokenStore.in_folder(tmp_path, reader())
    before.put_many({"a": vectors("a")})
    before.close()
    (file,) = tmp_path.glob("tokens-*.sqlite")
    if broken == "before it is opened":
        file.write_bytes(b"rubbish " * 4096)
    shared = SharedTokens(tmp_path, reader())
    if broken == "while it is open":
        size = file.stat().st_size
        with file.open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xff" * (size - 4096))
    shared.get_many(["a", "b"])
    shared.put_many({"b": vectors("b")})
    assert list(shared.get_many(["b", "c"])) == ["b"]
    assert shared.failure is None
    assert caplog.text.count("is thrown away") == 1


def test_a_file_that_another_process_holds_costs_no_request(tmp_path):
    shared = SharedTokens(tmp_path, reader())
    shared.put_many({"a": vectors("a")})
    (file,) = tmp_path.glob("tokens-*.sqlite")
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    assert set(shared.get_many(["a"])) == {"a"}, "readers never wait for a writer"
    other.rollback()
    other.close()


def _zeros(path):
    path.write_bytes(b"\0" * path.stat().st_size)


def _half(path):
    os.truncate(path, path.stat().st_size // 2)


def _middle(path):
    whole = bytearray(path.read_bytes())
    whole[1024:-1024] = b"\xa5" * (len(whole) - 2048)
    path.write_bytes(whole)


def _folder(path):
    path.unlink()
    (path / "somebody's").mkdir(parents=True)


@pytest.mark.parametrize("how", [_zeros, _half, _middle, _folder])
def test_a_damaged_store_is_thrown_away_and_filled_again(tmp_path, how, caplog):
    path = tmp_path / "t.sqlite"
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(9, 16)).astype(np.float16)
    vectors = {
        f"text {i}": TokenVectors(tokens=tokens, pooled=np.ones(16, np.float32), truncated=False)
        for i in range(60)
    }
    with closing(TokenStore(path, encoder="e|1", dimension=16)) as store:
        store.put_many(vectors)
    how(path)
    with closing(TokenStore(path, encoder="e|1", dimension=16)) as store:
        assert len(store.get_many(list(vectors))) < 60
        assert "is thrown away" in caplog.text
        store.put_many(vectors)
        assert len(store) == len(store.get_many(list(vectors))) == 60
        assert store.missing(["text 3", "new"]) == ["new"]
    with closing(TokenStore(path, encoder="e|1", dimension=16)) as store:
        assert len(store) == 60
