"""Fingerprint and marks of the questions: so that nobody tests on what was fitted on.

A result and a policy both carry the fingerprint. Equal fingerprints mean the same queries with
the same judgements, whatever the file they came from and whatever the split is called. A policy
has the marks besides, by which single questions are known again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.normalise import normalised, normalised_words

MOST_MARKS = 2000


def fingerprint(data: Dataset, query_ids: Iterable[str]) -> str:
    """`sha256:` and 32 hexadecimal digits over the queries' ids, texts and judgements.

    The order of the queries does not count.

    Raises:
        InputError: an unknown query.
    """
    rows = []
    for query_id in sorted(set(query_ids)):
        if query_id not in data.queries:
            raise InputError(f"{data.name} has no query {query_id!r}")
        judged = sorted(data.qrels.get(query_id, {}).items())
        rows.append([query_id, data.queries[query_id], judged])
    text = json.dumps(rows, ensure_ascii=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]


def _words(text: str) -> str:
    """Without punctuation: a question mark more does not make another question."""
    return " ".join(normalised_words(text)) or normalised(text)


def question_marks(
    questions: Iterable[str],
    *,
    most: int | None = MOST_MARKS,
    form: Callable[[str], str] = _words,
) -> list[str]:
    """Ten hexadecimal digits for each different question's words, the smallest `most`.

    The smallest of many marks are a random sample of the questions that two sides agree on, so
    that a policy fitted on any number of them stays a small file.

    Args:
        form: of a text; policies of earlier versions have marks of `normalised` ones.
    """
    marks = {hashlib.sha256(form(q).encode()).hexdigest()[:10] for q in questions}
    return sorted(marks)[:most]
