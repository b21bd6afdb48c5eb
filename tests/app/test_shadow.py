"""Skipped questions reranked after the answer: what is kept, what is dropped, what it says."""

import sqlite3
import threading
from dataclasses import replace
from types import SimpleNamespace

import fake_index
import pytest

from rag_app.ask.pipeline import Pipeline
from rag_app.errors import StoreError
from rag_app.quality.skip_audit import Shadow, ShadowRow, compared
from rag_app.settings import Settings
from rankgate import Candidate, Passage
from rankgate.decide.gate import Action
from rankgate.testing import FailingScorer, FakeScorer

QUESTION = "When does the gate skip reranking?"


def line(scorer=None):
    return Pipeline(
        Settings(), fake_index.FakeIndex(), scorer=FakeScorer() if scorer is None else scorer
    )


def skipped(pipeline, top_n=2):
    return pipeline.search(QUESTION, top_n=top_n, force=Action.SKIP).outcome


def outcome(order, probabilities, top_n=2, refused=False):
    """As much of an outcome as the comparison looks at."""
    passages = tuple(
        Passage(
            candidate=Candidate(id=i, text=i, rank=n),
            index=n - 1,
            rank=n,
            relevance_score=probabilities.get(i),
        )
        for n, i in enumerate(order, start=1)
    )
    return SimpleNamespace(passages=passages, top_n=top_n, refused=refused)


P = {"a": 0.9, "b": 0.2, "c": 0.6, "d": 0.1}


@pytest.mark.parametrize(
    ("shown", "better", "top1", "changed", "harmed", "lost"),
    [
        ("abcd", "abcd", False, False, False, 0.0),
        ("bacd", "abcd", True, False, False, 0.0),  # another order of the same
        ("abcd", "acbd", False, True, True, 0.4),  # c is relevant and was left out
        ("adcb", "abcd", False, True, False, 0.1),  # b is not
    ],
)
def test_what_reranking_would_have_changed(shown, better, top1, changed, harmed, lost):
    row = compared(outcome(shown, {}), outcome(better, P))
    assert (row.top1_changed, row.set_changed, row.harmed) == (top1, changed, harmed)
    assert row.lost == pytest.approx(lost)
    assert not row.answer_changed


def test_without_a_relevance_model_harm_is_unknown_not_zero():
    row = compared(outcome("abcd", {}), outcome("acbd", {}))
    assert row == ShadowRow(
        top1_changed=False, set_changed=True, answer_changed=False, harmed=None, lost=None
    )


def test_a_refusal_that_reranking_would_lift_is_seen():
    assert compared(outcome("ab", P, refused=True), outcome("ab", P)).answer_changed


def test_a_skipped_question_is_reranked_behind_the_answer_and_no_word_is_kept(tmp_path):
    scorer = FakeScorer()
    pipeline = line(scorer)
    found = skipped(pipeline)
    assert scorer.calls == 0
    shadow = Shadow(tmp_path, rate=1.0)
    assert shadow.offer(pipeline, found)
    shadow.drain()
    assert scorer.calls == 1
    summary = shadow.summary()
    assert (summary.n, summary.dropped, summary.failed) == (1, 0, 0)
    assert summary.policy == found.policy
    # The unfitted policy has no relevance model: nothing is judged, nothing is claimed.
    assert (summary.judged, summary.harm, summary.low, summary.high) == (0, None, 0.0, 1.0)
    shadow.close()
    written = b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert b"gate" not in written.lower()
    again = Shadow(tmp_path, rate=0.0)
    assert again.summary().n == 1
    again.close()


def test_only_what_was_skipped_and_drawn_is_taken(tmp_path):
    pipeline = line()
    reranked = pipeline.search(QUESTION, force=Action.RERANK).outcome
    shadow = Shadow(tmp_path, rate=0.05, draw=iter([0.05, 0.049]).__next__)
    assert not shadow.offer(pipeline, reranked)  # and nothing was drawn for it
    assert not shadow.offer(pipeline, skipped(pipeline))
    assert shadow.offer(pipeline, skipped(pipeline))
    shadow.close()


