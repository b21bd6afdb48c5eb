"""Asks, answers and judges: every question in every arm, equal contexts only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from rankgate_eval.answers.calls import Calls
from rankgate_eval.answers.generator import REFUSAL, Answer, Generator
from rankgate_eval.answers.judge import Judge
from rankgate_eval.answers.keyless import (
    containment,
    context_precision,
    string_similarity,
    token_f1,
)
from rankgate_eval.answers.questions import AskedQuestion
from rankgate_eval.answers.sample import Handed, Sample, Score
from rankgate_eval.answers.systems import SystemUnderTest
from rankgate_eval.errors import CallFailed

__all__ = ["Arm", "Samples", "make_samples", "ranking_arm", "system_arm"]

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
    judge: Judge | None,
    calls: Calls,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Sample]]:
    """Answer and judge. Where arms worked from the same texts, the first one's answer is all's.

    Questions are begun in order and a bounded number is under way at a time, so that whatever
    stops the run (a budget, a kill) leaves whole pairs behind.

    Args:
        questions: which.
        arms: name to arm.
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
    question: AskedQuestion, said: Mapping[str, Said], judge: Judge | None, calls: Calls
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
