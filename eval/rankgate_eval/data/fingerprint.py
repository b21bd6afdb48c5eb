"""The fingerprint of what was measured on: so that nobody tests on what was fitted on.

A result and a policy both carry it. Equal fingerprints mean the same queries with the same
judgements, whatever the file they came from and whatever the split is called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset

__all__ = ["fingerprint"]


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
