"""Every paid call goes through here: from the ledger if it is there, else sent, logged, returned.

A call's key hashes what its answer depends on (kind, model, address, parameters, messages) and a
salt that tells wanted repetitions apart: the n-th sample of one prompt, a second judging, a
second attempt after an unusable answer. Two tasks that want the same call share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers.endpoint import Endpoint, Reply
from rankgate_eval.answers.errors import BudgetReached, CallFailed, EndpointError
from rankgate_eval.answers.ledger import Ledger, digest
from rankgate_eval.answers.limits import Budget, Usage, most_tokens

__all__ = ["Calls", "Label", "spent_before"]

_HOPELESS_AFTER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a call is for; stands in the ledger for whoever reads it.

    Attributes:
        role: `generator`, `judge` or `embeddings`.
        sample: the question's id.
        purpose: the metric, or `answer`.
    """

    role: str
    sample: str
    purpose: str


class Calls:
    """Sends what is not in the ledger, a bounded number at a time.

    Args:
        ledger: where answers are kept.
        budget: None: no limit.
        concurrency: calls on their way at once, at least 1; also how many a kill can lose.

    Attributes:
        paid: calls of this run that were answered.
        reused: calls that the ledger answered.
    """

    def __init__(
        self, ledger: Ledger, *, budget: Budget | None = None, concurrency: int = 8
    ) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency must be at least 1, got {concurrency}")
        self.ledger = ledger
        self.budget = Budget() if budget is None else budget
        self.concurrency = concurrency
        self.paid = 0
        self.reused = 0
        self.keys: dict[str, None] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._settled = asyncio.Condition()
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._failures = 0

    async def chat(
        self, endpoint: Endpoint, body: Mapping[str, Any], *, salt: Any = None, label: Label
    ) -> Mapping[str, Any]:
        """The answer to a chat completion: `text`, `finish`, `refusal`, or `garbage`.

        Raises:
            CallFailed: there is none.
            EndpointError: nothing can work there.
        """
        worst = Usage(
            input=most_tokens(str(body.get("messages"))), output=endpoint.model.most_output
        )
        key = {"kind": "chat", **endpoint.model.identity, "body": body, "salt": salt}
        return await self._once(key, endpoint, worst, label, lambda: endpoint.chat(body))

    async def embed(
        self, endpoint: Endpoint, text: str, *, salt: Any = None, label: Label
    ) -> Mapping[str, Any]:
        """The answer to an embedding of one text: `vectors`, or `garbage`.

        Raises:
            CallFailed: there is none.
            EndpointError: nothing can work there.
        """
        worst = Usage(input=most_tokens(text))
        key = {"kind": "embeddings", **endpoint.model.identity, "input": text, "salt": salt}
        return await self._once(key, endpoint, worst, label, lambda: endpoint.embed([text]))

    async def local(
        self, key: Any, make: Callable[[], Awaitable[Mapping[str, Any]]], *, label: Label
    ) -> Mapping[str, Any]:
        """What an in-process generator answered, kept like any other answer.

        Raises:
            CallFailed: it raised.
        """
        hashed = digest(key)
        known = self._known(hashed)
        if known is not None:
            return known
        return await self._shared(hashed, lambda: self._make(hashed, make, label))

    def _known(self, hashed: str) -> Mapping[str, Any] | None:
        """What the ledger has under this key, counted as used again."""
        row = self.ledger.get(hashed)
        self.keys[hashed] = None
        if row is None:
            return None
        self.reused += 1
        data: Mapping[str, Any] = row["data"]
        return data

    async def _make(
        self, key: str, make: Callable[[], Awaitable[Mapping[str, Any]]], label: Label
    ) -> Mapping[str, Any]:
        async with self._slots:
            data = await make()
        self._log(key, None, label, Reply(data=data, usage=Usage()))
        self.paid += 1
        return data

    async def _once(
        self,
        key: Mapping[str, Any],
        endpoint: Endpoint,
        worst: Usage,
        label: Label,
        send: Callable[[], Awaitable[Reply]],
    ) -> Mapping[str, Any]:
        hashed = digest(key)
        known = self._known(hashed)
        if known is not None:
            return known
        return await self._shared(
            hashed, lambda: self._send(hashed, key, endpoint, worst, label, send)
        )

    async def _shared(
        self, key: str, make: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Mapping[str, Any]:
        """One call for all tasks that want it at the same time."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            return await asyncio.shield(waiting)
        future: asyncio.Future[Mapping[str, Any]] = asyncio.ensure_future(make())
        self._waiting[key] = future
        try:
            return await future
        finally:
            del self._waiting[key]

    async def _send(
        self,
        key: str,
        asked: Mapping[str, Any],
        endpoint: Endpoint,
        worst: Usage,
        label: Label,
        send: Callable[[], Awaitable[Reply]],
    ) -> Mapping[str, Any]:
        model = endpoint.model.name
        async with self._slots:
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
            # On disk before anybody sees it; what is not there is paid for again.
            self._log(key, asked.get("body", {"input": asked.get("input")}), label, reply, model)
        self.paid += 1
        self._failures = 0
        return reply.data

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

    def _log(
        self, key: str, body: Any, label: Label, reply: Reply, model: str | None = None
    ) -> None:
        self.ledger.append(
            key,
            {
                "role": label.role,
                "sample": label.sample,
                "purpose": label.purpose,
                "model": model,
                "request": None if body is None else digest(body),
                "data": dict(reply.data),
                "usage": {
                    "input": reply.usage.input,
                    "output": reply.usage.output,
                    "counted": reply.usage.counted,
                },
            },
        )

    def usage(self) -> dict[str, dict[str, Any]]:
        """Calls, tokens and cost by role, of all keys that this run wanted, whoever paid.

        The same for a run in one go and for one that was killed and resumed.
        """
        found: dict[str, dict[str, Any]] = {}
        for key in self.keys:
            row = self.ledger.get(key)
            if row is None:
                continue
            role = found.setdefault(
                row["role"], {"calls": 0, "input": 0, "output": 0, "uncounted": 0, "cost": None}
            )
            spent = Usage(input=row["usage"]["input"], output=row["usage"]["output"])
            role["calls"] += 1
            role["input"] += spent.input
            role["output"] += spent.output
            role["uncounted"] += 0 if row["usage"]["counted"] else 1
            cost = None if row["model"] is None else self.budget.prices.of(row["model"], spent)
            if cost is not None:
                role["cost"] = cost if role["cost"] is None else role["cost"] + cost
        for role in found.values():
            # Sums of floats in another order differ in their last bits.
            role["cost"] = None if role["cost"] is None else round(role["cost"], 9)
        return {name: found[name] for name in sorted(found)}


def spent_before(ledger: Ledger, budget: Budget) -> float:
    """What the ledger's calls cost at today's prices; a limit is of the folder, not of a run."""
    total = 0.0
    for row in ledger:
        if row["model"] is not None:
            usage = Usage(input=row["usage"]["input"], output=row["usage"]["output"])
            cost = budget.prices.of(row["model"], usage)
            total += 0.0 if cost is None else cost
    return total
