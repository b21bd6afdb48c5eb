"""Questions that the corpus does not answer: without them every floor looks harmless.

Made ones: `removed`, the data set's own questions with their relevant passages, and all that say
nearly the same, gone from the first stage; `near_miss`, the same questions about another name or
number; `foreign:NAME`, another data set's questions, easy ones unless it is a sibling collection.
Given ones: `unanswerable`, questions that people found unanswerable, the hard ones, and what the
data set says of its own, see `Dataset.stratum_of`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate.retrieve import Progress
from rankgate.types import Candidate
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.near_duplicates import near_duplicates, removals
from rankgate_eval.run.system import FirstStage, IndexStage

REMOVED, NEAR_MISS = "removed", "near_miss"
NEGATIVES = (REMOVED, NEAR_MISS)
"""Strata of questions that can be made of the data set's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question without an answer in the corpus.

    Attributes:
        id: unique among all questions of the calibration.
        group: document group of the question that it was made from; None: its own.
    """

    id: str
    text: str
    stratum: str
    group: str | None = None


class WithoutStage:
    """A first stage from whose lists passages are taken out, for systems that cannot hide them.

    It asks for as many more as it may have to take out. The lists are those of an index without
    these passages, as long as the system gives as many as it is asked for and does not look at
    the rest of its list for scoring.

    Args:
        hidden: query id to the passages that do not exist for it.
    """

    def __init__(self, inner: FirstStage, hidden: Mapping[str, Collection[str]]) -> None:
        self.inner = inner
        self.hidden = hidden

    def candidates(self, query: str, k: int) -> Sequence[Candidate]:
        """The system's candidates, nothing taken out."""
        return self.inner.candidates(query, k)

    def candidates_for(self, query_id: str, query: str, k: int) -> list[Candidate]:
        """The k best that are left, ranked anew."""
        gone = self.hidden.get(query_id, ())
        by_id = getattr(self.inner, "candidates_for", None)
        deeper = k + len(gone)
        rows: Sequence[Candidate] = (
            self.inner.candidates(query, deeper)
            if by_id is None
            else by_id(query_id, query, deeper)
        )
        left = [c for c in rows if c.id not in gone][:k]
        return [replace(c, rank=rank) for rank, c in enumerate(left, start=1)]


def stage_without(stage: FirstStage, hidden: Mapping[str, Collection[str]]) -> FirstStage:
    """The same first stage, for which these passages do not exist."""
    if isinstance(stage, IndexStage):
        return replace(stage, hidden=hidden)
    return WithoutStage(stage, hidden)


def hidden_passages(
    data: Dataset,
    query_ids: Sequence[str],
    stage: FirstStage,
    *,
    progress: Progress | None = None,
) -> dict[str, frozenset[str]]:
    """For each judged query, what must go so that nothing answers it.

    Near-duplicates are found by words and, where the first stage is an index with vectors, by
    cosine as well.
    """
    relevant = {q: data.relevant(q) for q in query_ids}
    gold = sorted({p for passages in relevant.values() for p in passages})
    vectors = None
    if isinstance(stage, IndexStage) and stage.index.matrix is not None:
        vectors = (stage.index.ids, stage.index.matrix)
    duplicates = near_duplicates(data.corpus, gold, vectors=vectors, progress=progress)
    return removals(relevant, duplicates)


def foreign_questions(
    others: Sequence[Dataset], *, split: str | None, at_most: int, own: Collection[str] = ()
) -> tuple[list[Question], list[str]]:
    """Questions of other data sets, evenly from each.

    Args:
        split: theirs that is read; where one has no such split, all of its queries.
        at_most: questions in all.
        own: texts of the data set under test, which are not foreign.

    Returns:
        The questions, and what a reader should know.
    """
    chosen: list[Question] = []
    notes: list[str] = []
    known = set(own)
    for i, other in enumerate(others):
        named = split
        if split is not None and split not in other.splits:
            named = None
            if other.splits:
                have = ", ".join(other.splits)
                raise InputError(
                    f"the foreign data set {other.name} has no split {split!r} (it has: {have}), "
                    "and taking all of its questions would take its test questions too"
                )
            notes.append(f"{other.name} has no splits: its foreign questions come from all of it")
        ids = [q for q in sorted(other.query_ids(named)) if other.queries[q] not in known]
        share = at_most // len(others) + (1 if i < at_most % len(others) else 0)
        # Every so many of the sorted ids: spread over the data set, the same on every run.
        step = max(1.0, len(ids) / max(1, share))
        picked = [ids[int(j * step)] for j in range(min(share, len(ids)))]
        chosen += [
            Question(
                id=f"foreign:{other.name}:{q}",
                text=other.queries[q],
                stratum=f"foreign:{other.name}",
            )
            for q in picked
        ]
    return chosen, notes


def read_questions(path: str | Path, *, split: str | None) -> list[Question]:
    """Unanswerable questions from a JSONL file.

    A row has `text`, or `turns` of a conversation, of which the last user's turn is asked. Where
    rows have `answerability`, only those that are `unanswerable` count; where they have `split`,
    only those of this one.

    Raises:
        InputError: unreadable, or a row without a question; with the line.
    """
    file = Path(path)
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"cannot read the unanswerable questions {file}: {exc}") from exc
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            text = _question(row)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as exc:
            raise InputError(
                f"{file}:{number}: a row needs `text`, or `turns` with a user's turn ({exc})"
            ) from exc
        kind = row.get("answerability")
        if (kind is not None and kind != "unanswerable") or (
            split is not None and row.get("split") not in (None, split)
        ):
            continue
        identifier = row.get("_id", row.get("id", number))
        found.append(Question(id=f"unanswerable:{identifier}", text=text, stratum="unanswerable"))
    if not found:
        raise InputError(f"{file} has no unanswerable question of split {split!r}")
    return found


def _question(row: Mapping[str, Any]) -> str:
    if "text" in row:
        text = row["text"]
    else:
        text = [turn["text"] for turn in row["turns"] if turn["role"] == "user"][-1]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the question is empty")
    return text


def questions_data(data: Dataset, questions: Sequence[Question]) -> Dataset:
    """The data set's passages with these questions alone, none of them judged."""
    return Dataset(
        name=data.name,
        corpus=data.corpus,
        queries={q.id: q.text for q in questions},
        qrels={},
        splits={},
        documents=data.documents,
    )
