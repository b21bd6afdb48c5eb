"""The whole evaluation: questions in, verdict out; resumable, budgeted, one call for a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from rankgate.errors import InputError
from rankgate_eval.answers.answering import (
    Arm,
    SystemUnderTest,
    make_samples,
    ranking_arm,
    system_arm,
)
from rankgate_eval.answers.generator import ApiGenerator, Generator
from rankgate_eval.answers.judge import AnswerJudge
from rankgate_eval.answers.questions import AskedQuestion, Handed
from rankgate_eval.answers.rehearsal import (
    RehearsalGenerator,
    estimate_of,
    scripted_transport,
    typical_answer,
)
from rankgate_eval.answers.result import Comparison, EndToEnd, summarise
from rankgate_eval.paid.calls import Calls, open_store, spent_before
from rankgate_eval.paid.endpoint import Budget, Endpoint, Prices

KEPT = "calls"
"""The folder of kept answers in the folder of a run."""

T = TypeVar("T")
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """How much may be spent and sent at once.

    Attributes:
        max_cost: in the currency of the prices, of all runs over one folder; None: no limit.
        concurrency: calls on their way at once; a kill can lose so many, no more.
    """

    max_cost: float | None = None
    prices: Prices | None = None
    concurrency: int = 8


def compare_answers(
    questions: Sequence[AskedQuestion],
    arms: Mapping[str, Mapping[str, Handed] | SystemUnderTest],
    *,
    generator: Generator | None = None,
    judge: AnswerJudge | None = None,
    comparison: Comparison | None = None,
    folder: str | Path | None = None,
    spending: Spending | None = None,
    skip_rate: float = 0.0,
    made: Mapping[str, Any] | None = None,
    tell: Told | None = None,
) -> EndToEnd:
    """Answer every question in every arm, judge, compare, decide.

    Args:
        questions: which, with what is known of their answers.
        arms: name to passages by question id (see `hand_over`), or to a whole system (see
            `as_system`). The first one is what the others are compared with.
        judge: None: a result without a language model's judgement, under its own name.
        comparison: of what, decided how; None: the last arm with the first.
        folder: where paid answers are kept; None: nowhere, then nothing can be resumed.
        spending: None: the defaults.
        made: how it was made, for the record.

    Raises:
        InputError: no questions, fewer than two arms, passages without a generator, or an arm
            that is not there.
        ConfigError: a price is missing, or the kept answers are in use or damaged.
        EndpointError: nothing can work at the generator or the judge.
    """
    _check(questions, arms)
    wanted = _wanted(comparison, list(arms), judge)
    wanted.check(questions, list(arms))
    asked = Spending() if spending is None else spending
    budget = Budget(asked.max_cost, prices=asked.prices)
    endpoints = _endpoints(generator, judge)
    budget.check_models({role: e.model.name for role, e in endpoints.items()})
    with open_store(None if folder is None else Path(folder) / KEPT) as kept:
        budget.spent = spent_before(kept, budget.prices)
        calls = Calls(kept, budget=budget, concurrency=asked.concurrency)
        work = make_samples(
            questions,
            _asked(arms, generator),
            judge=judge,
            calls=calls,
            progress=_progress(tell, calls),
        )
        samples = _run(_closing(work, endpoints))
        usage = {"currency": budget.prices.currency, **calls.usage()}
    section = summarise(questions, samples, wanted, skip_rate=skip_rate)
    systems = {n: arm.identity for n, arm in arms.items() if isinstance(arm, SystemUnderTest)}
    section["made"] = {
        "judge": None if judge is None else judge.identity,
        "usage": usage,
        "seed": wanted.seed,
        **({} if generator is None else {"generator": dict(generator.identity)}),
        **({"systems": systems} if systems else {}),
        **({} if made is None else made),
    }
    return EndToEnd(section=section, questions=questions, samples=samples)


def _asked(
    arms: Mapping[str, Mapping[str, Handed] | SystemUnderTest], generator: Generator | None
) -> dict[str, Arm]:
    found: dict[str, Arm] = {}
    for name, arm in arms.items():
        if isinstance(arm, SystemUnderTest):
            found[name] = system_arm(arm)
        elif generator is None:
            raise InputError(f"the arm {name!r} hands over passages: name a generator for them")
        else:
            found[name] = ranking_arm(arm, generator)
    return found


def rehearse(
    questions: Sequence[AskedQuestion],
    arms: Mapping[str, Mapping[str, Handed]],
    *,
    generator: Generator,
    judge: AnswerJudge | None = None,
    folder: str | Path | None = None,
    prices: Prices | None = None,
) -> dict[str, Any]:
    """What a run would send and cost; nothing is sent. See `rehearsal` for what is assumed.

    Raises:
        InputError: no questions.
        ConfigError: the log is in use or damaged.
    """
    _check(questions, arms)
    known = Prices() if prices is None else prices
    stand_in: Generator
    if isinstance(generator, ApiGenerator):
        stand_in = ApiGenerator(
            _rehearsed(generator.endpoint), system=generator.system, refusals=generator.refusals
        )
    else:
        stand_in = RehearsalGenerator(generator.identity)
    judging = None if judge is None else judge.rehearsed(_rehearsed)
    where = None if folder is None else Path(folder) / KEPT
    with open_store(where if where is not None and where.is_dir() else None) as kept:
        paid = {key: kept[key] for key in kept}
    calls = Calls(dict(paid))

    async def work() -> dict[str, Any]:
        await make_samples(questions, _asked(arms, stand_in), judge=judging, calls=calls)
        return estimate_of(calls, known, paid)

    return _run(_closing(work(), _endpoints(stand_in, judging)))


def _rehearsed(endpoint: Endpoint) -> Endpoint:
    return Endpoint(endpoint.model, transport=scripted_transport(typical_answer))


def _wanted(
    comparison: Comparison | None, arms: Sequence[str], judge: AnswerJudge | None
) -> Comparison:
    wanted = comparison
    if wanted is None:
        if len(arms) < 2:
            raise InputError(f"a comparison needs two arms, got {list(arms)}")
        wanted = Comparison(before=arms[0], after=arms[-1])
    if judge is None:
        return replace(wanted, judged=())
    return replace(wanted, judged=judge.names, notes=judge.notes)


def _check(
    questions: Sequence[AskedQuestion],
    arms: Mapping[str, Mapping[str, Handed] | SystemUnderTest],
) -> None:
    if not questions:
        raise InputError("there are no questions to answer")
    ids = [q.id for q in questions]
    if len(set(ids)) != len(ids):
        raise InputError("a question id stands twice; it would count double")
    for arm, column in arms.items():
        if isinstance(column, SystemUnderTest):
            continue
        absent = [i for i in ids if i not in column]
        if absent:
            raise InputError(f"the arm {arm!r} hands over nothing for question {absent[0]!r}")


def _endpoints(generator: Generator | None, judge: AnswerJudge | None) -> dict[str, Endpoint]:
    """Role to endpoint, of everything that is called over the network."""
    found: dict[str, Endpoint] = {}
    if isinstance(generator, ApiGenerator):
        found["generator"] = generator.endpoint
    return found if judge is None else {**found, **judge.endpoints}


async def _closing(work: Coroutine[Any, Any, T], endpoints: Mapping[str, Endpoint]) -> T:
    try:
        return await work
    finally:
        for endpoint in endpoints.values():
            await endpoint.close()


def _progress(tell: Told | None, calls: Calls) -> Callable[[int, int], None] | None:
    if tell is None:
        return None
    say = tell

    def told(done: int, total: int) -> None:
        budget = calls.budget
        cost = f", {budget.spent:.2f} {budget.prices.currency} spent" if budget.spent else ""
        say(f"answering and judging ({calls.paid} calls{cost})", done, total)

    return told


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also inside a notebook, whose own loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(asyncio.run, work).result()
