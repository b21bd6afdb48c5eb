"""`rankgate eval sweep DATA`: how many candidates to read, with which scorer, for which latency."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate_eval.cli.grouped import grouped
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.options import (
    BudgetOption,
    FirstStageOption,
    JsonOption,
    LimitOption,
    PolicyOption,
    SeedOption,
    SplitOption,
    TopNOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate_eval.data.dataset import Dataset
    from rankgate_eval.run.sweep import SweepPoint, SweepResult

__all__ = ["register", "sweep_data"]

_EPILOG = "Exit codes: 0 ok; 2 wrong usage, setting or data; 70 a crash."


def sweep_data(
    ctx: typer.Context,
    inputs: Inputs,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for sweep.json; without it none is kept.")
    ] = None,
    split: SplitOption = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: Annotated[
        list[str] | None,
        typer.Option("--scorer", help="As in `rankgate eval DATA`; repeatable."),
    ] = None,
    k: Annotated[
        list[int] | None,
        typer.Option("--k", min=1, help="Candidates to read; repeatable; usually 5 to 100."),
    ] = None,
    policy: PolicyOption = None,
    top_n: TopNOption = None,
    limit: LimitOption = None,
    budget_ms: BudgetOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show recall by depth, and what each K costs and brings with each scorer."""
    with guarded(debug=debugging(ctx)) as tell:
        dataset, _ = inputs.read()
        from rankgate_eval.run.evaluation import as_policy
        from rankgate_eval.run.experiment import EvalSettings
        from rankgate_eval.run.sweep import DEFAULT_KS, run_sweep

        chosen, _ = as_policy(policy)
        dataset.query_ids(split)  # an unknown split is told before anything is encoded
        with inputs.open(
            dataset,
            scorers=tuple(scorer) if scorer else (None,),
            policy=chosen,
            first_stage=first_stage,
            tell=tell,
        ) as under:
            result = run_sweep(
                dataset,
                under.stage,
                list(under.scorers.values()),
                policy=chosen,
                split=split,
                ks=tuple(k) if k else DEFAULT_KS,
                settings=EvalSettings(top_n=top_n, limit=limit, budget_ms=budget_ms, seed=seed),
                made=_made(dataset, split, seed, under.stage_words),
                tell=tell,
            )
        text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "sweep.json").write_text(text + "\n", "utf-8")
        tell.end()
        if as_json:
            typer.echo(text)
            return
        typer.echo("\n".join(_lines(result)))
        if out is not None:
            typer.echo(f"\nFiles: {out / 'sweep.json'}")


def _made(data: Dataset, split: str | None, seed: int, stage: str) -> dict[str, Any]:
    from rankgate_eval.verdict.provenance import git_state, hardware, now, package_version

    commit, dirty = git_state()
    return {
        "command": typed_command(),
        "version": package_version(),
        "commit": commit,
        "dirty": dirty,
        "seed": seed,
        "hardware": hardware(),
        "python": platform.python_version(),
        "date": now(),
        "data": data.name,
        "split": split,
        "first_stage": stage,
    }


def _lines(result: SweepResult) -> list[str]:
    from rankgate_eval.cli.summary import table_lines, wrapped

    curve = result.recall_curve
    lines = ["Recall of the first stage by depth", ""]
    lines += table_lines(
        [
            ["depth", *(str(p.depth) for p in curve.points)],
            ["recall", *(f"{p.recall:.3f}" for p in curve.points)],
        ]
    )
    knee = "no knee" if curve.knee is None else f"knee at {curve.knee}"
    lines += wrapped(f"{knee} ({curve.method})", "  ")
    top = f"recall@{result.top_n}"
    rows = [["scorer, K", "arm", "nDCG@10", top, "skipped", "p50 ms", "p95 ms", ""]]
    for position, point in enumerate(result.points):
        marks = ["best"] if position == result.best else []
        marks += ["enough"] if position == result.enough else []
        rows.append([*_cells(point), ", ".join(marks)])
    lines += ["", f"{result.n} judged queries in {result.clusters} document groups", ""]
    lines += table_lines(rows)
    lines.append("")
    if result.best is None:
        lines += wrapped(f"Nothing keeps the budget of {result.budget_ms:g} ms at p95.", "")
    else:
        inside = "" if result.budget_ms is None else f" inside {result.budget_ms:g} ms at p95"
        lines += wrapped(
            f"best: highest nDCG@10{inside}. enough: the fastest whose nDCG@10 is within one "
            "standard error of it.",
            "",
        )
    for note in result.notes:
        lines += wrapped(note, "Note: ")
    return lines


def _cells(point: SweepPoint) -> list[str]:
    latency = point.latency_ms
    return [
        f"{point.scorer}, {point.k}" if point.scorer else "none",
        point.arm.replace("_", " "),
        f"{point.ndcg.mean:.3f}",
        f"{point.recall.mean:.3f}",
        f"{point.skip_rate:.0%}",
        "-" if latency.p50 is None else f"{latency.p50:.0f}",
        "-" if latency.p95 is None else f"{latency.p95:.0f}",
    ]


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("sweep", epilog=_EPILOG)(grouped(sweep_data))
