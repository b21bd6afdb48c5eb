"""A result's queries as rows and as a pandas frame, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rankgate.errors import MissingExtraError
from rankgate_eval.result.rows import QueryRow


def query_rows(rows: Sequence[QueryRow]) -> list[dict[str, Any]]:
    """One mapping a query; metrics stand under `arm:metric`."""
    return [
        {
            "query_id": row.query_id,
            "query": row.query,
            "group": row.group,
            "path": row.path,
            "reason": row.reason,
            "refused": row.refused,
            "error": row.error,
            "harm": row.harm,
            "best": row.best,
            "first_stage_ms": row.first_stage_ms,
            "decision_ms": row.decision_ms,
            "scorer_ms": row.scorer_ms,
            **{
                f"{arm}:{metric}": value
                for arm, metrics in row.values.items()
                for metric, value in metrics.items()
            },
        }
        for row in rows
    ]


def query_frame(rows: Sequence[QueryRow]) -> Any:
    """`query_rows` as a `pandas.DataFrame`, indexed by query id.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as exc:
        raise MissingExtraError("a result as a pandas frame", "eval") from exc
    return pandas.DataFrame(query_rows(rows)).set_index("query_id")
