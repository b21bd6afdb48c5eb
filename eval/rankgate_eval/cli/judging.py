"""Options that name the judge and the generator, and what is made of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate.errors import ConfigError

if TYPE_CHECKING:
    from rankgate.scorers.remote.secret import Secret
    from rankgate_eval.answers.endpoint import Endpoint
    from rankgate_eval.answers.generator import Generator
    from rankgate_eval.answers.judge import Judge

__all__ = ["GeneratorOptions", "JudgeOptions", "endpoint_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """Options of the judge and its embeddings."""

    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="The judge's name at its API.")
    ] = None
    judge_base_url: Annotated[
        str | None,
        typer.Option("--judge-base-url", help="Of an OpenAI-compatible API, such as .../v1."),
    ] = None
    judge_api_key_env: Annotated[
        str | None,
        typer.Option("--judge-api-key-env", help="Environment variable that holds its key."),
    ] = None
    judge_mode: Annotated[
        str, typer.Option("--judge-mode", help="json, schema, tools or plain.")
    ] = "json"
    judge_params: Annotated[
        str | None,
        typer.Option("--judge-params", help="JSON of parameters to set; null leaves one out."),
    ] = None
    embeddings_model: Annotated[
        str | None,
        typer.Option(
            "--embeddings-model",
            help="For answer relevancy, at the judge's API; without it all-MiniLM-L6-v2 here.",
        ),
    ] = None
    embeddings_base_url: Annotated[
        str | None, typer.Option("--embeddings-base-url", help="Where it is not the judge's.")
    ] = None
    strictness: Annotated[
        int, typer.Option("--strictness", min=1, help="Questions that answer relevancy samples.")
    ] = 3
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Judgings of each answer; 2 tells agreement.")
    ] = 1

    def made(self, timeout: float) -> Judge | None:
        """The judge; None where none is named.

        Raises:
            ConfigError: an option is missing or wrong.
            InputError: no such mode.
        """
        from rankgate_eval.answers.judge import Judge, LocalEmbeddings

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
            endpoint=endpoint_of(
                "judge",
                self.judge_model,
                self.judge_base_url,
                self.judge_api_key_env,
                self.judge_params,
                timeout,
            ),
            embeddings=embeddings,
            mode=self.judge_mode,
            strictness=self.strictness,
            repeat=self.repeat,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorOptions:
    """Options of the generator."""

    generator: Annotated[
        str, typer.Option("--generator", help="extractive, openai or module:attribute.")
    ] = "extractive"
    generator_model: Annotated[
        str | None, typer.Option("--generator-model", help="With --generator openai.")
    ] = None
    generator_base_url: Annotated[
        str | None, typer.Option("--generator-base-url", help="Where it is not the judge's.")
    ] = None
    generator_api_key_env: Annotated[
        str | None,
        typer.Option("--generator-api-key-env", help="Environment variable that holds its key."),
    ] = None
    generator_params: Annotated[
        str | None, typer.Option("--generator-params", help="JSON of parameters to set.")
    ] = None
    refusal: Annotated[
        list[str] | None,
        typer.Option("--refusal", help="How your generator's refusals begin; repeatable."),
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


def endpoint_of(
    role: str, model: str, url: str | None, key: str | None, params: str | None, timeout: float
) -> Endpoint:
    """A model at an address, as the options of its role name them.

    Raises:
        ConfigError: the address, the key or the parameters are missing or wrong.
    """
    from rankgate_eval.answers.endpoint import Endpoint, Model
    from rankgate_eval.answers.judge import DEFAULT_PARAMETERS

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
