"""The load benchmark, ten seconds of it: nothing fails, and nobody gets another's passages."""

import load
import pytest


@pytest.mark.slow
@pytest.mark.model
def test_ten_seconds():
    result = load.measured(clients=12, seconds=10, documents=16, seed=1)
    # Ten seconds say nothing about memory; everything else has to hold.
    wrong = [w for w in load.verdict(result) if "memory" not in w]
    assert wrong == [], result
    assert result["own"] > 0 and result["foreign"] == 0


def good():
    return {
        "statuses": {"200": 5, "429": 2},
        "own": 3,
        "foreign": 0,
        "uploaded_files": {"done": 10},
        "rss_mb": {"warm": 100, "end": 104},
        "server_exit": 0,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"statuses": {"200": 5, "500": 1}}, "other than 200 and 429"),
        ({"statuses": {"200": 5, "error": 1}}, "other than 200 and 429"),
        ({"foreign": 1}, "another key's passages"),
        ({"own": 0}, "the check saw nothing"),
        ({"uploaded_files": {"done": 9, "failed": 1}}, "uploads failed"),
        ({"uploaded_files": {}}, "no file was ingested"),
        ({"rss_mb": {"warm": 100, "end": 120}}, "memory grew by 20%"),
        ({"server_exit": 1}, "the server ended with 1"),
    ],
)
def test_whatever_does_not_hold_is_said(change, said):
    found = load.verdict({**good(), **change})
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_memory_over_time_shows_what_grows():
    mb = 2**20
    flat = load.over_time([(t, (500 + (t < 20) * t) * mb) for t in range(120)], 120)
    assert flat["slope_mb_per_minute"] == 0 and flat["samples"] == 120
    assert flat["tenths_mb"] == [505.5, 510.3, *[500.0] * 8]
    leaking = load.over_time([(t, int((500 + 0.5 * t) * mb)) for t in range(120)], 120)
    assert leaking["slope_mb_per_minute"] == 30
    assert leaking["tenths_mb"] == sorted(leaking["tenths_mb"])
    short = load.over_time([(0.0, mb)], 10)
    assert short["slope_mb_per_minute"] is None and short["tenths_mb"] == [1.0, *[None] * 9]


def test_the_result_is_a_table_with_every_tenth():
    result = {
        **good(),
        "command": "c",
        "commit": "x",
        "date": "d",
        "seed": 0,
        "hardware": "h",
        "clients": 2,
        "seconds": 10.0,
        "documents": 3,
        "without_passages": 0,
        "answered_per_second": 1.0,
        "load_average": {"before": 0, "after": 1},
        "rss_mb": {"start": 90, "warm": 100, "end": 104, "most": 110},
        "rss_over_time": load.over_time([(t, (100 + t) * 2**20) for t in range(10)], 10),
        "wrong": [],
        **{n: {"n": 1, "p50_ms": 1, "p95_ms": 2} for n in ("first_word", "whole_answer", "search")},
    }
    text = load.table(result)
    assert "| 100 | 101 | 102 | 103 | 104 | 105 | 106 | 107 | 108 | 109 |" in text
    assert "60.0 MB a minute" in text and "Held: everything." in text


def test_a_leak_is_seen():
    seen = load.Seen()
    seen.look("alpha", f"text of {load.MARKERS['alpha']}")
    seen.look("alpha", f"text of {load.MARKERS['alpha']} and of {load.MARKERS['beta']}")
    seen.look("beta", "I don't have this information")
    assert (seen.own, seen.foreign, seen.refusals) == (1, 1, 1)
    for name, marker in load.MARKERS.items():
        sentences = load.document(name, 3, 0).strip().split("\n\n")
        assert len(sentences) == 5 and all(marker in s for s in sentences)
