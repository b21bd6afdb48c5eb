"""Strata: who belongs where, which regressions survive, what is left untested."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.decide.signals import Signals
from rankgate.errors import InputError
from rankgate_eval.stats.strata import Stratum, compare_strata, question_type, stratify


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("What is a gate?", "what"),
        ("which city hosted it", "what"),
        ("What's the capital?", "what"),
        ("In which year was it built?", "what"),
        ("To whom does it belong?", "who"),
        ("Who\u2019s there", "who"),
        ("when did it end", "when"),
        ("Where?", "where"),
        ("How many are left?", "how"),
        ("why so", "why"),
        ("Is it warm?", "yes-no"),
        ("does it rain", "yes-no"),
        ("Can't it be undone?", "yes-no"),
        ("The gate opens when?", "when"),
        ("You are sure?", "yes-no"),
        ("reset admin password", "keyword"),
        ("people who stare at goats", "keyword"),
        ("under pressure", "keyword"),
        ("", "keyword"),
        ("?!", "keyword"),
    ],
)
def test_question_types(query, kind):
    assert question_type(query) == kind


def members(strata, key):
    return next((s.members for s in strata if s.key == key), ())


QUERIES = [
    "what is relevance",  # 3 words, all known
    "wht is relevnce if not what it was before 1999",  # 10 words, 2 unknown, every marker
    "teh teh",  # 2 words, all unknown
    "a question of some five words",
]
LEXICON = frozenset("what is relevance if not it was before a question of some five words".split())


def test_queries_are_sorted_by_their_words():
    strata = stratify(QUERIES, lexicon=LEXICON)
    assert members(strata, "length=short") == (0, 2)
    assert members(strata, "length=medium") == (3,)
    assert members(strata, "length=long") == (1,)
    assert members(strata, "typos=none") == (0, 3)
    assert members(strata, "typos=some") == (1,)
    assert members(strata, "typos=many") == (2,)
    for marker in ("negation", "temporal", "conditional", "number"):
        assert members(strata, f"{marker}=yes") == (1,), marker
    assert members(strata, "question=what") == (0,)


def test_what_holds_every_query_is_no_stratum():
    strata = stratify(["a b", "c d"], fields={"team": ["x", "x"], "part": ["x", None]})
    assert [s.key for s in strata] == ["part=x"]


def test_every_dimension_sorts_a_query_at_most_once():
    strata = stratify(QUERIES * 5, lexicon=LEXICON, fields={"team": ["a", "b", None, "a"] * 5})
    for dimension in {s.dimension for s in strata}:
        inside = [i for s in strata if s.dimension == dimension for i in s.members]
        assert len(inside) == len(set(inside)), dimension
    assert all(s.members == tuple(sorted(s.members)) and s.members for s in strata)
    assert members(strata, "team=a") == tuple(sorted([*range(0, 20, 4), *range(3, 20, 4)]))


def test_without_a_lexicon_or_signals_nothing_is_guessed():
    dimensions = {s.dimension for s in stratify(QUERIES)}
    assert "typos" not in dimensions and "confidence" not in dimensions
    assert "length" in dimensions


def signals(margin, share=None):
    return Signals(candidates=5, query_words=2, dense_margin_12=margin, unknown_share=share)


def test_confidence_is_in_terciles_and_equal_margins_stay_together():
    margins = [0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    strata = stratify(["q"] * 9, signals=[signals(m) for m in margins])
    assert members(strata, "confidence=low") == (0, 1, 2, 3)
    assert members(strata, "confidence=middle") == (4, 5)
    assert members(strata, "confidence=high") == (6, 7, 8)


def test_equal_or_missing_margins_make_no_confidence():
    same = stratify(["q"] * 3, signals=[signals(0.2)] * 3)
    none = stratify(["q"] * 3, signals=[signals(None)] * 3)
    assert not [s for s in (*same, *none) if s.dimension == "confidence"]
    mixed = stratify(["q"] * 4, signals=[signals(m) for m in (None, 0.1, 0.2, 0.3)])
    assert sorted(i for s in mixed if s.dimension == "confidence" for i in s.members) == [1, 2, 3]


def test_bm25_margins_serve_where_there_is_no_dense_list():
    found = [Signals(candidates=5, query_words=1, bm25_margin_12=m) for m in (0.1, 0.5, 0.9)]
    strata = stratify(["q"] * 3, signals=found)
    assert members(strata, "confidence=high") == (2,)


def test_unknown_words_may_come_with_the_signals():
    strata = stratify(["q"] * 2, signals=[signals(0.1, 0.0), signals(0.2, 0.9)])
    assert members(strata, "typos=none") == (0,) and members(strata, "typos=many") == (1,)


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="signals of 1"):
        stratify(QUERIES, signals=[signals(0.1)])
    with pytest.raises(InputError, match="1 values of the field 'team'"):
        stratify(QUERIES, fields={"team": ["a"]})
    with pytest.raises(InputError, match="built-in"):
        stratify(QUERIES, fields={"length": ["a"] * 4})


def planted(seed=0, n=300):
    """Everything gains a little, but the last 60 queries lose a lot."""
    rng = np.random.default_rng(seed)
    before = rng.uniform(0.4, 0.6, n)
    after = before + rng.normal(0.05, 0.05, n)
    after[-60:] = before[-60:] - rng.uniform(0.1, 0.3, 60)
    strata = (
        Stratum(dimension="kind", name="good", members=tuple(range(240))),
        Stratum(dimension="kind", name="bad", members=tuple(range(240, 300))),
        Stratum(dimension="kind", name="tiny", members=(1, 2, 3)),
        Stratum(dimension="none", name="mixed", members=tuple(range(0, 240, 4))),
    )
    return before, after, strata, [f"q{i}" for i in range(n)]


def test_a_planted_regression_is_named_with_its_worst_queries():
    before, after, strata, ids = planted()
    report = compare_strata(before, after, strata, ids, examples=3)
    (found,) = report.regressions
    assert found.key == "kind=bad" and found.n == 60
    assert found.difference.high < 0 and found.adjusted_p <= 0.05
    losses = after - before
    assert list(found.losers) == [ids[i] for i in np.argsort(losses)[:3]]
    assert {r.key for r in report.gains} == {"kind=good", "none=mixed"}
    assert [r.key for r in report.results] == [s.key for s in strata]


def test_small_strata_are_reported_and_cost_nothing():
    before, after, strata, ids = planted()
    report = compare_strata(before, after, strata, ids)
    (small,) = report.untested
    assert small.key == "kind=tiny" and small.too_small and small.n == 3
    assert small.difference is None and small.adjusted_p is None
    without = compare_strata(before, after, [s for s in strata if s.name != "tiny"], ids)
    assert [r.adjusted_p for r in report.tested] == [r.adjusted_p for r in without.tested]
    assert [r.difference for r in report.tested] == [r.difference for r in without.tested]


def test_few_documents_are_few_however_many_their_queries():
    before, after, strata, ids = planted()
    one_document = [str(i) if i < 240 else "doc" for i in range(300)]
    report = compare_strata(before, after, strata, ids, one_document)
    bad = next(r for r in report.results if r.name == "bad")
    assert bad.too_small and bad.clusters == 1 and bad.n == 60
    assert report.regressions == ()


def test_holm_counts_every_tested_stratum():
    before, after, strata, ids = planted()
    report = compare_strata(before, after, strata, ids)
    least = min(r.difference.p for r in report.tested)
    assert min(r.adjusted_p for r in report.tested) == pytest.approx(3 * least)
    assert all(r.adjusted_p >= r.difference.p for r in report.tested)


def test_harmless_strata_are_rarely_accused():
    """The chance of any false regression is at most alpha / 2: two-sided, one side named."""
    runs, accused = 60, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 3])
        before, noise = rng.random(240), rng.normal(0.0, 0.1, 240)
        kinds = rng.integers(0, 8, 240)
        strata = [
            Stratum(dimension="k", name=str(k), members=tuple(np.flatnonzero(kinds == k).tolist()))
            for k in range(8)
        ]
        report = compare_strata(
            before,
            before + noise,
            strata,
            [str(i) for i in range(240)],
            resamples=100,
            permutations=999,
            seed=seed,
        )
        assert len(report.tested) >= 6
        accused += bool(report.regressions)
    assert accused / runs <= 0.025 + 3 * (0.025 * 0.975 / runs) ** 0.5


def test_what_does_not_fit_is_refused():
    before, after, strata, ids = planted()
    with pytest.raises(InputError, match="299 query ids"):
        compare_strata(before, after, strata, ids[:-1])
    far = Stratum(dimension="k", name="far", members=(0, 300))
    with pytest.raises(InputError, match="k=far reaches beyond"):
        compare_strata(before, after, [far], ids)
    assert compare_strata(before, after, [], ids).results == ()
