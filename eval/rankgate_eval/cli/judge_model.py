"""`rankgate judge --llm-judge`: what it will cost, the question whether, and what came of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate_eval.cli.judging import endpoint_of
from rankgate_eval.cli.progress import Teller

if TYPE_CHECKING:
    from rankgate_eval.judging import Session

__all__ = ["ModelOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Options of the model that judges what people have no time for."""

    llm_judge: Annotated[
        bool,
        typer.Option(
            "--llm-judge",
            help="Have a model judge every question; people's labels rectify what it says.",
        ),
    ] = False
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="The model's name at its API.")
    ] = None
    judge_base_url: Annotated[
        str | None,
        typer.Option("--judge-base-url", help="Of an OpenAI-compatible API, such as .../v1."),
    ] = None
    judge_api_key_env: Annotated[
        str | None,
        typer.Option("--judge-api-key-env", help="Environment variable that holds its key."),
    ] = None
    judge_params: Annotated[
        str | None,
        typer.Option("--judge-params", help="JSON of parameters to set; null leaves one out."),
    ] = None
    prices: Annotated[
        Path | None, typer.Option("--prices", help="TOML or JSON: prices a million tokens.")
    ] = None
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Of all calls for a session; needs --prices.")
    ] = None
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Calls on their way at once.")
    ] = 8
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds of one call.")] = 120.0
    yes: Annotated[
        bool, typer.Option("--yes", help="Send without asking, once the cost is said.")
    ] = False

    def fill(self, session: Session, tell: Teller) -> None:
        """Say what it costs, ask whether, and have the model judge.

        Raises:
            ConfigError: an option is missing or wrong.
            EndpointError: nothing can work there.
            Exit: somebody said no.
        """
        from rankgate.errors import ConfigError
        from rankgate_eval.answers.endpoint import Prices
        from rankgate_eval.answers.judge import refuse_own_scorer
        from rankgate_eval.judging.model import estimate, fill

        if self.judge_model is None:
            raise ConfigError("--llm-judge needs --judge-model and --judge-base-url")
        refuse_own_scorer(self.judge_model, str(session.made.get("scorer", "")))
        known = Prices() if self.prices is None else Prices.load(self.prices)
        endpoint = endpoint_of(
            "judge",
            self.judge_model,
            self.judge_base_url,
            self.judge_api_key_env,
            self.judge_params,
            self.timeout,
        )
        calls, usage, cost = estimate(session, self.judge_model, known)
        said = "unknown, for want of --prices" if cost is None else f"{cost:.4f} {known.currency}"
        typer.echo(
            f"{calls} calls to {self.judge_model} at {self.judge_base_url}, about {usage.input} "
            f"tokens read and {usage.output} written: cost {said}. Questions and passages leave "
            "this machine for it; what is paid for already is not sent again.",
            err=True,
        )
        if calls and not self.yes:
            if not sys.stdin.isatty():
                raise ConfigError("nobody is there to be asked: say --yes to send it")
            if not typer.confirm("Send?", err=True):
                raise typer.Exit(0)
        found = fill(
            session,
            endpoint,
            folder=session.file.with_name(session.file.name + ".calls"),
            prices=known,
            max_cost=self.max_cost,
            concurrency=self.concurrency,
            tell=tell,
        )
        tell.end()
        spent = "" if found.cost is None else f", {found.cost:.4f} {found.currency} spent in all"
        typer.echo(f"{found.judged} questions are judged by the model{spent}.", err=True)
        for reason, count in sorted(found.missing.items()):
            typer.echo(f"  {count} it could not ({reason}): a guess of no change.", err=True)
        if found.stopped is not None:
            typer.echo(f"  Stopped: {found.stopped}.", err=True)
