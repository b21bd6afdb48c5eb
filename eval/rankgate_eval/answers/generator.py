"""Who writes the answers: an OpenAI-compatible API, a plug-in, or the user's own object.

Every arm is given the same generator and prompt. A plug-in registers under the entry-point group
`rankgate.generators`; `extractive` is the one that rankgate's application brings.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rankgate.errors import InputError
from rankgate_eval.answers.calls import Calls, Label
from rankgate_eval.answers.endpoint import Endpoint
from rankgate_eval.answers.errors import CallFailed
from rankgate_eval.answers.prompt import SYSTEM, human, is_refusal
from rankgate_eval.data.attribute import is_attribute_name, load_object

__all__ = [
    "GROUP",
    "Answer",
    "ApiGenerator",
    "Generator",
    "LocalGenerator",
    "choose_generator",
    "local_key",
    "reply_text",
]

GROUP = "rankgate.generators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a generator wrote.

    Attributes:
        text: the answer; the refusal's words where it refused.
        refused: whether it said that the sources do not tell.
    """

    text: str
    refused: bool = False


class Generator(Protocol):
    """Writes an answer from passages; what it answers depends on nothing but these."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain data that tells this generator's answers from another's."""
        ...

    async def answer(
        self, question: str, texts: Sequence[str], calls: Calls, sample: str
    ) -> Answer:
        """The answer; through `calls`, so that it is paid for once.

        Raises:
            CallFailed: there is none.
        """
        ...


class ApiGenerator:
    """A language model behind an OpenAI-compatible API.

    Args:
        endpoint: the model.
        system: the system prompt.
        refusals: beginnings of answers that are refusals, beside our own sentence.
    """

    def __init__(
        self, endpoint: Endpoint, *, system: str = SYSTEM, refusals: Sequence[str] = ()
    ) -> None:
        self.endpoint = endpoint
        self.system = system
        self.refusals = tuple(refusals)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, address, parameters and prompt."""
        return {"kind": "openai", **self.endpoint.model.identity, "system": self.system}

    async def answer(
        self, question: str, texts: Sequence[str], calls: Calls, sample: str
    ) -> Answer:
        """The model's answer.

        Raises:
            CallFailed: there is none: cut off, filtered, empty, or the call failed.
        """
        model = self.endpoint.model
        body = {
            **model.identity["parameters"],
            "model": model.name,
            "messages": [
                {"role": "system", "content": self.system},
                {"role": "user", "content": human(question, texts)},
            ],
        }
        label = Label(role="generator", sample=sample, purpose="answer")
        data = await calls.chat(self.endpoint, body, salt="answer", label=label)
        text = reply_text(data).strip()
        if not text:
            raise CallFailed("empty", f"{model.name} answered with nothing")
        return Answer(text=text, refused=is_refusal(text, self.refusals))


def reply_text(data: Mapping[str, Any]) -> str:
    """The text of a chat reply.

    Raises:
        CallFailed: it was not of the API's shape, filtered, refused, or cut off.
    """
    if "garbage" in data:
        raise CallFailed("invalid", f"not an answer of the chat API: {data['garbage'][:120]!r}")
    if data["refusal"] or data["finish"] == "content_filter":
        raise CallFailed("refused", str(data["refusal"] or "content filter")[:200])
    if data["finish"] == "length":
        raise CallFailed("truncated", "the answer reached max_tokens: raise it")
    return str(data["text"])


class LocalGenerator:
    """A function, or an object with `generate`, in this process.

    It is called as `generate(question, contexts)`, contexts being a list of texts, best first,
    and returns a text, an object with `text` and `refused`, or a mapping with these. One call at
    a time: few such objects are safe to share between threads. A coroutine function is awaited.
    A LangChain runnable is invoked with `{"question": ..., "context": ...}`.

    Args:
        target: the function or object.
        name: for the record.
        identity: plain data that its answers depend on; None: its own `identity`, else its name.
            Answers are kept by it: change it when the object changes.
        refusals: beginnings of answers that are refusals.

    Raises:
        InputError: nothing of it can be called so.
    """

    def __init__(
        self,
        target: Any,
        *,
        name: str = "",
        identity: Mapping[str, Any] | None = None,
        refusals: Sequence[str] = (),
    ) -> None:
        self._call = _callable_of(target)
        own = getattr(target, "identity", None)
        known = identity if identity is not None else own if isinstance(own, Mapping) else {}
        shown = name if name else getattr(target, "__qualname__", type(target).__qualname__)
        self._identity = {"kind": "local", "name": shown, **known}
        self.refusals = tuple(refusals)
        self._turn = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, and what the object says of itself."""
        return self._identity

    async def answer(
        self, question: str, texts: Sequence[str], calls: Calls, sample: str
    ) -> Answer:
        """What the object returns.

        Raises:
            CallFailed: it raised, or returned no answer.
        """
        key = local_key(self._identity, question, texts)

        async def make() -> Mapping[str, Any]:
            try:
                if inspect.iscoroutinefunction(self._call):
                    given = await self._call(question, list(texts))
                else:
                    given = await asyncio.to_thread(self._in_turn, question, list(texts))
            except Exception as exc:  # a user's object may raise anything
                raise CallFailed("generator_error", f"{type(exc).__name__}: {exc}") from exc
            text, refused = _answer_of(given)
            return {"text": text, "refused": refused}

        label = Label(role="generator", sample=sample, purpose="answer")
        data = await calls.local(key, make, label=label)
        text = str(data["text"]).strip()
        refused = bool(data["refused"]) or is_refusal(text, self.refusals)
        if not text and not refused:
            raise CallFailed("empty", f"{self._identity['name']} answered with nothing")
        return Answer(text=text, refused=refused)

    def _in_turn(self, question: str, texts: list[str]) -> Any:
        with self._turn:
            return self._call(question, texts)


