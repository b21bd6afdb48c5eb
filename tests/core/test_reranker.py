"""The reranker: every path, and that nothing is lost on any of them."""

import asyncio
import time

import numpy as np
import pytest

from rankgate import (
    Action,
    Candidate,
    Deadline,
    Dropped,
    Floor,
    Gate,
    Path,
    Policy,
    Profile,
    RelevanceModel,
    Request,
    Reranker,
    ScorerInfo,
    Scores,
    Section,
    Status,
)
from rankgate.errors import (
    BreakerOpenError,
    InputError,
    PolicyError,
    ProfileMismatchError,
    ScorerTimeoutError,
)
from rankgate.gate import Condition, Rule
from rankgate.logistic import Feature, Logistic
from rankgate.testing import FailingScorer, FakeScorer, SlowScorer, candidates_of

TABLE = {"a": 1.0, "b": 3.0, "c": 2.0, "d": -4.0}
PLATT = RelevanceModel(model=Logistic(features=(Feature(name="raw", weight=1.0),)), scale="fake")
BY_DENSE = RelevanceModel(
    model=Logistic(intercept=-5.0, features=(Feature(name="dense", weight=10.0),))
)
SKIP_ALL = Gate(
    rules=(Rule(name="always", conditions=(Condition(signal="candidates", op=">=", value=0),)),)
)


def policy(**section):
    return Policy(
        name="test",
        sections=dict.fromkeys(("order", "dense", "hybrid", "bm25"), Section(**section)),
    )


def abcd(**scores):
    return candidates_of(list("abcd"), **scores)


def texts(passages):
    return [p.candidate.text for p in passages]


def everything_once(outcome, candidates):
    assert sorted(p.index for p in outcome.passages) == list(range(len(candidates)))
    assert [p.rank for p in outcome.passages] == list(range(1, len(candidates) + 1))
    assert all(p.candidate is candidates[p.index] for p in outcome.passages)


def test_reranked_by_raw_score_where_no_model_applies():
    given = abcd()
    out = Reranker(FakeScorer(TABLE), policy=policy()).rerank("q", given, top_n=2)
    assert (out.status, out.path, out.reason) == (Status.RERANKED, Path.RERANKED, "no_gate")
    assert texts(out.kept) == ["b", "c"] and texts(out.dropped) == ["a", "d"]
    assert [p.dropped for p in out.dropped] == [Dropped.BEYOND_TOP_N] * 2
    assert out.kept[0].raw_score == 3.0 and out.kept[0].relevance_score is None
    everything_once(out, given)


def test_one_logit_orders_and_its_probability_floors():
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=-1.0),)), scale="fake"
    )
    out = Reranker(
        FakeScorer(TABLE), policy=policy(reranked=model, floor=Floor(drop_below=0.2))
    ).rerank("q", abcd())
    assert texts(out.passages) == ["d", "a", "c", "b"]
    probabilities = [p.relevance_score for p in out.passages]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert texts(out.kept) == ["d", "a"], "1/(1+e) is .27, 1/(1+e^2) is .12"
    assert {p.dropped for p in out.dropped} == {Dropped.BELOW_FLOOR}


def test_refused_when_even_the_best_is_below():
    given = abcd()
    out = Reranker(
        FakeScorer(dict.fromkeys("abcd", -3.0)),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.1)),
    ).rerank("q", given)
    assert (out.status, out.path, out.reason) == (Status.REFUSED, Path.RERANKED, "below_floor")
    assert out.kept == () and {p.dropped for p in out.dropped} == {Dropped.REFUSED}
    assert out.best_probability == pytest.approx(1 / (1 + np.exp(3.0)))
    assert "0.047" in out.detail and "0.100" in out.detail
    everything_once(out, given)


def test_a_floor_of_zero_lets_all_pass():
    out = Reranker(
        FakeScorer(TABLE),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.0, drop_below=0.0)),
    ).rerank("q", abcd())
    assert len(out.kept) == 4 and out.status is Status.RERANKED


def test_when_every_passage_is_dropped_the_query_is_refused():
    out = Reranker(
        FakeScorer(TABLE), policy=policy(reranked=PLATT, floor=Floor(drop_below=0.99))
    ).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.REFUSED, "all_below_floor")


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


