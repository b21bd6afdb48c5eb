"""The reranker: the gate's paths, orders, several queries and async; nothing is lost."""

import asyncio
import threading

import numpy as np
import pytest
from reranker_kit import BY_DENSE, SKIP_ALL, TABLE, HeldScorer, abcd, everything_once, policy, texts
from waiting import auntil

from rankgate import Action, Dropped, Path, Request, Reranker, Status
from rankgate.errors import InputError
from rankgate.testing import FakeScorer, SlowScorer, candidates_of


def test_reranked_by_raw_score_where_no_model_applies():
    given = abcd()
    out = Reranker(FakeScorer(TABLE), policy=policy()).rerank("q", given, top_n=2)
    assert (out.status, out.path, out.reason) == (Status.RERANKED, Path.RERANKED, "no_gate")
    assert texts(out.kept) == ["b", "c"] and texts(out.dropped) == ["a", "d"]
    assert [p.dropped for p in out.dropped] == [Dropped.BEYOND_TOP_N] * 2
    assert out.kept[0].raw_score == 3.0 and out.kept[0].relevance_score is None
    everything_once(out, given)


def test_a_skip_never_calls_the_scorer_and_orders_by_the_first_stage_model():
    scorer = FakeScorer(TABLE)
    reranker = Reranker(scorer, policy=policy(gate=SKIP_ALL, first_stage=BY_DENSE))
    out = reranker.rerank("q", abcd(dense=[0.1, 0.9, 0.5, 0.7]))
    assert (out.status, out.reason, scorer.calls) == (Status.SKIPPED, "always", 0)
    assert texts(out.passages) == ["b", "d", "c", "a"]
    assert out.kept[0].relevance_score == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert out.kept[0].raw_score is None


def test_a_skip_without_a_model_keeps_first_stage_order():
    out = Reranker(FakeScorer(TABLE), policy=policy(gate=SKIP_ALL)).rerank("q", abcd())
    assert texts(out.passages) == ["a", "b", "c", "d"]
    assert out.kept[0].relevance_score is None


def test_force_overrules_the_gate_but_not_the_impossible():
    reranker = Reranker(FakeScorer(TABLE), policy=policy(gate=SKIP_ALL))
    assert reranker.rerank("q", abcd(), force=Action.RERANK).path is Path.RERANKED
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    out = reranker.rerank("q", abcd(), force=Action.SKIP)
    assert (out.path, out.reason) == (Path.SKIPPED, "forced")
    assert reranker.rerank("q", [], force=Action.RERANK).reason == "no_candidates"


def test_ties_go_by_first_stage_rank_and_duplicates_survive():
    given = candidates_of(["same", "same", "other", "same"])
    out = Reranker(FakeScorer({"same": 1.0, "other": 1.0}), policy=policy()).rerank("q", given)
    assert [p.index for p in out.passages] == [0, 1, 2, 3]


def test_candidates_beyond_k_stay_behind_unread():
    scorer = FakeScorer({"d": 100.0, "b": 1.0})
    out = Reranker(scorer, policy=policy(k=2)).rerank("q", abcd())
    assert texts(out.passages) == ["b", "a", "c", "d"]
    assert [p.raw_score for p in out.passages][2:] == [None, None]
    assert scorer.jobs[0].texts == ["a", "b"]


def test_the_gate_sees_nothing_beyond_k():
    """The fits look at K candidates; a passage behind them once moved the margins that serve."""
    scores = {"dense": [0.9, 0.5, 0.4, 0.95], "bm25": [3.0, 2.0, 1.0, 9.0]}
    reranker = Reranker(FakeScorer(TABLE), policy=policy(k=3))
    whole = reranker.rerank("q", abcd(**scores)).signals
    first = reranker.rerank(
        "q", candidates_of(list("abc"), **{n: v[:3] for n, v in scores.items()})
    )
    assert whole == first.signals and whole.dense_top1 == 0.9


def test_several_queries_share_one_call_and_keep_their_own_results():
    scorer = FakeScorer()
    reranker = Reranker(scorer, policy=policy())
    requests = [
        Request(query="fox", candidates=candidates_of(["hen", "fox"])),
        Request(query="hen", candidates=candidates_of(["one hen", "fox"]), top_n=1),
        Request(query="one", candidates=candidates_of(["only"])),
    ]
    outs = reranker.rerank_many(requests)
    assert scorer.calls == 1 and len(scorer.jobs) == 2
    assert [texts(o.kept) for o in outs] == [["fox", "hen"], ["one hen"], ["only"]]
    alone = [reranker.rerank(r.query, r.candidates, r.top_n) for r in requests]
    assert [[p.raw_score for p in o.passages] for o in outs] == [
        [p.raw_score for p in o.passages] for o in alone
    ]


async def test_async_equals_sync_and_does_not_block_the_loop():
    """The scorer goes on only once the loop has come round."""
    reading, come_round = threading.Event(), threading.Event()

    def held(_seconds):
        reading.set()
        assert come_round.wait(20), "the event loop stands still"

    reranker = Reranker(SlowScorer(1, sleep=held), policy=policy())
    task = asyncio.create_task(reranker.arerank("a b", abcd()))
    await auntil(reading.is_set)
    come_round.set()
    assert texts((await task).passages) == texts(reranker.rerank("a b", abcd()).passages)


async def test_a_cancelled_caller_stops_the_thread_at_the_next_chunk():
    scorer = HeldScorer()
    task = asyncio.create_task(
        Reranker(scorer, policy=policy()).arerank("q", candidates_of(["t"] * 50))
    )
    await auntil(scorer.reading.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go.set()
    await auntil(scorer.ended.is_set)
    assert scorer.read == ["t"]


@pytest.mark.parametrize("wish", ["rerank", Action.RERANK])
def test_force_takes_its_plain_name_too(wish):
    out = Reranker(FakeScorer(TABLE), policy=policy(gate=SKIP_ALL)).rerank("q", abcd(), force=wish)
    assert out.path is Path.RERANKED
    with pytest.raises(InputError, match="force must be"):
        Reranker(FakeScorer(TABLE), policy=policy()).rerank("q", abcd(), force="rerenk")
