"""Asks a judge for structured data and takes nothing for granted in what comes back.

Three ways to ask, as servers differ: `json` (JSON mode; the prompt holds the schema), `schema`
(structured outputs) and `tools` (a forced function call). `plain` asks for nothing special.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rankgate.errors import InputError
from rankgate_eval.answers.calls import Calls, Label
from rankgate_eval.answers.endpoint import Endpoint
from rankgate_eval.answers.errors import CallFailed
from rankgate_eval.answers.generator import reply_text

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["MODES", "Complaint", "complaint_of_flags", "parse", "request_body", "structured"]

MODES = ("json", "schema", "tools", "plain")
T = TypeVar("T", bound="BaseModel")
Complaint = Callable[[Any], CallFailed | None]
"""What is wrong with a parsed answer; None: nothing."""

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_FLAGS = ("verdict", "attributed", "noncommittal")


async def structured(
    endpoint: Endpoint,
    prompt: str,
    response_model: type[T],
    *,
    calls: Calls,
    label: Label,
    salt: Any = None,
    mode: str = "json",
    parameters: Mapping[str, Any] | None = None,
    complaint: Complaint | None = None,
    attempts: int = 3,
) -> T:
    """Ask until an answer is usable, telling the judge what was wrong with the last one.

    A refusal and a cut-off answer are final: the same question would meet the same end.

    Args:
        endpoint: the judge.
        prompt: as Ragas wrote it; it ends with the schema and the input.
        response_model: what the answer must be.
        calls: where answers are kept.
        label: for the ledger.
        salt: tells wanted repetitions of one prompt apart.
        mode: of `MODES`.
        parameters: that replace some of the model's own.
        complaint: a further check.
        attempts: at most so many calls.

    Raises:
        CallFailed: no usable answer; its reason is the last one's.
    """
    messages = [{"role": "user", "content": prompt}]
    failure = CallFailed("invalid")
    for attempt in range(attempts):
        body = request_body(endpoint, messages, response_model, mode, parameters)
        data = await calls.chat(endpoint, body, salt=[salt, attempt], label=label)
        try:
            text = reply_text(data)
        except CallFailed as exc:
            if exc.reason != "invalid":
                raise
            failure, text = exc, ""
        else:
            try:
                parsed = parse(text, response_model)
            except ValueError as exc:
                failure = CallFailed("invalid", f"{response_model.__name__}: {exc}"[:300])
            else:
                wrong = complaint_of_flags(parsed)
                if wrong is None and complaint is not None:
                    wrong = complaint(parsed)
                if wrong is None:
                    return parsed
                failure = wrong
        messages = [
            messages[0],
            {"role": "assistant", "content": text if text else "(nothing)"},
            {"role": "user", "content": f"That cannot be used: {failure.detail}. Answer again."},
        ]
    raise failure


def request_body(
    endpoint: Endpoint,
    messages: list[dict[str, str]],
    response_model: type[BaseModel],
    mode: str,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The request of one of the modes.

    Raises:
        InputError: no such mode.
    """
    own = {**endpoint.model.parameters, **({} if parameters is None else parameters)}
    body: dict[str, Any] = {k: v for k, v in own.items() if v is not None}
    body |= {"model": endpoint.model.name, "messages": messages}
    if mode == "plain":
        return body
    if mode == "json":
        return {**body, "response_format": {"type": "json_object"}}
    name, schema = response_model.__name__, _strict(response_model.model_json_schema())
    if mode == "schema":
        described = {"name": name, "schema": schema, "strict": True}
        return {**body, "response_format": {"type": "json_schema", "json_schema": described}}
    if mode == "tools":
        function = {"name": name, "parameters": schema}
        return {
            **body,
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": name}},
        }
    raise InputError(f"a judge is asked in one of the modes {', '.join(MODES)}; got {mode!r}")


def parse(text: str, response_model: type[T]) -> T:
    """The model in a text: bare JSON, in a code fence, or after some words.

    Raises:
        ValueError: there is none, or it does not fit.
    """
    fenced = _FENCE.search(text)
    inner = fenced.group(1) if fenced is not None else text
    start = inner.find("{")
    if start < 0:
        raise ValueError(f"no JSON object in {text[:80]!r}")
    value, _ = json.JSONDecoder(strict=False).raw_decode(inner[start:])
    return response_model.model_validate(value)


def complaint_of_flags(parsed: Any) -> CallFailed | None:
    """What is wrong with the yes-or-no numbers: Ragas adds them up whatever they are."""
    for name, value in parsed:
        if name in _FLAGS and value not in (0, 1):
            return CallFailed("invalid", f"{name} must be 0 or 1, got {value}")
        for item in value if isinstance(value, list) else ():
            inner = complaint_of_flags(item) if hasattr(item, "model_fields_set") else None
            if inner is not None:
                return inner
    return None


def _strict(schema: Any) -> Any:
    """As structured outputs want it: every property required, no others."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found["required"] = list(found["properties"])
        found["additionalProperties"] = False
    return found
