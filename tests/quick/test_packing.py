"""Two bits a dimension: what is lost, what is exact, and that fresh and kept are the same."""

import logging
import sqlite3

import numpy as np
import pytest

from rankgate.encoders import TokenHead, TokenStore, TokenVectors
from rankgate.encoders.packing import packed, rotation, similarities, unpacked
from rankgate.scorers.late_interaction import maxsim


def vectors(rng, tokens, dimension=384):
    rows = rng.normal(size=(tokens, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pooled = rows.mean(0) if tokens else np.zeros(dimension, np.float32)
    return TokenVectors(tokens=rows.astype(np.float16), pooled=pooled, truncated=bool(tokens % 2))


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 16, 384, 512])
def test_rotations_keep_lengths_and_are_the_same_every_time(dimension):
    turn = rotation(dimension)
    np.testing.assert_allclose(turn @ turn.T, np.eye(dimension), atol=1e-5)
    rotation.cache_clear()
    assert np.array_equal(turn, rotation(dimension))


@pytest.mark.parametrize("dimension", [2, 7, 16, 384])
def test_a_token_is_exactly_as_close_to_itself_as_before(dimension):
    whole = vectors(np.random.default_rng(0), 30, dimension)
    rows = whole.tokens.astype(np.float32)
    found = unpacked([packed(whole)], dimension) @ rotation(dimension).T
    np.testing.assert_allclose((found * rows).sum(1), (rows * rows).sum(1), rtol=2e-3)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_errors_are_those_of_two_bits_also_where_a_few_dimensions_rule(spread):
    rng = np.random.default_rng(1)
    shape = np.ones(384)
    shape[:6] = spread
    rows = rng.normal(size=(500, 384)) * shape
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    whole = TokenVectors(tokens=rows.astype(np.float16), pooled=rows[0], truncated=False)
    asked = rows[rng.permutation(500)[:40]] + rng.normal(size=(40, 384)) * 0.02
    asked = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
    wrong = similarities(asked, [packed(whole)]) - rows @ asked.T
    assert np.sqrt((wrong**2).mean()) < 0.025 and abs(wrong.mean()) < 0.002


def test_it_takes_98_bytes_a_token():
    one = packed(vectors(np.random.default_rng(0), 10))
    assert one.codes.nbytes + one.scales.nbytes == 980 and len(one) == 10
    assert packed(one) is one


@pytest.mark.parametrize("seed", range(20))
def test_fresh_and_stored_passages_score_the_same_to_the_last_bit(seed, tmp_path):
    rng = np.random.default_rng(seed)
    dimension = int(rng.choice([2, 6, 16, 384]))
    texts = {
        f"text {i}": vectors(rng, int(n), dimension) for i, n in enumerate(rng.integers(0, 70, 9))
    }
    query = vectors(rng, 5, dimension).tokens.astype(np.float32)
    store = TokenStore(tmp_path / "t.sqlite", encoder="e", dimension=dimension)
    store.put_many(texts)
    kept = store.get_many(list(texts))
    head = TokenHead(encoder="e")
    for score in (maxsim, head.scores):
        fresh = score(query, list(texts.values()))
        assert np.array_equal(fresh, score(query, [kept[t] for t in texts]))
        assert np.all(np.abs(fresh) <= 1.0)
    for text, whole in texts.items():
        assert np.array_equal(kept[text].pooled, whole.pooled)
        assert kept[text].truncated == whole.truncated
    store.close()


def test_tokens_without_a_length_match_nothing():
    whole = TokenVectors(
        tokens=np.zeros((3, 16), np.float16), pooled=np.zeros(16, np.float32), truncated=False
    )
    assert maxsim(np.eye(16, dtype=np.float32)[:2], [whole]).tolist() == [0.0]


def test_a_part_is_scored_as_a_text_of_its_own():
    whole = vectors(np.random.default_rng(3), 40)
    query = vectors(np.random.default_rng(4), 4).tokens.astype(np.float32)
    alone = TokenVectors(tokens=whole.tokens[5:20], pooled=whole.pooled, truncated=False)
    assert maxsim(query, [packed(whole).part(5, 20)]) == pytest.approx(
        maxsim(query, [alone]), abs=1e-6
    )


def store_of_before(path, made_for, texts):
    """As rankgate 0.1 wrote it: whole vectors in float16."""
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
        "CREATE TABLE vectors (key BLOB PRIMARY KEY, tokens BLOB NOT NULL, pooled BLOB NOT NULL, "
        "truncated INTEGER NOT NULL) WITHOUT ROWID;"
    )
    db.execute("INSERT INTO meta VALUES ('encoder', ?)", (made_for,))
    from hashlib import sha256

    with db:
        db.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            [
                (sha256(t.encode()).digest(), v.tokens.tobytes(), v.pooled.tobytes(), v.truncated)
                for t, v in texts.items()
            ],
        )
    db.close()


def test_a_store_of_before_is_made_smaller_and_nothing_is_read_again(tmp_path, caplog):
    rng = np.random.default_rng(0)
    texts = {f"text {i}": vectors(rng, 60) for i in range(150)}
    path = tmp_path / "t.sqlite"
    store_of_before(path, "e", texts)
    before = path.stat().st_size
    with caplog.at_level(logging.WARNING, "rankgate"):
        store = TokenStore(path, encoder="e", dimension=384)
    assert "made smaller, once" in caplog.text
    kept = store.get_many(list(texts))
    query = vectors(rng, 4).tokens.astype(np.float32)
    assert np.array_equal(
        maxsim(query, [kept[t] for t in texts]), maxsim(query, list(texts.values()))
    )
    store.close()
    assert path.stat().st_size < before / 4
    caplog.clear()
    TokenStore(path, encoder="e", dimension=384).close()
    assert not caplog.records


def test_a_store_of_another_encoder_is_emptied_with_a_message(tmp_path, caplog):
    path = tmp_path / "t.sqlite"
    store_of_before(path, "other", {"a": vectors(np.random.default_rng(0), 5)})
    store = TokenStore(path, encoder="e", dimension=384)
    assert store.missing(["a"]) == ["a"]
    store.put_many({"a": vectors(np.random.default_rng(0), 5)})
    store.close()
    with caplog.at_level(logging.WARNING, "rankgate"):
        again = TokenStore(path, encoder="a third", dimension=384)
    assert len(again) == 0 and "held 1 texts of e, not of a third" in caplog.text
    again.close()
