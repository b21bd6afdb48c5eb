"""Cached: the same answers, fewer calls, and no way for the cache to fail a request."""

import gc
import logging
import pickle
import sqlite3
import sys
import threading
import time

import diskcache
import numpy as np
import pytest

from rankgate.errors import ConfigError, InputError, MissingExtraError, ScorerError
from rankgate.scorers import Cascade, ScoreContext, ScorerInfo, Scores
from rankgate.scorers.protocol import Job
from rankgate.scorers.wrappers import Cached
from rankgate.scorers.wrappers.disk import ScoreDisk
from rankgate.scorers.wrappers.memory import ENTRY_BYTES, ScoreMemory
from rankgate.testing import FailingScorer, FakeScorer

TEXTS = ["red cat", "dog", "", "red", "dog"]
QUERY = "red cat"


def plain(texts=TEXTS):
    return FakeScorer().score(QUERY, texts).values


def test_the_second_time_nobody_is_asked():
    inner = FakeScorer()
    cached = Cached(inner)
    first, second = cached.score(QUERY, TEXTS), cached.score(QUERY, TEXTS)
    for scores in (first, second):
        np.testing.assert_array_equal(scores.values, plain())
        assert scores.complete and scores.scale == "fake" and scores.stats.pairs == 5
    assert inner.calls == 1
    assert (first.stats.cached, second.stats.cached) == (0, 5)
    assert second.stats.calls == 0


def test_what_is_missing_goes_in_one_call_each_text_once_in_order():
    inner = FakeScorer()
    cached = Cached(inner)
    cached.score(QUERY, ["dog"])
    jobs = [
        Job(query=QUERY, texts=TEXTS),
        Job(query="dog", texts=["dog"]),
        Job(query=QUERY, texts=["dog"]),
    ]
    a, b, c = cached.score_many(jobs)
    assert inner.calls == 2
    assert [(j.query, list(j.texts)) for j in inner.jobs[1:]] == [
        (QUERY, ["red cat", "", "red"]),
        ("dog", ["dog"]),
    ]
    np.testing.assert_array_equal(a.values, plain())
    assert a.stats.cached == 2 and b.values.tolist() == [1.0] and c.stats.cached == 1


@pytest.mark.parametrize(
    "field", ["id", "scale", "revision", "weights", "backend", "dtype", "max_length", "window"]
)
def test_another_scorer_never_sees_these_scores(field, tmp_path):
    info = ScorerInfo(id="fake", scale="fake")
    changed = {field: 7 if field == "max_length" else "other"}
    other = ScorerInfo(**{"id": "fake", "scale": "fake", **changed})
    Cached(FakeScorer(info=info), disk=tmp_path).score(QUERY, ["dog"])
    inner = FakeScorer({"dog": 9.0}, info=other)
    assert Cached(inner, disk=tmp_path).score(QUERY, ["dog"]).values.tolist() == [9.0]


def test_failures_and_unread_texts_are_not_remembered():
    failing = FailingScorer(ScorerError("down"), times=1)
    cached = Cached(failing)
    with pytest.raises(ScorerError):
        cached.score(QUERY, TEXTS)
    np.testing.assert_array_equal(cached.score(QUERY, TEXTS).values, plain())

    inner = FakeScorer()
    gone = ScoreContext()
    gone.cancelled.set()
    cached = Cached(inner)
    assert not cached.score(QUERY, TEXTS, gone).scored.any()
    again = cached.score(QUERY, TEXTS)
    assert again.complete and again.stats.cached == 0


def test_known_texts_are_answered_even_when_no_time_is_left():
    cached = Cached(FakeScorer())
    cached.score(QUERY, ["red", "dog"])
    gone = ScoreContext()
    gone.cancelled.set()
    scores = cached.score(QUERY, ["dog", "new", "red"], gone)
    assert scores.scored.tolist() == [True, False, True]
    assert scores.values[[0, 2]].tolist() == [0.0, 0.5]


def test_around_a_stage_everything_is_passed_through(caplog):
    fast, accurate = FakeScorer(), FakeScorer(info=ScorerInfo(id="b", scale="b"))
    with caplog.at_level(logging.INFO, logger="rankgate"):
        cached = Cached(Cascade(fast, accurate, keep=2))
    assert "nothing of cascade(fake->b,keep=2) is cached" in caplog.text
    for _ in range(2):
        scores = cached.score(QUERY, TEXTS)
        assert scores.order is not None and scores.stats.cached == 0
    assert accurate.calls == 2 and len(cached.memory) == 0
    inside = Cascade(Cached(fast), Cached(accurate), keep=2)
    assert inside.score(QUERY, TEXTS).order.tolist() == scores.order.tolist()
    assert inside.score(QUERY, TEXTS).stats.calls == 0


