"""`rankgate eval compare`: several rerankers at several K, corrected, and the one to take."""

import csv
import json
import sys

import eval_world as w
import evaluate_kit as kit
import numpy as np
import planted
import pytest
from typer.testing import CliRunner
from waiting import Clock

from rankgate.cli import build_app
from rankgate.decide.floor import Floor
from rankgate.errors import InputError, ProfileMismatchError
from rankgate.scorers import ScorerInfo, Scores, ScoreStats
from rankgate.testing import FakeScorer
from rankgate_eval import EvalSettings, as_first_stage, compare_scorers, evaluate
from rankgate_eval.comparison.cost import Tariff, parse_tariffs
from rankgate_eval.comparison.tables import point_rows
from rankgate_eval.verdict.recall import find_knee


def timed(clock, function, *, seconds=0.01, name="fake", backend=""):
    def score(query, text):
        clock.now += seconds
        return function(query, text)

    return FakeScorer(score, info=ScorerInfo(id=name, scale="fake", backend=backend))


def gold(query, text):
    return float(text.startswith("gold"))


def by_chance(seed):
    """A scorer of random numbers; each pair keeps its own, as a real one's does."""

    def score(query, text):
        return float(np.random.default_rng([seed, *f"{query}|{text}".encode()]).random())

    return score


def compared(scorers, *, n=120, clock=None, ks=(5, 7, 10), settings=None, **others):
    data = w.world(n)
    return compare_scorers(
        data,
        w.stage_of(data),
        scorers,
        ks=ks,
        settings=quick() if settings is None else settings,
        clock=Clock() if clock is None else clock,
        **others,
    )


def quick(**changes):
    return EvalSettings(**{"depth": 20, "resamples": 100, "permutations": 199, **changes})


def points(result):
    return {(p.scorer, p.k, p.arm): p for p in result.points}


def taken(result):
    return None if result.taken is None else result.points[result.taken]


def free(result):
    """What needs no scorer."""
    return [p for p in result.points if not p.scorer]


def hybrid(kind, ks, **changes):
    """A planted first stage with both scores of every candidate, so that fusion can be tuned."""
    world = planted.plant(kind, 0)
    stage = as_first_stage(world.stage, data=world.data)
    settings = quick(resamples=100, permutations=99, **changes)
    return world, compare_scorers(
        world.data, stage, {"fake": world.scorer}, ks=ks, settings=settings, clock=Clock()
    )


def test_what_needs_no_scorer_does_not_depend_on_how_deep_the_scorers_read():
    """The tuned first stage was fitted on the deepest lists: `--k 20` made it .738, not .716."""
    _, shallow = hybrid("only tuning", (5, 10))
    _, deep = hybrid("only tuning", (5, 10, 20))
    assert free(shallow) == free(deep)
    assert [p.gain for p in shallow.points if p.scorer] == [
        p.gain for p in deep.points if p.scorer and p.k <= 10
    ]


class Merging:
    """Gives another head to whoever asks for more, as a system that merges lists may."""

    def __init__(self, stage):
        self.stage = stage

    def candidates(self, query, k):
        found = self.stage(query, 20)
        head = found[k % 3 :] + found[: k % 3]
        return [type(c)(id=c.id, text=c.text, rank=i + 1) for i, c in enumerate(head[:k])]


def test_nor_where_a_system_gives_another_head_to_whoever_asks_for_more():
    world = planted.plant("null", 0)
    one, other = (
        compare_scorers(world.data, Merging(world.stage), {"fake": world.scorer}, ks=ks,
                        settings=quick(depth=15, k=15), clock=Clock())
        for ks in ((5,), (5, 19))
    )  # fmt: skip
    assert free(one) == free(other)


def test_the_baseline_is_that_of_the_evaluation():
    world, found = hybrid("only tuning", (5,), k=20)
    result = evaluate(
        world.data,
        stage=world.stage,
        scorer=world.scorer,
        settings=quick(resamples=100, permutations=99, k=20),
    )
    base = found.points[found.baseline]
    assert base.arm == "tuned_first_stage" and found.baseline_k == 20
    assert base.ndcg == result.arms["tuned_first_stage"].metrics["ndcg@10"]


