"""What a user has to see reaches him with Python as it is set up by default, once a process."""

import subprocess
import sys

import pytest

SCRIPT = """
import logging
from rankgate import Policy, Reranker, Section
from rankgate.testing import FailingScorer, FakeScorer, candidates_of

{setup}
for _ in range(3):
    {again}
"""
CASES = {
    "no policy fits": ("Reranker(FakeScorer())", "no_policy: every query is reranked"),
    "another section serves": (
        'Reranker(FakeScorer(), policy=Policy(name="p", sections={"order": Section()}), '
        'first_stage="dense").rerank("q", candidates_of(["a"], dense=[0.1]))',
        "section_serves: 'order'",
    ),
    "the scorer fails": (
        'Reranker(FailingScorer(ValueError("x")), policy=Policy.unfitted())'
        '.rerank("q", list("ab"))',
        "fails (scorer_error): outcomes are degraded",
    ),
}


def said(again, *, setup="", flags=()):
    script = SCRIPT.format(setup=setup, again=again)
    done = subprocess.run(
        [sys.executable, *flags, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    return done


@pytest.mark.parametrize("case", CASES)
def test_it_is_on_stderr_once_where_no_log_is_set_up(case):
    again, words = CASES[case]
    done = said(again)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(words) == 1 and "RankgateWarning" in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_it_is_in_the_log_where_one_is_set_up(case):
    again, words = CASES[case]
    done = said(again, setup="logging.basicConfig(format='LOG %(message)s')")
    assert "RankgateWarning" not in done.stderr and "LOG" in done.stderr
    if case != "the scorer fails":  # which is logged each time, with its cause
        assert done.stderr.count(words) == 1


def test_a_failing_scorer_fails_no_request_where_warnings_are_errors():
    assert said(CASES["the scorer fails"][0], flags=("-W", "error")).returncode == 0