class Fickle(FakeScorer):
    """A stage that does not say so: from the second call on it falls back to another scale."""

    def _one(self, job, context):
        scores = super()._one(job, context)
        if self.calls < 2:
            return scores
        return Scores.full(scores.values - 50, "other")


@pytest.mark.parametrize("disk", [False, True])
async def test_remembered_scores_never_stand_beside_another_scale(disk, tmp_path):
    for native in (False, True):
        inner = Fickle()
        cached = Cached(inner, disk=tmp_path / str(native) if disk else None)
        cached.score(QUERY, ["dog"])
        job = (QUERY, ["dog", "red cat"])
        scores = await cached.ascore(*job) if native else cached.score(*job)
        assert scores.scale == "other"
        assert scores.values.tolist() == [-50.0, -49.0]
        assert len(cached.memory) == 1


def test_memory_is_bounded_and_the_least_recently_used_go():
    inner = FakeScorer()
    cached = Cached(inner, max_bytes=3 * ENTRY_BYTES)
    cached.score(QUERY, ["a", "b", "c"])
    cached.score(QUERY, ["a"])
    cached.score(QUERY, ["d"])
    assert cached.memory.used_bytes == 3 * ENTRY_BYTES
    assert cached.score(QUERY, ["a", "c", "d"]).stats.cached == 3
    assert cached.score(QUERY, ["b"]).stats.cached == 0


def test_the_bytes_of_an_entry_are_no_underestimate():
    memory = ScoreMemory(ENTRY_BYTES * 20_000)
    gc.collect()
    before = sys.getallocatedblocks()
    entries = {i.to_bytes(32, "big"): float(i) for i in range(20_000)}
    memory.put_many(entries)
    assert sys.getallocatedblocks() > before
    sizes = sum(sys.getsizeof(k) + sys.getsizeof(v) for k, v in entries.items())
    total = sizes + sys.getsizeof(entries)
    assert total <= memory.used_bytes <= 2 * total


def test_no_memory_at_all_still_works():
    inner = FakeScorer()
    cached = Cached(inner, max_bytes=0)
    cached.score(QUERY, TEXTS)
    np.testing.assert_array_equal(cached.score(QUERY, TEXTS).values, plain())
    assert inner.calls == 2
    with pytest.raises(ConfigError, match="max_bytes"):
        Cached(inner, max_bytes=-1)


def test_scores_survive_on_disk_bit_by_bit(tmp_path):
    value = float(np.float32(1.0 / 3.0))
    first = Cached(FakeScorer({"x": value}), disk=tmp_path)
    first.score(QUERY, ["x"])
    first.close()
    inner = FakeScorer()
    second = Cached(inner, disk=str(tmp_path))
    scores = second.score(QUERY, ["x"])
    assert scores.values[0] == np.float32(value) and scores.stats.cached == 1
    assert inner.calls == 0
    second.close()


def test_an_open_diskcache_is_taken_as_it_is_and_left_open(tmp_path):
    with diskcache.Cache(str(tmp_path)) as cache:
        cached = Cached(FakeScorer(), disk=cache)
        cached.score(QUERY, ["x"])
        cached.close()
        assert len(cache) == 1
        assert Cached(FakeScorer(), disk=cache).score(QUERY, ["x"]).stats.cached == 1


def _damage_header(folder):
    (folder / "cache.db").write_bytes(b"this is not a database" * 100)


def _truncate(folder):
    file = folder / "cache.db"
    file.write_bytes(file.read_bytes()[:3000])


def _drop_table(folder):
    with sqlite3.connect(folder / "cache.db") as db:
        db.execute("DROP TABLE Cache")
    db.close()


def _wrong_values(folder):
    with sqlite3.connect(folder / "cache.db") as db:
        db.execute("UPDATE Cache SET value = 'abc'")
    db.close()


def _infinite_values(folder):
    with sqlite3.connect(folder / "cache.db") as db:
        db.execute("UPDATE Cache SET value = 9e999")
    db.close()


