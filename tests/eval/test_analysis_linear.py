"""The analysis looks at each query a fixed number of times, counted, not timed."""

from __future__ import annotations

from dataclasses import replace

from planted import plant

from rankgate_eval.result.rows import DataResult, Made, PolicyMade
from rankgate_eval.run.experiment import EvalSettings, run_experiment
from rankgate_eval.run.system import as_first_stage
from rankgate_eval.verdict.analysis import analyse

MADE = Made(
    command="test",
    version="0",
    commit=None,
    dirty=False,
    seed=0,
    hardware="",
    python="",
    date="",
    seconds=0.0,
    scorer={},
    policy=PolicyMade(name="", source="", sha256="", kind="dense", provenance={}),
    first_stage="",
    kind="dense",
    fusions=(),
    k=20,
    depth=20,
    top_n=5,
    folds=5,
    resamples=100,
    permutations=99,
)


def looked_up(n):
    """How often `analyse` looks up a query id among n queries."""
    count = 0

    class Id(str):
        __slots__ = ()

        def __hash__(self):
            nonlocal count
            count += 1
            return str.__hash__(self)

    world = plant("gated", 0, queries=n)
    measured = run_experiment(
        world.data,
        as_first_stage(world.stage, data=world.data),
        world.scorer,
        policy=world.policy,
        split=None,
        settings=EvalSettings(resamples=100, permutations=99, budget_ms=1e6),
    )
    counted = replace(measured, judged=tuple(Id(q) for q in measured.judged))
    count = 0
    report = DataResult(
        name="",
        split=None,
        judged=n,
        unjudged=0,
        limit=None,
        groups=1,
        largest_group=1,
        counts={},
        warning_counts={},
        warnings=(),
        fingerprint="",
    )
    result = analyse(counted, made=MADE, report=report)
    assert result.n == n and result.verdict == "ship_behind_gate"
    return count


def test_twice_the_queries_are_twice_the_look_ups():
    few, many = looked_up(120), looked_up(240)
    assert few > 120 and many <= 2.2 * few
