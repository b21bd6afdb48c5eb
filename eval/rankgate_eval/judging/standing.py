"""Where a session stands: what reranking gains, how sure that is, and how far judges agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from rankgate_eval.judging.plan import gain, range_of_gain
from rankgate_eval.judging.session import GRADES, Kind, Session, Verdict
from rankgate_eval.stats.betting import Estimate, drawn_mean

PLANNED = 100
"""Questions that a person is asked for: what the interval's stakes are chosen for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two judges on the passages that both graded.

    Attributes:
        relevant: Cohen's kappa of relevant or not (Educ. Psychol. Meas. 20, 1960).
        graded: of the grades, a disagreement counting by its square (Psychol. Bull. 70, 1968).
            None where both gave one and the same grade to all: then chance explains it all.
    """

    judges: tuple[str, str]
    passages: int
    relevant: float | None
    graded: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known at this point.

    Attributes:
        gains: `ndcg@10` and `recall@N` to the mean over all questions of with minus without.
            A question to which nothing shown is relevant counts as unchanged.
        people: questions that people judged, from the first on without a gap.
        modelled: questions whose guess is a model's.
        guessed: the mean that the model's labels alone would give, by metric; empty without one.
        kinds: kind of verdict to how many of the people's questions; `none` are those graded of
            which no passage is relevant.
        agreements: of each two people, and of each model with people's consensus.
    """

    gains: Mapping[str, Estimate]
    people: int
    modelled: int
    guessed: Mapping[str, float]
    questions: int
    kinds: Mapping[str, int]
    agreements: tuple[Agreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with the word."""
        return asdict(self) | {"word": self.word}

    @property
    def word(self) -> str:
        """`helps`, `hurts`, or `open`, by the interval of nDCG@10."""
        found = self.gains["ndcg@10"]
        return "helps" if found.low > 0.0 else "hurts" if found.high < 0.0 else "open"


def consensus(verdicts: Sequence[Verdict]) -> Verdict | None:
    """What several judges say together, at least one of them; None where nobody could tell.

    The most frequent kind but `skipped`; of a passage's grades the lower median.
    """
    told = _told(verdicts)
    if told[0].kind is Kind.SKIPPED:
        return None
    graded = [v for v in told if v.kind is Kind.GRADED]
    if 2 * len(graded) < len(told):
        return next(v for v in told if v.kind is Kind.UNANSWERABLE)
    grades = {p: sorted(v.grades[p] for v in graded) for p in graded[0].grades}
    low = {p: g[(len(g) - 1) // 2] for p, g in grades.items()}
    return Verdict(question=graded[0].question, judge="consensus", kind=Kind.GRADED, grades=low)


def kappa(first: Sequence[int], second: Sequence[int], *, squared: bool = False) -> float | None:
    """Cohen's kappa of two lists of grades; weighted by squared distance, or all alike.

    None where chance alone would give the same.
    """
    names = sorted({*first, *second})
    table = np.zeros((len(names), len(names)))
    for a, b in zip(first, second, strict=True):
        table[names.index(a), names.index(b)] += 1.0
    values = np.asarray(names, dtype=np.float64)
    apart = values[:, None] - values[None, :]
    cost = apart**2 if squared else (apart != 0.0).astype(np.float64)
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(1.0, table.sum())
    expected = float((cost * chance).sum())
    return None if expected == 0.0 else 1.0 - float((cost * table).sum()) / expected


def standing(session: Session, *, model: str | None = None, level: float = 0.95) -> Standing:
    """Count what is settled, and bet on the rest.

    Args:
        session: judged by people as far as it goes.
        model: whose labels guess all questions; None: the last model that judged, if any did.
    """
    models = session.judges(model=True)
    chosen = model if model is not None else models[-1] if models else None
    guessed = {} if chosen is None else session.by(chosen)
    people = [_told(session.of(q.id)) for q in session.questions[: session.settled]]
    gains, alone = {}, {}
    for metric in ("ndcg", f"recall@{session.top_n}"):
        spans = [range_of_gain(q, metric) for q in session.questions]
        name = "ndcg@10" if metric == "ndcg" else metric
        guesses = [
            gain(q, guessed[q.id].grades, metric) if q.id in guessed else 0.0
            for q in session.questions
        ]
        if guessed:
            alone[name] = fmean(guesses)
        gains[name] = drawn_mean(
            [
                fmean([gain(q, v.grades, metric) for v in said])
                for q, said in zip(session.questions, people, strict=False)
            ],
            weights=[q.weight for q in session.questions],
            least=[low for low, _ in spans],
            most=[high for _, high in spans],
            guesses=guesses if guessed else None,
            planned=PLANNED,
            level=level,
        )
    return Standing(
        gains=gains,
        people=len(people),
        modelled=len(guessed),
        guessed=alone,
        questions=len(session.questions),
        kinds=_kinds(people),
        agreements=_agreements(session),
    )


def _kinds(people: Sequence[Sequence[Verdict]]) -> dict[str, int]:
    found = dict.fromkeys((*Kind, "none"), 0)
    for said in people:
        together = consensus(said)
        found[Kind.SKIPPED if together is None else together.kind] += 1
        if together is not None and together.kind is Kind.GRADED:
            found["none"] += not any(together.grades.values())
    return {str(kind): count for kind, count in found.items()}


def _agreements(session: Session) -> tuple[Agreement, ...]:
    people = session.judges()
    pairs = [(a, b, session.by(a), session.by(b)) for a, b in itertools.combinations(people, 2)]
    together = {
        q.id: c
        for q in session.questions
        if (said := session.of(q.id)) and (c := consensus(said)) is not None
    }
    pairs += [("people", m, together, session.by(m)) for m in session.judges(model=True)]
    found = []
    for first, second, one, other in pairs:
        grades = [
            (x, y)
            for q in session.questions
            if q.id in one and q.id in other
            for x, y in zip(_flat(q.shown, one[q.id]), _flat(q.shown, other[q.id]), strict=True)
            if x is not None and y is not None
        ]
        a, b = [x for x, _ in grades], [y for _, y in grades]
        found.append(
            Agreement(
                judges=(first, second),
                passages=len(grades),
                relevant=kappa([x > 0 for x in a], [y > 0 for y in b]),
                graded=kappa(a, b, squared=True),
            )
        )
    return tuple(found)


def _told(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """Those of judges who could tell, where there was one."""
    told = [v for v in verdicts if v.kind is not Kind.SKIPPED]
    return told if told else verdicts


def _flat(shown: Sequence[str], verdict: Verdict) -> list[int | None]:
    """Grades in the order shown; all 0 where it is unanswerable, unknown where it was skipped."""
    if verdict.kind is Kind.SKIPPED:
        return [None] * len(shown)
    return [verdict.grades.get(p, GRADES[0]) for p in shown]