@pytest.mark.parametrize(
    ("recall", "knee"),
    [
        ({10: 0.9, 20: 0.95, 40: 0.951, 80: 0.952}, 20),
        ({10: 0.5, 20: 0.6, 40: 0.7, 80: 0.8}, None),  # it still rises where the curve ends
        ({1: 0.5, 10: 0.505, 100: 0.509}, 1),  # flat: the first passage is as good as a hundred
        ({10: 0.8, 20: 0.801, 40: 0.87, 80: 0.871}, 40),  # a rise after a rest
        ({50: 0.90, 75: 0.93, 100: 0.93}, 75),
        ({50: 0.90, 75: 0.9, 100: 0.909}, None),  # .9 points in 0.4 doublings
        ({25: 0.945, 50: 0.95, 500: 0.99}, 25),  # 4 points in 3.3 doublings
        ({10: 0.7}, None),
    ],
)
def test_the_knee(recall, knee):
    assert find_knee(recall) == knee


def test_latency_and_quality_at_each_k():
    clock = Clock()
    found = points(compared({"fake": timed(clock, gold)}, clock=clock))
    # Every list has 7 candidates: gold and six rivals; gold stands first or last.
    assert found["fake", 7, "rerank"].ndcg.mean == 1.0
    assert found["fake", 5, "rerank"].ndcg.mean == pytest.approx(0.5 + 0.5 / 3)
    assert found["fake", 5, "rerank"].recall.mean == 0.5
    assert found["", 0, "first_stage"].ndcg.mean == pytest.approx(0.5 + 0.5 / 3)
    assert found["", 0, "first_stage"].latency_ms.p50 == 0.0
    for k, seconds in ((5, 0.05), (7, 0.07), (10, 0.07)):
        p50 = found["fake", k, "rerank"].latency_ms.p50
        assert seconds * 1000.0 <= p50 < seconds * 1000.0 + 5.0
    assert found["fake", 7, "rerank"].skip_rate == 0.0
    assert found["", 0, "tuned_first_stage"].skip_rate == 1.0


def test_every_point_has_intervals_and_a_corrected_test():
    found = compared({"good": FakeScorer(gold), "chance": FakeScorer(by_chance(1))})
    for p in found.points:
        assert p.ndcg.ci is not None and p.recall.ci is not None
        assert (p.gain is None) == (p.adjusted_p is None) == (p.call is None) == (not p.scorer)
        if p.gain is not None:
            assert p.gain.ci is not None and p.adjusted_p >= p.gain.p


