"""`rankgate eval e2e DATA`: do the answers get better, and is that noise?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate_eval.cli.grouped import grouped
from rankgate_eval.cli.inputs import Inputs
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
    from rankgate.scorers.remote.secret import Secret
    from rankgate_eval.answers.endpoint import Endpoint
    from rankgate_eval.answers.generator import Generator
    from rankgate_eval.answers.judge import Judge
    from rankgate_eval.answers.questions import AskedQuestion
    from rankgate_eval.answers.result import EndToEnd

__all__ = ["end_to_end", "register"]

_EPILOG = (
    "Without --judge-model nothing is judged by a language model: answers are compared with "
    "reference answers. Exit codes: 0 ship, or ship behind the gate, or a dry run; 1 don't ship; "
    "2 wrong usage, setting, data or address; 3 not enough data; 70 a crash. A run that was "
    "stopped is continued by the same command; nothing in its log is paid for again."
)


def end_to_end(
    ctx: typer.Context,
    inputs: Inputs,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the result and the log of paid calls.")
    ],
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="The judge's name at its API.")
    ] = None,
    judge_base_url: Annotated[
        str | None,
        typer.Option("--judge-base-url", help="Of an OpenAI-compatible API, such as .../v1."),
    ] = None,
    judge_api_key_env: Annotated[
        str | None,
        typer.Option("--judge-api-key-env", help="Environment variable that holds its key."),
    ] = None,
    judge_mode: Annotated[
        str, typer.Option("--judge-mode", help="json, schema, tools or plain.")
    ] = "json",
    judge_params: Annotated[
        str | None,
        typer.Option("--judge-params", help="JSON of parameters to set; null leaves one out."),
    ] = None,
    embeddings_model: Annotated[
        str | None,
        typer.Option(
            "--embeddings-model",
            help="For answer relevancy, at the judge's API; without it all-MiniLM-L6-v2 here.",
        ),
    ] = None,
    embeddings_base_url: Annotated[
        str | None, typer.Option("--embeddings-base-url", help="Where it is not the judge's.")
    ] = None,
    strictness: Annotated[
        int, typer.Option("--strictness", min=1, help="Questions that answer relevancy samples.")
    ] = 3,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Judgings of each answer; 2 tells agreement.")
    ] = 1,
    generator: Annotated[
        str, typer.Option("--generator", help="extractive, openai or module:attribute.")
    ] = "extractive",
    generator_model: Annotated[
        str | None, typer.Option("--generator-model", help="With --generator openai.")
    ] = None,
    generator_base_url: Annotated[
        str | None, typer.Option("--generator-base-url", help="Where it is not the judge's.")
    ] = None,
    generator_api_key_env: Annotated[
        str | None,
        typer.Option("--generator-api-key-env", help="Environment variable that holds its key."),
    ] = None,
    generator_params: Annotated[
        str | None, typer.Option("--generator-params", help="JSON of parameters to set.")
    ] = None,
    refusal: Annotated[
        list[str] | None,
        typer.Option("--refusal", help="How your generator's refusals begin; repeatable."),
    ] = None,
    arms: Annotated[
        str, typer.Option("--arms", help="first_stage and at least one of rerank, policy.")
    ] = "first_stage,rerank,policy",
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="JSON lines of your own questions over DATA's corpus."),
    ] = None,
    split: SplitOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many questions, drawn.")
    ] = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: ScorerOption = None,
    policy: PolicyOption = None,
    k: KOption = None,
    top_n: TopNOption = None,
    field: FieldOption = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Of all runs into --out; needs --prices.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="TOML or JSON: prices a million tokens.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Calls on their way at once.")
    ] = 8,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds of one call.")] = 120.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count calls, tokens and cost; send nothing.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say whether answers get better behind the reranker, and what judging that costs."""
    with guarded(debug=debugging(ctx)) as tell:
        from rankgate.errors import ConfigError
        from rankgate.types import FirstStageKind
        from rankgate_eval.answers.endpoint import Endpoint, Model
        from rankgate_eval.answers.generator import ApiGenerator, choose_generator
        from rankgate_eval.answers.handover import hand_over
        from rankgate_eval.answers.judge import (
            DEFAULT_PARAMETERS,
            Judge,
            LocalEmbeddings,
            refuse_own_scorer,
        )
        from rankgate_eval.answers.prices import Prices
        from rankgate_eval.answers.questions import (
            questions_of,
            read_own_questions,
            sample_questions,
        )
        from rankgate_eval.answers.run import Spending, compare_answers, rehearse
        from rankgate_eval.answers.summary import Comparison
        from rankgate_eval.run.evaluation import as_policy
        from rankgate_eval.verdict.fairness import shared_questions

        def endpoint(
            role: str, model: str, url: str | None, key: str | None, params: str | None
        ) -> Endpoint:
            if url is None:
                raise ConfigError(
                    f"the {role} {model!r} needs an address: --{role}-base-url, such as "
                    "https://api.openai.com/v1 or http://127.0.0.1:11434/v1"
                )
            chat = {} if role == "embeddings" else DEFAULT_PARAMETERS
            return Endpoint(
                Model(
                    name=model,
                    base_url=url,
                    api_key=_key(key),
                    parameters={**chat, **_parameters(params, role)},
                    timeout_s=timeout,
                )
            )

        # Everything that may be wrong with the options, before anything takes time.
        known_prices = None if prices is None else Prices.load(prices)
        asked_judge: Judge | None = None
        if judge_model is not None:
            local = embeddings_model is None
            asked_judge = Judge(
                endpoint=endpoint(
                    "judge", judge_model, judge_base_url, judge_api_key_env, judge_params
                ),
                embeddings=LocalEmbeddings()
                if local
                else endpoint(
                    "embeddings",
                    str(embeddings_model),
                    judge_base_url if embeddings_base_url is None else embeddings_base_url,
                    judge_api_key_env,
                    None,
                ),
                mode=judge_mode,
                strictness=strictness,
                repeat=repeat,
            )
        elif judge_base_url is not None or repeat > 1:
            raise ConfigError("--judge-base-url and --repeat need --judge-model")
        writer: Generator
        if generator == "openai":
            if generator_model is None:
                raise ConfigError("--generator openai needs --generator-model")
            writer = ApiGenerator(
                endpoint(
                    "generator",
                    generator_model,
                    judge_base_url if generator_base_url is None else generator_base_url,
                    judge_api_key_env if generator_api_key_env is None else generator_api_key_env,
                    generator_params,
                ),
                refusals=refusal or (),
            )
        else:
            writer = choose_generator(generator, refusals=refusal or ())
        wanted = tuple(a.strip() for a in arms.split(",") if a.strip())

        dataset, _ = inputs.read()
        every = questions_of(dataset, split) if questions is None else read_own_questions(questions)
        asked = sample_questions(every, limit, seed=seed)
        tell("loading", 0, 1)
        chosen, _ = as_policy(policy)
        with inputs.open(
            dataset,
            scorers=(scorer,),
            policy=chosen,
            first_stage=first_stage,
            tell=tell,
        ) as under:
            if asked_judge is not None:
                refuse_own_scorer(str(judge_model), under.scorer.info.id)
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
        comparison = Comparison(
            after="policy" if "policy" in handed.arms else wanted[-1],
            fields=tuple(field or ()),
            seed=seed,
            extractive=generator == "extractive",
            unfair=shared.sentence if shared is not None and shared.unfair else None,
        )
        result = compare_answers(
            asked,
            handed.arms,
            generator=writer,
            judge=asked_judge,
            comparison=comparison,
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


def _key(variable: str | None) -> Secret | None:
    """The key in an environment variable that the user names; none is looked for otherwise."""
    from rankgate.errors import ConfigError
    from rankgate.scorers.remote.secret import Secret

    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"the environment variable {variable} that should hold a key is not set")
    return Secret(value)


def _parameters(text: str | None, role: str) -> dict[str, Any]:
    from rankgate.errors import ConfigError

    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"--{role}-params is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ConfigError(
            f"--{role}-params is a JSON object, such as '{{\"temperature\": null}}'; got {text!r}"
        )
    return value


def _made(
    name: str, split: str | None, available: int, handed: Any, asked: list[AskedQuestion]
) -> dict[str, Any]:
    """How it was made; no date, so that a resumed run writes what an unbroken one does."""
    from rankgate_eval.answers.calls import digest
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
    paths = write_report(whole, out)
    return [file, paths.html, paths.markdown]


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
