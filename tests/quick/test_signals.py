"""Signals: canonical values, and defined results where there is nothing to compare."""

import math

import numpy as np
import pytest

from rankgate.decide.signals import compute_signals
from rankgate.testing import candidates_of


def of(query="alpha beta", dense=None, bm25=None, **kw):
    n = len(dense if dense is not None else bm25 if bm25 is not None else ())
    return compute_signals(
        query, candidates_of([str(i) for i in range(n)], dense=dense, bm25=bm25), **kw
    )


def test_dense_margins_are_in_cosine_units_whatever_the_order():
    s = of(dense=[0.2, 0.9, 0.5, 0.6, 0.1])
    assert s.dense_top1 == 0.9
    assert s.dense_margin_12 == pytest.approx(0.3)
    assert s.dense_margin_13 == pytest.approx(0.4)
    assert s.dense_margin_15 == pytest.approx(0.8)


def test_bm25_margins_are_shares_of_the_best():
    s = of(bm25=[10.0, 8.0, 5.0])
    assert s.bm25_margin_12 == pytest.approx(0.2)
    assert s.bm25_margin_15 == pytest.approx(0.5), "taken to the last of fewer than five"
    nothing = of(bm25=[0.0, 0.0, 0.0])
    assert nothing.bm25_margin_12 == 0.0 and nothing.bm25_entropy == 1.0


def test_entropy_is_one_without_variance_and_zero_for_one_candidate():
    assert of(dense=[0.5, 0.5, 0.5]).dense_entropy == 1.0
    assert of(dense=[0.5]).dense_entropy == 0.0
    two = of(dense=[0.7, 0.1])
    p = 1 / (1 + math.exp(-2.0))  # standardised: +1 and -1
    assert two.dense_entropy == pytest.approx(
        -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)
    )


def test_agreement_of_the_two_lists():
    same = of(dense=[0.9, 0.5, 0.1], bm25=[9.0, 5.0, 1.0])
    assert (same.top1_agrees, same.overlap_10) == (1.0, 1.0)
    assert same.rank_correlation_10 == pytest.approx(1.0)
    turned = of(dense=[0.1, 0.5, 0.9], bm25=[9.0, 5.0, 1.0])
    assert turned.top1_agrees == 0.0
    assert turned.rank_correlation_10 == pytest.approx(-1.0)
    flat = of(dense=[0.9, 0.5, 0.1], bm25=[0.0, 0.0, 0.0])
    assert (flat.top1_agrees, flat.rank_correlation_10) == (0.0, 0.0)


def test_rank_correlation_is_spearmans():
    """Pearson's correlation of the ranks; what is tied shares the mean of its ranks."""
    dense, dense_ranks = [0.9, 0.8, 0.7, 0.4, 0.3, 0.2], [6, 5, 4, 3, 2, 1]
    bm25, bm25_ranks = [3.0, 9.0, 1.0, 5.0, 5.0, 2.0], [3, 6, 1, 4.5, 4.5, 2]
    assert of(dense=dense, bm25=bm25).rank_correlation_10 == pytest.approx(
        np.corrcoef(dense_ranks, bm25_ranks)[0, 1]
    )


def test_what_the_first_stage_does_not_give_is_none():
    s = of(dense=[0.5, 0.4])
    assert s.bm25_top1 is None and s.overlap_10 is None and s.unknown_share is None
    mixed = compute_signals("q", [*candidates_of(["a"], dense=[0.5]), *candidates_of(["b"])])
    assert mixed.dense_top1 is None, "a score that some candidates lack is not half known"


def test_markers_and_unknown_words():
    s = of(
        "Which drugs don\u2019t cause bleding after 1990 if pregnant?",
        lexicon={"which", "drugs", "don't", "cause", "after", "if", "pregnant"},
    )
    assert (s.negation, s.temporal, s.conditional, s.number) == (1.0, 1.0, 1.0, 1.0)
    assert s.unknown_share == pytest.approx(1 / 8), "bleding; a year is no word"
    assert of("", lexicon={"a"}).unknown_share == 0.0
