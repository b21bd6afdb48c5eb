"""Asks, answers and judges: every question in every arm, equal contexts only once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rankgate.errors import InputError
from rankgate_eval.answers.calls import Calls
from rankgate_eval.answers.generator import REFUSAL, Answer, Generator
from rankgate_eval.answers.judge import Judge
from rankgate_eval.answers.keyless import containment, context_precision, token_f1
from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.ragas_metrics import string_similarity
from rankgate_eval.answers.sample import Handed, Sample, Score
from rankgate_eval.answers.systems import SystemUnderTest
from rankgate_eval.errors import CallFailed

__all__ = ["Samples", "answer_systems", "make_samples"]

Samples = Mapping[str, Mapping[str, Sample]]
"""Arm to question id to sample."""

Told = Callable[[int, int], None]


async def make_samples(
    questions: Sequence[Question],
    arms: Mapping[str, Mapping[str, Handed]],
    *,
    generator: Generator,
    judge: Judge | None,
    calls: Calls,
    progress: Told | None = None,
) -> dict[str, dict[str, Sample]]:
    """Generate and judge. Where arms hand over the same texts there is one sample for them.

    Questions are begun in order and a bounded number is under way at a time, so that whatever
    stops the run (a budget, a kill) leaves whole pairs behind.

    Args:
        questions: which.
        arms: arm to question id to what it hands over.
        generator: of all arms.
        judge: None: keyless metrics only.
        calls: the way to every paid answer.
        progress: told how many questions are done.

    Raises:
        EndpointError: nothing can work at the generator or the judge.
    """

    async def one(question: Question) -> dict[str, Sample]:
        groups: dict[object, list[str]] = {}
        for arm, column in arms.items():
            groups.setdefault(column[question.id].same_as, []).append(arm)
        made: dict[str, Sample] = {}
        for names in groups.values():
            first = arms[names[0]][question.id]
            answer: Answer | CallFailed
            try:
                answer = await _answer(question, first, generator, calls)
            except CallFailed as exc:
                answer = exc
            for arm, sample in (
                await _judged(question, first, answer, names, judge, calls)
            ).items():
                # Ids may differ where two passages have one text.
                made[arm] = replace(sample, handed=arms[arm][question.id])
        return made

    return await _all(questions, list(arms), one, calls, progress)


async def answer_systems(
    questions: Sequence[Question],
    systems: Mapping[str, SystemUnderTest],
    *,
    judge: Judge | None,
    calls: Calls,
    progress: Told | None = None,
) -> dict[str, dict[str, Sample]]:
    """`make_samples` for whole systems, each of which retrieves and answers by itself.

    Where two systems worked from the same texts, the first one's answer stands for both.

    Raises:
        InputError: fewer than two systems.
        EndpointError: nothing can work at the judge.
    """
    if len(systems) < 2:
        raise InputError(f"a comparison needs two systems, got {list(systems)}")

    async def one(question: Question) -> dict[str, Sample]:
        said: dict[str, tuple[Handed, Answer | CallFailed]] = {}
        for arm, system in systems.items():
            try:
                said[arm] = await system.ask(question.text, calls, question.id)
            except CallFailed as exc:
                said[arm] = Handed(ids=(), texts=(), path="system", failed=True), exc
        groups: dict[object, list[str]] = {}
        for arm, (handed, answer) in said.items():
            # Refusing or not is the system's own doing, and so is failing.
            fate = isinstance(answer, CallFailed) or answer.refused
            groups.setdefault((fate, handed.same_as) if not fate else arm, []).append(arm)
        made: dict[str, Sample] = {}
        for names in groups.values():
            handed, answer = said[names[0]]
            for arm, sample in (
                await _judged(question, handed, answer, names, judge, calls)
            ).items():
                made[arm] = replace(sample, handed=said[arm][0])
        return made

    return await _all(questions, list(systems), one, calls, progress)


async def _all(
    questions: Sequence[Question],
    arms: Sequence[str],
    one: Callable[[Question], object],
    calls: Calls,
    progress: Told | None,
) -> dict[str, dict[str, Sample]]:
    found: dict[str, dict[str, Sample]] = {}
    waiting = iter(questions)

    async def work() -> None:
        for question in waiting:
            found[question.id] = await one(question)  # type: ignore[misc]
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


async def _answer(question: Question, handed: Handed, generator: Generator, calls: Calls) -> Answer:
    if handed.failed:
        raise CallFailed("retrieval_failed", handed.reason)
    # From nothing there is nothing to answer: that is a refusal, and no model is asked.
    if handed.refused or not handed.texts:
        return Answer(text=REFUSAL, refused=True)
    return await generator.answer(question.text, handed.texts, calls, question.id)


async def _judged(
    question: Question,
    handed: Handed,
    answer: Answer | CallFailed,
    arms: Sequence[str],
    judge: Judge | None,
    calls: Calls,
) -> dict[str, Sample]:
    """The sample of every arm that handed over the same."""
    if isinstance(answer, CallFailed):
        sample = Sample(handed=handed, failure=answer.reason, detail=answer.detail)
    elif answer.refused or question.answerable is False:
        sample = Sample(handed=handed, answer=answer)
    else:
        scores = await _keyless(question, handed, answer)
        if judge is not None:
            scores |= await judge.scores(question, handed.texts, answer.text, calls)
        sample = Sample(handed=handed, answer=answer, scores=scores)
    return {arm: replace(sample, shared_with=tuple(a for a in arms if a != arm)) for arm in arms}


async def _keyless(question: Question, handed: Handed, answer: Answer) -> dict[str, Score]:
    found = {
        "containment": containment(answer.text, question.references),
        "token_f1": token_f1(answer.text, question.references),
        "string_similarity": await string_similarity(question.references, answer.text),
        "context_precision_qrels": context_precision(handed.ids, question.relevant),
    }
    return {
        name: Score(values=(round(value, 9),)) for name, value in found.items() if value is not None
    }
