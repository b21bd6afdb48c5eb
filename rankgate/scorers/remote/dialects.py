"""Dialects of remote rerankers: what each one wants to be sent, and what it answers.

Pure data and parsing, no network. A dialect is named by the caller and never guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError, RemoteProtocolError

__all__ = [
    "DIALECTS",
    "Answer",
    "Dialect",
    "Question",
    "dialect_named",
    "server_message",
    "shape_of",
    "usage_of",
]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked in one request.

    Attributes:
        texts: the texts of this batch, cleaned.
        model: the model's name on the server.
        raw_scores: logits instead of their sigmoid (TEI).
        max_tokens_per_doc: where the server cuts a text (Cohere); None: its default.
    """

    query: str
    texts: Sequence[str]
    model: str
    raw_scores: bool = False
    max_tokens_per_doc: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One batch's scores.

    Attributes:
        values: (n,) float32 in the order of the question's texts.
        tokens: tokens that the server says it read; 0 where it does not say.
        units: what the server bills: search units (Cohere), otherwise tokens.
    """

    values: npt.NDArray[np.float32]
    tokens: int = 0
    units: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one kind of server is spoken to.

    Attributes:
        name: as the caller writes it.
        path: the endpoint under the server's base URL.
        batch_limit: texts in one request: the server's own limit, or where it has none, a
            number that keeps one request short.
        results: the field that holds the list of results; None: the answer is the bare list.
        score: the field of a result that holds its score.
        count: the field that asks for all results; None: the server always gives all.
        sends_model: whether the request names the model (a TEI server runs exactly one).
        fixed: fields that are always sent alike.
        raw_scores: whether logits can be asked for.
        max_tokens_per_doc: whether the cut can be chosen.
        blank_as: what stands in for a text without a visible character, which hosted servers
            refuse; None: such a text is sent as it is. A text is never left out, because
            results name their text by its position.
        scale: first part of the scale's name.
    """

    name: str
    path: str
    batch_limit: int
    scale: str
    results: str | None = "results"
    score: str = "relevance_score"
    query: str = "query"
    texts: str = "documents"
    count: str | None = "top_n"
    sends_model: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)
    raw_scores: bool = False
    max_tokens_per_doc: bool = False
    blank_as: str | None = None

    def scale_of(self, model: str, *, raw_scores: bool) -> str:
        """The scale's name, such as `cohere-v2:rerank-v3.5` or `tei:sigmoid:MODEL`."""
        if self.raw_scores:
            return f"{self.scale}:{'raw' if raw_scores else 'sigmoid'}:{model}"
        return f"{self.scale}:{model}"

    def body(self, question: Question) -> bytes:
        """The request's body as UTF-8 JSON."""
        fields: dict[str, Any] = {
            self.query: self._visible(question.query),
            self.texts: [self._visible(t) for t in question.texts],
            **self.fixed,
        }
        if self.sends_model:
            fields["model"] = question.model
        if self.count is not None:
            fields[self.count] = len(question.texts)
        if self.raw_scores:
            fields["raw_scores"] = question.raw_scores
        if self.max_tokens_per_doc and question.max_tokens_per_doc is not None:
            fields["max_tokens_per_doc"] = question.max_tokens_per_doc
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8")

    def answer(self, body: bytes, n: int) -> Answer:
        """Read the answer to a question of n texts.

        Whatever else stands in a result (`document` as a string, an object or null) is ignored.

        Raises:
            RemoteProtocolError: not JSON, not the dialect's shape, an index that is out of
                range, double or missing, or a score that is not a finite float32.
        """
        payload = self.parsed(body)
        rows = payload
        if self.results is not None:
            rows = payload.get(self.results) if isinstance(payload, Mapping) else None
        if not isinstance(rows, list):
            wanted = "a list" if self.results is None else f"an object with a list {self.results!r}"
            raise self.wrong(f"{wanted} was expected, got {shape_of(payload)}")
        values = np.zeros(n, dtype=np.float32)
        seen = np.zeros(n, dtype=np.bool_)
        for row in rows:
            index, value = self._row(row, n)
            if seen[index]:
                raise self.wrong(f"text {index} was scored twice")
            values[index], seen[index] = value, True
        if not seen.all():
            absent = np.flatnonzero(~seen)
            raise self.wrong(f"{absent.size} of {n} texts have no score, the first is {absent[0]}")
        tokens, units = usage_of(payload)
        return Answer(values=values, tokens=tokens, units=units)

    def _visible(self, text: str) -> str:
        return self.blank_as if self.blank_as is not None and not text.strip() else text

    def parsed(self, body: bytes) -> Any:
        """The answer's JSON; raises as `answer`."""

        def refuse(constant: str) -> float:
            raise self.wrong(f"{constant} is not JSON and not a score")

        try:
            return json.loads(body, parse_constant=refuse)
        except (ValueError, RecursionError) as exc:
            raise self.wrong(f"the answer of {len(body)} bytes is not JSON: {exc}") from exc

    def _row(self, row: Any, n: int) -> tuple[int, float]:
        if not isinstance(row, Mapping):
            raise self.wrong(f"a result must be an object, got {shape_of(row)}")
        index, value = row.get("index"), row.get(self.score)
        if isinstance(index, bool) or not isinstance(index, int):
            raise self.wrong(f"a result's index must be a whole number, got {shape_of(index)}")
        if not 0 <= index < n:
            raise self.wrong(f"index {index} is outside the {n} texts that were sent")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(f"{self.score!r} must be a number, got {shape_of(value)}")
        if not abs(value) <= _FLOAT32_MAX:  # NaN fails too
            raise self.wrong(f"{self.score!r} must be a finite float32, got {value!r:.40}")
        return index, float(value)

    def wrong(self, what: str) -> RemoteProtocolError:
        """The error that says so."""
        return RemoteProtocolError(
            f"the server does not speak the dialect {self.name!r}: {what}. Check the URL and the "
            "dialect."
        )


