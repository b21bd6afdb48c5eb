"""A dry run: the same run over a transport that answers by script, counted and priced.

Nothing is sent. The number of calls is exact as long as the generator refuses nothing and every
reply can be used: refusals save calls, unusable replies cost up to two more each. Tokens are an
estimate of four characters each, with answers of about 100 tokens.

What the scripted judge finds is known beforehand: a statement is supported where its words stand
in a row in the context, so an answer of three sentences from the passages and one from nowhere is
0.75 faithful. That serves tests and examples too, and says nothing about real answers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankgate_eval.answers.generator import REFUSAL, Answer, is_refusal, local_key
from rankgate_eval.answers.keyless import answer_words, containment
from rankgate_eval.paid.calls import Calls, cost_of, digest
from rankgate_eval.paid.endpoint import Prices

if TYPE_CHECKING:
    import httpx

_ANSWER = 400
_ASSUMPTIONS = (
    "nothing is refused, every reply can be used at once, no call is repeated",
    "four characters a token; answers of about 100 tokens",
)
Generate = Callable[[str, Sequence[str]], str]

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INPUT = "Now perform the same with the following input\ninput: "
_TITLE = re.compile(r'"title": "(\w+)", "type": "object"\}')
_SOURCE = re.compile(r'<source id="\d+">\n((?:(?!<source ).)*?)\n</source>', re.DOTALL)
_QUESTION = re.compile(r"<question>\n((?:(?!<question>).)*?)\n</question>", re.DOTALL)
_DIMENSIONS = 64


class RehearsalGenerator:
    """Stands for a generator in this process, which a dry run must not call.

    What is kept already is answered from it.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = identity

    async def answer(
        self, question: str, texts: Sequence[str], calls: Calls, sample: str
    ) -> Answer:
        """The answer of an earlier run, else a typical one."""
        known = calls.row(digest(local_key(self.identity, question, texts)))
        if known is None:
            return Answer(text=typical_answer(question, texts))
        return Answer(text=str(known["data"]["text"]), refused=bool(known["data"]["refused"]))


def estimate_of(calls: Calls, prices: Prices, paid: Container[str]) -> dict[str, Any]:
    """What the rehearsed run would send: calls, tokens and cost by role.

    Args:
        paid: keys that are kept already, and not sent again.
    """
    roles: dict[str, dict[str, Any]] = {}
    already = 0
    for key in calls.keys:
        row = calls.row(key)
        if row is None or row["model"] is None:
            continue
        if key in paid:
            already += 1
            continue
        empty = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "cost": None}
        role = roles.setdefault(row["role"], {"model": row["model"], **empty})
        role["calls"] += 1
        role["input_tokens"] += row["usage"]["input"]
        role["output_tokens"] += row["usage"]["output"]
        cost = cost_of(row, prices)
        if cost is not None:
            role["cost"] = cost if role["cost"] is None else role["cost"] + cost
    costs = [r["cost"] for r in roles.values() if r["cost"] is not None]
    return {
        "dry_run": True,
        "roles": {name: roles[name] for name in sorted(roles)},
        "calls": sum(r["calls"] for r in roles.values()),
        "cost": sum(costs) if costs else None,
        "currency": prices.currency,
        "unpriced": sorted({r["model"] for r in roles.values() if r["cost"] is None}),
        "already_paid": already,
        "assumptions": list(_ASSUMPTIONS),
    }


def typical_answer(question: str, texts: Sequence[str]) -> str:
    """About 100 tokens of the first passages, which are different for different contexts."""
    text = " ".join(" ".join(texts).split())[:_ANSWER]
    return text if text else question


def scripted_transport(generate: Generate | None = None) -> httpx.AsyncBaseTransport:
    """Carries an `Endpoint`'s requests to the script instead of over the network.

    Args:
        generate: writes an answer from question and sources; None: `best_sentence`.
    """
    import httpx

    def answered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=scripted_reply(json.loads(request.content), generate))

    return httpx.MockTransport(answered)


