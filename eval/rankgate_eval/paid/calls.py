"""Every paid call goes through here: from the store if it is there, else sent, kept, returned.

A call's key hashes what its answer depends on (kind, model, address, parameters, messages) and a
salt that tells wanted repetitions apart: the n-th sample of one prompt, a second judging. Two
tasks that want the same call share it. An answer is on the disk before anything is made of it, so
whoever kills the run loses at most the calls that were on their way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate_eval.errors import BudgetReached, CallFailed, EndpointError
from rankgate_eval.paid.endpoint import (
    Budget,
    Endpoint,
    Prices,
    Reply,
    Usage,
    chat_tokens,
    most_tokens,
)

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Store = MutableMapping[str, str]
"""Key of a call to what was answered, as JSON."""

_HOPELESS_AFTER = 12
_ATTEMPTS = 3


def digest(value: Any) -> str:
    """Sha256 of plain data, the same for equal data whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextlib.contextmanager
def open_store(folder: str | Path | None) -> Iterator[Store]:
    """The answers kept in a folder; None: in memory, gone with the block.

    Raises:
        ConfigError: another run has it open, or it is damaged or cannot be written.
        MissingExtraError: diskcache is not installed.
    """
    if folder is None:
        yield {}
        return
    path = Path(folder)
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            _lock(stack.enter_context((path / "lock").open("a")), path)
        except OSError as exc:
            raise ConfigError(f"the folder {path} of kept answers cannot be used: {exc}") from exc
        try:
            yield stack.enter_context(_opened(path))
        except sqlite3.DatabaseError as exc:
            raise ConfigError(
                f"the answers kept in {path} cannot be used: {exc}. Restore the folder, or give "
                "another --out; everything would be paid for again."
            ) from exc


def _opened(path: Path) -> Any:
    try:
        import diskcache
    except ImportError as exc:
        raise MissingExtraError("a store of paid answers", "e2e") from exc

    class TextOnly(diskcache.Disk):  # type: ignore[misc]
        """Reads plain values only: unpickling what somebody put there would run their code."""

        def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
            if mode != diskcache.core.MODE_RAW or filename is not None:
                raise sqlite3.DatabaseError("it holds a row that is not ours")
            return value

    # A cache may forget; what was paid for may not. So nothing is evicted, rows stay in the
    # database instead of beside it, and a commit returns only when it is on the disk.
    return diskcache.Cache(
        str(path),
        disk=TextOnly,
        eviction_policy="none",
        cull_limit=0,
        disk_min_file_size=2**31 - 1,
        sqlite_synchronous=2,
    )