@pytest.mark.parametrize(
    "damage", [_damage_header, _truncate, _drop_table, _wrong_values, _infinite_values]
)
def test_a_damaged_disk_never_fails_the_request(damage, tmp_path, caplog):
    first = Cached(FakeScorer(), disk=tmp_path)
    first.score(QUERY, TEXTS)
    first.close()
    for extra in tmp_path.glob("cache.db-*"):
        extra.unlink()
    damage(tmp_path)
    cached = Cached(FakeScorer(), disk=tmp_path, max_bytes=0)
    with caplog.at_level(logging.WARNING, logger="rankgate"):
        for _ in range(3):
            scores = cached.score(QUERY, TEXTS)
            np.testing.assert_array_equal(scores.values, plain())
    cached.close()
    complaints = [r for r in caplog.records if "delete the folder" in r.getMessage()]
    # A lost table is made anew by diskcache; odd values are misses and nothing more.
    quiet = damage in (_drop_table, _wrong_values, _infinite_values)
    assert len(complaints) == (0 if quiet else 1)
    assert QUERY not in caplog.text


def test_a_folder_that_cannot_be_made_never_fails_the_request(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    cached = Cached(FakeScorer(), disk=tmp_path / "file" / "below")
    with caplog.at_level(logging.WARNING, logger="rankgate"):
        np.testing.assert_array_equal(cached.score(QUERY, TEXTS).values, plain())
    assert len(caplog.records) == 1


def test_a_locked_disk_costs_one_wait_and_not_one_a_text(tmp_path):
    cached = Cached(FakeScorer(), disk=tmp_path, max_bytes=0)
    cached.score(QUERY, ["x"])
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        begun = time.monotonic()
        scores = cached.score(QUERY, [f"text {i}" for i in range(50)])
        assert time.monotonic() - begun < 3.0
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert scores.complete
    cached.close()


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_a_pickle_that_somebody_put_there_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    first = Cached(FakeScorer(), disk=tmp_path / "cache")
    first.score(QUERY, ["x"])
    first.close()
    with sqlite3.connect(tmp_path / "cache" / "cache.db") as db:
        db.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Bomb(trace)),))
    db.close()
    cached = Cached(FakeScorer(), disk=tmp_path / "cache")
    assert cached.score(QUERY, ["x"]).stats.cached == 0
    assert not trace.exists()
    cached.close()


def test_without_diskcache_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diskcache", None)
    with pytest.raises(MissingExtraError, match=r"rankgate\[cache\]"):
        Cached(FakeScorer(), disk=tmp_path)
    Cached(FakeScorer()).score(QUERY, TEXTS)


def test_many_threads_get_the_same():
    cached = Cached(FakeScorer(), max_bytes=40 * ENTRY_BYTES)
    texts = [f"red {i}" if i % 2 else f"cat red {i}" for i in range(60)]
    wanted, wrong = plain(texts), []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            pick = rng.permutation(60)[:25]
            got = cached.score(QUERY, [texts[i] for i in pick]).values
            if not np.array_equal(got, wanted[pick]):
                wrong.append(pick)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert cached.memory.used_bytes <= 40 * ENTRY_BYTES


@pytest.mark.parametrize("disk", [False, True])
async def test_async_equals_sync(disk, tmp_path):
    cached = Cached(FakeScorer(), disk=tmp_path if disk else None)
    cold = await cached.ascore(QUERY, TEXTS)
    warm = await cached.ascore(QUERY, TEXTS)
    np.testing.assert_array_equal(cold.values, plain())
    np.testing.assert_array_equal(warm.values, plain())
    assert (cold.stats.cached, warm.stats.cached) == (0, 5)
    cached.close()


@pytest.mark.parametrize("texts", ["red", [None], [b"red"]])
async def test_wrong_types_are_the_callers_mistake(texts, tmp_path):
    for cached in (Cached(FakeScorer()), Cached(FakeScorer(), disk=tmp_path)):
        with pytest.raises(InputError):
            cached.score(QUERY, texts)
        with pytest.raises(InputError):
            await cached.ascore(QUERY, texts)


def test_nothing_and_pickling(tmp_path):
    cached = Cached(FakeScorer(), disk=tmp_path, max_bytes=1000)
    assert cached.score(QUERY, []).values.size == 0
    cached.score(QUERY, ["x"])

    original = Cached(Picklable(), disk=tmp_path, max_bytes=1000)
    copy = pickle.loads(pickle.dumps(original))
    assert copy.memory.max_bytes == 1000
    assert copy.score(QUERY, ["x"]).stats.cached == 1
    copy.close()
    cached.close()
    assert isinstance(copy.disk, ScoreDisk)


class Picklable:
    info = ScorerInfo(id="fake", scale="fake")

    def score(self, query, texts, context=None):
        return FakeScorer().score(query, texts, context)
