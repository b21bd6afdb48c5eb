"""Ten seconds of load: nothing fails, and nobody gets another's passages."""

import load_kit
import pytest


@pytest.mark.slow
@pytest.mark.model
def test_ten_seconds():
    result = load_kit.measured(clients=12, seconds=10, documents=16, seed=1)
    assert load_kit.verdict(result) == [], result
    assert result["own"] > 0 and result["foreign"] == 0


def good():
    return {
        "statuses": {"200": 5, "429": 2},
        "own": 3,
        "foreign": 0,
        "uploaded_files": {"done": 10},
        "server_exit": 0,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"statuses": {"200": 5, "500": 1}}, "other than 200, 429 and 503"),
        ({"statuses": {"200": 5, "error": 1}}, "other than 200, 429 and 503"),
        ({"foreign": 1}, "another key's passages"),
        ({"own": 0}, "the check saw nothing"),
        ({"uploaded_files": {"done": 9, "failed": 1}}, "uploads failed"),
        ({"uploaded_files": {}}, "no file was ingested"),
        ({"server_exit": 1}, "the server ended with 1"),
    ],
)
def test_whatever_does_not_hold_is_said(change, said):
    found = load_kit.verdict({**good(), **change})
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_a_leak_is_seen():
    seen = load_kit.Seen()
    seen.look("alpha", f"text of {load_kit.MARKERS['alpha']}")
    seen.look("alpha", f"text of {load_kit.MARKERS['alpha']} and of {load_kit.MARKERS['beta']}")
    seen.look("beta", "I don't have this information")
    assert (seen.own, seen.foreign, seen.refusals) == (1, 1, 1)
    for name, marker in load_kit.MARKERS.items():
        sentences = load_kit.document(name, 3, 0).strip().split("\n\n")
        assert len(sentences) == 5 and all(marker in s for s in sentences)