def by_hand(ps):
    """Holm, step by step."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        found[i] = least
    return found


def shuffled(n):
    """Lists in random order, so that scorers of random numbers are no worse, and no better."""
    data = w.world(n)
    rng = np.random.default_rng(5)
    lists = {
        text: rng.permutation([f"g{i}", *(f"r{i}-{j}" for j in range(6))]).tolist()
        for i, text in enumerate(data.queries.values())
    }
    return data, as_first_stage(lambda query, k: lists[query][:k], data=data)


def test_p_values_are_corrected_over_k_and_scorer():
    data, stage = shuffled(60)
    scorers = {f"chance {i}": FakeScorer(by_chance(i)) for i in range(3)}
    found = compare_scorers(data, stage, scorers, ks=(5, 7, 8), settings=quick(permutations=999))
    scored = {(p.scorer, p.k): p for p in found.points if p.scorer}
    # Lists have 7 candidates: those of 8 are those of 7, and no further comparison.
    keys = [key for key in scored if key[1] < 8]
    ps = [scored[key].gain.p for key in keys]
    assert len(set(ps)) == 6, "comparisons that differ"
    for key, wanted in zip(keys, by_hand(ps), strict=True):
        assert scored[key].adjusted_p == pytest.approx(wanted, abs=1e-12)
    assert all(scored[s, 8].adjusted_p == scored[s, 7].adjusted_p for s in scorers)


def test_scorers_are_compared_with_each_other():
    scorers = {"good": FakeScorer(gold), "one": FakeScorer(by_chance(1)),
               "same": FakeScorer(by_chance(1))}  # fmt: skip
    found = compared(scorers, ks=(5, 7))
    assert len(found.pairs) == 3 * 2
    pairs = {(p.first, p.second, p.k): p for p in found.pairs}
    assert pairs["one", "same", 7].change.mean == 0.0 == 1.0 - pairs["one", "same", 7].adjusted_p
    lost = pairs["good", "one", 7]
    assert lost.change.mean < -0.2 and lost.change.ci[1] < 0.0
    distinct = [lost.change.p, pairs["good", "one", 5].change.p, 1.0]
    assert lost.adjusted_p == pytest.approx(by_hand(distinct)[0])


def test_the_good_one_is_taken():
    found = compared({"chance": FakeScorer(by_chance(1)), "good": FakeScorer(gold)})
    assert taken(found).scorer == "good" and taken(found).k >= 7
    assert found.sentence.startswith("Take good at K =")
    assert "Holm-adjusted p" in found.sentence and "the tuned first stage" in found.sentence


@pytest.mark.parametrize("kind", ["noise", "equal", "hating"])
def test_none_is_taken_where_none_pays(kind):
    function = {
        "noise": by_chance(3),
        "equal": lambda q, t: 0.0,
        "hating": lambda q, t: -gold(q, t),
    }
    found = compared({"a": FakeScorer(function), "b": FakeScorer(function)})
    assert found.taken is found.best is None
    assert found.sentence.startswith("Take none: ")


def test_one_of_many_random_scorers_is_not_taken():
    """Ten of them over a weak first stage: the luckiest is beyond noise where none is corrected."""
    data, stage = shuffled(60)
    scorers = {f"chance {i}": FakeScorer(by_chance(i)) for i in range(40)}
    found = compare_scorers(data, stage, scorers, ks=(7,), settings=quick(permutations=999))
    alone = [p for p in found.points if p.scorer and p.gain.p <= 0.05 and p.gain.ci[0] > 0.0]
    assert alone, "by itself one of them looks better"
    assert found.taken is None


def test_the_fastest_of_those_that_are_as_good_is_taken_and_the_budget_is_kept():
    clock = Clock()
    slow = timed(clock, gold, seconds=0.1, name="slow")
    fast = timed(clock, lambda q, t: 0.9 * gold(q, t), seconds=0.01, name="fast")
    found = compared({"slow": slow, "fast": fast}, clock=clock, ks=(5, 7))
    assert (taken(found).scorer, taken(found).k) == ("fast", 7) and taken(found).inside is None
    assert "it is the fastest" in found.sentence
    none = compared({"slow": slow}, clock=clock, settings=quick(budget_ms=300.0))
    assert none.taken is None and "inside 300 ms" in none.sentence
    assert points(none)["slow", 5, "rerank"].inside is False
    tight = compared({"slow": slow, "fast": fast}, clock=clock, settings=quick(budget_ms=100.0))
    assert taken(tight).scorer == "fast"
    names = [p.scorer for p in tight.points]
    assert names == sorted(names, key=["", "slow", "fast"].index), "in the order asked for"


def test_a_worse_one_is_not_taken_however_cheap():
    clock = Clock()
    weak = timed(clock, lambda q, t: gold(q, t) * (hash_of(q) % 4 != 1), name="weak", seconds=0.001)
    found = compared({"weak": weak, "good": timed(clock, gold, seconds=0.1)}, clock=clock, ks=(7,))
    assert points(found)["weak", 7, "rerank"].call == "ship"
    assert taken(found).scorer == "good" and "no other pays and is as good" in found.sentence


def hash_of(text):
    return int(text.split()[-1].removeprefix("beta"))


def test_where_every_one_has_a_price_the_cheapest_is_taken():
    clock = Clock()
    scorers = {
        "hosted": timed(clock, gold, seconds=0.001, name="remote/m", backend="http"),
        "own": timed(clock, gold, seconds=0.1, name="own"),
    }
    dear = {"hosted": Tariff(usd=2.0), "own": Tariff(usd=0.1)}
    priced = compared(scorers, clock=clock, ks=(7,), tariffs=dear)
    assert taken(priced).scorer == "own" and "it is the cheapest" in priced.sentence
    assert "0.1 USD for 1,000 queries" in priced.sentence
    half = compared(scorers, clock=clock, ks=(7,), tariffs={"own": Tariff(usd=0.1)})
    assert taken(half).scorer == "hosted", "what has no price is not free"
    hosted = points(half)["hosted", 7, "rerank"].cost
    assert (hosted.usd, hosted.cpu_s) == (None, None)


class Counting(FakeScorer):
    """Counts tokens and its own price, as a remote scorer does."""

    def _one(self, job, context):
        scores = super()._one(job, context)
        n = len(job.texts)
        stats = ScoreStats(pairs=n, tokens=100 * n, cost=0.002)
        return Scores(values=scores.values, scale=scores.scale, scored=scores.scored, stats=stats)


@pytest.mark.parametrize(
    ("tariff", "usd"),
    [
        (Tariff(usd=2.0), 2.0),
        (Tariff(usd=2.0, unit="documents"), 14.0),
        (Tariff(usd=0.5, unit="tokens"), 0.35),
        (None, 2.0),  # its own
    ],
)
def test_what_1000_queries_cost(tariff, usd):
    given = {} if tariff is None else {"c": tariff}
    found = compared({"c": Counting(gold)}, ks=(7,), tariffs=given)
    assert points(found)["c", 7, "rerank"].cost.usd == pytest.approx(usd)


def test_processor_time_has_a_price_where_one_is_given():
    def busy(query, text):
        return sum(range(2000)) * 0.0 + gold(query, text)

    found = points(compared({"c": FakeScorer(busy)}, ks=(7,), cpu_hour_usd=3600.0))
    cost = found["c", 7, "rerank"].cost
    assert 0.0 < cost.cpu_s == pytest.approx(cost.usd)
    plain = points(compared({"c": FakeScorer(busy)}, ks=(7,)))["c", 7, "rerank"].cost
    assert plain.usd is None and plain.cpu_s > 0.0


def test_prices_as_they_are_typed():
    names = ["cohere:m", "cross-encoder:a=b"]
    assert parse_tariffs(["cohere:m=2", "cross-encoder:a=b=0.5/tokens"], names) == {
        "cohere:m": Tariff(usd=2.0),
        "cross-encoder:a=b": Tariff(usd=0.5, unit="tokens"),
    }
    for wrong, said in (("cohere:m", "NAME=USD"), ("cohere:m=-1", "not below 0"),
                        ("cohere:m=1/calls", "searches"), ("other=1", "names no scorer"),
                        ("cohere:m=nan", "not below 0"), ("cohere:m=", "NAME=USD")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            parse_tariffs([wrong], names)
    with pytest.raises(InputError, match="two prices"):
        parse_tariffs(["cohere:m=1", "cohere:m=2"], names)


def fitted(name, scorer):
    """A policy that was fitted for one scorer, and skips nothing."""
    from rankgate import Policy
    from rankgate.profile import Profile

    policy = Policy.unfitted(k=7, top_n=5)
    profile = Profile.of_scorer(scorer.info)
    for kind in policy.sections:
        policy = policy.with_section(kind, profile=profile)
    return type(policy)(name=name, sections=policy.sections, provenance=policy.provenance)


def test_each_policy_goes_to_the_scorer_that_it_was_fitted_for():
    clock = Clock()
    a, b = timed(clock, gold, name="a"), timed(clock, gold, name="b")
    policies = [fitted("for b", b), fitted("for a", a)]
    found = points(compared({"a": a, "b": b}, clock=clock, ks=(7,), policies=policies))
    assert found["a", 7, "rerank"].policy == "for a"
    assert found["b", 7, "rerank"].policy == "for b"
    lone = compared({"a": a, "b": b}, clock=clock, ks=(7,), policies=policies[:1])
    assert any("No --policy was fitted for a" in note for note in lone.notes)
    with pytest.raises(ProfileMismatchError, match="'for b' was fitted for"):
        compared({"a": a}, clock=clock, ks=(7,), policies=policies)
    other = policies[1].with_section("bm25", k=10)
    with pytest.raises(InputError, match="differ in k"):
        compared({"a": a, "b": b}, clock=clock, ks=(7,), policies=[policies[0], other])


def test_a_policy_that_was_fitted_on_these_questions_is_not_taken():
    clock = Clock()
    scorer = timed(clock, gold)
    policy = fitted("seen", scorer)
    seen = type(policy)(
        name=policy.name, sections=policy.sections, provenance={"data": {"name": "small"}}
    )
    found = compared({"fake": scorer}, clock=clock, ks=(7,), policies=[seen])
    assert points(found)["fake", 7, "rerank"].call == "not_a_fair_test"
    assert found.taken is None and any("fitted on a data set" in note for note in found.notes)


class Relative(FakeScorer):
    """Scores a passage by the place it has in the list: no shorter list gets the same."""

    def _one(self, job, context):
        scores = super()._one(job, context)
        scores.values[:] += np.float32(len(job.texts))
        return scores


def test_a_scorer_that_looks_at_the_whole_list_reads_it_at_every_k():
    clock = Clock()
    relative = Relative(gold)
    result = compared({"fake": relative}, clock=clock, n=120)
    assert any("does not score each passage by itself" in note for note in result.notes)
    # 120 lists at K = 10, 5 and 7; beside them the timed ones, found to differ at 5 only.
    assert len(relative.jobs) > 120 + 120 + 100
    plain = FakeScorer(gold)
    notes = compared({"fake": plain}, clock=clock, n=240).notes
    assert not any("by itself" in note for note in notes)
    assert len(plain.jobs) == 240 + 2 * 120, "deepest list once, then a sample"


def test_lists_that_were_cut_are_ordered_as_if_they_had_been_read():
    clock = Clock()
    found = points(compared({"fake": timed(clock, gold)}, clock=clock, n=240))
    assert found["fake", 7, "rerank"].ndcg.mean == 1.0
    assert found["fake", 7, "rerank"].latency_ms.n == 120


def test_what_the_floor_does_wrong_stands_beside_every_point():
    """A floor that refuses nearly everything looked like any other row."""
    data = w.world(60, unanswerable=6)
    found = compare_scorers(
        data,
        w.stage_of(data),
        {"fake": w.knowing()},
        policies=[kit.policy(reranked=kit.model(), floor=Floor(refuse_below=0.9))],
        ks=(5, 10),
        settings=quick(),
    )
    result = kit.run(data, w.knowing(), policy=kit.policy(
        reranked=kit.model(), floor=Floor(refuse_below=0.9)), k=10, depth=20)  # fmt: skip
    for point in found.points:
        if point.k in (0, 10):
            arm = result.arms[point.arm]
            shares = (point.false_refusals, point.false_answers)
            assert shares == (arm.false_refusals, arm.false_answers), point.arm
            assert point.latency_ms.n == 60
    assert result.arms["policy"].false_answers.n == 6
    head, *rows = point_rows(found)
    assert {"refused wrongly", "answered wrongly"} <= set(head) and len(rows) == len(found.points)


def test_a_query_on_which_the_first_stage_fails_has_no_time_and_stays():
    data = w.world(60)
    stage = w.stage_of(data)

    def search(query, k):
        if query == data.queries["q7"]:
            raise ConnectionError("down")
        return stage.candidates(query, k)

    found = compare_scorers(
        data, as_first_stage(search), {"fake": w.knowing()}, ks=(5,), settings=quick()
    )
    assert found.n == 60 and {p.latency_ms.n for p in free(found)} == {59}


def test_wrong_comparisons():
    with pytest.raises(InputError, match="K of at least top_n"):
        compared({"fake": w.knowing()}, ks=(2, 3))
    with pytest.raises(InputError, match="needs a scorer"):
        compared({})


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(w.SCORERS)
    sys.modules.pop("mine", None)
    w.write_beir(tmp_path / "data", w.world(60))
    common = ["data", "--first-stage", "bm25", "--scorer", "mine:knowing", "--scorer",
              "mine:hating", "--k", "5,7", "--k", "10", "--price", "mine:knowing=2"]  # fmt: skip

    def invoke(*arguments, name="compare"):
        return CliRunner().invoke(build_app(), ["eval", name, *arguments])

    done = invoke(*common, "--json", "--out", "out")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert data["format"] == "rankgate-eval-compare" and len(data["points"]) == 2 + 2 * 3
    rows = list(csv.DictReader((tmp_path / "out" / "compare.csv").read_text().splitlines()))
    assert [(r["scorer"], int(r["k"]), r["arm"]) for r in rows] == [
        (p["scorer"], p["k"], p["arm"]) for p in data["points"]
    ]
    assert [r["take"] for r in rows].index("True") == data["taken"]
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "# Rerankers compared" in page and "| mine:knowing, 7 |" in page
    shown = invoke(*common)
    assert "Take mine:knowing at K =" in shown.stdout and "knee" in shown.stdout
    assert "2 USD for 1,000 searches" in shown.stdout
    assert invoke(*common, name="sweep").stdout.splitlines()[0] == shown.stdout.splitlines()[0]
    over = invoke(*common, "--budget-ms", "0.000001")
    assert over.exit_code == 0 and "Take none" in over.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "none"),
        (["data", "--k", "5,x"], "whole numbers above 0"),
        (["data", "--k", "0"], "whole numbers above 0"),
        (["data", "--k", "3"], "at least top_n (5), got [3]"),
        (["data", "--scorer", "a:b", "--scorer", "a:b"], "given twice"),
        (["data", "--scorer", "a:b", "--price", "c:d=1"], "names no scorer"),
    ],
)
def test_bad_input_is_told_before_anything_is_read(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    w.write_beir(tmp_path / "data", w.world(12))
    done = CliRunner().invoke(build_app(), ["eval", "compare", *arguments])
    assert done.exit_code == 2 and said in done.stderr
