"""Measure again as an earlier result was measured, and test that nothing became worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.evaluation import evaluate
from rankgate_eval.result.result import Result
from rankgate_eval.run.experiment import choose_queries
from rankgate_eval.verdict.check import CheckResult, compare_results, in_both

if TYPE_CHECKING:
    from rankgate.policy import Policy


def check(
    data: Dataset | str | Path,
    baseline: Result | str | Path,
    *,
    stage: Any = None,
    scorer: Any = None,
    policy: Policy | str | Path | None = None,
    first_stage: str | None = None,
    margin: float | None = None,
    **given: Any,
) -> CheckResult:
    """Whether the policy's ranking is as good as it was.

    Split, K, top_n, limit and seed are the baseline's.

    Args:
        data: a data set, or the path of one.
        baseline: an earlier result, or its file.
        stage, scorer, policy: as `evaluate` takes them.
        first_stage: kind of index; None: the baseline's.
        margin: mean loss that is tolerated; see `compare_results`.
        **given: `id_key`, `cache`, `report`, `command` and `tell` of `evaluate`.

    Raises:
        InputError: the baseline has none of these queries, or an argument cannot be used.
        DatasetError, SystemFailedError, PolicyError: as `evaluate`.
    """
    before = baseline if isinstance(baseline, Result) else Result.load(baseline)
    if margin is not None and not margin > 0.0:
        raise InputError(f"margin must be above 0, got {margin}")
    if not isinstance(data, Dataset):
        data, given["report"] = load_dataset(data)
    asked, _ = choose_queries(data, before.data.split, before.data.limit)
    in_both(before, {q: data.queries[q] for q in asked})  # before anything is encoded
    # With a system of one's own the kind is not read.
    kind = "hybrid" if before.made.kind == "order" else before.made.kind
    after = evaluate(
        data,
        stage=stage,
        scorer=scorer,
        policy=policy,
        split=before.data.split,
        first_stage=kind if first_stage is None else first_stage,
        k=before.made.k,
        top_n=before.made.top_n,
        depth=before.made.depth,
        limit=before.data.limit,
        seed=before.made.seed,
        **given,
    )
    return compare_results(before, after, margin=margin, seed=before.made.seed)
