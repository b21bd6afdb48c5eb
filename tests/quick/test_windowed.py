"""Windowed: nothing of a long text is left unread in silence."""

import pickle

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from rankgate.deadline import Deadline
from rankgate.errors import ConfigError, InputError
from rankgate.profile import Profile
from rankgate.scorers import Cascade, ScoreContext, ScorerInfo, Scores
from rankgate.scorers.protocol import Job
from rankgate.scorers.wrappers import Breaker, Cached, Windowed
from rankgate.scorers.wrappers.spans import TokenizerSpans, cut_windows, estimated_spans
from rankgate.testing import FakeScorer


def words(text):
    """Token offsets: one token a word."""
    spans, at = [], 0
    for word in text.split(" "):
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def word_tokenizer(*, truncate=None):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if truncate is not None:
        tokenizer.enable_truncation(truncate)
    return tokenizer


def windowed(inner, window=5, overlap=2):
    return Windowed(inner, tokenizer=words, window=window, overlap=overlap)


def test_a_text_that_fits_reaches_the_scorer_unchanged():
    inner = FakeScorer()
    texts = ["a red cat", "", "one two three four five"]
    scores = windowed(inner).score("red cat", texts)
    assert list(inner.jobs[0].texts) == texts
    np.testing.assert_array_equal(scores.values, FakeScorer().score("red cat", texts).values)
    assert scores.stats.windows == scores.stats.pairs == 3


def test_windows_overlap_cover_and_are_all_full():
    inner = FakeScorer()
    windowed(inner).score("q", ["0 1 2 3 4 5 6 7 8"])
    assert list(inner.jobs[0].texts) == ["0 1 2 3 4 ", "3 4 5 6 7 ", "4 5 6 7 8"]


def test_the_best_window_is_the_text_score_and_windows_are_counted():
    filler = "x " * 50
    texts = ["the cat", filler + "red cat", filler + "red", "nothing"]
    scores = windowed(FakeScorer()).score("red cat", texts)
    assert scores.values.tolist() == [0.5, 1.0, 0.5, 0.0]
    assert scores.stats.pairs == 4
    cut = [cut_windows(t, words(t), window=5, overlap=2) for t in texts]
    assert len(cut[1]) > 10
    assert scores.stats.windows == sum(map(len, cut))
    assert scores.stats.truncated == 0


def test_scores_may_be_negative():
    inner = FakeScorer(lambda _q, t: -5.0 if "9" in t else -7.0)
    assert windowed(inner).score("q", ["0 1 2 3 4 5 6 7 8 9", "0"]).values.tolist() == [-5.0, -7.0]


def test_a_text_of_which_a_window_was_not_read_is_not_read():
    ticks = iter(range(1000))
    inner = FakeScorer()
    # The clock moves one second a look, and the fake looks once before each window.
    context = ScoreContext(deadline=Deadline(expires_at=2.0, clock=lambda: float(next(ticks))))
    scores = windowed(inner).score("red", ["red", "0 1 2 3 4 5 6 red", "red"], context)
    assert scores.scored.tolist() == [True, False, False]
    assert scores.values[0] == 1.0
    assert scores.order is None
    assert scores.stats.pairs == 1
    assert scores.stats.windows == 2  # read, though one of them for nothing


def test_around_a_stage_a_text_counts_as_read_with_its_best_window():
    stage = Cascade(FakeScorer(), FakeScorer(lambda _q, t: 10.0 + len(t)), keep=2)
    texts = ["nothing", "0 1 2 3 4 5 6 7 red cat", "cat"]
    scores = windowed(stage).score("red cat", texts)
    # Fast keeps the last window of text 1 and, of the tied ones, the first: text 2.
    assert scores.scored.tolist() == [False, True, True]
    assert scores.order.tolist() == [1, 2, 0]
    assert not windowed(stage).pointwise


def test_several_queries_share_one_call():
    inner = FakeScorer()
    jobs = [Job(query="red", texts=["0 1 2 3 4 5 red"]), Job(query="cat", texts=["dog", "cat"])]
    first, second = windowed(inner).score_many(jobs)
    assert inner.calls == 1
    assert first.values.tolist() == [1.0] and second.values.tolist() == [0.0, 1.0]


async def test_async_equals_sync():
    wrapper = Windowed(FakeScorer(), window=8, overlap=3)
    texts = ["cat " * 100 + "red", "red cat", "", "\ud800 " * 50, "猫が好き" * 40]
    blocking = wrapper.score("red cat", texts)
    native = await wrapper.ascore("red cat", texts)
    np.testing.assert_array_equal(blocking.values, native.values)
    assert blocking.stats == native.stats


