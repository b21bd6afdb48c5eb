"""Options that name judge, generator and the model of `judge`, and what is made of them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate.errors import ConfigError
from rankgate_eval.cli.progress import Teller

if TYPE_CHECKING:
    from rankgate.scorers.remote.secret import Secret
    from rankgate_eval.answers.generator import Generator
    from rankgate_eval.answers.judge import AnswerJudge
    from rankgate_eval.judging import Session
    from rankgate_eval.paid.endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAddress:
    """Options that say which model judges, and where."""

    judge_model: Annotated[str | None, typer.Option(help="The judge's name at its API.")] = None
    judge_base_url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible API, such as .../v1.")
    ] = None
    judge_api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds its key.")
    ] = None
    judge_params: Annotated[
        str | None, typer.Option(help="JSON of parameters to set; null leaves one out.")
    ] = None

    def judge_endpoint(self, timeout: float) -> Endpoint:
        """The judge's endpoint.

        Raises:
            ConfigError: an option is missing or wrong.
        """
        if self.judge_model is None:
            raise ConfigError("a model that judges needs --judge-model and --judge-base-url")
        return endpoint_of(
            "judge",
            self.judge_model,
            self.judge_base_url,
            self.judge_api_key_env,
            self.judge_params,
            timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions(JudgeAddress):
    """Options of the judge and its embeddings."""

    judge: Annotated[
        str | None,
        typer.Option(help="local: rankgate's own judge on this machine; no key, no network."),
    ] = None
    judge_mode: Annotated[str, typer.Option(help="json, schema, tools or plain.")] = "json"
    embeddings_model: Annotated[
        str | None,
        typer.Option(
            help="For answer relevancy, at the judge's API; without it all-MiniLM-L6-v2 here."
        ),
    ] = None
    embeddings_base_url: Annotated[
        str | None, typer.Option(help="Where it is not the judge's.")
    ] = None
    strictness: Annotated[
        int, typer.Option(min=1, help="Questions that answer relevancy samples.")
    ] = 3
    repeat: Annotated[
        int, typer.Option(min=1, help="Judgings of each answer; 2 tells agreement.")
    ] = 1

    def made(self, timeout: float) -> AnswerJudge | None:
        """The judge; None where none is named.

        Raises:
            ConfigError: an option is missing or wrong.
            InputError: no such mode.
        """
        from rankgate_eval.answers.judge import Judge, LocalEmbeddings

        if self.judge is not None:
            from rankgate_eval.answers.local_judge import LocalJudge

            if self.judge != "local":
                raise ConfigError(
                    f"--judge takes local, got {self.judge!r}; a model at an address is named by "
                    "--judge-model and --judge-base-url"
                )
            if self.judge_model is not None or self.judge_base_url is not None:
                raise ConfigError("--judge local and --judge-model are two judges: give one")
            if self.repeat > 1:
                raise ConfigError("--judge local says the same every time: leave --repeat out")
            return LocalJudge()
        if self.judge_model is None:
            if self.judge_base_url is not None or self.repeat > 1:
                raise ConfigError("--judge-base-url and --repeat need --judge-model")
            return None
        embeddings: Any = LocalEmbeddings()
        if self.embeddings_model is not None:
            url = self.embeddings_base_url
            embeddings = endpoint_of(
                "embeddings",
                self.embeddings_model,
                self.judge_base_url if url is None else url,
                self.judge_api_key_env,
                None,
                timeout,
            )
        return Judge(
            endpoint=self.judge_endpoint(timeout),
            embeddings=embeddings,
            mode=self.judge_mode,
            strictness=self.strictness,
            repeat=self.repeat,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorOptions:
    """Options of the generator."""

    generator: Annotated[str, typer.Option(help="extractive, openai or module:attribute.")] = (
        "extractive"
    )
    generator_model: Annotated[str | None, typer.Option(help="With --generator openai.")] = None
    generator_base_url: Annotated[str | None, typer.Option(help="Where it is not the judge's.")] = (
        None
    )
    generator_api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds its key.")
    ] = None
    generator_params: Annotated[str | None, typer.Option(help="JSON of parameters to set.")] = None
    refusal: Annotated[
        list[str] | None, typer.Option(help="How your generator's refusals begin; repeatable.")
    ] = None

    def made(self, judge: JudgeOptions, timeout: float) -> Generator:
        """The generator; at the judge's address and with its key unless it has its own.

        Raises:
            ConfigError: an option is missing or wrong.
            InputError: no such generator.
        """
        from rankgate_eval.answers.generator import ApiGenerator, choose_generator

        refusals = () if self.refusal is None else self.refusal
        if self.generator != "openai":
            return choose_generator(self.generator, refusals=refusals)
        if self.generator_model is None:
            raise ConfigError("--generator openai needs --generator-model")
        url, key = self.generator_base_url, self.generator_api_key_env
        endpoint = endpoint_of(
            "generator",
            self.generator_model,
            judge.judge_base_url if url is None else url,
            judge.judge_api_key_env if key is None else key,
            self.generator_params,
            timeout,
        )
        return ApiGenerator(endpoint, refusals=refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(JudgeAddress):
    """Options of the model that judges what people have no time for."""

    llm_judge: Annotated[
        bool,
        typer.Option(
            "--llm-judge",
            help="Have a model judge every question; people's labels rectify what it says.",
        ),
    ] = False
    prices: Annotated[Path | None, typer.Option(help="TOML or JSON: prices a million tokens.")] = (
        None
    )
    max_cost: Annotated[
        float | None, typer.Option(help="Of all calls for a session; needs --prices.")
    ] = None
    concurrency: Annotated[int, typer.Option(min=1, help="Calls on their way at once.")] = 8
    timeout: Annotated[float, typer.Option(help="Seconds of one call.")] = 120.0
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
        from rankgate_eval.answers.judge import refuse_own_scorer
        from rankgate_eval.judging.model import estimate, fill
        from rankgate_eval.paid.endpoint import Prices

        if self.judge_model is None:
            raise ConfigError("--llm-judge needs --judge-model and --judge-base-url")
        refuse_own_scorer(self.judge_model, str(session.made.get("scorer", "")))
        known = Prices() if self.prices is None else Prices.load(self.prices)
        endpoint = self.judge_endpoint(self.timeout)
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


def endpoint_of(
    role: str,
    model: str,
    url: str | None,
    key: str | None,
    params: str | None = None,
    timeout: float = 120.0,
) -> Endpoint:
    """A model at the address that an option names.

    Raises:
        ConfigError: no address, a key's variable that is not set, or parameters that are no JSON.
    """
    from rankgate_eval.answers.judge import DEFAULT_PARAMETERS
    from rankgate_eval.paid.endpoint import Endpoint, Model

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


def _key(variable: str | None) -> Secret | None:
    """The key in an environment variable that the user names; none is looked for otherwise."""
    from rankgate.scorers.remote.secret import Secret

    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"the environment variable {variable} that should hold a key is not set")
    return Secret(value)


def _parameters(text: str | None, role: str) -> dict[str, Any]:

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
