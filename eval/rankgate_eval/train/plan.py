"""Which questions are learned from, kept back and looked at; and their candidates, mined once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankgate.errors import InputError
from rankgate.retrieve import Embedder
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.train.card import DataUse
from rankgate_eval.train.course import Report, TrainingJob, TrainingSettings
from rankgate_eval.train.lists import ListBuilder, epoch_plan
from rankgate_eval.train.looks import DevSet, JudgedList, judged_list
from rankgate_eval.train.mining import MarginRule, Mined, Miner, TrainingCorpus
from rankgate_eval.train.sources import Source, part_by_group

_KEPT_SHARE = 0.15
_MINED_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What the trainer gets.

    Attributes:
        questions: by corpus, those that are learned from.
        held_out: by corpus, training questions that are not.
        examples: (query, texts) of dev candidates, to compare exports on.
        notes: what a reader of the card should know of it.
    """

    builder: ListBuilder
    questions: Mapping[str, Sequence[str]]
    held_out: Mapping[str, Sequence[str]]
    dev: DevSet
    used: tuple[DataUse, ...] = ()
    examples: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()


def make_plan(
    sources: Sequence[Source],
    job: TrainingJob,
    *,
    embedder: Embedder | None,
    report: Report | None = None,
) -> TrainingPlan:
    """Part the questions and mine for those that will be used.

    Args:
        job: what the user asked for; at most 15% of a corpus's training questions are kept back.
        embedder: for dense candidates; None: BM25 alone.

    Raises:
        InputError: nothing to learn from, or no dev questions for both halves.
    """
    settings, rule = job.settings, MarginRule(margin=job.margin)
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
                at_most=job.kept_back,
            )
        held_out[name] = tuple(q for q in source.train if q in back)
        learned = tuple(q for q in source.train if q not in back)
        if learned:
            questions[name] = learned
        halves, note = _halved(source, settings.seed)
        notes += [] if note is None else [note]
        choose[name], decide[name] = (_sample(h, job.dev_questions, settings.seed) for h in halves)
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
        mined[name] = _mined(source.corpus, wanted, embedder, rule, job.candidates, say)

    def judged(parts: Mapping[str, tuple[str, ...]]) -> tuple[JudgedList, ...]:
        return tuple(judged_list(n, mined[n][q]) for n, ids in parts.items() for q in ids)

    choosing = judged(choose)
    return TrainingPlan(
        builder=ListBuilder(
            corpora={s.corpus.name: s.corpus for s in sources},
            mined=mined,
            settings=settings,
        ),
        questions=questions,
        held_out=held_out,
        dev=DevSet(fit=judged(held_out), choose=choosing, decide=judged(decide)),
        used=tuple(
            DataUse(
                name=(name := s.corpus.name),
                source=s.corpus.source,
                licence=s.corpus.licence,
                sha256=s.corpus.fingerprint,
                passages=len(s.corpus.passages),
                learned=len(due.get(name, ())),
                kept_back=len(held_out[name]),
                choose=len(choose[name]),
                decide=len(decide[name]),
                excluded=_excluded(mined[name][q] for q in due.get(name, ())),
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


def _excluded(mined: Iterable[Mined]) -> dict[str, int]:
    """How many passages the rule left out, by reason."""
    found = Counter(reason for one in mined for reason in one.excluded.values())
    return dict(sorted(found.items()))


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
