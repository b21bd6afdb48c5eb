"""One way to do a thing: no second nDCG, exact bound, list-wise or logistic fit in the house.

A second implementation is how what is fitted, measured and served came to disagree at the edges.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("rankgate", "rag_app", "eval/rankgate_eval", "integrations", "benchmarks")

# What only the one implementation does, and where it stands. Then who else may, and why.
ONE = {
    "nDCG": (r"\blog2\(|ir_measures|\bndcg_score\b", "eval/rankgate_eval/stats/ndcg.py"),
    "exact bound of a share": (
        r"\bbeta\.(ppf|isf|cdf|sf)\b|\bbetaincinv\b|\bbetainc\b|proportion_c(i|onfint)",
        "rankgate/bounds.py",
    ),
    "list-wise fit": (r"linalg\.(solve|inv|lstsq)\(", "eval/rankgate_eval/stats/fits.py"),
    "logistic fit": (
        r"scipy\.optimize|LogisticRegression|logaddexp\(",
        "eval/rankgate_eval/stats/fits.py",
    ),
}
ALLOWED = {
    # The width of a line in a chart.
    ("nDCG", "eval/rankgate_eval/report/charts/slope_chart.py"),
    # How many doublings a step of depth is.
    ("nDCG", "eval/rankgate_eval/verdict/recall.py"),
}


def sources():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "/tests/" not in path.as_posix():
                yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


@pytest.mark.parametrize("what", ONE)
def test_there_is_one(what):
    pattern, home = ONE[what]
    found = {name for name, text in sources() if re.search(pattern, text)}
    assert home in found, "the pattern no longer finds the one implementation"
    others = {name for name in found - {home} if (what, name) not in ALLOWED}
    assert not others, f"{what}: use {home} instead of a second one in {sorted(others)}"


def test_what_is_allowed_still_stands_there():
    texts = dict(sources())
    for what, name in ALLOWED:
        assert re.search(ONE[what][0], texts[name]), f"{name} may leave the list"
