"""The load benchmark, ten seconds of it: nothing fails, and nobody gets another's passages."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "load.py"


@pytest.fixture(scope="module")
def load():
    spec = importlib.util.spec_from_file_location("load", FILE)
    module = sys.modules.setdefault("load", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.model
def test_ten_seconds(load):
    result = load.measured(clients=12, seconds=10, documents=16, seed=1)
    # Ten seconds say nothing about memory; everything else has to hold.
    wrong = [w for w in load.verdict(result) if "memory" not in w]
    assert wrong == [], result
    assert result["own"] > 0 and result["foreign"] == 0


def good(load):
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
def test_whatever_does_not_hold_is_said(load, change, said):
    found = load.verdict({**good(load), **change})
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_a_leak_is_seen(load):
    seen = load.Seen()
    seen.look("alpha", f"text of {load.MARKERS['alpha']}")
    seen.look("alpha", f"text of {load.MARKERS['alpha']} and of {load.MARKERS['beta']}")
    seen.look("beta", "I don't have this information")
    assert (seen.own, seen.foreign, seen.refusals) == (1, 1, 1)
    for name, marker in load.MARKERS.items():
        sentences = load.document(name, 3, 0).strip().split("\n\n")
        assert len(sentences) == 5 and all(marker in s for s in sentences)
