"""Traffic counted by day and policy, compared with the promise, and thumbs with probabilities."""

import datetime
import json
import sqlite3
from contextlib import closing

import fake_index
import pytest
import typer
from typer.testing import CliRunner

from rag_app.ask.pipeline import Pipeline
from rag_app.cli.feedback import register
from rag_app.errors import StoreError
from rag_app.quality.traffic import TRAFFIC_FILE, Traffic
from rag_app.quality.trust import LEAST_RATED, trust_of
from rag_app.settings import Settings
from rankgate import Policy
from rankgate.decide.gate import Action
from rankgate.decide.section import Section
from rankgate.feedback import FEEDBACK_FILE, FeedbackLog, Judgement, append_feedback
from rankgate.testing import FakeScorer

MONDAY = datetime.datetime(2026, 11, 2, 12, tzinfo=datetime.UTC)
QUESTION = "When does the gate skip reranking?"


def share(count, n):
    return {"count": count, "n": n, "share": count / n}


POLICY = Policy(
    name="own",
    sections={"hybrid": Section()},
    provenance={
        "section": "hybrid",
        "mixture": {"unanswerable": 0.2, "stated": True},
        "held_out": {
            "gate": {"skip_rate": share(15, 150), "skip_rate_unanswerable": share(15, 150)},
            "floor": {
                "false_refusals_all_answerable": share(3, 150),
                "false_answers": {
                    "removed": {"served": share(30, 150)},
                    "foreign:x": {"served": share(0, 90)},
                },
            },
            "probability": {"answerable": {"n": 150, "predicted": 0.31, "base_rate": 0.58}},
        },
    },
)


@pytest.fixture
def outcomes():
    line = Pipeline(Settings(), fake_index.FakeIndex(), scorer=FakeScorer())
    found = (line.search(QUESTION, top_n=2, force=a).outcome for a in (Action.SKIP, Action.RERANK))
    return tuple(found)


def fill(traffic, outcomes, skipped, reranked, *, day=0, collection="news", policy=POLICY):
    now = MONDAY + datetime.timedelta(day)
    for outcome, times in zip(outcomes, (skipped, reranked), strict=True):
        for _ in range(times):
            traffic.add(outcome, policy, collection, now=now)


def run(folder, *words):
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    options = ["quality", "--data-dir", str(folder), "--collection", "news", *words]
    return CliRunner().invoke(app, options)


def test_questions_are_counted_by_week_collection_and_policy_without_a_word(tmp_path, outcomes):
    traffic = Traffic(tmp_path)
    assert traffic.watched("news") is None
    fill(traffic, outcomes, 2, 8)
    fill(traffic, outcomes, 1, 1, day=8)
    fill(traffic, outcomes, 5, 0, day=8, collection="other")
    found = traffic.watched("news")
    assert (found.policy, found.drifted) == ("own", False)
    assert [(w.start.isoformat(), w.n, w.skipped.count) for w in found.weeks] == [
        ("2026-11-09", 2, 1), ("2026-11-02", 10, 2),
    ]  # fmt: skip
    assert found.promise.refused_unanswerable.count == 120, "without those of another data set"
    assert found.promise.answerable.observed == 0.58
    traffic.close()
    again = Traffic(tmp_path)  # another process, such as the command
    assert again.watched("news") == found
    again.close()
    assert QUESTION.encode() not in (tmp_path / TRAFFIC_FILE).read_bytes()


def test_another_policy_begins_anew_and_the_one_in_force_is_shown(tmp_path, outcomes):
    traffic = Traffic(tmp_path)
    fill(traffic, outcomes, 5, 5)
    same_name = Policy(name="own", sections={"hybrid": Section(k=20)})
    fill(traffic, outcomes, 1, 0, day=1, policy=same_name)
    found = traffic.watched("news")
    assert (found.weeks[0].n, found.promise) == (1, None)
    fill(traffic, outcomes, 1, 0, day=2)
    assert traffic.watched("news").weeks[0].n == 11
    traffic.close()


def test_what_drifted_is_told_by_the_command_and_its_exit_code(tmp_path, outcomes):
    assert run(tmp_path).exit_code != 0, "nothing was counted yet"
    traffic = Traffic(tmp_path)
    fill(traffic, outcomes, 10, 90)
    fill(traffic, outcomes, 60, 40, day=7)
    traffic.close()
    found = run(tmp_path)
    assert found.exit_code == 1, found.output
    assert "60.0%" in found.stdout and "moved (promise,before)" in found.stdout
    plain = json.loads(run(tmp_path, "--json").stdout)
    assert plain["drifted"] and plain["weeks"][0]["start"] == "2026-11-09"
    assert plain["weeks"][1]["skipped"]["drifted"] == ""


def test_a_file_of_another_version_or_a_full_disk(tmp_path, outcomes):
    traffic = Traffic(tmp_path)
    with closing(sqlite3.connect(tmp_path / TRAFFIC_FILE)) as db:
        db.execute("DROP TABLE day")
        db.commit()
    fill(traffic, outcomes, 1, 0)  # the answer goes out all the same
    traffic.close()
    with closing(sqlite3.connect(tmp_path / TRAFFIC_FILE)) as db:
        db.execute("PRAGMA user_version=9")
    with pytest.raises(StoreError, match="has version 9"):
        Traffic(tmp_path)


def thumb(i, relevant, *, score=0.7, passage="p", policy="own", source="thumb", minutes=0):
    return Judgement(
        query=f"q{i}",
        passage_id=passage,
        passage_text="t",
        relevant=relevant,
        source=source,
        time=MONDAY + datetime.timedelta(minutes=minutes),
        relevance_score=score,
        policy=policy,
        collection="news",
    )


def said(rows):
    return trust_of(FeedbackLog(judgements=tuple(rows)), policy="own", collection="news")


def test_probabilities_are_compared_with_thumbs_alone_one_passage_a_question():
    rows = [thumb(i, i % 4 != 0) for i in range(40)]
    rows += [thumb(i, True, score=0.2, passage="worse") for i in range(40)]
    rows += [thumb(i, True, source="opened") for i in range(40)]
    rows += [thumb(i, True, policy="older") for i in range(40)]
    found = said(rows)
    assert (found.n, found.found.n, found.unhelped, found.claimed) == (40, 40, 0.25, None)
    assert found.found.predicted == pytest.approx(0.7) and found.found.base_rate == 0.75
    assert found.low < 0.75 < found.high
    # Who changes his mind means what he said last.
    changed = said([*rows, *(thumb(i, False, minutes=1) for i in range(40))])
    assert changed.found.base_rate == 0.0
    few = said(rows[: LEAST_RATED - 1])
    assert few.found is None and few.n == LEAST_RATED - 1


def test_the_command_says_what_people_said(tmp_path, outcomes):
    traffic = Traffic(tmp_path)
    fill(traffic, outcomes, 1, 9)
    traffic.close()
    append_feedback(tmp_path / FEEDBACK_FILE, [thumb(i, i % 2 == 0) for i in range(30)])
    found = run(tmp_path)
    assert found.exit_code == 0, found.output
    assert "30 rated answers: predicted 70.0%, found helpful 50.0%" in found.stdout
