"""One OpenAI-compatible address: chat completions and embeddings over httpx, retried.

Everything that a server can do is turned into a `Reply` (paid for, to be logged), a `CallFailed`
(this sample is missing), or an `EndpointError` (nothing can work). Nothing here parses content.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError, MissingExtraError
from rankgate.scorers.remote.secret import Secret
from rankgate_eval.answers.errors import CallFailed, EndpointError
from rankgate_eval.answers.limits import Retries, Usage, jitter, most_tokens, retry_after

if TYPE_CHECKING:
    import httpx

__all__ = ["Endpoint", "Model", "Reply", "pack_vector", "unpack_vector"]

_HOPELESS = {
    401: "the key was refused; --judge-api-key-env and --generator-api-key-env name the "
    "environment variable that holds it",
    403: "the key may not use this model",
    404: "no such model or address; check the model's name and the base URL (it usually ends in "
    "/v1)",
}
_AGAIN = (408, 409, 425, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model at an address, and how it is asked; what its answers depend on.

    Attributes:
        name: at the API.
        base_url: such as `http://127.0.0.1:11434/v1`.
        parameters: of every call, such as temperature and max_tokens. None as a value leaves
            a default parameter out, for models that refuse it.
        api_key: never shown; None for a server that wants none.
        timeout_s: of one call.
    """

    name: str
    base_url: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    api_key: Secret | None = None
    timeout_s: float = 120.0

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

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on; part of every key. The key of the API is not in it."""
        return {
            "model": self.name,
            "base_url": self.base_url.rstrip("/"),
            "parameters": {k: v for k, v in self.parameters.items() if v is not None},
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
        data: plain data for the ledger: `text`, `finish`, `refusal` of a chat, `vectors` of
            embeddings, or `garbage` where the answer was not of the API's shape.
        usage: tokens.
    """

    data: Mapping[str, Any]
    usage: Usage


