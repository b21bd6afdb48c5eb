"""Whether a test is fair: other questions than fitted the policy, a first stage that is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.policy import Policy
from rankgate.types import FirstStageKind
from rankgate_eval.data.fingerprint import MOST_MARKS, question_marks
from rankgate_eval.data.normalise import normalised
from rankgate_eval.run.experiment import EvalSettings
from rankgate_eval.run.metrics import Qrels, measure

_FEW = 0.02
"""Share of the questions that two honest samples may have in common, such as "opening hours"."""
_ADVICE = "Its numbers here are too good; evaluate on questions that it has not seen."


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedQuestions:
    """Questions that fitted the policy and judge it.

    Attributes:
        unfair: whether they are more than a few, so that nothing may ship on them.
    """

    sentence: str
    unfair: bool


def shared_questions(
    policy: Policy,
    kind: FirstStageKind,
    questions: Sequence[str],
    *,
    name: str,
    split: str | None,
    fingerprint: str | None = None,
) -> SharedQuestions | None:
    """What the policy's provenance says of these questions; None where they are others.

    The questions' marks decide where the policy has them, whatever the data set is called now.
    Else an equal fingerprint, and last the names: the same data set in the same split, or in all
    of it on one side.

    Args:
        name: of the data set that they were taken from.
        split: of it; None: all of it.
        fingerprint: of the judged queries; None where they have no judgements.
    """
    for entry in _fitted_on(policy.provenance, kind):
        marks = entry.get("marks")
        if isinstance(marks, str) and marks:
            found = _by_marks(policy.name, marks.split(), questions)
        elif fingerprint is not None and entry.get("fingerprint") == fingerprint:
            found = SharedQuestions(
                sentence=f"The policy {policy.name!r} was fitted on these very queries. {_ADVICE}",
                unfair=True,
            )
        elif entry.get("name") == name and (
            split is None or entry.get("split") is None or entry.get("split") == split
        ):
            where = "" if entry.get("split") is None else f", split {entry['split']!r}"
            found = SharedQuestions(
                sentence=f"The policy {policy.name!r} was fitted on a data set of this name "
                f"({name}{where}) and does not say on which questions. {_ADVICE} If they are "
                "others, `rankgate calibrate` writes a policy that knows them.",
                unfair=True,
            )
        else:
            continue
        if found is not None:
            return found
    return None


def upside_down(
    qrels: Qrels,
    lists: Mapping[str, Sequence[str]],
    judged: Sequence[str],
    clusters: Sequence[str],
    asked: EvalSettings,
) -> str | None:
    """That the lists are better from the end, in a sentence; None where that is not shown.

    Whatever orders such lists gains, random numbers too: the gain is of no reranker's making.

    Args:
        lists: of the first stage, query to passage ids, as long as they were fetched.
        clusters: document group of each judged query.
    """
    turned = {query: tuple(reversed(ids)) for query, ids in lists.items()}
    given, backwards = (
        measure(qrels, order, judged, names=["ndcg@10"]).values["ndcg@10"]
        for order in (lists, turned)
    )
    if backwards.mean() <= given.mean() or asked.compare(given, backwards, clusters).low <= 0.0:
        return None
    return (
        f"The first stage's lists are upside down: nDCG@10 is {given.mean():.3f}, and read from "
        f"the end {backwards.mean():.3f}, so that any other order gains. Are its scores distances, "
        "the smallest the best? Mend that, and measure again."
    )


def _by_marks(
    policy: str, fitted: Sequence[str], questions: Sequence[str]
) -> SharedQuestions | None:
    known, share = set(fitted), 0.0
    for asked in (
        question_marks(questions, most=None),
        question_marks(questions, most=None, form=normalised),
    ):
        if len(known) >= MOST_MARKS:
            # Of very many questions the policy keeps the smallest marks: it speaks up to there.
            asked = [mark for mark in asked if mark <= max(known)]
        share = max(share, sum(mark in known for mark in asked) / max(1, len(asked)))
    if not share:
        return None
    seen = f"The policy {policy!r} was fitted on {share:.0%} of the questions that judge it here"
    if share <= _FEW:
        return SharedQuestions(
            sentence=f"{seen}, which two samples may have in common by chance.", unfair=False
        )
    return SharedQuestions(sentence=f"{seen}. {_ADVICE}", unfair=True)


def _fitted_on(provenance: Mapping[str, Any], kind: FirstStageKind) -> Iterator[Mapping[str, Any]]:
    """What the section was fitted on: of a policy over a base, the base's where it is its own."""
    if provenance.get("section") in (None, kind.value):
        yield from _entries(provenance.get("data"))
    elif isinstance(provenance.get("base"), Mapping):
        yield from _fitted_on(provenance["base"], kind)


def _entries(data: Any) -> Iterable[Mapping[str, Any]]:
    """Entries with name, split and fingerprint, from one entry, a list, or name to split."""
    if isinstance(data, Mapping):
        if "name" in data or "fingerprint" in data:
            return [data]
        return [
            {"name": name, "split": split if isinstance(split, str) else None}
            for name, split in data.items()
        ]
    if isinstance(data, list | tuple):
        return [entry for part in data for entry in _entries(part)]
    return []
