"""What every scorer promises about its results, checked over every scorer.

Threads, pickling and forks: test_scorer_contract_workers.py.
"""

import asyncio
import copy
import random

import numpy as np
import pytest
import scorer_contract_kit as kit

from rankgate.deadline import Deadline
from rankgate.errors import InputError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, check_scores
from rankgate.scorers.steps import ascore_many

QUERY, TEXTS, SCORERS, over = kit.QUERY, kit.TEXTS, kit.SCORERS, kit.over
contract_folder, contract_scorers = kit.contract_folder, kit.contract_scorers
scorer, traits = kit.scorer, kit.traits


class Clock:
    """Advances by one second each time it is read, so that a deadline passes midway."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


async def native(scorer, query, texts, context=None):
    """The async way, and this loop's connections closed behind it."""
    job = Job(query=query, texts=texts)
    try:
        return (await ascore_many(scorer, [job], ScoreContext() if context is None else context))[0]
    finally:
        close = getattr(scorer, "aclose", None)
        if close is not None:
            await close()


@over(SCORERS)
def test_it_is_a_scorer_that_says_who_it_is(scorer):
    assert isinstance(scorer, Scorer)
    info = scorer.info
    assert info.id and info.scale
    assert info == scorer.info


@over(SCORERS)
def test_one_finite_score_a_text(scorer):
    scores = check_scores(scorer.score(QUERY, TEXTS), len(TEXTS))
    assert scores.values.dtype == np.float32
    assert scores.complete
    assert scores.scale == scorer.info.scale
    assert scores.stats.pairs == len(TEXTS)
    assert scores.values.std() > 0, "a scorer that says the same of everything shows nothing"


@over(SCORERS)
def test_inputs_are_not_changed(scorer):
    texts = list(TEXTS)
    before = copy.deepcopy(texts)
    scorer.score(QUERY, texts)
    assert texts == before
    as_tuple = scorer.score(QUERY, tuple(TEXTS)).values
    np.testing.assert_array_equal(as_tuple, scorer.score(QUERY, texts).values)


@over(SCORERS)
def test_no_texts(scorer):
    scores = scorer.score(QUERY, [])
    assert scores.values.shape == scores.scored.shape == (0,)
    assert scores.complete


@over(SCORERS)
def test_a_single_text(scorer):
    assert check_scores(scorer.score(QUERY, ["paris"]), 1).complete


@over(SCORERS)
def test_scoring_twice_gives_the_same(scorer):
    np.testing.assert_array_equal(
        scorer.score(QUERY, TEXTS).values, scorer.score(QUERY, TEXTS).values
    )


@over(SCORERS)
def test_duplicates_get_equal_scores(scorer, traits):
    values = scorer.score(QUERY, TEXTS).values
    np.testing.assert_allclose(values[0], values[5], atol=traits.tolerance)
    np.testing.assert_allclose(values[2], values[12], atol=traits.tolerance)
    beside = scorer.score(QUERY, ["paris"] * 8).values
    np.testing.assert_allclose(beside, beside[0], atol=traits.tolerance)


@over(SCORERS)
def test_permuting_the_texts_permutes_the_scores(scorer, traits):
    values = scorer.score(QUERY, TEXTS).values
    order = list(range(len(TEXTS)))
    random.Random(3).shuffle(order)
    moved = scorer.score(QUERY, [TEXTS[i] for i in order]).values
    np.testing.assert_allclose(moved, values[order], atol=traits.tolerance)


@over(SCORERS)
def test_a_score_does_not_depend_on_its_neighbours(scorer, traits):
    values = scorer.score(QUERY, TEXTS).values
    some = [0, 2, 3, 7, 14, 19]
    alone = [float(scorer.score(QUERY, [TEXTS[i]]).values[0]) for i in some]
    np.testing.assert_allclose(values[some], alone, atol=traits.tolerance)


@over(SCORERS)
@pytest.mark.parametrize(
    "query", ["", " ", "\x00", "\ud800", "?", "😀", "שלום", "capital " * 200], ids=repr
)
def test_strange_queries(scorer, query):
    assert check_scores(scorer.score(query, TEXTS[:4]), 4).complete


