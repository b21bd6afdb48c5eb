"""`rankgate eval check` and `drift`: is the policy as good as it was, are questions the same?"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate.cli import grouped
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.options import (
    JsonOption,
    PolicyOption,
    ScorerOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate_eval.verdict.check import CheckResult

_EPILOG = (
    "Exit codes: 0 not worse beyond the margin; 1 worse; 2 wrong usage, setting or data; 3 not "
    "enough data to exclude a loss of the margin; 70 a crash. Split, kind of index, K, top_n, "
    "limit and seed are the baseline's."
)
_DRIFT_EPILOG = "Exit codes: 0 no drift seen; 1 drift; 2 wrong usage or log; 3 not enough data."
_OUTCOMES = {
    "pass": "PASS: not worse than the baseline by {:g} or more",
    "fail": "FAIL: worse than the baseline",
    "not_enough_data": "NOT ENOUGH DATA to exclude a loss of {:g}",
}
_SHOWN = 20


def check_data(
    ctx: typer.Context,
    inputs: Inputs,
    baseline: Annotated[Path, typer.Option(help="The result.json of an earlier `rankgate eval`.")],
    margin: Annotated[
        float | None,
        typer.Option(
            help="Mean loss that is tolerated, in nDCG and recall; usually 0.02, or as little as "
            "so many queries can exclude."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result.json and check.json.")] = None,
    first_stage: Annotated[
        str | None, typer.Option(help="Kind of index; usually the baseline's.")
    ] = None,
    scorer: ScorerOption = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure again, and test that the policy's ranking has not become worse."""
    with guarded(debug=debugging(ctx)) as tell:
        from rankgate_eval.regression import check

        if margin is not None and not margin > 0.0:
            raise typer.BadParameter(f"a margin is above 0, got {margin}", param_hint="--margin")
        dataset, report = inputs.read()
        checked = check(
            dataset,
            baseline,
            stage=inputs.stage(dataset),
            scorer=scorer,
            policy=policy,
            first_stage=first_stage,
            margin=margin,
            id_key=inputs.id_key,
            cache=inputs.folder,
            report=report,
            command=typed_command(),
            tell=tell,
        )
        text = json.dumps(checked.to_dict(), indent=1, allow_nan=False)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            checked.result.save(out / "result.json")
            (out / "check.json").write_text(text + "\n", "utf-8")
        tell.end()
        typer.echo(text if as_json else "\n".join(_lines(checked)))
    raise typer.Exit(checked.exit_code)


def _lines(checked: CheckResult) -> list[str]:
    from rankgate_eval.cli.summary import wrapped

    lines = wrapped(_OUTCOMES[checked.outcome].format(checked.margin), "")
    if checked.widened:
        lines += wrapped(
            f"So few queries exclude no loss below {checked.margin:g}, even where nothing changes: "
            "the usual margin of 0.02 is widened to that. Name yours with --margin.",
            "  - ",
        )
    for reason in checked.reasons:
        lines += wrapped(reason, "  - ")
    lines += [
        "",
        f"{checked.n} queries in {checked.clusters} document groups are in both; "
        f"{len(checked.gone)} gone, {len(checked.new)} new",
    ]
    names = list(checked.changes)
    for move in checked.moved[:_SHOWN]:
        moved = ", ".join(f"{m} {move.before[m]:.3f} -> {move.after[m]:.3f}" for m in names)
        lines += wrapped(f"{move.query_id}: {moved}: {move.query[:80]}", "  ")
    if not checked.moved:
        lines.append("No query moved.")
    elif len(checked.moved) > _SHOWN:
        lines.append(f"  ... and {len(checked.moved) - _SHOWN} more (--json)")
    for warning in checked.warnings:
        lines += wrapped(warning, "Note: ")
    return lines


def drift(
    ctx: typer.Context,
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Question logs.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="The log that the policy was fitted on, such as --from-log's."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Compare what was asked from this day on (UTC)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare this month's questions with those that the policy was fitted on."""
    with guarded(debug=debugging(ctx)):
        from rankgate_eval.stats.drift import LEAST, compare_logs, read_log, split_at

        if (against is None) == (since is None):
            raise typer.BadParameter("give either --against LOG or --since DAY")
        rows = read_log(logs)
        before, now = (
            split_at(rows, since.date()) if since is not None else (read_log(against or []), rows)
        )
        found = compare_logs(before, now)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        raise typer.Exit(found.exit_code)
    typer.echo(f"{found.before} conversations before, {found.now} now.")
    typer.echo(
        {
            "drift": "DRIFT: the questions are no longer those of then; calibrate again.",
            "no_drift": "NO DRIFT seen.",
            "not_enough_data": f"NOT ENOUGH DATA: {LEAST} conversations on either side are needed.",
        }[found.outcome]
    )
    for s in found.shifts[:_SHOWN]:
        mark = "*" if s.drifted else " "
        typer.echo(
            f"{mark} {s.name:24} {s.before:9.3f} -> {s.now:9.3f}   p {s.p:.3g}   "
            f"stability {s.stability:.2f}"
        )
    raise typer.Exit(found.exit_code)


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("check", epilog=_EPILOG)(grouped(check_data))
    group.command("drift", epilog=_DRIFT_EPILOG)(drift)