def test_who_is_scoring_tells_how_texts_are_cut():
    info = ScorerInfo(id="x", scale="s", max_length=256)
    assert Windowed(FakeScorer(info=info)).info.window == "max:200/40:estimated"
    assert windowed(FakeScorer(info=info)).info.window == "max:5/2:custom"
    own = Windowed(FakeScorer(info=info), tokenizer=word_tokenizer())
    assert own.info.window == "max:200/40:tokens"
    assert own.info.id == "x" and own.info.scale == "s"


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [(0, 0, "window must"), (5, 5, "overlap"), (5, -1, "overlap"), (256, 40, "window=205")],
)
def test_windows_that_cannot_be_are_refused(window, overlap, message):
    inner = FakeScorer(info=ScorerInfo(id="x", scale="s", max_length=256))
    with pytest.raises(ConfigError, match=message):
        Windowed(inner, window=window, overlap=overlap)


@pytest.mark.parametrize("spans", [[(0, 3)] * 3 + [(2, 99)], [(5, 6), (1, 2), (2, 3), (3, 4)]])
def test_offsets_that_cannot_be_are_refused(spans):
    with pytest.raises(ConfigError, match="offsets"):
        Windowed(FakeScorer(), tokenizer=lambda _t: spans, window=2, overlap=0).score(
            "q", ["0123456789"]
        )


@pytest.mark.parametrize("texts", [[None], "one string", [b"bytes"]])
def test_wrong_types_are_the_callers_mistake(texts):
    with pytest.raises(InputError):
        Windowed(FakeScorer()).score("q", texts)


def test_a_truncating_tokenizer_hides_nothing_and_is_left_as_it_was():
    shared = word_tokenizer(truncate=4)
    assert len(TokenizerSpans(shared)("cat " * 50)) == 50
    assert len(shared.encode("cat " * 50).ids) == 4


def test_for_scorer_finds_the_tokenizer_through_other_wrappers():
    class Own(FakeScorer):
        tokenizer = word_tokenizer()

    info = ScorerInfo(id="own", scale="s", max_length=64)
    wrapper = Windowed.for_scorer(Cached(Breaker(Own(info=info))))
    assert wrapper.info.window == "beyond:64/40:tokens"
    assert Windowed.for_scorer(FakeScorer()).info.window == "max:200/40:estimated"


def test_estimates_are_on_the_side_of_too_many_tokens():
    assert len(estimated_spans("internationalisation of 2024")) == 7
    assert len(estimated_spans("猫が好き。")) == 5
    assert estimated_spans("  \n ") == []


def test_a_single_word_of_100_000_characters_is_cut_too():
    inner = FakeScorer(lambda _q, t: float("z" in t))
    scores = Windowed(inner).score("q", ["a" * 99_999 + "z"])
    assert scores.values.tolist() == [1.0]
    assert max(len(t) for t in inner.jobs[0].texts) <= 800


def test_a_stage_result_without_an_order_is_pooled_by_all_windows():
    class Partial(FakeScorer):
        def _one(self, job, context):
            done = super()._one(job, context)
            scored = np.array([i % 2 == 0 for i in range(len(job.texts))])
            return Scores(values=done.values, scale=done.scale, scored=scored, stats=done.stats)

    scores = windowed(Partial()).score("q", ["0", "1", "2 3 4 5 6 7 8", "9"])
    assert scores.scored.tolist() == [True, False, False, True]


class Reader(FakeScorer):
    """Reads so many tokens of query and text, or of each where they are read apart."""

    tokenizer = word_tokenizer()

    def __init__(self, limit, *, apart=False):
        super().__init__(info=ScorerInfo(id="reader", scale="s", max_length=limit))
        self.reads_apart = apart


@pytest.mark.parametrize(("apart", "whole"), [(True, 30), (False, 25)])
def test_only_what_the_scorer_would_cut_off_is_cut(apart, whole):
    inner = Reader(32, apart=apart)
    wrapper = Windowed.for_scorer(inner)
    fits, long = " ".join(["w"] * whole), " ".join(["w"] * (whole + 1))
    wrapper.score("where is it", [fits, long])
    first, *windows = inner.jobs[0].texts
    assert first == fits and len(windows) > 1
    assert max(len(w.split()) for w in windows) < whole
    assert wrapper.info.window == "beyond:32/40:tokens"
    assert pickle.loads(pickle.dumps(wrapper)).info == wrapper.info


def test_a_query_that_leaves_nothing_still_gets_windows():
    wrapper = Windowed.for_scorer(Reader(32))
    scores = wrapper.score("q " * 500, ["w " * 20 + "q"])
    assert scores.complete and scores.stats.windows > 1


def test_fitting_needs_to_know_what_the_scorer_reads():
    with pytest.raises(ConfigError, match="give window="):
        Windowed(FakeScorer(), window=None)


def test_windows_beyond_what_is_read_leave_a_policy_fitting():
    def profile(window):
        return Profile(scorer="x", window=window)

    assert not profile("").mismatches(profile("beyond:256/40:tokens"))
    assert not profile("beyond:256/40:tokens").mismatches(profile(""))
    assert profile("").mismatches(profile("max:200/40:tokens"))
    assert profile("max:200/40:tokens").mismatches(profile("beyond:256/40:tokens"))
