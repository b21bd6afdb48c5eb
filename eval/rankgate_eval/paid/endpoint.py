"""One OpenAI-compatible address, asked through the `openai` client, and what its calls may cost.

Everything that a server can do becomes a `Reply` (paid for, to be kept), a `CallFailed` (this
sample is missing), or an `EndpointError` (nothing can work). Nothing here parses content.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.scorers.remote.secret import Secret
from rankgate_eval.errors import BudgetReached, CallFailed, EndpointError

if TYPE_CHECKING:
    import httpx
    import openai


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call.

    Attributes:
        input: tokens read.
        output: tokens written.
        counted: whether the server counted them; otherwise they are an upper bound of ours.
    """

    input: int = 0
    output: int = 0
    counted: bool = True


class Price(BaseModel):
    """Of a model, in the user's currency, for a million tokens."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    input: float = Field(ge=0.0)
    output: float = Field(default=0.0, ge=0.0)


class Prices(BaseModel):
    """Prices by model.

    Attributes:
        models: model name to price.
        currency: for display.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, Price] = Field(default_factory=dict)
    currency: str = "USD"

    @classmethod
    def load(cls, file: str | Path) -> Prices:
        """Read a TOML or JSON file: `currency`, and a table `models` of model to prices.

        Example:
            ```toml
            currency = "EUR"
            [models."gpt-4o-mini"]
            input = 0.15   # a million tokens
            output = 0.60
            ```

        Raises:
            ConfigError: it cannot be read, or is of another shape.
        """
        path = Path(file)
        try:
            text = path.read_text("utf-8")
            return cls.model_validate(
                json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
            )
        except ValidationError as exc:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
                for e in exc.errors(include_url=False)
            )
            raise ConfigError(
                f"{path}: expected `currency` and a table `models` of model to input and output "
                f"prices of a million tokens, none below 0; {wrong}"
            ) from exc
        except (OSError, ValueError) as exc:
            raise ConfigError(f"cannot read the prices {path}: {exc}") from exc

    def of(self, model: str, usage: Usage) -> float | None:
        """What a call cost; None where the model has no price."""
        price = self.models.get(model)
        if price is None:
            return None
        return (usage.input * price.input + usage.output * price.output) / 1e6


class Budget:
    """Refuses a call that might cost more than is left.

    A call's worst case is set aside before it is sent and settled when its usage is known, so
    that the sum of what was paid never passes the limit, however many calls are on their way.

    Args:
        limit: in the currency of the prices; None: no limit.
        prices: of every model that is called, where there is a limit.
        spent: by earlier runs over the same ledger.

    Raises:
        InputError: the limit is not a positive number.
    """

    def __init__(
        self, limit: float | None = None, *, prices: Prices | None = None, spent: float = 0.0
    ) -> None:
        if limit is not None and not (math.isfinite(limit) and limit > 0.0):
            raise InputError(f"--max-cost must be a positive number, got {limit}")
        self.limit = limit
        self.prices = Prices() if prices is None else prices
        self.spent = spent
        self._reserved: list[float] = []

    @property
    def outstanding(self) -> bool:
        """Whether a priced call is on its way."""
        return bool(self._reserved)

    def check_models(self, models: Mapping[str, str]) -> None:
        """Raise where a limit is set and a model has no price; `models` maps role to model.

        Raises:
            ConfigError: a price is missing.
        """
        if self.limit is None:
            return
        for role, model in models.items():
            if model not in self.prices.models:
                raise ConfigError(
                    f"--max-cost needs the price of the {role}'s model {model!r}: name it in the "
                    "file given as --prices (a model of your own costs input = 0.0)"
                )

    def reserve(self, model: str, worst: Usage) -> float:
        """Set the worst case aside; returns it, for `settle`.

        Raises:
            BudgetReached: it does not fit.
        """
        cost = self.prices.of(model, worst)
        if cost is None or self.limit is None:
            return 0.0
        # A hair of room: a sum of costs that equals the limit on paper may pass it by rounding.
        if self.spent + math.fsum(self._reserved) + cost > self.limit * (1.0 + 1e-12):
            raise BudgetReached(
                f"{self.spent:.4f} {self.prices.currency} are spent of {self.limit:g}, and the "
                f"next call may cost {cost:.4f}"
            )
        self._reserved.append(cost)
        return cost

    def settle(self, model: str, reserved: float, usage: Usage | None) -> None:
        """Replace what was set aside by what it cost; None: the call gave nothing to pay for."""
        if reserved in self._reserved:
            self._reserved.remove(reserved)
        if usage is not None:
            cost = self.prices.of(model, usage)
            self.spent += 0.0 if cost is None else cost


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: no byte-level tokeniser makes more than one a byte."""
    return len(text.encode("utf-8", "surrogatepass")) + 16


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
        base_url: such as `http://127.0.0.1:11434/v1`.
        parameters: of every call, such as temperature and max_tokens. None as a value leaves
            a default parameter out, for models that refuse it.
        api_key: never shown; None for a server that wants none.
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
        self._reached = False

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
            self._reached = True
            # Not `from exc`: what the server said may hold the key, and a traceback would show it.
            raise self._complaint(where, exc.status_code, exc.response.text) from None
        except openai.APIConnectionError as exc:
            if isinstance(exc.__cause__, httpx.ConnectError) and not self._reached:
                # Nobody was there, retries included: the next question would find nobody either.
                raise EndpointError(
                    f"{where} cannot be reached ({exc.__cause__}): is the server running, and is "
                    "the address right?"
                ) from exc
            raise CallFailed("connection", f"{where}: {exc.__cause__ or exc}") from exc
        self._reached = True
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
        written = counted.get("completion_tokens")
        usage = Usage(input=read, output=0 if written is None else int(written))
    except (KeyError, TypeError, ValueError):
        usage = bound
    return Reply(data=data, usage=usage)