def scripted_reply(
    body: Mapping[str, Any],
    generate: Generate | None = None,
    *,
    vector: Callable[[str], list[float]] | None = None,
) -> dict[str, Any]:
    """The reply to a request, of a chat or of embeddings, as OpenAI's API would give it.

    Args:
        body: of the request; a chat that Ragas wrote is judged, any other answered.
        generate: writes an answer from question and sources; None: `best_sentence`.
        vector: of a text; None: of its words.
    """
    if "messages" not in body:
        embed = bag_vector if vector is None else vector
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        rows = [
            {"object": "embedding", "index": i, "embedding": embed(t)} for i, t in enumerate(texts)
        ]
        usage = {"prompt_tokens": sum(map(_tokens, texts))}
        return {"object": "list", "data": rows, "model": body["model"], "usage": usage}
    text = _scripted_text(body["messages"], generate)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": text}
        call = {"id": "call_1", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    read = json.dumps(body["messages"], ensure_ascii=False)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": _tokens(read), "completion_tokens": _tokens(text)},
    }


def _scripted_text(messages: Sequence[Mapping[str, Any]], generate: Generate | None) -> str:
    """The content of the reply to a chat."""
    asked = next(str(m["content"]) for m in messages if m["role"] == "user")
    if _INPUT in asked:
        return json.dumps(_judged(asked))
    question = _QUESTION.findall(asked)
    write = best_sentence if generate is None else generate
    return write(question[-1] if question else asked, _SOURCE.findall(asked))


def sentences(text: str) -> list[str]:
    """The sentences of a text, by its full stops."""
    return [s.strip() for s in _SENTENCE.split(text.strip()) if s.strip()]


def best_sentence(question: str, sources: Sequence[str]) -> str:
    """The sentence with most of the question's words, the first of equals; or the refusal."""
    wanted = set(answer_words(question))
    best, shared = REFUSAL, 0
    for source in sources:
        for sentence in sentences(source):
            found = len(wanted & set(answer_words(sentence)))
            if found > shared:
                best, shared = sentence, found
    return best


def bag_vector(text: str) -> list[float]:
    """A unit vector of the text's words; texts without a word in common may still be close to 0."""
    vector = [0.0] * _DIMENSIONS
    for word in answer_words(text):
        value = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        vector[value % _DIMENSIONS] += 1.0
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector] if length else [1.0, *vector[1:]]


def _judged(prompt: str) -> dict[str, Any]:
    """What the judge says: the schema's name tells which question it is."""
    titles = _TITLE.findall(prompt.split("--------EXAMPLES", 1)[0])
    given = json.loads(prompt.rsplit(_INPUT, 1)[1].rsplit("\nOutput:", 1)[0])
    title = titles[-1] if titles else ""
    if title == "StatementGeneratorOutput":
        return {"statements": sentences(given["answer"])}
    if title == "NLIStatementOutput":
        rows = [
            {"statement": s, "reason": "by its words", "verdict": _supported(s, given["context"])}
            for s in given["statements"]
        ]
        return {"statements": rows}
    if title in ("AnswerRelevanceOutput", "ResponseRelevanceOutput"):  # now, and in `evaluate`
        answer = given["response"]
        return {"question": answer, "noncommittal": int(is_refusal(answer))}
    if title == "ContextPrecisionOutput":
        verdict = _supported(given["answer"], given["context"])
        return {"reason": "by its words", "verdict": verdict}
    if title == "ContextRecallOutput":
        found = [
            {
                "statement": s,
                "reason": "by its words",
                "attributed": _supported(s, given["context"]),
            }
            for s in sentences(given["answer"])
        ]
        return {"classifications": found}
    if title == "ClaimDecompositionOutput":
        return {"claims": sentences(given["response"])}
    raise ValueError(f"no script for {title!r}")


def _supported(statement: str, context: str) -> int:
    return int(containment(context, [statement]) == 1.0)


def _tokens(text: str) -> int:
    return max(1, round(len(text) / 4.0))
