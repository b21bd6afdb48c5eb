"""`rankgate eval e2e DATA`: do the answers get better, and is that noise?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate.cli import grouped
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.judging import GeneratorOptions, JudgeOptions
from rankgate_eval.cli.options import (
    FieldOption,
    FirstStageOption,
    JsonOption,
    KOption,
    PolicyOption,
    ScorerOption,
    SeedOption,
    SplitOption,
    TopNOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate_eval.answers.questions import AskedQuestion
    from rankgate_eval.answers.result import EndToEnd

_EPILOG = (
    "Without a judge answers are compared with reference answers alone; --judge local has a small "
    "model on this machine judge them, --judge-model one at an address. Exit codes: 0 ship, or "
    "ship behind the gate, or a dry run; 1 don't ship; 2 wrong usage, setting, data or address; 3 "
    "not enough data; 4 no fair test; 70 a crash. A run that was stopped is continued by the same "
    "command; nothing in its log is paid for again."
)


def end_to_end(
    ctx: typer.Context,
    inputs: Inputs,
    out: Annotated[Path, typer.Option(help="Folder for the result and the log of paid calls.")],
    judge: JudgeOptions,
    generator: GeneratorOptions,
    arms: Annotated[
        str, typer.Option(help="first_stage and at least one of rerank, policy.")
    ] = "first_stage,rerank,policy",
    questions: Annotated[
        Path | None, typer.Option(help="JSON lines of your own questions over DATA's corpus.")
    ] = None,
    split: SplitOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions, drawn.")
    ] = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: ScorerOption = None,
    policy: PolicyOption = None,
    k: KOption = None,
    top_n: TopNOption = None,
    field: FieldOption = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Of all runs into --out; needs --prices.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="TOML or JSON: prices a million tokens.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls on their way at once.")] = 8,
    timeout: Annotated[float, typer.Option(help="Seconds of one call.")] = 120.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count calls, tokens and cost; send nothing.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say whether answers get better behind the reranker, and what judging that costs."""
    with guarded(debug=debugging(ctx)) as tell:
        from rankgate.types import FirstStageKind
        from rankgate_eval.answers.handover import check_arms, hand_over
        from rankgate_eval.answers.questions import (
            questions_of,
            read_own_questions,
            sample_questions,
        )
        from rankgate_eval.answers.result import Comparison
        from rankgate_eval.answers.run import Spending, compare_answers, rehearse
        from rankgate_eval.evaluation import as_policy
        from rankgate_eval.paid.endpoint import Prices
        from rankgate_eval.verdict.fairness import shared_questions

        # Everything that may be wrong with the options, before anything takes time.
        known_prices = None if prices is None else Prices.load(prices)
        asked_judge = judge.made(timeout)
        writer = generator.made(judge, timeout)
        wanted = tuple(a.strip() for a in arms.split(",") if a.strip())

        check_arms(wanted)
        dataset, _ = inputs.read()
        every = (
            questions_of(dataset, split)
            if questions is None
            else read_own_questions(questions, data=dataset)
        )
        asked = sample_questions(every, limit, seed=seed)
        comparison = Comparison(
            judged=() if asked_judge is None else asked_judge.names,
            after="policy" if "policy" in wanted else wanted[-1],
            fields=tuple(field or ()),
            seed=seed,
            extractive=generator.generator == "extractive",
        )
        comparison.check(asked, wanted)
        tell("loading", 0, 1)
        chosen, _ = as_policy(policy)
        with inputs.open(
            dataset, scorers=(scorer,), policy=chosen, first_stage=first_stage, tell=tell
        ) as under:
            if asked_judge is not None:
                asked_judge = asked_judge.beside(under.scorer)
            handed = hand_over(
                under.stage,
                dataset,
                asked,
                scorer=under.scorer,
                policy=chosen,
                k=k,
                top_n=top_n,
                arms=wanted,
                tell=tell,
            )
        if dry_run:
            found = rehearse(
                asked,
                handed.arms,
                generator=writer,
                judge=asked_judge,
                folder=out,
                prices=known_prices,
            )
            tell.end()
            typer.echo(json.dumps(found, indent=1) if as_json else _estimate_text(found))
            return
        shared = shared_questions(
            handed.policy,
            FirstStageKind(handed.first_stage),
            [q.text for q in asked],
            name=dataset.name,
            split=split,
        )
        result = compare_answers(
            asked,
            handed.arms,
            generator=writer,
            judge=asked_judge,
            comparison=replace(
                comparison, unfair=shared.sentence if shared is not None and shared.unfair else None
            ),
            folder=out,
            spending=Spending(max_cost=max_cost, prices=known_prices, concurrency=concurrency),
            skip_rate=handed.skip_rate,
            made=_made(dataset.name, split, len(every), handed, asked),
            tell=tell,
        )
        written = [*result.save(out), *_added_to_report(result, out)]
        tell.end()
        if as_json:
            typer.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        else:
            from rankgate_eval.report.answers_markdown import terminal_lines

            lines = [*terminal_lines(result.section), "", *(str(path) for path in written)]
            typer.echo("\n".join(lines))
    raise typer.Exit(result.exit_code)


def _made(
    name: str, split: str | None, available: int, handed: Any, asked: list[AskedQuestion]
) -> dict[str, Any]:
    """How it was made; no date, so that a resumed run writes what an unbroken one does."""
    from rankgate_eval.paid.calls import digest
    from rankgate_eval.verdict.provenance import git_state, hardware, package_version

    commit, changed = git_state()
    return {
        "command": typed_command(),
        "version": package_version(),
        "commit": commit if commit is None or not changed else f"{commit} with changes",
        "hardware": hardware(),
        "data": name,
        "split": split,
        "questions": f"{len(asked)} of {available}",
        "questions_sha256": digest([[q.id, q.text] for q in asked]),
        "scorer": handed.scorer,
        "policy": handed.policy.name,
        "first_stage": handed.first_stage,
        "k": handed.k,
        "top_n": handed.top_n,
    }


def _added_to_report(result: EndToEnd, out: Path) -> list[Path]:
    """Into the result and report of `rankgate eval`, where one stands in the same folder."""
    file = out / "result.json"
    if not file.is_file():
        return []
    from rankgate_eval.report import write_report
    from rankgate_eval.result.result import Result

    whole = Result.load(file).with_end_to_end(result.to_dict())
    whole.save(file)
    return [file, *write_report(whole, out).files]


def _estimate_text(found: dict[str, Any]) -> str:
    lines = ["Dry run, nothing was sent."]
    for role, row in found["roles"].items():
        cost = "no price" if row["cost"] is None else f"{row['cost']:.4f} {found['currency']}"
        lines.append(
            f"  {role} {row['model']}: {row['calls']} calls, {row['input_tokens']} tokens read, "
            f"{row['output_tokens']} written: {cost}"
        )
    total = (
        "unknown, give --prices"
        if found["cost"] is None
        else (f"{found['cost']:.4f} {found['currency']}")
    )
    lines.append(f"  in all {found['calls']} calls, cost {total}")
    if found["already_paid"]:
        lines.append(f"  {found['already_paid']} calls are in the log already and not sent again")
    lines.append(f"  assumed: {'; '.join(found['assumptions'])}")
    return "\n".join(lines)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("e2e", epilog=_EPILOG)(grouped(end_to_end))