def test_the_gate_may_not_skip_what_the_floor_cannot_judge():
    reranker = Reranker(
        FakeScorer(TABLE),
        policy=policy(gate=SKIP_ALL, reranked=PLATT, floor=Floor(refuse_below=0.1)),
    )
    out = reranker.rerank("q", abcd())
    assert (out.status, out.reason) == (Status.RERANKED, "floor_needs_score")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("boom"), "scorer_error"),
        (ScorerTimeoutError("late"), "timeout"),
        (BreakerOpenError("open"), "breaker_open"),
    ],
)
def test_a_failing_scorer_gives_first_stage_order_and_says_so(error, reason):
    given = abcd()
    out = Reranker(FailingScorer(error), policy=policy()).rerank("q", given, top_n=2)
    assert (out.status, out.path, out.reason) == (Status.DEGRADED, Path.DEGRADED, reason)
    assert str(error) in out.detail
    assert texts(out.kept) == ["a", "b"]
    everything_once(out, given)


def test_degraded_with_a_floor_but_no_model_keeps_the_results_and_notes_it():
    reranker = Reranker(
        FailingScorer(RuntimeError("x")),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.9)),
    )
    out = reranker.rerank("q", abcd())
    assert out.status is Status.DEGRADED and len(out.kept) == 4
    assert any(n.startswith("floor_not_applied") for n in out.notes)


def test_degraded_with_a_first_stage_model_is_floored_by_it():
    reranker = Reranker(
        FailingScorer(RuntimeError("x")),
        policy=policy(reranked=PLATT, first_stage=BY_DENSE, floor=Floor(refuse_below=0.9)),
    )
    out = reranker.rerank("q", abcd(dense=[0.1, 0.2, 0.3, 0.4]))
    assert (out.status, out.path) == (Status.REFUSED, Path.DEGRADED)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [1.0, 2.0, 3.0, 4.0],
        Scores.full([1.0, 2.0], "fake"),
        Scores.full([1.0, 2.0, float("nan"), 4.0], "fake"),
        Scores.full([1.0, 2.0, float("inf"), 4.0], "fake"),
    ],
)
def test_nonsense_from_a_scorer_degrades(answer):
    class Nonsense:
        info = ScorerInfo(id="fake", scale="fake")

        def score(self, query, texts, context=None):
            return answer

    out = Reranker(Nonsense(), policy=policy()).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.DEGRADED, "bad_scores")
    assert texts(out.passages) == ["a", "b", "c", "d"]


def test_scores_of_another_scale_never_meet_the_model():
    class Switched:
        info = ScorerInfo(id="fake", scale="fake")

        def score(self, query, texts, context=None):
            return Scores.full([TABLE[t] for t in texts], "other")

    out = Reranker(
        Switched(), policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.9999))
    ).rerank("q", abcd())
    assert texts(out.passages) == ["b", "c", "a", "d"]
    assert all(p.relevance_score is None for p in out.passages)
    assert any("scores are other" in n for n in out.notes)


def test_a_deadline_in_the_middle_gives_a_defined_order():
    given = candidates_of(["x", "q y", "z", "q", "q w"])
    out = Reranker(SlowScorer(0.03), policy=policy()).rerank(
        "q", given, deadline=Deadline.after(0.085)
    )
    read = [p for p in out.passages if p.raw_score is not None]
    assert (out.status, out.reason) == (Status.DEGRADED, "deadline_partial")
    assert 0 < len(read) < 5
    assert [p.raw_score for p in read] == sorted((p.raw_score for p in read), reverse=True)
    rest = out.passages[len(read) :]
    assert [p.candidate.rank for p in rest] == sorted(p.candidate.rank for p in rest)
    everything_once(out, given)


def test_no_time_at_all_is_degraded_not_skipped():
    scorer = FakeScorer(TABLE)
    out = Reranker(scorer, policy=policy()).rerank("q", abcd(), deadline=Deadline.after(0.0))
    assert (out.status, out.reason, scorer.calls) == (Status.DEGRADED, "no_time", 0)


