"""Properties of wrappers and stages that hold for all inputs."""

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from rankgate.scorers import Cascade, Job, ScoreContext, ScorerInfo, Scores, check_scores
from rankgate.scorers.wrappers import Batched, Breaker, Cached, Windowed
from rankgate.scorers.wrappers.key import delimited, score_keys
from rankgate.scorers.wrappers.memory import ENTRY_BYTES, ScoreMemory
from rankgate.scorers.wrappers.spans import (
    TokenizerSpans,
    cut_windows,
    estimated_spans,
    window_bounds,
)
from rankgate.testing import FakeScorer

quick = settings(max_examples=50, deadline=None)
anything = st.text(alphabet=st.sampled_from("ab 1\n\t") | st.characters(), max_size=60)
short = st.text(alphabet="ab \x00é\ud800", max_size=8)


def byte_tokenizer():
    """Every byte a token: an emoji has four tokens at the same place."""
    vocabulary = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


BYTES = TokenizerSpans(byte_tokenizer())


# Windows.


@quick
@given(text=anything, window=st.integers(1, 9), data=st.data())
def test_windows_cover_the_text_and_are_parts_of_it(text, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    for spans in (estimated_spans(text), BYTES(text)):
        how = {"window": window, "overlap": overlap}
        bounds = window_bounds(text, spans, **how)
        windows = cut_windows(text, spans, **how)
        assert windows == [text[a:b] for a, b in bounds]
        if len(spans) <= window:
            assert windows == [text]
        assert bounds[0][0] == 0 and bounds[-1][1] == len(text)
        for (begin, end), (following, after) in itertools.pairwise(bounds):
            assert begin <= following <= end <= after, "something between them is in neither"
            shared = [s for s in spans if s[0] >= following and s[1] <= end]
            assert len(shared) >= overlap
        assert all(begin < end for begin, end in bounds) or text == ""


@quick
@given(text=st.text(alphabet="abc .,é猫", max_size=200), window=st.integers(2, 20))
def test_no_window_has_more_estimated_tokens_than_allowed(text, window):
    windows = cut_windows(text, estimated_spans(text), window=window, overlap=window // 2)
    assert all(len(estimated_spans(w)) <= window for w in windows)


@quick
@given(
    texts=st.lists(st.lists(st.integers(0, 99), max_size=40), max_size=6),
    window=st.integers(1, 12),
    data=st.data(),
)
def test_a_windowed_score_is_the_best_of_what_stands_in_the_text(texts, window, data):
    """A scorer that reads the largest number sees it, wherever it stands."""
    overlap = data.draw(st.integers(0, window - 1))

    def largest(_query, text):
        return max((float(w) for w in text.split()), default=-1.0)

    def words(text):
        spans, at = [], 0
        for word in text.split(" "):
            spans.append((at, at + len(word)))
            at += len(word) + 1
        return spans

    inner = FakeScorer(largest)
    wrapper = Windowed(inner, tokenizer=words, window=window, overlap=overlap)
    scores = wrapper.score("q", [" ".join(map(str, t)) for t in texts])
    assert scores.values.tolist() == [float(max(t, default=-1)) for t in texts]
    assert scores.stats.windows == sum(len(j.texts) for j in inner.jobs)
    assert all(len(t.split()) <= window for j in inner.jobs for t in j.texts)


# Cache keys.

fields = st.lists(st.none() | short, max_size=4)


@settings(max_examples=200, deadline=None)
@given(a=fields, b=fields)
def test_different_fields_never_give_the_same_bytes(a, b):
    assert (delimited(a) == delimited(b)) == (a == b)


@quick
@given(parts=st.lists(short, min_size=2, max_size=4), data=st.data())
def test_moving_a_border_between_fields_changes_the_bytes(parts, data):
    """The collision of plain concatenation, sought on purpose."""
    joined = "".join(parts)
    cuts = sorted(
        data.draw(
            st.lists(st.integers(0, len(joined)), min_size=len(parts) - 1, max_size=len(parts) - 1)
        )
    )
    borders = [0, *cuts, len(joined)]
    other = [joined[i:j] for i, j in itertools.pairwise(borders)]
    assume(other != parts)
    assert "".join(other) == joined
    assert delimited(other) != delimited(parts)


infos = st.builds(
    ScorerInfo,
    id=short,
    scale=short,
    revision=short,
    weights=short,
    backend=short,
    dtype=short,
    max_length=st.none() | st.integers(0, 3),
    window=short,
)


@settings(max_examples=100, deadline=None)
@given(a=st.tuples(infos, short, short), b=st.tuples(infos, short, short))
def test_different_requests_have_different_keys(a, b):
    (key_a,), (key_b,) = (score_keys(info, q, [t]) for info, q, t in (a, b))
    assert (key_a == key_b) == (a == b)
    assert len(key_a) == 32


@quick
@given(
    puts=st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.floats(-1, 1)), max_size=40),
    room=st.integers(0, 6),
)
def test_the_memory_is_an_lru(puts, room):
    memory = ScoreMemory(room * ENTRY_BYTES + 7)
    model = {}
    for key, value in puts:
        memory.put_many({key: value})
        model.pop(key, None)
        model[key] = value
        while len(model) > room:
            del model[next(iter(model))]
        assert memory.used_bytes <= memory.max_bytes
    assert memory.get_many([k for k, _ in puts]) == model


