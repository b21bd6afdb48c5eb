"""`rankgate eval DATA`: measure, decide, and write the report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rankgate.cli import grouped
from rankgate.errors import InputError
from rankgate_eval.cli.group import DEFAULT, DefaultCommand
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.options import (
    BudgetOption,
    FieldOption,
    FirstStageOption,
    JsonOption,
    KOption,
    LimitOption,
    OutOption,
    PolicyOption,
    PriorOption,
    ScorerOption,
    SeedOption,
    SplitOption,
    TopNOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate_eval.result.result import Result
    from rankgate_eval.verdict.runs import RunsResult

_EPILOG = (
    "Exit codes: 0 ship, or ship behind the gate; 1 don't ship; 2 wrong usage, setting or data; "
    "3 not enough data; 4 no fair test: the policy's own questions, or lists that are upside down; "
    "70 a crash. A folder called like a command is given as ./compare."
)


def evaluate_data(
    ctx: typer.Context,
    inputs: Inputs,
    out: OutOption,
    split: SplitOption = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: ScorerOption = None,
    policy: PolicyOption = None,
    k: KOption = None,
    top_n: TopNOption = None,
    limit: LimitOption = None,
    field: FieldOption = None,
    budget_ms: BudgetOption = None,
    prior: PriorOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure whether a reranker helps on DATA, and say: ship, behind the gate, or don't."""
    with guarded(debug=debugging(ctx)) as tell, output_folder(out):
        if inputs.run is not None and len(inputs.run) > 1:
            unused = {
                "--scorer": scorer,
                "--policy": policy,
                "--k": k,
                "--budget-ms": budget_ms,
                "--prior": prior,
                "--id-key": inputs.id_key,
                "--system": inputs.system,
                "--collection": inputs.collection,
            }
            compared = _compare_runs(
                inputs,
                out,
                unused=[name for name, given in unused.items() if given is not None],
                split=split,
                as_json=as_json,
                tell=tell,
                top_n=top_n,
                limit=limit,
                fields=tuple(field or ()),
                seed=seed,
            )
            raise typer.Exit(compared.exit_code)
        dataset, report = inputs.read()
        answers = _answers(out, dataset.name, split)
        tell("loading", 0, 1)
        from rankgate_eval.evaluation import evaluate

        result = evaluate(
            dataset,
            stage=inputs.stage(dataset),
            scorer=scorer,
            policy=policy,
            split=split,
            first_stage=first_stage,
            id_key=inputs.id_key,
            cache=inputs.folder,
            report=report,
            command=typed_command(),
            tell=tell,
            runs=out / "runs",
            k=k,
            top_n=top_n,
            limit=limit,
            fields=tuple(field or ()),
            budget_ms=budget_ms,
            prior=prior,
            seed=seed,
        )
        if answers is not None:
            result = result.with_end_to_end(answers)
        result.save(out / "result.json")
        tell("writing the report", 0, 1)
        written = [out / "result.json", *_report(result, out), out / "runs"]
        tell.end()
        if as_json:
            typer.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        else:
            from rankgate_eval.cli.summary import summary_lines

            typer.echo("\n".join(summary_lines(result, written)))
    raise typer.Exit(result.exit_code)


def _compare_runs(
    inputs: Inputs,
    out: Path,
    *,
    unused: list[str],
    split: str | None,
    as_json: bool,
    tell: Any,
    **changes: Any,
) -> RunsResult:
    """Several runs: nothing is retrieved or scored."""
    from rankgate_eval.data.readers.run import read_run
    from rankgate_eval.report.runs import write_runs
    from rankgate_eval.run.experiment import EvalSettings, choose_queries
    from rankgate_eval.verdict.provenance import run_record
    from rankgate_eval.verdict.runs import compare_runs

    files = inputs.run or []
    if unused:
        raise InputError(
            f"several runs are compared as they are, so {unused[0]} has no part in it: leave it "
            "out, or give one --run, which is then the first stage"
        )
    dataset = inputs.read_for_runs()
    choose_queries(dataset, split, changes["limit"], fields=changes["fields"])
    runs = [
        read_run(
            file,
            passages=dataset.corpus if dataset.corpus else None,
            queries=dataset.queries,
            texts_needed=False,
        )
        for file in files
    ]
    if len({run.name for run in runs}) < len(runs):
        runs = [replace(run, name=str(file)) for run, file in zip(runs, files, strict=True)]
    tell("computing statistics", 0, 1)
    settings = EvalSettings(**changes)
    result = compare_runs(
        dataset,
        runs,
        split=split,
        settings=settings,
        made={
            **run_record(typed_command(), seed=settings.seed),
            "data": dataset.name,
            "split": split,
            "runs": {run.name: str(file) for run, file in zip(runs, files, strict=True)},
        },
    )
    written = write_runs(result, out)
    tell.end()
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
    else:
        from rankgate_eval.cli.summary import runs_lines

        typer.echo("\n".join(runs_lines(result, written)))
    return result


@contextlib.contextmanager
def output_folder(out: Path | None) -> Iterator[None]:
    """The folder, if one is wanted, made at once: an hour later is too late to fail.

    What was made and stayed empty is taken away again.

    Raises:
        InputError: it cannot be made.
    """
    if out is None:
        yield
        return
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"--out {out} cannot be made: {exc}") from exc
    try:
        yield
    finally:
        if new and not any(out.iterdir()):
            out.rmdir()


def _answers(out: Path, data: str, split: str | None) -> dict[str, Any] | None:
    """What `rankgate eval e2e` left in the folder, for the same report.

    Raises:
        InputError: it is of other data.
    """
    file = out / "end_to_end.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    made = found.get("made", {})
    if (made.get("data"), made.get("split")) != (data, split):
        raise InputError(
            f"{out} holds the answers of {made.get('data')}, split {made.get('split')}, and this "
            f"is {data}, split {split}: give another --out"
        )
    return found


def _report(result: Result, out: Path) -> list[Path]:
    from rankgate_eval.report import write_report

    return write_report(result, out).files


def register(group: typer.Typer) -> None:
    """Add the command as the group's default."""
    group.command(DEFAULT, cls=DefaultCommand, hidden=True, epilog=_EPILOG)(grouped(evaluate_data))