class Endpoint:
    """Sends calls to one model; one object an event loop.

    Args:
        model: which, where, how.
        retries: None: the defaults.
        draw: in [0, 1), of the pauses.
    """

    def __init__(
        self,
        model: Model,
        *,
        retries: Retries | None = None,
        draw: Callable[[], float] = jitter,
    ) -> None:
        self.model = model
        self.retries = Retries() if retries is None else retries
        self.sent = 0
        self._draw = draw
        self._quiet_until = 0.0
        self._client: httpx.AsyncClient | None = None

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """One chat completion.

        Raises:
            CallFailed: it failed for good.
            EndpointError: nothing can work here.
        """
        raw = await self._post("chat/completions", body)
        bound = Usage(
            input=most_tokens(json.dumps(body.get("messages"), ensure_ascii=False)),
            output=self.model.most_output,
            counted=False,
        )
        answer = _parsed(raw)
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            calls = message.get("tool_calls") or []
            text = calls[0]["function"]["arguments"] if calls else message.get("content")
            data = {
                "text": text if isinstance(text, str) else "",
                "finish": choice.get("finish_reason"),
                "refusal": message.get("refusal"),
            }
        except (KeyError, IndexError, TypeError, AttributeError):
            return Reply(data={"garbage": raw[:500]}, usage=_usage(answer, bound))
        return Reply(data=data, usage=_usage(answer, bound))

    async def embed(self, texts: Sequence[str]) -> Reply:
        """Embeddings of a few texts, as base64 float32 in `vectors`.

        Raises:
            CallFailed: it failed for good.
            EndpointError: nothing can work here.
        """
        body = {**self.model.identity["parameters"], "model": self.model.name, "input": list(texts)}
        raw = await self._post("embeddings", body)
        bound = Usage(input=sum(most_tokens(t) for t in texts), counted=False)
        answer = _parsed(raw)
        try:
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors = [np.asarray(row["embedding"], dtype=np.float32) for row in rows]
            good = len(vectors) == len(texts) and len({v.shape for v in vectors}) == 1
            if not good or vectors[0].ndim != 1 or not all(np.isfinite(v).all() for v in vectors):
                raise ValueError
        except (KeyError, TypeError, ValueError, IndexError):
            return Reply(data={"garbage": raw[:500]}, usage=_usage(answer, bound))
        return Reply(
            data={"vectors": [pack_vector(v) for v in vectors]}, usage=_usage(answer, bound)
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _post(self, path: str, body: Mapping[str, Any]) -> str:
        """The body of a 200 answer."""
        import httpx

        client = self._connected()
        attempt = 0
        while True:
            attempt += 1
            await self._silence()
            asked: float | None = None
            try:
                self.sent += 1
                response = await client.post(path, json=dict(body))
                if response.status_code == 200:
                    return response.text
                reason, detail = self._complaint(response)
                asked = retry_after(response.headers.get("retry-after"))
                if response.status_code == 429 and asked is not None:
                    self._be_quiet(min(asked, self.retries.patience_s))
            except httpx.TimeoutException as exc:
                reason, detail = "timeout", f"{type(exc).__name__} after {self.model.timeout_s:g} s"
            except httpx.HTTPError as exc:
                # Also an answer that broke off: httpx notices that bytes are lacking.
                reason, detail = "connection", f"{type(exc).__name__}: {exc}"
            pause = self.retries.pause(attempt, asked, self._draw)
            if pause is None:
                raise CallFailed(
                    reason,
                    f"{self.model.name} at {self.model.base_url}, attempt {attempt}: {detail}",
                )
            await asyncio.sleep(pause)

    def _complaint(self, response: httpx.Response) -> tuple[str, str]:
        """Reason and detail of a status worth repeating; raises for any other."""
        status = response.status_code
        said = " ".join(response.text.split())[:300]
        if self.model.api_key is not None:
            said = self.model.api_key.scrubbed(said)
        where = f"{self.model.name} at {self.model.base_url}: HTTP {status}"
        if status in _HOPELESS:
            raise EndpointError(f"{where}, {_HOPELESS[status]} ({said})")
        if status not in _AGAIN and status < 500:
            hint = ""
            if "max_tokens" in said or "temperature" in said:
                hint = (
                    "; where the model refuses a parameter, leave it out, such as --judge-params "
                    '\'{"temperature": null, "max_tokens": null, "max_completion_tokens": 8192}\''
                )
            raise CallFailed(f"http_{status}", f"{where} ({said}){hint}")
        return f"http_{status}", said

    def _be_quiet(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._quiet_until = max(self._quiet_until, until)

    async def _silence(self) -> None:
        """Wait as long as a 429 has asked everybody to."""
        wait = self._quiet_until - asyncio.get_running_loop().time()
        if wait > 0.0:
            await asyncio.sleep(wait)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                import httpx
            except ImportError as exc:
                raise MissingExtraError("a judge or generator over HTTP", "e2e") from exc
            headers = {"User-Agent": "rankgate"}
            if self.model.api_key is not None:
                headers["Authorization"] = f"Bearer {self.model.api_key.reveal()}"
            self._client = httpx.AsyncClient(
                base_url=self.model.base_url.rstrip("/") + "/",
                headers=headers,
                timeout=self.model.timeout_s,
                limits=httpx.Limits(max_connections=None),
            )
        return self._client


def pack_vector(vector: npt.NDArray[np.float32]) -> str:
    """A vector as text, for the ledger."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def unpack_vector(text: str) -> list[float]:
    """The inverse of `pack_vector`."""
    values: list[float] = np.frombuffer(base64.b64decode(text), dtype="<f4").tolist()
    return values


def _parsed(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _usage(answer: Any, bound: Usage) -> Usage:
    """As the server counted; our upper bound where it did not."""
    try:
        counted = answer["usage"]
        read = int(counted["prompt_tokens"])
        return Usage(input=read, output=int(counted.get("completion_tokens") or 0))
    except (KeyError, TypeError, ValueError):
        return bound
