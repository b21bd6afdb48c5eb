"""The questions of an end-to-end evaluation, and what became of each in an arm.

Questions come from a data set, or from JSON lines of the user's own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers.generator import Answer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.kinds import answerable_in_words
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.questions import gold_questions
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question, and what is known of its answer.

    Attributes:
        id: unique.
        references: right answers, each of which will do; none where no answer is known.
        answerable: whether the corpus answers it; None: unknown, then no refusal is called
            right or wrong.
        relevant: ids of the passages that answer it, as far as they are judged.
        group: questions of one group succeed and fail together; the unit of chance.
        fields: whatever else stood in its row.
    """

    id: str
    text: str
    references: tuple[str, ...] = ()
    answerable: bool | None = None
    relevant: tuple[str, ...] = ()
    group: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """`group`, or the question itself where there is none."""
        return self.group if self.group else f"question {self.id}"


def questions_of(data: Dataset, split: str | None = None) -> list[AskedQuestion]:
    """A data set's questions, in file order.

    What its row says of that is believed (see `answerable_in_words`; a word that it does not
    know: unknown). Otherwise a question with a relevant passage is answerable, one whose judged
    passages are all irrelevant is not, and of one that nobody judged nothing is known, unless
    the data set takes such questions as unanswerable.

    Raises:
        InputError: no such split.
    """
    found = []
    refused = set(data.unanswerable(split))
    for query in data.query_ids(split):
        relevant = data.relevant(query)
        fields = data.fields.get(query, {})
        answerable = answerable_in_words(fields)
        if answerable is None and "answerability" not in fields:
            answerable = True if relevant else False if query in refused else None
        found.append(
            AskedQuestion(
                id=query,
                text=data.queries[query],
                references=_known(data.answers(query)),
                answerable=answerable,
                relevant=relevant,
                group=data.group_of(query),
                fields=fields,
            )
        )
    return found


def read_own_questions(file: str | Path, *, data: Dataset | None = None) -> list[AskedQuestion]:
    """Read JSON lines of a user's own questions, as `rankgate eval` reads them.

    Each has `question` (or `query`, `text`) and, as far as they are known, `id`, `answer` or
    `answers`, `passage_ids`, `answerable` (true or false), `group`. Without `answerable`, a
    question with an answer or a passage is answerable, and of any other nothing is known.
    Without `group`, questions about the same passage or document are a group, as in a data set.

    Args:
        file: plain or gzipped.
        data: whose passages `passage_ids` names, and whose documents they were cut from; None:
            neither is known.

    Raises:
        DatasetError: rows that cannot be used, all of them with their lines.
    """
    path = Path(file)
    raw = RawDataset(name=path.name)
    found: dict[str, AskedQuestion] = {}
    for number, gold in enumerate(gold_questions(path, raw), start=1):
        fields = dict(gold.fields)
        answerable, group = fields.pop("answerable", None), fields.pop("group", "")
        if not (answerable is None or answerable in (0, 1)):
            raw.error("wrong_type", "`answerable` is true or false", gold.place)
            continue
        if gold.passages or gold.spans:
            said = "relevant passages are named by `passage_ids`, of DATA's corpus"
            raw.error("wrong_type", said, gold.place)
            continue
        strange = [p for p in gold.passage_ids if data is not None and p not in data.corpus]
        if strange:
            said = f"passage {strange[0]!r} is not in the corpus of DATA"
            raw.error("unknown_passage", said, gold.place)
        if gold.split is not None:
            fields["split"] = gold.split
        known = True if gold.answers or gold.passage_ids else None
        question = AskedQuestion(
            id=f"q{number}" if gold.id is None else gold.id,
            text=gold.text.strip(),
            references=_known(gold.answers),
            answerable=known if answerable is None else bool(answerable),
            relevant=gold.passage_ids,
            group=str(group),
            fields=fields,
        )
        if question.id in found:
            raw.error("duplicate_query_id", f"question id {gold.id!r} stands twice", gold.place)
        found[question.id] = question
    errors = list(raw.errors)
    if not found and not errors:
        errors.append(Finding(code="no_queries", message=f"{path} has no questions at all"))
    if errors:
        raise DatasetError(raw.name, errors)
    groups = document_groups(
        found,
        {i: q.relevant for i, q in found.items()},
        None if data is None else data.documents,
    )
    return [
        q if q.group or not q.relevant else replace(q, group=groups[q.id]) for q in found.values()
    ]


