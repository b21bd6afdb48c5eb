"""`rankgate eval compare DATA`: several rerankers in one table, and which to take.

`rankgate eval sweep` is another name of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate.cli import grouped
from rankgate_eval.cli.evaluate import output_folder
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.options import (
    BudgetOption,
    FirstStageOption,
    JsonOption,
    LimitOption,
    SeedOption,
    SplitOption,
    TopNOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate.scorers import Scorer
    from rankgate_eval.comparison.points import Comparison
    from rankgate_eval.data.dataset import Dataset

_EPILOG = "Exit codes: 0 ok, whichever is to be taken; 2 wrong usage, setting or data; 70 a crash."


def compare_data(
    ctx: typer.Context,
    inputs: Inputs,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for compare.json, compare.md and compare.csv; else none is kept."
        ),
    ] = None,
    split: SplitOption = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: Annotated[
        list[str] | None, typer.Option(help="As in `rankgate eval DATA`; repeatable.")
    ] = None,
    k: Annotated[
        list[str] | None, typer.Option(help="Candidates to read, such as 20,50,100; repeatable.")
    ] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="Policy file, for the scorer that it was fitted for; repeatable."),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=USD[/UNIT]",
            help="Price of a scorer, named as in --scorer, for 1,000 searches; with /documents "
            "for 1,000 passages, with /tokens for 1,000,000 tokens. Repeatable.",
        ),
    ] = None,
    cpu_hour_usd: Annotated[
        float | None,
        typer.Option(min=0.0, help="Price of an hour of one processor, for local scorers."),
    ] = None,
    top_n: TopNOption = None,
    limit: LimitOption = None,
    budget_ms: BudgetOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare scorers at several K, with each other and with what needs none; say which to take."""
    with guarded(debug=debugging(ctx)) as tell, output_folder(out):
        from rankgate.policy import Policy
        from rankgate.scorers.build import DEFAULT_SCORER
        from rankgate_eval.comparison import tables
        from rankgate_eval.comparison.cost import parse_tariffs
        from rankgate_eval.comparison.measure import DEFAULT_KS, compare_scorers, readable
        from rankgate_eval.run.experiment import EvalSettings

        names = scorer if scorer else [DEFAULT_SCORER]
        _once(names)
        ks = _numbers(k) if k else DEFAULT_KS
        tariffs = parse_tariffs(price if price else (), names)
        policies = [Policy.load(file) for file in (policy if policy else ())]
        readable(ks, top_n, policies[0] if policies else None)  # before anything is encoded
        dataset, _ = inputs.read()
        dataset.query_ids(split)  # an unknown split is told before anything is encoded
        with inputs.open(
            dataset,
            scorers=tuple(names),
            policy=policies[0] if policies else None,
            first_stage=first_stage,
            tell=tell,
        ) as under:
            scorers = dict(zip(names, under.scorers.values(), strict=True))
            found = compare_scorers(
                dataset,
                under.stage,
                scorers,
                policies=policies,
                split=split,
                ks=ks,
                settings=EvalSettings(top_n=top_n, limit=limit, budget_ms=budget_ms, seed=seed),
                tariffs=tariffs,
                cpu_hour_usd=cpu_hour_usd,
                made=_made(dataset, split, seed, under.stage_words, scorers),
                tell=tell,
            )
        text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        files = []
        if out is not None:
            for suffix, content in (
                ("json", text + "\n"),
                ("md", tables.markdown(found)),
                ("csv", tables.csv_text(found)),
            ):
                files.append(out / f"compare.{suffix}")
                files[-1].write_text(content, "utf-8")
        tell.end()
        if as_json:
            typer.echo(text)
        else:
            typer.echo("\n".join(_lines(found)))
            if files:
                typer.echo("\nFiles: " + ", ".join(map(str, files)))


def _once(names: Sequence[str]) -> None:
    from rankgate.errors import InputError

    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--scorer {twice[0]} is given twice")


def _numbers(given: Sequence[str]) -> tuple[int, ...]:
    """`20,50` and `100` to (20, 50, 100)."""
    from rankgate.errors import InputError

    parts = [part.strip() for text in given for part in text.split(",")]
    wrong = [part for part in parts if not (part.isascii() and part.isdigit() and int(part) > 0)]
    if wrong:
        raise InputError(f"--k takes whole numbers above 0, such as 20,50,100; got {wrong[0]!r}")
    return tuple(int(part) for part in parts)


def _made(
    data: Dataset, split: str | None, seed: int, stage: str, scorers: dict[str, Scorer]
) -> dict[str, Any]:
    from rankgate_eval.verdict.provenance import run_record, scorer_made

    return {
        **run_record(typed_command(), seed=seed),
        "data": data.name,
        "split": split,
        "first_stage": stage,
        "scorers": {name: scorer_made(scorer.info) for name, scorer in scorers.items()},
    }


def _lines(found: Comparison) -> list[str]:
    from rankgate_eval.cli.summary import table_lines, wrapped
    from rankgate_eval.comparison import tables

    lines = ["Recall of the first stage by depth", "", *table_lines(tables.recall_rows(found))]
    lines += [*wrapped(found.recall_curve.knee_words, "  "), ""]
    lines += wrapped(
        f"{found.n} judged queries in {found.clusters} document groups. Gain: nDCG@10 minus the "
        f"baseline's, which is made of {found.baseline_k} candidates without a scorer.",
        "",
    )
    lines += ["", *table_lines(tables.point_rows(found)), ""]
    if found.pairs:
        lines += ["Between scorers", "", *table_lines(tables.pair_rows(found.pairs)), ""]
    lines += wrapped(found.sentence, "")
    lines += wrapped(found.rule, "Rule: ")
    for told in tables.costs_in_words(found.points):
        lines += wrapped(told, "")
    for note in found.notes:
        lines += wrapped(note, "Note: ")
    return lines


def register(group: typer.Typer) -> None:
    """Add the command, under both of its names."""
    command = grouped(compare_data)
    group.command("compare", epilog=_EPILOG)(command)
    group.command("sweep", epilog=_EPILOG, help="Another name of `compare`.")(command)
