"""The questions of an end-to-end evaluation: from a data set, or a user's own JSON lines."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.kinds import answerable_in_words
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.questions import gold_questions
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding

__all__ = ["AskedQuestion", "questions_of", "read_own_questions", "sample_questions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question, and what is known of its answer.

    Attributes:
        id: unique.
        text: as it is asked.
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
