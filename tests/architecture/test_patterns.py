"""No regular expression of the product backtracks: time grows with the length of what is read."""

import re

import pattern_kit as kit
import pytest

PACKAGES = (
    "rankgate",
    "rag_app",
    "rankgate_eval",
    "langchain_rankgate",
    "llama_index.postprocessor.rankgate",
)
FOUND, UNKNOWN = kit.patterns(PACKAGES)


@pytest.mark.parametrize("used", FOUND, ids=lambda used: used.where)
def test_no_pattern_is_worse_than_linear(used):
    assert kit.worse_than_linear(used) is None, used.pattern.pattern


def test_every_pattern_was_looked_at():
    # Made of a fence's own marks, of one kind, and of patterns that are looked at by themselves.
    assert sorted(line.split(":")[0] for line in UNKNOWN) == [
        "rag_app.generate.wanted",
        "rag_app.ingest.markdown",
    ]
    assert len(FOUND) > 150


@pytest.mark.parametrize(
    "slow",
    [r"\s+$", r"(a+)+b", r"!\[[^\]]*\]\([^)]*\)", r"\s*\|?[\s:|-]{3,}\|?\s*$", r"<a>(.*?)</a>"],
)
def test_what_backtracks_is_found(slow):
    used = kit.Used(where="here", pattern=re.compile(slow), at_start=False)
    assert kit.worse_than_linear(used) is not None


def test_what_does_not_passes():
    used = kit.Used(where="here", pattern=re.compile(r"(?<!\s)\s+\d{1,3}"), at_start=False)
    assert kit.worse_than_linear(used) is None
