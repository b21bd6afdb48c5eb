"""Whole systems as arms: a LangChain chain, a LlamaIndex query engine, or a callable.

Each takes a question and gives an answer with the passages that it was written from. Where two
systems hand over the same passages, the first one's answer stands for both: a difference between
two answers from one context is temperature, not ranking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers.calls import Calls, Purpose
from rankgate_eval.answers.generator import Answer, InProcess
from rankgate_eval.answers.sample import Handed
from rankgate_eval.errors import CallFailed

__all__ = ["SystemAnswer", "SystemUnderTest", "as_system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemAnswer:
    """What a system answered, and from what.

    Attributes:
        text: the answer.
        contexts: (id, text) of the passages, best first.
        refused: whether it refused.
    """

    text: str
    contexts: tuple[tuple[str, str], ...]
    refused: bool = False


class SystemUnderTest:
    """Asks a system, one question at a time, and keeps what it said.

    Args:
        ask: takes a question; returns what `read_answer` reads, or a coroutine of it.
        identity: plain data that its answers depend on: answers are kept by it.
        refusals: beginnings of answers that are refusals.
    """

    def __init__(
        self,
        ask: Callable[[str], Any],
        *,
        identity: Mapping[str, Any],
        refusals: Sequence[str] = (),
    ) -> None:
        self.identity = dict(identity)
        self._asked = InProcess(
            ask,
            lambda given: _plain(read_answer(given)),
            name="the system",
            failure="system_error",
            refusals=refusals,
        )

    async def ask(self, question: str, calls: Calls, sample: str) -> tuple[Handed, Answer]:
        """The passages and the answer.

        Raises:
            CallFailed: the system raised, or returned something else.
        """
        purpose = Purpose(role="generator", sample=sample, metric="system")
        key = {"system": self.identity, "question": question}
        data, answer = await self._asked(question, key=key, calls=calls, purpose=purpose)
        return Handed.of(((c[0], c[1]) for c in data["contexts"]), path="system"), answer


def _plain(answer: SystemAnswer) -> dict[str, Any]:
    contexts = [list(c) for c in answer.contexts]
    return {"text": answer.text, "refused": answer.refused, "contexts": contexts}


def as_system(target: Any, *, name: str, refusals: Sequence[str] = ()) -> SystemUnderTest:
    """Whatever the user has, as a system under test.

    Args:
        target: a LangChain runnable that returns `answer` (or `result`, or `output_text`) and
            `context` (or `source_documents`); a LlamaIndex query engine; or a function of a
            question that returns a `SystemAnswer`, such a mapping, or a pair of answer and texts.
            A runnable is invoked with `{"input": question, "question": question, "query": ...}`.
        name: of the arm; answers are kept under it, so rename it when the system changes.
        refusals: beginnings of answers that are refusals.

    Raises:
        InputError: none of these.
    """
    identity = {"arm": name, "type": type(target).__qualname__}
    ask: Callable[[str], Any]
    if callable(getattr(target, "query", None)):
        ask = target.query
    elif callable(getattr(target, "invoke", None)):

        def ask(question: str) -> Any:
            return target.invoke({"input": question, "question": question, "query": question})

    elif callable(target):
        ask = target
    else:
        raise InputError(
            "a system under test is a function of a question, a LangChain runnable or a LlamaIndex "
            f"query engine; got {type(target).__name__}"
        )
    return SystemUnderTest(ask, identity=identity, refusals=refusals)


def read_answer(given: Any) -> SystemAnswer:
    """Make sense of what a system returned.

    Raises:
        CallFailed: there is no answer or there are no passages in it.
    """
    if isinstance(given, SystemAnswer):
        return given
    if hasattr(given, "source_nodes"):  # LlamaIndex
        return SystemAnswer(
            text=str(given.response or ""),
            contexts=tuple((n.node.node_id, n.node.get_content()) for n in given.source_nodes),
        )
    if isinstance(given, tuple) and len(given) == 2:
        given = {"answer": given[0], "contexts": given[1]}
    if isinstance(given, Mapping):
        text = _first(given, ("answer", "text", "result", "output_text"))
        rows = _first(given, ("contexts", "context", "source_documents"))
        if isinstance(text, str) and isinstance(rows, Sequence) and not isinstance(rows, str):
            return SystemAnswer(
                text=text,
                contexts=tuple(_passage(row) for row in rows),
                refused=bool(given.get("refused", False)),
            )
    raise CallFailed(
        "system_error",
        "a system returns its answer and the passages it was written from, such as "
        f"{{'answer': ..., 'contexts': [...]}}; got {type(given).__name__}",
    )


def _first(given: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((given[n] for n in names if given.get(n) is not None), None)


def _passage(row: Any) -> tuple[str, str]:
    """Id and text of a text, a pair, a mapping or a LangChain document."""
    if isinstance(row, str):
        return _hashed(row), row
    if isinstance(row, Sequence) and len(row) == 2:
        return str(row[0]), str(row[1])
    if isinstance(row, Mapping) and isinstance(row.get("text"), str):
        given = row.get("id")
        return _hashed(row["text"]) if given is None else str(given), row["text"]
    text = getattr(row, "page_content", None)
    if not isinstance(text, str):
        raise CallFailed("system_error", f"a passage is a text, got {type(row).__name__}")
    given = getattr(row, "id", None)
    return _hashed(text) if given is None else str(given), text


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
