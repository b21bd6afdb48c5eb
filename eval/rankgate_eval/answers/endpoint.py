"""One OpenAI-compatible address, asked through the `openai` client, which repeats what may pass.

Everything that a server can do becomes a `Reply` (paid for, to be kept), a `CallFailed` (this
sample is missing), or an `EndpointError` (nothing can work). Nothing here parses content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankgate.errors import ConfigError, MissingExtraError
from rankgate.scorers.remote.secret import Secret
from rankgate_eval.answers.prices import Usage, most_tokens
from rankgate_eval.errors import CallFailed, EndpointError

if TYPE_CHECKING:
    import httpx
    import openai

__all__ = ["Endpoint", "Model", "Reply"]

_HOPELESS = {
    401: "the key was refused; --judge-api-key-env and --generator-api-key-env name the "
    "environment variable that holds it",
    403: "the key may not use this model",
    404: "no such model or address; check the model's name and the base URL (it usually ends in "
    "/v1)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model at an address, and how it is asked; what its answers depend on.

    Attributes:
        name: at the API.
        base_url: such as `http://127.0.0.1:11434/v1`.
        parameters: of every call, such as temperature and max_tokens. None as a value leaves
            a default parameter out, for models that refuse it.
        api_key: never shown; None for a server that wants none.
        timeout_s: of one attempt.
        max_retries: how often a call is repeated that was answered 408, 409, 429 or 5xx, or not
            at all; at least 0. The client waits as Retry-After says, up to two minutes.
    """

    name: str
    base_url: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    api_key: Secret | None = None
    timeout_s: float = 120.0
    max_retries: int = 6

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"a base URL starts with http:// or https://, got {self.base_url!r}; for OpenAI "
                "itself it is https://api.openai.com/v1"
            )
        if not self.name:
            raise ConfigError("the model's name is empty")
        if not self.timeout_s > 0.0:
            raise ConfigError(f"a timeout must be above 0 seconds, got {self.timeout_s}")
        if self.max_retries < 0:
            raise ConfigError(f"max_retries must be at least 0, got {self.max_retries}")

    @property
    def asked_with(self) -> dict[str, Any]:
        """The parameters of every call, those left out left out."""
        return {k: v for k, v in self.parameters.items() if v is not None}

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on; part of every key. The key of the API is not in it."""
        return {
            "model": self.name,
            "base_url": self.base_url.rstrip("/"),
            "parameters": self.asked_with,
        }

    @property
    def most_output(self) -> int:
        """The most tokens that an answer may have; a guess of 8,192 where nothing bounds it."""
        for name in ("max_completion_tokens", "max_tokens"):
            value = self.parameters.get(name)
            if value is not None:
                return int(value)
        return 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back and has to be paid for.

    Attributes:
        data: what the API answered; where that was no JSON object, its beginning as `garbage`.
        usage: tokens.
    """

    data: Mapping[str, Any]
    usage: Usage


class Endpoint:
    """Sends calls to one model; one object an event loop.

    Args:
        model: which, where, how.
        transport: what carries the requests; None: the network.
    """

    def __init__(self, model: Model, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.model = model
        self._transport = transport
        self._client: openai.AsyncOpenAI | None = None

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """One chat completion.

        Raises:
            CallFailed: it failed for good.
            EndpointError: nothing can work here.
        """
        bound = Usage(input=chat_tokens(body), output=self.model.most_output, counted=False)
        return await self._post("/chat/completions", body, bound)

    async def embed(self, body: Mapping[str, Any]) -> Reply:
        """Embeddings of one text.

        Raises:
            CallFailed: it failed for good.
            EndpointError: nothing can work here.
        """
        bound = Usage(input=sum(map(most_tokens, body["input"])), counted=False)
        return await self._post("/embeddings", body, bound)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _post(self, path: str, body: Mapping[str, Any], bound: Usage) -> Reply:
        client = self._connected()
        import httpx
        import openai

        keyless = self.model.api_key is None
        where = f"{self.model.name} at {self.model.base_url}"
        try:
            # As it stands: `create` would refuse parameters that only other servers know, and
            # raise on an answer that is paid for and not of the API's shape.
            response = await client.post(
                path,
                cast_to=httpx.Response,
                body=dict(body),
                options={"headers": {"Authorization": openai.Omit()}} if keyless else {},
            )
        except openai.APITimeoutError as exc:
            raise CallFailed("timeout", f"{where}: after {self.model.timeout_s:g} s") from exc
        except openai.APIStatusError as exc:
            # Not `from exc`: what the server said may hold the key, and a traceback would show it.
            raise self._complaint(where, exc.status_code, exc.response.text) from None
        except openai.APIConnectionError as exc:
            raise CallFailed("connection", f"{where}: {exc.__cause__ or exc}") from exc
        return _read(response.text, bound)

    def _complaint(self, where: str, status: int, text: str) -> CallFailed | EndpointError:
        said = " ".join(text.split())[:300]
        if self.model.api_key is not None:
            said = self.model.api_key.scrubbed(said)
        if status in _HOPELESS:
            return EndpointError(f"{where}: HTTP {status}, {_HOPELESS[status]} ({said})")
        hint = ""
        if status < 500 and ("max_tokens" in said or "temperature" in said):
            hint = (
                "; where the model refuses a parameter, leave it out, such as --judge-params "
                '\'{"temperature": null, "max_tokens": null, "max_completion_tokens": 8192}\''
            )
        return CallFailed(f"http_{status}", f"{where}: HTTP {status} ({said}){hint}")

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            try:
                import httpx
                import openai
            except ImportError as exc:
                raise MissingExtraError("a judge or generator over HTTP", "e2e") from exc
            key = self.model.api_key
            self._client = openai.AsyncOpenAI(
                base_url=self.model.base_url,
                api_key="none" if key is None else key.reveal(),
                timeout=self.model.timeout_s,
                max_retries=self.model.max_retries,
                http_client=None
                if self._transport is None
                else httpx.AsyncClient(transport=self._transport),
            )
            # It reads these from the environment, and nothing of that is to be sent.
            self._client.organization = self._client.project = None
        return self._client


def chat_tokens(body: Mapping[str, Any]) -> int:
    """An upper bound of the tokens that a chat's request is read as."""
    parts = ("messages", "tools", "response_format")
    return sum(most_tokens(json.dumps(body[p], ensure_ascii=False)) for p in parts if p in body)


def _read(text: str, bound: Usage) -> Reply:
    """Usage as the server counted it; our upper bound where it did not."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Reply(data={"garbage": text[:500]}, usage=bound)
    try:
        counted = data["usage"]
        read = int(counted["prompt_tokens"])
        return Reply(data=data, usage=Usage(input=read, output=_written(counted)))
    except (KeyError, TypeError, ValueError):
        return Reply(data=data, usage=bound)


def _written(counted: Mapping[str, Any]) -> int:
    value = counted.get("completion_tokens")
    return 0 if value is None else int(value)
