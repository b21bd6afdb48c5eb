"""Asks, answers and judges: every question in every arm, equal contexts only once.

An arm hands over given passages to one generator, or is a whole system: a LangChain chain, a
LlamaIndex query engine, or a callable, which takes a question and gives an answer with the passages
that it was written from. Where two arms work from the same passages, the first one's answer stands
for both: a difference between two answers from one context is temperature, not ranking.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers.generator import REFUSAL, Answer, Generator, InProcess
from rankgate_eval.answers.judge import AnswerJudge
from rankgate_eval.answers.keyless import (
    containment,
    context_precision,
    string_similarity,
    token_f1,
)
from rankgate_eval.answers.questions import AskedQuestion, Handed, Sample, Score
from rankgate_eval.errors import CallFailed
from rankgate_eval.paid.calls import Calls, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemAnswer:
    """What a system answered, and from what.

    Attributes:
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


Samples = Mapping[str, Mapping[str, Sample]]
"""Arm to question id to sample."""

Said = tuple[Handed, Answer | CallFailed]
Arm = Callable[[AskedQuestion, Calls], Awaitable[Said]]
"""What an arm hands over for a question, and the answer from it or why there is none."""


def ranking_arm(handed: Mapping[str, Handed], generator: Generator) -> Arm:
    """An arm of given passages, by question id; equal passages are one call of the generator."""

    async def arm(question: AskedQuestion, calls: Calls) -> Said:
        given = handed[question.id]
        if given.failed:
            return given, CallFailed("retrieval_failed", given.reason)
        # From nothing there is nothing to answer: that is a refusal, and no model is asked.
        if given.refused or not given.texts:
            return given, Answer(text=REFUSAL, refused=True)
        try:
            return given, await generator.answer(question.text, given.texts, calls, question.id)
        except CallFailed as exc:
            return given, exc

    return arm


def system_arm(system: SystemUnderTest) -> Arm:
    """An arm that retrieves and answers by itself."""

    async def arm(question: AskedQuestion, calls: Calls) -> Said:
        try:
            return await system.ask(question.text, calls, question.id)
        except CallFailed as exc:
            return Handed(ids=(), texts=(), path="system", failed=True), exc

    return arm


async def make_samples(
    questions: Sequence[AskedQuestion],
    arms: Mapping[str, Arm],
    *,
    judge: AnswerJudge | None,
    calls: Calls,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Sample]]:
    """Answer and judge. Where arms worked from the same texts, the first one's answer is all's.

    Questions are begun in order and a bounded number is under way at a time, so that whatever
    stops the run (a budget, a kill) leaves whole pairs behind.

    Args:
        judge: None: keyless metrics only.
        calls: the way to every paid answer.
        progress: told how many questions are done, of how many.

    Raises:
        EndpointError: nothing can work at the generator or the judge.
    """
    found: dict[str, dict[str, Sample]] = {}
    waiting = iter(questions)

    async def work() -> None:
        for question in waiting:
            said = {name: await arm(question, calls) for name, arm in arms.items()}
            found[question.id] = await _judged(question, said, judge, calls)
            if progress is not None:
                progress(len(found), len(questions))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(calls.concurrency, len(questions))):
                group.create_task(work())
    except ExceptionGroup as several:
        # The first is the cause; the others were cancelled or met the same.
        raise several.exceptions[0] from None
    return {arm: {q.id: found[q.id][arm] for q in questions} for arm in arms}


async def _judged(
    question: AskedQuestion, said: Mapping[str, Said], judge: AnswerJudge | None, calls: Calls
) -> dict[str, Sample]:
    """The sample of every arm, one judgement for all that worked from the same texts."""
    groups: dict[object, list[str]] = {}
    for arm, (handed, answer) in said.items():
        # Whether a system refuses or fails is its own doing; a generator's answer is all arms'.
        own = isinstance(answer, CallFailed) or answer.refused
        same = arm if own and handed.path == "system" else handed.same_as
        groups.setdefault(same, []).append(arm)
    found: dict[str, Sample] = {}
    for names in groups.values():
        handed, answer = said[names[0]]
        if isinstance(answer, CallFailed):
            sample = Sample(handed=handed, failure=answer.reason, detail=answer.detail)
        elif answer.refused or question.answerable is False:
            sample = Sample(handed=handed, answer=answer)
        else:
            scores = _keyless(question, handed, answer)
            if judge is not None:
                scores |= await judge.scores(question, handed.texts, answer.text, calls)
            sample = Sample(handed=handed, answer=answer, scores=scores)
        for arm in names:
            # Ids may differ where two passages have one text.
            others = tuple(a for a in names if a != arm)
            found[arm] = replace(sample, handed=said[arm][0], shared_with=others)
    return found


def _keyless(question: AskedQuestion, handed: Handed, answer: Answer) -> dict[str, Score]:
    found = {
        "containment": containment(answer.text, question.references),
        "token_f1": token_f1(answer.text, question.references),
        "string_similarity": string_similarity(answer.text, question.references),
        "context_precision_qrels": context_precision(handed.ids, question.relevant),
    }
    return {
        name: Score(values=(round(value, 9),)) for name, value in found.items() if value is not None
    }
