"""Every question of a result as one table: for the page, for who reads it without a script, as CSV.

One row a question and the same cells everywhere, so that what is downloaded from the page, what
lies beside it as `queries.csv`, and what is seen cannot differ.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rankgate_eval.report import numbers, words
from rankgate_eval.report.safe_text import clip
from rankgate_eval.result.frame import query_rows
from rankgate_eval.result.result import Result
from rankgate_eval.result.rows import QueryLists, QueryRow, UnanswerableRow

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]

_LONGEST = 300  # characters of a question in the page; queries.csv holds all of them
_SNIPPET = 160
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FORMATS = {"signed": numbers.signed, "score": numbers.score, "ms": numbers.milliseconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that the page shows: its key in a row, its heading, and how its cells look."""

    key: str
    label: str
    format: str = "text"


def shown_columns(result: Result, rows: Sequence[Row]) -> tuple[Column, ...]:
    """What the page shows of the rows; the rest is behind their buttons and in the CSV.

    A column in which no row has anything, as without a fitted gate, is left out.
    """
    ndcg, recall = result.primary
    columns = (
        Column(key="query", label="Question"),
        Column(key="difference", label="Change", format="signed"),
        Column(
            key=f"{result.baseline}:{ndcg}",
            label=f"Baseline {words.metric_name(ndcg)}",
            format="score",
        ),
        Column(key=f"policy:{ndcg}", label=f"Policy {words.metric_name(ndcg)}", format="score"),
        Column(key=f"policy:{recall}", label=f"Policy {words.metric_name(recall)}", format="score"),
        Column(key="best", label="Best p", format="score"),
        Column(key="harm", label="Harm", format="score"),
        Column(key="latency_ms", label="Time", format="ms"),
        Column(key="path", label="Path"),
    )
    return tuple(c for c in columns if any(row[c.key] is not None for row in rows))


def question_rows(result: Result) -> list[Row]:
    """One row a question, what loses most first, then those without judgements.

    `difference` is nDCG@10, policy minus the baseline of the verdict, and `against` what that
    makes of it: lost, won or equal. Numbers have four digits.
    """
    ndcg = result.primary[0]
    values = {f"{arm}:{metric}": None for arm in result.arms for metric in result.primary}
    rows: list[Row] = []
    for row, plain in zip(result.per_query, query_rows(result.per_query), strict=True):
        change = row.values["policy"][ndcg] - row.values[result.baseline][ndcg]
        rows.append(
            _row(
                plain,
                judged="judged",
                strata="; ".join(row.strata),
                not_found=None if row.lists is None else row.lists.not_found,
                values=values,
                difference=_rounded(change),
                against="lost" if change < -5e-5 else "won" if change > 5e-5 else "equal",
                latency_ms=round(_waited(row), 2),
            )
        )
    rows.sort(key=lambda row: row["difference"])  # type: ignore[arg-type,return-value]
    for lone in result.unanswerable:
        plain = {
            "query_id": lone.query_id,
            "query": lone.query,
            "path": lone.path,
            "refused": lone.refused,
            "best": lone.best,
        }
        rows.append(_row(plain, judged="unanswerable", strata=_unanswerable(lone), values=values))
    return rows


def queries_csv(rows: Iterable[Row]) -> str:
    """The rows as RFC 4180 has them; words that a spreadsheet would run begin with a quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for i, row in enumerate(rows):
        if i == 0:
            writer.writerow(row)
        writer.writerow(_plain(cell) for cell in row.values())
    return text.getvalue()


def shown_cells(row: Row, columns: Iterable[Column]) -> dict[str, str]:
    """Cells as the page shows them; "" where there is nothing."""
    cells = {}
    for column in columns:
        value = row[column.key]
        look = _FORMATS.get(column.format)
        cells[column.key] = (
            ""
            if value is None
            else look(float(value))
            if look is not None
            else clip(str(value), _LONGEST)
        )
    return cells


def page_data(result: Result, rows: Iterable[Row]) -> Markup:
    """What the page's script reads: JSON that no text can end or leave.

    Rows are arrays in the order of `columns`; strata and passages are numbers into lists of them,
    since thousands of questions share them.
    """
    rows = list(rows)
    lists = {row.query_id: row.lists for row in result.per_query} | {
        row.query_id: row.lists for row in result.unanswerable
    }
    kinds = {row.query_id: row.strata for row in result.per_query} | {
        row.query_id: (_unanswerable(row),) for row in result.unanswerable
    }
    numbered: dict[str, int] = {}
    strata: dict[str, int] = {}

    def number(names: Iterable[str], known: dict[str, int]) -> list[int]:
        return [known.setdefault(name, len(known)) for name in names]

    def listed(found: QueryLists | None) -> list[Any] | None:
        if found is None:
            return None
        told = (found.first_stage, found.policy, found.relevant)
        return [*(number(ids, numbered) for ids in told), found.kept, found.relevant_total]

    plain = {
        "columns": list(rows[0]) if rows else [],
        "rows": [
            [
                number(kinds[str(row["query_id"])], strata)
                if key == "strata"
                else clip(cell, _LONGEST)
                if isinstance(cell, str)
                else cell
                for key, cell in row.items()
            ]
            for row in rows
        ],
        "lists": [listed(lists[str(row["query_id"])]) for row in rows],
        "strata": [clip(s, 120) for s in strata],
        "passages": [[clip(i, 80), clip(result.snippets.get(i, ""), _SNIPPET)] for i in numbered],
        "arms": {arm: words.arm_name(arm) for arm in result.arms},
        "metrics": {metric: words.metric_name(metric) for metric in result.primary},
    }
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Within a script tag nothing but `<` can end it or begin a comment.
    return Markup(text.replace("<", "\\u003c"))


def _row(
    plain: Mapping[str, Any], *, judged: str, strata: str, values: Mapping[str, None], **found: Cell
) -> Row:
    known = {**plain, **found}
    keys = itertools.chain(
        ("path", "reason", "refused", "error", "not_found", "harm", "best"),
        values,
        ("difference", "against", "latency_ms"),
    )
    return {
        "query_id": plain["query_id"],
        "query": plain["query"],
        "judged": judged,
        "group": plain.get("group", ""),
        "strata": strata,
        **{key: _rounded(known.get(key)) for key in keys},
    }


def _unanswerable(row: UnanswerableRow) -> str:
    return f"answerability={row.stratum}"


def _rounded(value: Any) -> Any:
    """Four digits, and a whole number as one: JSON, CSV and a script then write it alike."""
    if not isinstance(value, float):
        return value
    short = round(value, 4)
    return int(short) if short.is_integer() else short


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _waited(row: QueryRow) -> float:
    """Milliseconds that the policy takes."""
    return row.first_stage_ms + row.decision_ms + (0.0 if row.path == "skipped" else row.scorer_ms)