def test_the_reserve_is_kept_back_from_the_scorer():
    seen = []

    class Watching(FakeScorer):
        def score_many(self, jobs, context=None):
            seen.append(context.remaining())
            return super().score_many(jobs, context)

    Reranker(Watching(TABLE), policy=policy(deadline_ms=1000.0, reserve_ms=400.0)).rerank(
        "q", abcd()
    )
    assert 0.3 < seen[0] <= 0.6


def test_force_overrules_the_gate_but_not_the_impossible():
    reranker = Reranker(FakeScorer(TABLE), policy=policy(gate=SKIP_ALL))
    assert reranker.rerank("q", abcd(), force=Action.RERANK).path is Path.RERANKED
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    out = reranker.rerank("q", abcd(), force=Action.SKIP)
    assert (out.path, out.reason) == (Path.SKIPPED, "forced")
    assert reranker.rerank("q", [], force=Action.RERANK).reason == "no_candidates"


def test_empty_and_single_lists():
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    empty = reranker.rerank("q", [])
    assert (empty.status, empty.kept, empty.reason) == (Status.SKIPPED, (), "no_candidates")
    one = reranker.rerank("q", abcd()[:1])
    assert (one.status, one.reason, texts(one.kept)) == (Status.SKIPPED, "single_candidate", ["a"])
    assert reranker.rerank("  ", abcd()).reason == "empty_query"


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


def test_inputs_are_not_touched():
    metadata = {"source": "x", "relevance_score": 7}
    given = [Candidate(id="a", text="a", rank=1, metadata=metadata), *abcd()[1:]]
    before = list(given)
    out = Reranker(FakeScorer(TABLE), policy=policy(reranked=PLATT)).rerank("q", given)
    assert given == before and metadata == {"source": "x", "relevance_score": 7}
    assert out.passages[2].candidate.metadata is metadata


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
    reranker = Reranker(SlowScorer(0.02), policy=policy())
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    out = await reranker.arerank("a b", abcd())
    ticking.cancel()
    assert ticks >= 5
    assert texts(out.passages) == texts(reranker.rerank("a b", abcd()).passages)


async def test_a_cancelled_caller_stops_the_thread_at_the_next_chunk():
    read = []

    def slowly(query, text):
        time.sleep(0.02)
        read.append(text)
        return 0.0

    task = asyncio.create_task(
        Reranker(FakeScorer(slowly), policy=policy()).arerank("q", candidates_of(["t"] * 50))
    )
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    so_far = len(read)
    await asyncio.sleep(0.15)
    assert len(read) <= so_far + 1


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.rerank(None, abcd()),
        lambda r: r.rerank("q", ["plain text"]),
        lambda r: r.rerank("q", abcd(), top_n=0),
        lambda r: r.rerank("q", abcd(), top_n=2.5),
        lambda r: r.rerank("q", abcd(), top_n=True),
    ],
)
def test_wrong_input_is_an_error_of_the_caller(call):
    with pytest.raises(InputError):
        call(Reranker(FakeScorer(TABLE), policy=policy()))


@pytest.mark.parametrize(
    "bad", [{"text": None}, {"rank": 0}, {"dense": float("nan")}, {"bm25": float("inf")}]
)
def test_candidates_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError):
        Candidate(**{"id": "a", "text": "a", "rank": 1, **bad})


def test_a_policy_for_another_scorer_is_refused_and_the_default_steps_back():
    fitted = policy(profile=Profile(scorer="late-interaction/x"))
    with pytest.raises(ProfileMismatchError):
        Reranker(FakeScorer(), policy=fitted)
    assert Reranker(FakeScorer()).policy.name == "unfitted"
    with pytest.raises(PolicyError, match="no section for a 'order'"):
        Reranker(FakeScorer(), policy=Policy(name="p", sections={"dense": Section()})).rerank(
            "q", abcd()
        )


def test_the_kind_of_first_stage_is_seen_from_the_candidates():
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    kinds = [
        reranker.rerank("q", abcd(**scores)).first_stage.value
        for scores in (
            {},
            {"dense": [0.1] * 4},
            {"bm25": [1.0] * 4},
            {"dense": [0.1] * 4, "bm25": [1.0] * 4},
        )
    ]
    assert kinds == ["order", "dense", "bm25", "hybrid"]


