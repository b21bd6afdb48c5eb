"""What is asked of a language model: a task and texts between tags, and what it says to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.errors import RemoteScorerError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores
from rankgate.scorers.remote.dialects import Dialect, Question, shape_of, usage_of
from rankgate.scorers.remote.spoken import spoken
from rankgate.scorers.steps import Call, Steps
from rankgate.scorers.wrappers.traits import Around, close

__all__ = ["Chat", "Heard", "OrPlainer", "tagged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An answer of the chat completions API.

    Attributes:
        said: without what the model thinks.
        choice: as it came, for what else stands there.
    """

    said: str
    choice: Mapping[str, Any]
    tokens: int
    units: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Dialect):
    """A dialect of any OpenAI-compatible server."""

    path: str = "/v1/chat/completions"

    def asking(self, question: Question, task: str, text: str, **fields: Any) -> bytes:
        """The request's body: a task, and what it is about."""
        messages = [{"role": "system", "content": task}, {"role": "user", "content": text}]
        sent = {"model": question.model, "messages": messages, **fields}
        return json.dumps(sent, ensure_ascii=False).encode("utf-8")

    def heard(self, body: bytes) -> Heard:
        """Read an answer.

        Raises:
            RemoteProtocolError: it is none of that API.
        """
        payload = self.parsed(body)
        try:
            choice = payload["choices"][0]
            said = spoken(choice["message"].get("content") or "")
        except (KeyError, IndexError, TypeError, AttributeError) as exc:
            raise self.wrong(f"a chat completion was expected, got {shape_of(payload)}") from exc
        tokens, units = usage_of(payload)
        return Heard(said=said, choice=choice, tokens=tokens, units=units)


class OrPlainer(Around):
    """Asks `inner`, and from its first refusal of a request itself (400 or 422) on `plainer`.

    Servers differ in what they know: log-probabilities, a schema for the answer.
    """

    def __init__(self, inner: Scorer, plainer: Scorer) -> None:
        self.inner, self.plainer = inner, plainer
        self._refused = False

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """The answers of one of the two."""
        answers: list[Scores]
        if not self._refused:
            try:
                answers = yield Call(scorer=self.inner, jobs=jobs, context=context)
            except RemoteScorerError as exc:
                if exc.status not in (400, 422):
                    raise
            else:
                return answers
            self._refused = True
        answers = yield Call(scorer=self.plainer, jobs=jobs, context=context)
        return answers

    def close(self) -> None:
        """Close what `inner` is not: the connections of `plainer`."""
        close(self.plainer)


def tagged(tag: str, text: str) -> str:
    """A text between tags that it cannot close."""
    return f"<{tag}>\n{text.replace('</', '< /')}\n</{tag}>"