# What every wrapper has in common.

words = st.sampled_from(["red", "cat", "red cat", "dog", "", "a red dog", "cat cat"])
jobs_of = st.lists(
    st.builds(Job, query=words, texts=st.lists(words, max_size=12)), min_size=0, max_size=4
)
CACHED = Cached(FakeScorer(), max_bytes=10 * ENTRY_BYTES)
WRAPPERS = [
    Windowed(FakeScorer(), window=2, overlap=1),
    CACHED,
    Breaker(FakeScorer()),
    Cached(Breaker(FakeScorer())),
]


@quick
@given(jobs=jobs_of)
def test_a_wrapper_changes_no_score(jobs):
    plain = FakeScorer().score_many(jobs)
    for wrapper in WRAPPERS:
        if isinstance(wrapper, Windowed):
            continue  # a window of two tokens reads less at a time; see above
        for job, want, got in zip(jobs, plain, wrapper.score_many(jobs), strict=True):
            check_scores(got, len(job.texts))
            np.testing.assert_array_equal(want.values, got.values)
            assert got.complete and got.scale == want.scale
            assert got.stats.pairs == len(job.texts)


@settings(max_examples=20, deadline=None)
@given(jobs=jobs_of, pairs=st.integers(1, 5), tokens=st.integers(1, 60))
def test_batching_changes_no_score_however_small_the_batches(jobs, pairs, tokens):
    inner = FakeScorer()
    with Batched(inner, max_pairs=pairs, max_tokens=tokens, max_wait_ms=0, count=len) as batched:
        got = batched.score_many(jobs)
    for want, scores in zip(FakeScorer().score_many(jobs), got, strict=True):
        np.testing.assert_array_equal(want.values, scores.values)
        assert scores.complete
    assert all(len(j.texts) <= pairs for j in inner.jobs)
    assert sum(len(j.texts) for j in inner.jobs) == sum(len(j.texts) for j in jobs)


@quick
@given(texts=st.lists(words, max_size=10), data=st.data())
def test_permuting_the_texts_permutes_the_scores(texts, data):
    order = data.draw(st.permutations(range(len(texts))))
    for wrapper in WRAPPERS:
        values = wrapper.score("red cat", texts).values
        moved = wrapper.score("red cat", [texts[i] for i in order]).values
        np.testing.assert_array_equal(moved, values[list(order)])


# Cascade.


class Reads(FakeScorer):
    """Reads the first `n` texts of each job."""

    def __init__(self, n, scores, info):
        super().__init__(scores, info=info)
        self.n = n

    def _one(self, job, context):
        full = super()._one(job, context)
        scored = np.arange(len(job.texts)) < self.n
        return Scores(values=full.values, scale=full.scale, scored=scored, stats=full.stats)


# Few different values, so that ties are frequent.
values = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=12)


@settings(max_examples=100, deadline=None)
@given(table=values, keep=st.integers(1, 14), read=st.integers(0, 14), begun=st.integers(0, 14))
def test_a_cascade_orders_every_text_once_and_never_mixes_scales(table, keep, read, begun):
    n = len(table)
    texts = [str(i) for i in range(n)]
    fast = Reads(begun, lambda _q, t: table[int(t)][0], ScorerInfo(id="f", scale="f"))
    accurate = Reads(read, lambda _q, t: table[int(t)][1], ScorerInfo(id="a", scale="a"))
    scores = Cascade(fast, accurate, keep).score("q", texts, ScoreContext())
    check_scores(scores, n)
    assert scores.scale in ("f", "a")
    column = 0 if scores.scale == "f" else 1
    for i in np.flatnonzero(scores.scored):
        assert scores.values[i] == table[i][column]

    def by_fast(i):
        return (-table[i][0], i) if i < begun else (99, i)

    ranked = sorted(range(n), key=by_fast)
    kept = ranked[:keep]
    if min(read, n) == 0:
        assert scores.scale == ("a" if n == 0 else "f")
        assert scores.note == ("" if n == 0 else "accurate_unread")
        return
    first = sorted(kept[:read], key=lambda i: (-table[i][1], i))
    wanted = [*first, *kept[read:], *ranked[keep:]]
    assert scores.scale == "a"
    assert set(np.flatnonzero(scores.scored)) == set(first)
    if scores.order is None:
        assert scores.complete and scores.note == ""
    else:
        assert scores.order.tolist() == wanted
    less = "accurate_partial" if read < len(kept) else ""
    unread = "fast_partial" if begun < n and len(first) < n else ""
    assert scores.note == (unread or less)