def local_key(identity: Mapping[str, Any], question: str, texts: Sequence[str]) -> dict[str, Any]:
    """What an answer of a generator in this process is kept by."""
    return {"generator": dict(identity), "question": question, "contexts": list(texts)}


def choose_generator(name: str, *, refusals: Sequence[str] = ()) -> LocalGenerator:
    """A generator of this process by name: a plug-in's, or `module:attribute`.

    Raises:
        InputError: there is none.
    """
    if is_attribute_name(name):
        return LocalGenerator(load_object(name, what="--generator"), name=name, refusals=refusals)
    plugins = {p.name: p for p in importlib.metadata.entry_points(group=GROUP)}
    if name not in plugins:
        have = ", ".join(["openai", *sorted(plugins), "module:attribute"])
        raise InputError(f"no generator {name!r}; there are: {have}")
    return LocalGenerator(plugins[name].load()(), name=name, refusals=refusals)


def _callable_of(target: Any) -> Callable[..., Any]:
    """What takes a question and a list of texts."""
    for name in ("generate", "agenerate"):
        method = getattr(target, name, None)
        # A LangChain model's `generate` takes messages: runnables are invoked.
        if callable(method) and not hasattr(target, "invoke"):
            return method  # type: ignore[no-any-return]
    if callable(getattr(target, "invoke", None)):
        return lambda question, texts: target.invoke(
            {"question": question, "context": "\n\n".join(texts)}
        )
    if callable(target):
        if inspect.iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
            return target.__call__  # type: ignore[no-any-return]
        return target  # type: ignore[no-any-return]
    raise InputError(
        "a generator is a function of question and contexts, has `generate(question, contexts)`, "
        f"or is a LangChain runnable; got {type(target).__name__}"
    )


def _answer_of(given: Any) -> tuple[str, bool]:
    if isinstance(given, str):
        return given, False
    if isinstance(given, Mapping):
        text, refused = given.get("text", given.get("answer")), given.get("refused", False)
    else:
        # LangChain messages have their words in `content`.
        text = getattr(given, "text", getattr(given, "content", None))
        text = getattr(given, "content", None) if callable(text) else text
        refused = getattr(given, "refused", False)
    if not isinstance(text, str):
        raise CallFailed(
            "generator_error",
            f"expected a text, or `text` and `refused`, got {type(given).__name__}",
        )
    return text, bool(refused)