@over(SCORERS)
def test_a_text_of_100_000_characters(scorer):
    long = "paris is the capital of france " * 3300
    scores = check_scores(scorer.score(QUERY, [long, "paris", long]), 3)
    assert len(long) > 100_000
    assert scores.complete
    limit = scorer.info.max_length
    if limit is not None:  # nothing is cut silently by a scorer that knows its limit
        assert scores.stats.truncated == 2


@over(SCORERS)
@pytest.mark.parametrize(
    ("query", "texts"),
    [(QUERY, ["a", None]), (QUERY, [b"bytes"]), (QUERY, None), (None, ["a"]), (QUERY, [["a"]])],
    ids=["none_text", "bytes", "no_list", "no_query", "nested"],
)
def test_wrong_types_are_refused(scorer, query, texts):
    """A naive scorer gives a score to the string "None"."""
    with pytest.raises(InputError):
        scorer.score(query, texts)


@over(SCORERS)
@pytest.mark.parametrize("texts", ["paris", b"paris", {"paris"}, [1]])
def test_wrong_types_have_a_message_that_says_what(scorer, texts):
    with pytest.raises(InputError, match="must be a"):
        scorer.score(QUERY, texts)


@over(SCORERS)
def test_several_queries_at_once_are_like_one_by_one(scorer, traits):
    jobs = [Job(query=q, texts=t) for q, t in ((QUERY, TEXTS), ("cat", TEXTS[:3]), ("dog", []))]
    many = scorer.score_many(jobs, ScoreContext())
    assert [m.values.size for m in many] == [len(TEXTS), 3, 0]
    for job, scores in zip(jobs, many, strict=True):
        alone = scorer.score(job.query, job.texts)
        np.testing.assert_allclose(scores.values, alone.values, atol=traits.tolerance)
    assert scorer.score_many([], ScoreContext()) == []


@over(SCORERS)
async def test_async_gives_the_same_as_blocking(scorer, traits):
    awaited = await native(scorer, QUERY, TEXTS)
    if hasattr(scorer, "clear"):
        scorer.clear()  # a cache that has just been filled would answer instead
    blocking = await asyncio.to_thread(scorer.score, QUERY, TEXTS)
    np.testing.assert_allclose(awaited.values, blocking.values, atol=traits.tolerance)
    assert awaited.stats == blocking.stats


@over(SCORERS)
async def test_async_calls_at_the_same_time_do_not_mix(scorer, traits):
    texts = TEXTS[:6]
    queries = ["paris", "cat on the mat", "river", "dog"]
    blocking = [scorer.score(q, texts).values for q in queries]
    jobs = [[Job(query=q, texts=texts)] for q in queries]
    try:
        many = await asyncio.gather(*(ascore_many(scorer, j, ScoreContext()) for j in jobs))
    finally:
        close = getattr(scorer, "aclose", None)
        if close is not None:
            await close()
    for (scores,), wanted in zip(many, blocking, strict=True):
        np.testing.assert_allclose(scores.values, wanted, atol=traits.tolerance)


@over(SCORERS)
def test_a_deadline_that_is_over_reads_nothing(scorer):
    scores = scorer.score(QUERY, TEXTS, ScoreContext(deadline=Deadline.after(-1.0)))
    assert scores.values.shape == (len(TEXTS),)
    assert not scores.scored.any()
    assert scores.stats.pairs == 0


@over(SCORERS)
def test_a_cancelled_call_reads_nothing(scorer):
    context = ScoreContext()
    context.cancelled.set()
    assert not scorer.score(QUERY, TEXTS, context).scored.any()


@over(SCORERS)
@pytest.mark.parametrize("ticks", [4, 7])
def test_a_deadline_that_passes_midway_gives_a_prefix(scorer, traits, ticks):
    """The clock moves each time it is read, so this does not depend on the machine's speed."""
    clock = Clock()
    context = ScoreContext(
        deadline=Deadline(expires_at=ticks + traits.own_looks + 0.5, clock=clock)
    )
    texts = [f"{t} {i}" for i, t in enumerate(["paris", "the cat", "river", "dog"] * 20)]
    scores = check_scores(scorer.score(QUERY, texts, context), len(texts))
    read = int(scores.scored.sum())
    assert 0 < read < len(texts)
    assert scores.scored[:read].all()
    assert read % traits.chunk == 0
    whole = scorer.score(QUERY, texts)
    np.testing.assert_allclose(
        scores.values[:read], whole.values[:read], atol=max(traits.tolerance, 1e-7)
    )
    assert scores.stats.pairs == read
