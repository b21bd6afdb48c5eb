"""Which questions are learned from, kept back and looked at; and their candidates, mined once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankgate.errors import InputError
from rankgate.retrieve import Embedder
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.train.card import DataUse
from rankgate_eval.train.corpus import TrainingCorpus
from rankgate_eval.train.course import Report
from rankgate_eval.train.lists import ListBuilder, epoch_plan
from rankgate_eval.train.looks import DevSet, JudgedList, judged_list
from rankgate_eval.train.mining import MarginRule, Mined, Miner
from rankgate_eval.train.settings import TrainingSettings
from rankgate_eval.train.sources import Source, part_by_group

__all__ = ["TrainingPlan", "make_plan"]

_KEPT_SHARE = 0.15
_MINED_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What the trainer gets.

    Attributes:
        builder: of the lists.
        questions: by corpus, those that are learned from.
        held_out: by corpus, training questions that are not.
        dev: to look at.
        used: for the card.
        examples: (query, texts) of dev candidates, to compare exports on.
        notes: what a reader of the card should know of it.
    """

    builder: ListBuilder
    questions: Mapping[str, tuple[str, ...]]
    held_out: Mapping[str, tuple[str, ...]]
    dev: DevSet
    used: tuple[DataUse, ...]
    examples: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def make_plan(
    sources: Sequence[Source],
    settings: TrainingSettings,
    *,
    embedder: Embedder | None,
    rule: MarginRule | None = None,
    candidates: int = 50,
    kept_back: int = 100,
    dev_questions: int = 150,
    report: Report | None = None,
) -> TrainingPlan:
    """Part the questions and mine for those that will be used.

    Args:
        sources: with different names.
        settings: of the training.
        embedder: for dense candidates; None: BM25 alone.
        rule: of mining.
        candidates: of each question, for mining and for dev.
        kept_back: training questions of a corpus on which the order is fitted, at most, and at
            most 15% of them.
        dev_questions: of a corpus in each half of dev, at most.
        report: told about progress.

    Raises:
        InputError: nothing to learn from, or no dev questions for both halves.
    """
    say = (lambda *_: None) if report is None else report
    held_out: dict[str, tuple[str, ...]] = {}
    questions: dict[str, tuple[str, ...]] = {}
    choose: dict[str, tuple[str, ...]] = {}
    decide: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for source in sources:
        name, known = source.corpus.name, {q.id: q for q in source.corpus.queries}
        back: frozenset[str] = frozenset()
        if source.dev or len(sources) == 1:
            back = part_by_group(
                [known[q] for q in source.train],
                share=_KEPT_SHARE,
                seed=settings.seed,
                at_most=kept_back,
            )
        held_out[name] = tuple(q for q in source.train if q in back)
        learned = tuple(q for q in source.train if q not in back)
        if learned:
            questions[name] = learned
        halves, note = _halved(source, settings.seed)
        notes += [] if note is None else [note]
        choose[name], decide[name] = (_sample(h, dev_questions, settings.seed) for h in halves)
    if not questions:
        raise InputError("there is nothing to learn from: no source has training questions")
    if not any(source.dev for source in sources):
        raise InputError(
            "there are no dev questions: give a data set with a dev split or with labels; "
            "made-up questions cannot say whether training helps"
        )
    due = _due(questions, settings)
    mined: dict[str, dict[str, Mined]] = {}
    for source in sources:
        name = source.corpus.name
        wanted = [*due.get(name, ()), *held_out[name], *choose[name], *decide[name]]
        mined[name] = _mined(source.corpus, wanted, embedder, rule or MarginRule(), candidates, say)

    def judged(parts: Mapping[str, tuple[str, ...]]) -> tuple[JudgedList, ...]:
        return tuple(judged_list(n, mined[n][q]) for n, ids in parts.items() for q in ids)

    choosing = judged(choose)
    return TrainingPlan(
        builder=ListBuilder(
            corpora={s.corpus.name: s.corpus for s in sources},
            mined=mined,
            negatives=settings.negatives,
            randoms=settings.randoms,
            depth=settings.depth,
            spoiled=settings.spoiled,
            seed=settings.seed,
        ),
        questions=questions,
        held_out=held_out,
        dev=DevSet(fit=judged(held_out), choose=choosing, decide=judged(decide)),
        used=tuple(
            DataUse.of(
                s.corpus,
                [mined[s.corpus.name][q] for q in due.get(s.corpus.name, ())],
                learned=len(due.get(s.corpus.name, ())),
                kept_back=len(held_out[s.corpus.name]),
                choose=len(choose[s.corpus.name]),
                decide=len(decide[s.corpus.name]),
            )
            for s in sources
        ),
        examples=tuple(
            (j.query, tuple(c.text for c in j.candidates[:8]))
            for j in choosing[:: max(1, len(choosing) // 16)][:16]
            if j.candidates
        ),
        notes=tuple(notes),
    )


def _halved(
    source: Source, seed: int
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], str | None]:
    """Dev in two halves of whole documents: one to choose by, one to decide by.

    Where one document holds most of the questions, that is all there is on one side.
    """
    if len(source.dev) < 2:
        return ((), ()), None
    group = {q.id: q.group or q.id for q in source.corpus.queries}
    first, second = group_folds(source.dev, group, folds=2, seed=seed)
    if first.unit == "group":
        return (first.train, second.train), None
    sizes = Counter(group[q] for q in source.dev)
    largest = max(sizes, key=lambda g: sizes[g])
    # The large document decides: choosing wrongly costs quality, judging wrongly costs truth.
    parts = (
        tuple(q for q in source.dev if group[q] != largest),
        tuple(q for q in source.dev if group[q] == largest),
    )
    return parts, f"{source.corpus.name}: one document holds most of dev, and decides alone."


def _sample(ids: Sequence[str], at_most: int, seed: int) -> tuple[str, ...]:
    if len(ids) <= at_most:
        return tuple(ids)
    chosen = np.random.default_rng([seed, 31]).choice(len(ids), at_most, replace=False)
    return tuple(ids[int(i)] for i in sorted(chosen))


def _due(
    questions: Mapping[str, Sequence[str]], settings: TrainingSettings
) -> dict[str, tuple[str, ...]]:
    """The questions that some epoch will use: only for them is it worth to mine."""
    found: dict[str, dict[str, None]] = {}
    for epoch in range(settings.epochs):
        plan = epoch_plan(
            questions,
            lists=settings.lists,
            temperature=settings.temperature,
            seed=settings.seed,
            epoch=epoch,
        )
        for name, query in plan:
            found.setdefault(name, {})[query] = None
    return {name: tuple(ids) for name, ids in found.items()}


def _mined(
    corpus: TrainingCorpus,
    ids: Sequence[str],
    embedder: Embedder | None,
    rule: MarginRule,
    candidates: int,
    say: Report,
) -> dict[str, Mined]:
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    say(f"{corpus.name}: reading {len(corpus.passages)} passages", 0, len(wanted))
    miner = Miner(corpus, embedder=embedder, rule=rule, k=candidates)
    known = {q.id: q for q in corpus.queries}
    found: dict[str, Mined] = {}
    for at in range(0, len(wanted), _MINED_AT_ONCE):
        part = [known[q] for q in wanted[at : at + _MINED_AT_ONCE]]
        found |= {m.query.id: m for m in miner.mine(part)}
        say(f"{corpus.name}: mining", len(found), len(wanted))
    return found