def shape_of(value: Any) -> str:
    """Type and field names, never the content: it may hold the caller's documents."""
    if isinstance(value, Mapping):
        return f"an object with the fields {sorted(map(str, value))[:8]}"
    return "nothing" if value is None else type(value).__name__


def _number(value: Any) -> float:
    """A count from a usage block, which is informative only: 0 where it is not usable."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if math.isfinite(value) and value >= 0 else 0.0


def usage_of(payload: Any) -> tuple[int, float]:
    """Tokens read and units billed."""
    if not isinstance(payload, Mapping):
        return 0, 0.0
    usage, meta = payload.get("usage"), payload.get("meta")
    if isinstance(usage, Mapping):
        tokens = int(_number(usage.get("total_tokens")))
        return tokens, float(tokens)
    billed = meta.get("billed_units") if isinstance(meta, Mapping) else None
    if isinstance(billed, Mapping):
        return int(_number(billed.get("input_tokens"))), _number(billed.get("search_units"))
    return 0, 0.0


def server_message(body: bytes) -> str:
    """The sentence in an error answer, at most 200 characters; "" where there is none.

    Only fields made for messages are read: validation errors echo the whole request, and the
    caller's documents do not belong into a log.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    found: Any = payload
    for name in ("error", "detail", "message", "msg"):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, Mapping) and name in found:
            found = found[name]
    return " ".join(found.split())[:200] if isinstance(found, str) else ""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            Dialect(
                name="cohere",
                path="/v2/rerank",
                scale="cohere-v2",
                batch_limit=1000,
                max_tokens_per_doc=True,
                blank_as=".",
            ),
            Dialect(
                name="jina",
                path="/v1/rerank",
                scale="jina",
                batch_limit=1000,
                fixed=MappingProxyType({"return_documents": False}),
                blank_as=".",
            ),
            Dialect(
                name="voyage",
                path="/v1/rerank",
                scale="voyage",
                batch_limit=1000,
                results="data",
                count="top_k",
                blank_as=".",
            ),
            Dialect(
                name="tei",
                path="/rerank",
                scale="tei",
                batch_limit=32,
                results=None,
                score="score",
                texts="texts",
                count=None,
                sends_model=False,
                fixed=MappingProxyType({"truncate": True}),
                raw_scores=True,
            ),
            Dialect(name="infinity", path="/rerank", scale="infinity", batch_limit=256),
            Dialect(name="vllm-rerank", path="/v1/rerank", scale="vllm-rerank", batch_limit=256),
            Dialect(name="llama.cpp", path="/v1/rerank", scale="llama.cpp", batch_limit=64),
            Dialect(
                name="vllm-score",
                path="/score",
                scale="vllm-score",
                batch_limit=256,
                results="data",
                score="score",
                query="queries",
                count=None,
            ),
        )
    }
)


def dialect_named(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DIALECTS:
        raise ConfigError(f"unknown dialect {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]