def test_nothing_found_needs_no_section_for_it():
    only_dense = Policy(name="p", sections={"dense": Section()})
    out = Reranker(FakeScorer(TABLE), policy=only_dense).rerank("q", [])
    assert (out.status, out.reason) == (Status.SKIPPED, "no_candidates")


BOTH = {"reranked": PLATT, "first_stage": BY_DENSE}


def test_an_unread_passage_cannot_unrefuse_a_query():
    scorer = FakeScorer(dict.fromkeys("abcd", -9.0))
    section = {**BOTH, "k": 3, "floor": Floor(refuse_below=0.5)}
    out = Reranker(scorer, policy=policy(**section)).rerank("q", abcd(dense=[0.99] * 4))
    assert out.status is Status.REFUSED
    assert out.passages[3].relevance_score is None, "its probability is the first stage's"


def test_an_unread_passage_cannot_refuse_what_has_no_probability():
    section = {"first_stage": BY_DENSE, "k": 2, "floor": Floor(refuse_below=0.5)}
    out = Reranker(FakeScorer(TABLE), policy=policy(**section)).rerank(
        "q", abcd(dense=[0.9, 0.9, 0.1, 0.1])
    )
    assert out.status is Status.RERANKED and len(out.kept) == 4
    assert any(n.startswith("floor_not_applied") for n in out.notes)


def test_nothing_behind_a_dropped_passage_stays():
    section = {**BOTH, "k": 2, "floor": Floor(drop_below=0.6)}
    out = Reranker(FakeScorer({"a": 2.0, "b": 0.0}), policy=policy(**section)).rerank(
        "q", abcd(dense=[0.99] * 4)
    )
    assert texts(out.kept) == ["a"]


def test_a_prefix_read_in_time_refuses_nothing():
    section = {**BOTH, "floor": Floor(refuse_below=0.9)}
    out = Reranker(SlowScorer(0.03), policy=policy(**section)).rerank(
        "zebra", abcd(dense=[0.9] * 4), deadline=Deadline.after(0.065)
    )
    assert (out.status, out.reason) == (Status.DEGRADED, "deadline_partial")
    assert len(out.kept) == 4 and any(n.startswith("scores_unused") for n in out.notes)


@pytest.mark.parametrize("wish", ["rerank", Action.RERANK])
def test_force_takes_its_plain_name_too(wish):
    out = Reranker(FakeScorer(TABLE), policy=policy(gate=SKIP_ALL)).rerank("q", abcd(), force=wish)
    assert out.path is Path.RERANKED
    with pytest.raises(InputError, match="force must be"):
        Reranker(FakeScorer(TABLE), policy=policy()).rerank("q", abcd(), force="rerenk")


async def test_a_stray_stop_iteration_degrades_instead_of_hanging():
    reranker = Reranker(FailingScorer(StopIteration()), policy=policy())
    out = await asyncio.wait_for(reranker.arerank("q", abcd()), 5)
    assert (out.status, out.reason) == (Status.DEGRADED, "scorer_error")


def test_a_failed_cascade_never_puts_the_fast_logits_under_the_accurate_floor():
    from rankgate.stages import Cascade

    fast = FakeScorer(TABLE, info=ScorerInfo(id="small", scale="logit"))

    class Big(FailingScorer):
        info = ScorerInfo(id="big", scale="logit")

    fitted = RelevanceModel(model=PLATT.model, scale="logit")
    out = Reranker(
        Cascade(fast, Big(RuntimeError("down")), keep=2),
        policy=policy(reranked=fitted, floor=Floor(refuse_below=0.9999)),
    ).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.DEGRADED, "accurate_failed")
    assert texts(out.passages) == ["b", "c", "a", "d"]
    assert all(p.relevance_score is None for p in out.passages)


def test_a_policy_for_windows_is_refused_without_them():
    from rankgate.wrappers import Windowed

    plain = FakeScorer()
    cut = Windowed(FakeScorer())
    for fitted_for, used in ((cut, plain), (plain, cut)):
        with pytest.raises(ProfileMismatchError, match="window"):
            Reranker(used, policy=policy(profile=Profile.of_scorer(fitted_for.info)))