def test_a_rate_of_zero_takes_nothing(tmp_path):
    pipeline = line()
    shadow = Shadow(tmp_path, rate=0.0, draw=lambda: 0.0)
    assert not shadow.offer(pipeline, skipped(pipeline))
    shadow.close()


def test_while_somebody_waits_for_an_answer_nothing_is_reranked(tmp_path):
    scorer, busy, looked = FakeScorer(), threading.Event(), threading.Event()
    busy.set()

    def is_busy():
        looked.set()
        return busy.is_set()

    pipeline = line(scorer)
    shadow = Shadow(tmp_path, rate=1.0, busy=is_busy, patience_s=600.0)
    shadow.offer(pipeline, skipped(pipeline))
    assert looked.wait(10)
    assert scorer.calls == 0
    busy.clear()
    shadow.drain()
    assert scorer.calls == 1
    shadow.close()


def test_what_waits_too_long_or_finds_no_room_is_counted(tmp_path):
    scorer = FakeScorer()
    pipeline = line(scorer)
    shadow = Shadow(tmp_path / "late", rate=1.0, busy=lambda: True, patience_s=0.0)
    shadow.offer(pipeline, skipped(pipeline))
    shadow.drain()
    assert (shadow.summary().dropped, scorer.calls) == (1, 0)
    shadow.close()
    looked = threading.Event()

    def busy():
        looked.set()
        return True

    full = Shadow(tmp_path / "full", rate=1.0, busy=busy, patience_s=600.0, waiting=1)
    assert full.offer(pipeline, skipped(pipeline))
    assert looked.wait(20)  # the first is at hand, so that there is room for one that waits
    taken = [full.offer(pipeline, skipped(pipeline)) for _ in range(4)]
    assert taken == [True, False, False, False]
    assert full.summary().dropped == 3
    full.close()  # ends although one waits
    assert scorer.calls == 0


def test_a_failing_scorer_is_counted_and_the_next_question_is_taken(tmp_path):
    broken, good = line(FailingScorer(RuntimeError("down"))), line()
    shadow = Shadow(tmp_path, rate=1.0)
    shadow.offer(broken, skipped(broken))
    shadow.offer(good, skipped(good))
    shadow.drain()
    assert (shadow.summary().failed, shadow.summary().n) == (1, 1)
    shadow.close()


def test_an_error_in_the_background_stays_there(tmp_path):
    pipeline = line()
    shadow = Shadow(tmp_path, rate=1.0)
    nonsense = SimpleNamespace(reranker=None, settings=pipeline.settings)
    shadow.offer(nonsense, skipped(pipeline))
    shadow.offer(pipeline, skipped(pipeline))
    shadow.drain()
    assert (shadow.summary().failed, shadow.summary().n) == (1, 1)
    shadow.close()


def test_the_summary_is_of_the_policy_in_force_last(tmp_path):
    pipeline = line()
    shadow = Shadow(tmp_path, rate=1.0)
    shadow.offer(pipeline, replace(skipped(pipeline), policy="old"))
    shadow.offer(pipeline, replace(skipped(pipeline), policy="new"))
    shadow.drain()
    assert (shadow.summary().policy, shadow.summary().n) == ("new", 1)
    shadow.close()


def test_the_share_and_its_interval(tmp_path):
    shadow = Shadow(tmp_path, rate=0.0)
    with sqlite3.connect(tmp_path / "shadow.sqlite") as db:
        for n in range(40):
            db.execute(
                "INSERT INTO shadow (time, collection, policy, top1_changed, set_changed, "
                "answer_changed, harmed, lost) VALUES ('t', 'c', 'p', 0, 1, 0, ?, 0.5)",
                (None if n >= 30 else int(n < 3),),
            )
    db.close()
    found = shadow.summary()
    assert (found.n, found.judged, found.harmed, found.harm) == (40, 30, 3, 0.1)
    assert (found.low, found.high) == (
        pytest.approx(0.0211, abs=1e-4),
        pytest.approx(0.2653, abs=1e-4),
    )
    assert found.lost == pytest.approx(0.5)
    shadow.close()


def test_another_version_of_the_file_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "shadow.sqlite") as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(StoreError, match="has version 9, this rankgate reads 1"):
        Shadow(tmp_path, rate=0.0)