def sample_questions(
    questions: Sequence[AskedQuestion], limit: int | None, *, seed: int = 0
) -> list[AskedQuestion]:
    """At most `limit` of them, drawn at random, in their old order; None: all.

    Drawn, not cut off: the first questions of a file are about its first documents.

    Raises:
        InputError: the limit is below 1.
    """
    if limit is None:
        return list(questions)
    if limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    if limit >= len(questions):
        return list(questions)
    chosen = set(random.Random(seed).sample(range(len(questions)), limit))
    return [q for i, q in enumerate(questions) if i in chosen]


def _known(answers: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(a.strip() for a in answers if a.strip()))


KINDS = (
    "answered",
    "wrong_refusal",
    "right_refusal",
    "answer_to_unanswerable",
    "unknown_answered",
    "unknown_refused",
    "failed",
)
"""What may become of a question; `unknown_*` where nobody knows whether the corpus answers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """The passages of one arm for one question, best first.

    Attributes:
        ids: of the passages; with a system that names none, hashes of their texts.
        texts: of the same passages.
        refused: whether the arm refuses the question before any generator is asked.
        path: `first_stage`, `reranked`, `skipped` or `degraded`; `system` for a whole system.
        reason: why it was refused, or why retrieval failed; empty otherwise.
        failed: whether there is nothing to judge because retrieval failed.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    refused: bool = False
    path: str = "first_stage"
    reason: str = ""
    failed: bool = False

    @property
    def same_as(self) -> tuple[bool, bool, tuple[str, ...]]:
        """Equal for arms that a generator cannot tell apart: texts and their order, no more."""
        return self.refused, self.failed, self.texts

    @classmethod
    def of(cls, passages: Iterable[tuple[str, str]], *, path: str = "first_stage") -> Handed:
        """From (id, text) pairs."""
        rows = list(passages)
        return cls(ids=tuple(r[0] for r in rows), texts=tuple(r[1] for r in rows), path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one metric says of one answer.

    Attributes:
        values: one a judging, in [0, 1]; none where it is missing.
        missing: why there is none; empty where there is.
        ruled: by which rule of ours it was set instead of by the judge; empty otherwise.
        clipped: judgings whose cosine was negative, and counted as 0.
    """

    values: tuple[float, ...] = ()
    missing: str = ""
    detail: str = ""
    ruled: str = ""
    clipped: int = 0

    @property
    def value(self) -> float | None:
        """Mean of the judgings; None where it is missing."""
        return math.fsum(self.values) / len(self.values) if self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What became of a question in an arm.

    Attributes:
        answer: None where there is none.
        failure: why there is none; empty where there is.
        scores: metric to score, of answers that are judged: refusals, and answers to questions
            that the corpus does not answer, are counted instead.
        shared_with: other arms that handed over the same, so that this sample is theirs too.
    """

    handed: Handed
    answer: Answer | None = None
    failure: str = ""
    detail: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    shared_with: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the question was refused, by the arm or by the generator."""
        return self.answer is not None and self.answer.refused

    def value(self, metric: str) -> float | None:
        """A metric's value; None where there is none, for whatever reason."""
        score = self.scores.get(metric)
        return None if score is None else score.value


def kind_of_answer(question: AskedQuestion, sample: Sample) -> str:
    """Which of `KINDS` a sample is."""
    if sample.answer is None:
        return "failed"
    if question.answerable is None:
        return "unknown_refused" if sample.refused else "unknown_answered"
    if question.answerable:
        return "wrong_refusal" if sample.refused else "answered"
    return "right_refusal" if sample.refused else "answer_to_unanswerable"
