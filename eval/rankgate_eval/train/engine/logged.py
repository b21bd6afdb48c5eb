"""Turns the feedback log into questions with passages that helped and passages that did not."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rankgate.errors import InputError
from rankgate.feedback import read_feedback
from rankgate_eval.train.engine.data import TrainingCorpus, TrainingQuery

__all__ = ["corpus_from_feedback"]


def corpus_from_feedback(file: str | Path, *, licence: str = "not stated") -> TrainingCorpus:
    """Questions for which some passage was found relevant, with the verdicts that count.

    Questions about which only complaints are logged are left out: without a passage that
    answers there is nothing to put above the others.

    Raises:
        InputError: the log cannot be read, or no passage in it was found relevant.
    """
    log = read_feedback(file)
    queries = []
    for text, verdicts in log.verdicts().items():
        good = tuple(p for p, relevant in verdicts.items() if relevant)
        if good:
            queries.append(
                TrainingQuery(
                    id=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16],
                    text=text,
                    positives=good,
                    negatives=tuple(p for p, relevant in verdicts.items() if not relevant),
                    group=good[0],
                )
            )
    if not queries:
        raise InputError(
            f"{file}: {len(log.judgements)} judgements, none of them says that a passage helped; "
            "training needs such ones"
        )
    return TrainingCorpus(
        name=Path(file).stem,
        passages=log.passages(),
        queries=tuple(queries),
        licence=licence,
        source="feedback",
    )
