"""What the one decision promises, for serving, evaluation and calibration alike."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reranker_kit import PLATT, SKIP_ALL, policy

from rankgate import Deadline, Floor, Policy, Request, Reranker, Section, Status
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.rank import rank
from rankgate.decide.relevance import FEATURE_NAMES, RelevanceModel
from rankgate.errors import InputError, ScorerError
from rankgate.scorers import ScorerInfo, Scores
from rankgate.testing import FakeScorer, candidates_of
from rankgate.types import Path as TakenPath

FIRST = RelevanceModel(
    model=Logistic(
        intercept=-2.0,
        features=(Feature(name="dense", weight=3.0), Feature(name="bm25_log", weight=0.4)),
    )
)
READ = RelevanceModel(
    model=Logistic(
        intercept=-1.0, features=(*FIRST.model.features, Feature(name="raw", weight=2.0))
    ),
    scale="fake",
)
BOTH = Section(reranked=READ, first_stage=FIRST, k=50)
QUERY = "how long is the warranty"
number = st.floats(-1, 1, width=32)


@st.composite
def lists(draw, least=1, most=30):
    n = draw(st.integers(least, most))
    rows = draw(
        st.lists(st.tuples(number, st.floats(0, 40, width=32), number), min_size=n, max_size=n)
    )
    found = candidates_of(
        [f"text {i}" for i in range(n)], dense=[r[0] for r in rows], bm25=[r[1] for r in rows]
    )
    return found, np.array([r[2] for r in rows], dtype=np.float32)


def scored(raw):
    return Scores.full(raw, "fake")


def probabilities(ranking, candidates):
    return {p.candidate.id: p.relevance_score for p in ranking.passages(candidates)}


@settings(deadline=None, max_examples=60)
@given(data=lists(least=2), k=st.integers(1, 20), read=st.booleans())
def test_a_passage_beyond_k_changes_nothing_within_k(data, k, read):
    candidates, raw = data
    section = replace(BOTH, k=k, floor=Floor(refuse_below=0.3, drop_below=0.2))
    alone = rank(QUERY, candidates[:k], scored(raw[:k]) if read else None, section)
    among = rank(QUERY, candidates, scored(raw[:k]) if read else None, section)
    m = len(candidates[:k])
    np.testing.assert_array_equal(among.order[:m], alone.order)
    np.testing.assert_array_equal(among.logits[:m], alone.logits)
    assert among.refused == alone.refused and among.best == alone.best
    assert np.isnan(among.logits[m:]).all()


@settings(deadline=None, max_examples=60)
@given(
    data=lists(least=2),
    flags=st.lists(st.booleans(), min_size=30, max_size=30),
    refuse=st.none() | st.floats(0, 1),
    drop=st.none() | st.floats(0, 1),
    first=st.booleans(),
)
def test_a_partial_read_refuses_and_drops_nothing_that_was_not_read(
    data, flags, refuse, drop, first
):
    candidates, raw = data
    seen = np.array(flags[: raw.size])
    section = replace(
        BOTH,
        first_stage=FIRST if first else None,
        floor=Floor(refuse_below=refuse, drop_below=drop),
    )
    scores = Scores(values=raw, scale="fake", scored=seen)
    found = rank(QUERY, candidates, scores, section, top_n=30)
    if seen.all() or not seen.any():
        return
    if found.refused:
        # Then the first stage, which has seen all of them, refuses by itself.
        assert first and rank(QUERY, candidates, None, section).refused == found.refused
    else:
        dropped = found.order[found.below]
        assert seen[dropped].all() or first


def test_a_policy_deadline_is_each_members_own():
    """40 queries under one deadline: each is read, as if it had been asked alone."""
    now = [0.0]

    class Clocked:
        info = ScorerInfo(id="clocked", scale="fake")

        def score(self, query, texts, context=None):
            values = np.zeros(len(texts), dtype=np.float32)
            read = np.zeros(len(texts), dtype=bool)
            for i in range(len(texts)):
                if context.deadline is not None and context.deadline.expires_at <= now[0]:
                    break
                now[0] += 0.03
                values[i], read[i] = i, True
            return Scores(values=values, scale="fake", scored=read)

    candidates = candidates_of(list("abcd"))
    ends = [Deadline(expires_at=0.2 * (i + 1), clock=lambda: now[0]) for i in range(40)]
    requests = [Request(query=f"q {i}", candidates=candidates, deadline=ends[i]) for i in range(40)]
    reranker = Reranker(Clocked(), policy=policy(reserve_ms=0.0))
    assert [o.status for o in reranker.rerank_many(requests)] == [Status.RERANKED] * 40


def test_the_policys_time_begins_when_a_query_is_read():
    """The deadline that the scorer is given starts anew for each member of a batch."""
    ends = []

    class Watching:
        info = ScorerInfo(id="watching", scale="fake")

        def score(self, query, texts, context=None):
            ends.append(context.deadline.expires_at)
            return scored([1.0] * len(texts))

    candidates = candidates_of(list("ab"))
    reranker = Reranker(Watching(), policy=policy(deadline_ms=200.0))
    reranker.rerank_many([Request(query=f"q {i}", candidates=candidates) for i in range(3)])
    assert len(set(ends)) == 3 and ends == sorted(ends)


@pytest.mark.parametrize("error", [ScorerError("down"), InputError("odd"), RuntimeError("bug")])
@pytest.mark.parametrize("many", [True, False])
def test_one_failing_query_degrades_alone_whatever_is_raised(error, many):
    class Failing:
        info = ScorerInfo(id="failing", scale="fake")

        def score(self, query, texts, context=None):
            if query == "bad one":
                raise error
            return scored(np.arange(len(texts)))

    if many:

        def score_many(self, jobs, context):
            return [self.score(j.query, j.texts, context) for j in jobs]

        Failing.score_many = score_many
    candidates = candidates_of(list("abc"))
    queries = ["good one", "bad one", "another"]
    reranker = Reranker(Failing(), policy=policy())
    outcomes = reranker.rerank_many([Request(query=q, candidates=candidates) for q in queries])
    assert [o.status for o in outcomes] == [Status.RERANKED, Status.DEGRADED, Status.RERANKED]
    for q, outcome in zip(queries, outcomes, strict=True):
        alone = reranker.rerank(q, candidates)
        assert (alone.status, alone.reason, alone.detail) == (
            outcome.status,
            outcome.reason,
            outcome.detail,
        )
        assert [p.candidate.id for p in alone.kept] == [p.candidate.id for p in outcome.kept]


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10, 50, 200])
def test_a_probability_does_not_depend_on_how_many_others_came(k):
    rng = np.random.default_rng(0)
    n = 200
    candidates = candidates_of(
        [f"text {i}" for i in range(n)],
        dense=rng.random(n).tolist(),
        bm25=(9 * rng.random(n)).tolist(),
    )
    raw = rng.random(n).astype(np.float32)
    section = replace(BOTH, k=200)
    for scores in (scored(raw), None):
        whole = probabilities(rank(QUERY, candidates, scores, section), candidates)
        part = None if scores is None else scored(raw[:k])
        few = probabilities(rank(QUERY, candidates[:k], part, section), candidates[:k])
        assert few == {i: whole[i] for i in few}
        # A filter takes away others, wherever they stood.
        kept = list(range(n - k, n))
        some = [replace(candidates[i], rank=place + 1) for place, i in enumerate(kept)]
        part = None if scores is None else scored(raw[kept])
        filtered = probabilities(rank(QUERY, some, part, section), some)
        assert filtered == {i: whole[i] for i in filtered}


def test_nothing_that_a_level_may_read_is_relative_to_the_list():
    rng = np.random.default_rng(1)
    candidates = candidates_of(
        list("abcdef"), dense=rng.random(6).tolist(), bm25=rng.random(6).tolist()
    )
    raw = rng.random(6).astype(np.float32)
    for name in sorted(FEATURE_NAMES):
        model = RelevanceModel(
            model=Logistic(features=(Feature(name=name, weight=1.0),)), scale="fake"
        )
        section = Section(reranked=model)
        whole = probabilities(rank(QUERY, candidates, scored(raw), section), candidates)
        few = probabilities(rank(QUERY, candidates[:2], scored(raw[:2]), section), candidates[:2])
        assert few == {i: whole[i] for i in few}, name


def test_the_default_policy_answers_with_the_same_numbers_at_any_depth():
    section = Policy.default().section("hybrid")
    rng = np.random.default_rng(3)
    candidates = candidates_of(
        [f"t {i}" for i in range(60)],
        dense=rng.random(60).tolist(),
        bm25=(20 * rng.random(60)).tolist(),
    )
    raw = rng.random(50).astype(np.float32)
    scale = section.reranked.scale
    whole = probabilities(rank(QUERY, candidates, Scores.full(raw, scale), section), candidates)
    few = probabilities(
        rank(QUERY, candidates[:4], Scores.full(raw[:4], scale), section), candidates[:4]
    )
    assert few == {i: whole[i] for i in few}
    assert None not in few.values()


def test_texts_are_candidates():
    found = Reranker(FakeScorer({"b": 2.0, "a": 1.0}), policy=policy()).rerank("q", ["a", "b"])
    assert [(p.candidate.id, p.candidate.text, p.candidate.rank) for p in found.kept] == [
        ("1", "b", 2),
        ("0", "a", 1),
    ]


def test_a_skipped_and_a_failed_query_are_told_apart():
    candidates = candidates_of(list("abc"))
    skipped = Reranker(FakeScorer(), policy=policy(gate=SKIP_ALL)).rerank("q q", candidates)
    assert (skipped.path, skipped.reason) == (TakenPath.SKIPPED, "always")
    unread = Scores(
        values=np.zeros(3, dtype=np.float32), scale="fake", scored=np.zeros(3, dtype=bool)
    )

    class Late:
        info = ScorerInfo(id="late", scale="fake")

        def score(self, query, texts, context=None):
            return unread

    late = Reranker(Late(), policy=policy(reranked=PLATT)).rerank("q q", candidates)
    assert (late.path, late.reason) == (TakenPath.DEGRADED, "deadline")


def test_no_second_implementation_of_the_decision():
    """Nobody outside this room makes relevance features, or compares with a floor's threshold."""
    root = Path(__file__).parents[2]
    strays = []
    for base in ("rankgate", "rag_app", "eval/rankgate_eval", "integrations", "benchmarks"):
        for file in (root / base).rglob("*.py"):
            if "decide" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and any(
                    a.name == "relevance_features" for a in node.names
                ):
                    strays.append(f"{file.relative_to(root)}:{node.lineno}: relevance_features")
                if isinstance(node, ast.Compare) and any(
                    isinstance(side, ast.Attribute | ast.Name)
                    and (side.attr if isinstance(side, ast.Attribute) else side.id)
                    in ("refuse_below", "drop_below")
                    for side in (node.left, *node.comparators)
                    if not isinstance(node.ops[0], ast.Is | ast.IsNot)
                ):
                    strays.append(f"{file.relative_to(root)}:{node.lineno}: compares with a floor")
    assert strays == []