def _lock(file: Any, path: Path) -> None:
    """The store is safe for several processes; two runs would still both send what is not in it."""
    try:
        import fcntl
    except ImportError:  # not on Windows; there two runs into one folder are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise ConfigError(
            f"another run is writing to {path}: wait for it, or give another --out"
        ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a call is for; kept beside its answer for whoever reads it.

    Attributes:
        role: `generator`, `judge` or `embeddings`.
        metric: the metric, or `answer`.
    """

    role: str
    sample: str
    metric: str


class Calls:
    """Sends what is not in the store, a bounded number at a time.

    Args:
        budget: None: no limit.
        concurrency: calls on their way at once, at least 1; also how many a kill can lose.

    Attributes:
        paid: calls of this run that were answered.
        keys: of the calls that this run wanted, in the order of wanting.
    """

    def __init__(self, store: Store, *, budget: Budget | None = None, concurrency: int = 8) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency must be at least 1, got {concurrency}")
        self.store = store
        self.budget = Budget() if budget is None else budget
        self.concurrency = concurrency
        self.paid = 0
        self.keys: dict[str, None] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._settled = asyncio.Condition()
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._failures = 0

    async def chat(
        self, endpoint: Endpoint, body: Mapping[str, Any], *, salt: Any = None, purpose: Purpose
    ) -> ChatCompletion:
        """The answer to a chat completion, finished and not refused.

        An answer that is not of the API's shape is a completion whose content is what came.

        Raises:
            CallFailed: there is none, or it was refused, filtered or cut off.
            EndpointError: nothing can work there.
        """
        worst = Usage(input=chat_tokens(body), output=endpoint.model.most_output)
        key = {"kind": "chat", **endpoint.model.identity, "body": body, "salt": salt}
        asked = digest(body)
        send = self._sending(endpoint, worst, lambda: endpoint.chat(body))
        return _finished(await self._once(digest(key), asked, endpoint.model.name, purpose, send))

    async def embed(
        self, endpoint: Endpoint, text: str, *, salt: Any = None, purpose: Purpose
    ) -> list[float]:
        """The vector of one text.

        Raises:
            CallFailed: there is none.
            EndpointError: nothing can work there.
        """
        model = endpoint.model
        body = {**model.asked_with, "model": model.name, "input": [text]}
        send = self._sending(endpoint, Usage(input=most_tokens(text)), lambda: endpoint.embed(body))
        data: Mapping[str, Any] = {}
        for attempt in range(_ATTEMPTS):
            key = {"kind": "embeddings", **model.identity, "input": text, "salt": [salt, attempt]}
            data = await self._once(digest(key), digest(body), model.name, purpose, send)
            vector = _vector(data)
            if vector is not None:
                return vector
        raise CallFailed("invalid", f"not an answer of the embeddings API: {str(data)[:120]!r}")

    async def local(
        self, key: Any, make: Callable[[], Awaitable[Mapping[str, Any]]], *, purpose: Purpose
    ) -> Mapping[str, Any]:
        """What an in-process generator answered, kept like any other answer.

        Raises:
            CallFailed: it raised.
        """

        async def made() -> Reply:
            return Reply(data=await make(), usage=Usage())

        return await self._once(digest(key), None, None, purpose, made)

    def row(self, key: str) -> Mapping[str, Any] | None:
        """What is kept under a key; None where nothing was paid for it."""
        text = self.store.get(key)
        return None if text is None else cast("Mapping[str, Any]", json.loads(text))

    async def _once(
        self,
        key: str,
        asked: str | None,
        model: str | None,
        purpose: Purpose,
        send: Callable[[], Awaitable[Reply]],
    ) -> Mapping[str, Any]:
        """From the store; else sent once for all tasks that want it at the same time."""
        self.keys[key] = None
        known = self.row(key)
        if known is not None:
            return cast("Mapping[str, Any]", known["data"])
        waiting = self._waiting.get(key)
        if waiting is not None:
            return await asyncio.shield(waiting)

        async def kept() -> Mapping[str, Any]:
            async with self._slots:
                reply = await send()
                # On the disk before anybody sees it; what is not there is paid for again.
                self.store[key] = _row(reply, asked, model, purpose)
            self.paid += 1
            self._failures = 0
            return reply.data

        self._waiting[key] = asyncio.ensure_future(kept())
        try:
            return await self._waiting[key]
        finally:
            del self._waiting[key]

    def _sending(
        self, endpoint: Endpoint, worst: Usage, send: Callable[[], Awaitable[Reply]]
    ) -> Callable[[], Awaitable[Reply]]:
        """Send within the budget."""
        model = endpoint.model.name

        async def sent() -> Reply:
            reserved = await self._reserved(model, worst)
            usage: Usage | None = None
            try:
                reply = await send()
                usage = reply.usage
            except CallFailed as exc:
                self._note_failure(exc)
                raise
            finally:
                self.budget.settle(model, reserved, usage)
                async with self._settled:
                    self._settled.notify_all()
            return reply

        return sent

    async def _reserved(self, model: str, worst: Usage) -> float:
        """Set a worst case aside; what others have set aside may come back, so wait for it.

        Raises:
            BudgetReached: nothing is on its way, and it still does not fit.
        """
        async with self._settled:
            while True:
                try:
                    return self.budget.reserve(model, worst)
                except BudgetReached:
                    if not self.budget.outstanding:
                        raise
                await self._settled.wait()

    def _note_failure(self, exc: CallFailed) -> None:
        """A server that has never answered is not asked about every sample."""
        self._failures += 1
        if self.paid == 0 and self._failures >= _HOPELESS_AFTER:
            raise EndpointError(
                f"the first {self._failures} calls all failed and none succeeded; the last one: "
                f"{exc}"
            ) from exc

    def usage(self) -> dict[str, dict[str, Any]]:
        """Calls, tokens and cost by role, of all keys that this run wanted, whoever paid.

        The same for a run in one go and for one that was killed and resumed.
        """
        found: dict[str, dict[str, Any]] = {}
        for key in self.keys:
            row = self.row(key)
            if row is None:
                continue
            role = found.setdefault(
                row["role"], {"calls": 0, "input": 0, "output": 0, "uncounted": 0, "cost": None}
            )
            spent = row["usage"]
            role["calls"] += 1
            role["input"] += spent["input"]
            role["output"] += spent["output"]
            role["uncounted"] += 0 if spent["counted"] else 1
            cost = cost_of(row, self.budget.prices)
            if cost is not None:
                role["cost"] = cost if role["cost"] is None else role["cost"] + cost
        for role in found.values():
            # Sums of floats in another order differ in their last bits.
            role["cost"] = None if role["cost"] is None else round(role["cost"], 9)
        return {name: found[name] for name in sorted(found)}


def spent_before(store: Store, prices: Prices) -> float:
    """What the store's calls cost at today's prices; a limit is of the folder, not of a run."""
    costs = (cost_of(json.loads(store[key]), prices) for key in store)
    return sum(cost for cost in costs if cost is not None)


def cost_of(row: Mapping[str, Any], prices: Prices) -> float | None:
    """What a kept call cost; None where its model has no price, or there was no model."""
    if row["model"] is None:
        return None
    return prices.of(row["model"], Usage(**row["usage"]))


def _row(reply: Reply, asked: str | None, model: str | None, purpose: Purpose) -> str:
    return json.dumps(
        {
            "role": purpose.role,
            "sample": purpose.sample,
            "metric": purpose.metric,
            "model": model,
            "request": asked,
            "data": reply.data,
            "usage": {
                "input": reply.usage.input,
                "output": reply.usage.output,
                "counted": reply.usage.counted,
            },
        },
        # Escaped, so that a lone surrogate in a model's answer can be written.
        ensure_ascii=True,
    )


def _finished(data: Mapping[str, Any]) -> ChatCompletion:
    """As the client's own type.

    Raises:
        CallFailed: it was filtered, refused, or cut off.
    """
    from openai.types.chat import ChatCompletion

    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        message = {"role": "assistant", "content": str(data.get("garbage", json.dumps(data)))[:500]}
        data = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return ChatCompletion.construct(**data)
    reason = first.get("finish_reason")
    if message.get("refusal") or reason == "content_filter":
        said = message.get("refusal")
        raise CallFailed("refused", str(said if said else "content filter")[:200])
    if reason == "length":
        raise CallFailed("truncated", "the answer reached max_tokens: raise it")
    return ChatCompletion.construct(**data)


def _vector(data: Mapping[str, Any]) -> list[float] | None:
    """The one vector, as float32; None where the answer is of another shape."""
    try:
        (row,) = data["data"]
        given = row["embedding"]
        if isinstance(given, str):
            vector = np.frombuffer(base64.b64decode(given), dtype="<f4")
        else:
            vector = np.asarray(given, dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        return None
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        return None
    values: list[float] = vector.tolist()
    return values
