"""Drift between two question logs: planted shifts are found, and none where nothing changed."""

import json
from datetime import date

import numpy as np
import pytest
from typer.testing import CliRunner

from rankgate import Candidate, Reranker
from rankgate.bounds import clopper_pearson
from rankgate.cli import build_app
from rankgate.errors import InputError
from rankgate.live.question_log import QuestionLog
from rankgate.testing import FakeScorer
from rankgate_eval.stats.drift import compare_logs, read_log, split_at


def log(n, seed, *, cosine=0.0, refused=0.1, talks=1, day="2026-10-01"):
    """Rows of `n` conversations, whose `talks` questions share most of their signals."""
    rng = np.random.default_rng(seed)
    rows = []
    for talk in range(n):
        base = rng.normal(0.5 + cosine, 0.1)
        words = float(rng.poisson(8))
        for _ in range(talks):
            status = "refused" if rng.random() < refused else "reranked"
            rows.append(
                {
                    "time": f"{day}T10:00:00+00:00",
                    "query": "q",
                    "status": status,
                    "path": "reranked",
                    "session": f"{seed}-{talk}",
                    "probability": float(rng.beta(2, 2)),
                    "signals": {
                        "dense_top1": base,
                        "dense_margin_12": float(rng.exponential(0.05)),
                        "bm25_top1": float(rng.gamma(3, 4)),
                        "query_words": words,
                    },
                }
            )
    return rows


def test_where_nothing_changed_nothing_is_called_drift_more_often_than_stated():
    draws = 200
    alarms = sum(
        compare_logs(log(150, s, talks=3), log(150, 10_000 + s, talks=3)).outcome == "drift"
        for s in range(draws)
    )
    assert clopper_pearson(alarms, draws)[0] <= 0.05


@pytest.mark.parametrize(
    ("planted", "name"), [({"cosine": -0.06}, "dense_top1"), ({"refused": 0.35}, "refused")]
)
def test_a_planted_shift_is_found_and_named(planted, name):
    found = [compare_logs(log(300, s), log(300, 500 + s, **planted)) for s in range(20)]
    assert sum(f.outcome == "drift" for f in found) >= 19
    for one in found:
        assert {s.name for s in one.shifts if s.drifted} <= {name}
        assert one.shifts[0].name == name


def test_a_change_beyond_chance_that_is_small_is_none():
    found = compare_logs(log(20_000, 1), log(20_000, 2, cosine=0.01))
    (cosine,) = (s for s in found.shifts if s.name == "dense_top1")
    assert cosine.p < 0.001 and cosine.stability < 0.1 and found.outcome == "no_drift"


def test_long_conversations_count_once():
    few = log(60, 3, talks=50)
    found = compare_logs(few, log(300, 4))
    assert (found.outcome, found.before, found.exit_code) == ("not_enough_data", 60, 3)


def test_what_a_component_logs_is_read_again(tmp_path):
    kept = QuestionLog(file=tmp_path / "log.jsonl")
    reranker = Reranker(FakeScorer())
    for i in range(3):
        candidates = [
            Candidate(id=str(j), text=f"text {j}", rank=j + 1, dense=0.9 - 0.1 * j, bm25=5.0 - j)
            for j in range(4)
        ]
        kept.add(reranker.rerank(f"what is text {i}", candidates))
    rows = read_log([tmp_path / "log.jsonl"])
    assert [r["signals"]["dense_top1"] for r in rows] == [0.9] * 3
    assert {"query_words", "bm25_margin_12"} <= rows[0]["signals"].keys()
    assert not {"remaining_ms", "breaker_open", "terms"} & rows[0]["signals"].keys()


def test_an_older_log_is_refused_with_its_line(tmp_path):
    (tmp_path / "old.jsonl").write_text('{"time": "2026-01-01", "query": "q"}\n')
    with pytest.raises(InputError, match=r"old.jsonl:1 .* older"):
        read_log([tmp_path / "old.jsonl"])


def test_a_day_divides():
    rows = log(2, 1, day="2026-10-31") + log(2, 2, day="2026-11-01")
    before, now = split_at(rows, date(2026, 11, 1))
    assert (len(before), len(now)) == (2, 2) and before[0]["time"] < "2026-11" <= now[0]["time"]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [({}, 0, "NO DRIFT"), ({"cosine": -0.1}, 1, "calibrate again")],
)
def test_the_command(tmp_path, more, code, said):
    rows = log(150, 1) + log(150, 2, day="2026-11-02", **more)
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    run = CliRunner().invoke(build_app(), ["eval", "drift", str(file), "--since", "2026-11-01"])
    assert run.exit_code == code and said in run.stdout, run.output
    wrong = CliRunner().invoke(build_app(), ["eval", "drift", str(file)])
    assert wrong.exit_code == 2 and "--against" in wrong.output
