"""Skipped questions reranked after the answer: what is kept, what is dropped, what it says."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import fake_index
import pytest

from rag_app.ask.pipeline import Pipeline
from rag_app.errors import StoreError
from rag_app.quality.skip_audit import AuditRow, SkipAudit, compared
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


def test_questions_drawn_at_another_share_count_for_what_they_stood_for(tmp_path):
    made = SkipAudit(tmp_path, rate=0.0)
    with closing(sqlite3.connect(made.path)) as db, db:
        for changed, drawn in [(1, 0.1), *[(0, 1.0)] * 90]:
            db.execute(
                "INSERT INTO shadow (time, collection, policy, top1_changed, set_changed, "
                "answer_changed, changed, drawn, promised) VALUES ('t', 'c', 'p', 0, 0, 0, ?, ?, "
                "0.05)",
                (changed, drawn),
            )
    found = made.summary()
    made.close()
    assert found.changed == pytest.approx(10.0 / 100.0)
    assert found.changed_low < 0.05 < found.changed_high, "one question of many is not ten"
    assert not found.broken
    assert replace(found, changed_low=0.06).broken


def test_rows_of_an_older_rankgate_are_kept_and_count_for_no_share(tmp_path):
    first = SkipAudit(tmp_path, rate=0.0)
    first.close()
    with closing(sqlite3.connect(first.path)) as db, db:
        for column in ("changed", "drawn", "promised"):
            db.execute(f"ALTER TABLE shadow DROP COLUMN {column}")
        db.execute(
            "INSERT INTO shadow (time, collection, policy, top1_changed, set_changed, "
            "answer_changed, harmed, lost) VALUES ('t', 'c', 'p', 1, 1, 0, 1, 0.5)"
        )
    again = SkipAudit(tmp_path, rate=0.0)
    found = again.summary()
    again.close()
    assert (found.n, found.harmed, found.changed, found.promised) == (1, 1, None, None)


def test_without_a_relevance_model_harm_is_unknown_not_zero():
    row = compared(outcome("abcd", {}), outcome("acbd", {}))
    assert row == AuditRow(
        top1_changed=False, set_changed=True, answer_changed=False, harmed=None, lost=None
    )


def test_a_refusal_that_reranking_would_lift_is_seen():
    assert compared(outcome("ab", P, refused=True), outcome("ab", P)).answer_changed


def test_a_skipped_question_is_reranked_behind_the_answer_and_no_word_is_kept(tmp_path):
    scorer = FakeScorer()
    pipeline = line(scorer)
    found = skipped(pipeline)
    assert scorer.calls == 0
    skip_audit = SkipAudit(tmp_path, rate=1.0)
    assert skip_audit.offer(pipeline, found)
    skip_audit.drain()
    assert scorer.calls == 1
    summary = skip_audit.summary()
    assert (summary.n, summary.dropped, summary.failed) == (1, 0, 0)
    assert summary.policy == found.policy
    # The unfitted policy has no relevance model: nothing is judged, nothing is claimed.
    assert (summary.judged, summary.harm, summary.low, summary.high) == (0, None, 0.0, 1.0)
    skip_audit.close()
    written = b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert b"gate" not in written.lower()
    again = SkipAudit(tmp_path, rate=0.0)
    assert again.summary().n == 1
    again.close()


def test_only_what_was_skipped_and_drawn_is_taken(tmp_path):
    pipeline = line()
    reranked = pipeline.search(QUESTION, force=Action.RERANK).outcome
    skip_audit = SkipAudit(tmp_path, rate=0.05, draw=iter([0.05, 0.049]).__next__)
    assert not skip_audit.offer(pipeline, reranked)  # and nothing was drawn for it
    assert not skip_audit.offer(pipeline, skipped(pipeline))
    assert skip_audit.offer(pipeline, skipped(pipeline))
    skip_audit.close()


def test_a_rate_of_zero_takes_nothing(tmp_path):
    pipeline = line()
    skip_audit = SkipAudit(tmp_path, rate=0.0, draw=lambda: 0.0)
    assert not skip_audit.offer(pipeline, skipped(pipeline))
    skip_audit.close()


def test_while_somebody_waits_for_an_answer_nothing_is_reranked(tmp_path):
    scorer, busy, looked = FakeScorer(), threading.Event(), threading.Event()
    busy.set()

    def is_busy():
        looked.set()
        return busy.is_set()

    pipeline = line(scorer)
    skip_audit = SkipAudit(tmp_path, rate=1.0, busy=is_busy, patience_s=600.0)
    skip_audit.offer(pipeline, skipped(pipeline))
    assert looked.wait(10)
    assert scorer.calls == 0
    busy.clear()
    skip_audit.drain()
    assert scorer.calls == 1
    skip_audit.close()


def test_what_waits_too_long_or_finds_no_room_is_counted(tmp_path):
    scorer = FakeScorer()
    pipeline = line(scorer)
    skip_audit = SkipAudit(tmp_path / "late", rate=1.0, busy=lambda: True, patience_s=0.0)
    skip_audit.offer(pipeline, skipped(pipeline))
    skip_audit.drain()
    assert (skip_audit.summary().dropped, scorer.calls) == (1, 0)
    skip_audit.close()
    looked = threading.Event()

    def busy():
        looked.set()
        return True

    full = SkipAudit(tmp_path / "full", rate=1.0, busy=busy, patience_s=600.0, waiting=1)
    assert full.offer(pipeline, skipped(pipeline))
    assert looked.wait(20)  # the first is at hand, so that there is room for one that waits
    taken = [full.offer(pipeline, skipped(pipeline)) for _ in range(4)]
    assert taken == [True, False, False, False]
    assert full.summary().dropped == 3
    full.close()  # ends although one waits
    assert scorer.calls == 0


def test_a_failing_scorer_is_counted_and_the_next_question_is_taken(tmp_path):
    broken, good = line(FailingScorer(RuntimeError("down"))), line()
    skip_audit = SkipAudit(tmp_path, rate=1.0)
    skip_audit.offer(broken, skipped(broken))
    skip_audit.offer(good, skipped(good))
    skip_audit.drain()
    assert (skip_audit.summary().failed, skip_audit.summary().n) == (1, 1)
    skip_audit.close()


def test_an_error_in_the_background_stays_there(tmp_path):
    pipeline = line()
    skip_audit = SkipAudit(tmp_path, rate=1.0)
    nonsense = SimpleNamespace(reranker=None, settings=pipeline.settings)
    skip_audit.offer(nonsense, skipped(pipeline))
    skip_audit.offer(pipeline, skipped(pipeline))
    skip_audit.drain()
    assert (skip_audit.summary().failed, skip_audit.summary().n) == (1, 1)
    skip_audit.close()


def test_the_summary_is_of_the_policy_in_force_last(tmp_path):
    pipeline = line()
    skip_audit = SkipAudit(tmp_path, rate=1.0)
    skip_audit.offer(pipeline, replace(skipped(pipeline), policy="old"))
    skip_audit.offer(pipeline, replace(skipped(pipeline), policy="new"))
    skip_audit.drain()
    assert (skip_audit.summary().policy, skip_audit.summary().n) == ("new", 1)
    skip_audit.close()


def test_the_share_and_its_interval(tmp_path):
    skip_audit = SkipAudit(tmp_path, rate=0.0)
    with sqlite3.connect(tmp_path / "skip_audit.sqlite") as db:
        for n in range(40):
            db.execute(
                "INSERT INTO shadow (time, collection, policy, top1_changed, set_changed, "
                "answer_changed, harmed, lost) VALUES ('t', 'c', 'p', 0, 1, 0, ?, 0.5)",
                (None if n >= 30 else int(n < 3),),
            )
    db.close()
    found = skip_audit.summary()
    assert (found.n, found.judged, found.harmed, found.harm) == (40, 30, 3, 0.1)
    assert (found.low, found.high) == (
        pytest.approx(0.0211, abs=1e-4),
        pytest.approx(0.2653, abs=1e-4),
    )
    assert found.lost == pytest.approx(0.5)
    skip_audit.close()


def test_another_version_of_the_file_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "skip_audit.sqlite") as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(StoreError, match="has version 9, this rankgate reads 1"):
        SkipAudit(tmp_path, rate=0.0)


def test_what_an_older_version_measured_is_taken_over(tmp_path):
    with closing(SkipAudit(tmp_path, rate=0.0)):
        pass
    with closing(sqlite3.connect(tmp_path / "skip_audit.sqlite")) as db, db:
        db.execute(
            "INSERT INTO shadow (time, collection, policy, top1_changed, set_changed, "
            "answer_changed, harmed, lost) VALUES ('t', 'c', 'p', 1, 1, 0, 0, 0.0)"
        )
    (tmp_path / "skip_audit.sqlite").rename(tmp_path / "shadow.sqlite")
    with closing(SkipAudit(tmp_path, rate=0.0)) as audit:
        assert (audit.summary().policy, audit.summary().n) == ("p", 1)
    assert not (tmp_path / "shadow.sqlite").exists()
