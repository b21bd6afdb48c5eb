"""A dry run: the same run against scripted replies, counted and priced, nothing sent.

The number of calls is exact as long as the generator refuses nothing and every reply can be
used: refusals save calls, unusable replies cost up to two more each. Tokens are an estimate of
four characters each, with answers of about 100 tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rankgate_eval.answers.calls import Calls
from rankgate_eval.answers.endpoint import Endpoint, Model, Reply, pack_vector
from rankgate_eval.answers.generator import Answer, local_key
from rankgate_eval.answers.ledger import Ledger, digest
from rankgate_eval.answers.limits import Prices, Usage
from rankgate_eval.answers.scripted import bag_vector, scripted_text

__all__ = ["RehearsalEndpoint", "RehearsalGenerator", "estimate_of"]

_CHARACTERS = 4.0
_ANSWER = 400

ASSUMPTIONS = (
    "nothing is refused, every reply can be used at once, no call is repeated",
    "four characters a token; answers of about 100 tokens",
)


class RehearsalEndpoint(Endpoint):
    """Replies by script and sends nothing.

    Args:
        model: whose calls are counted.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """A scripted reply with an estimate of its tokens."""
        text = scripted_text(body["messages"], _typical)
        read = json.dumps(body["messages"], ensure_ascii=False)
        data = {"text": text, "finish": "stop", "refusal": None}
        return Reply(data=data, usage=Usage(input=_tokens(read), output=_tokens(text)))

    async def embed(self, texts: Sequence[str]) -> Reply:
        """Scripted vectors with an estimate of the tokens."""
        import numpy as np

        vectors = [pack_vector(np.asarray(bag_vector(t), dtype=np.float32)) for t in texts]
        return Reply(data={"vectors": vectors}, usage=Usage(input=sum(map(_tokens, texts))))


class RehearsalGenerator:
    """Stands for a generator in this process, which a dry run must not call.

    What the ledger already has is answered from it.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = identity

    async def answer(
        self, question: str, texts: Sequence[str], calls: Calls, sample: str
    ) -> Answer:
        """The answer of an earlier run, else a typical one."""
        known = calls.ledger.get(digest(local_key(self.identity, question, texts)))
        if known is None:
            return Answer(text=_typical(question, texts))
        return Answer(text=str(known["data"]["text"]), refused=bool(known["data"]["refused"]))


def estimate_of(calls: Calls, prices: Prices, paid: Ledger) -> dict[str, Any]:
    """What the rehearsed run would send: calls, tokens and cost by role.

    Args:
        calls: of the rehearsal.
        prices: of the models.
        paid: the real ledger; what is in it is not sent again.
    """
    roles: dict[str, dict[str, Any]] = {}
    already = 0
    for key in calls.keys:
        row = calls.ledger.get(key)
        if row is None or row["model"] is None:
            continue
        if key in paid:
            already += 1
            continue
        role = roles.setdefault(
            row["role"],
            {
                "model": row["model"],
                "calls": 0,
                "input_tokens": 0,
                "output_tokens": 0,
                "cost": None,
            },
        )
        usage = Usage(input=row["usage"]["input"], output=row["usage"]["output"])
        role["calls"] += 1
        role["input_tokens"] += usage.input
        role["output_tokens"] += usage.output
        cost = prices.of(row["model"], usage)
        role["cost"] = role["cost"] if cost is None else (role["cost"] or 0.0) + cost
    costs = [r["cost"] for r in roles.values() if r["cost"] is not None]
    return {
        "dry_run": True,
        "roles": {name: roles[name] for name in sorted(roles)},
        "calls": sum(r["calls"] for r in roles.values()),
        "cost": sum(costs) if costs else None,
        "currency": prices.currency,
        "unpriced": sorted({r["model"] for r in roles.values() if r["cost"] is None}),
        "already_paid": already,
        "assumptions": list(ASSUMPTIONS),
    }


def _typical(question: str, texts: Sequence[str]) -> str:
    """About 100 tokens of the first passages, which are different for different contexts."""
    text = " ".join(" ".join(texts).split())[:_ANSWER]
    return text if text else question


def _tokens(text: str) -> int:
    return max(1, round(len(text) / _CHARACTERS))
