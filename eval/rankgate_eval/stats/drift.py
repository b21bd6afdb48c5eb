"""Whether the questions of a log are still like those that a policy was fitted on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import fisher_exact, ks_2samp

from rankgate.errors import InputError
from rankgate_eval.stats.significance import holm

LEAST = 100
"""Conversations on either side below which nothing is said."""
_ALPHA = 0.05
_MOVED = 0.1  # population stability index: below it a population is taken for the same
_BINS = 10
_OUTCOMES = ("skipped", "refused", "degraded")

Row = Mapping[str, Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One number's distribution, then and now.

    Attributes:
        name: a signal, `probability`, or a share of outcomes such as `refused`.
        before, now: medians, or shares.
        p: adjusted by Holm over everything that is compared.
        stability: population stability index over the tenths of then.
        drifted: not by chance, and by more than a stability index of 0.1.
    """

    name: str
    before: float
    now: float
    p: float
    stability: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Both times compared.

    Attributes:
        outcome: `drift`, `no_drift`, or `not_enough_data` (fewer than 100 conversations).
        before, now: conversations; each counts once, by its first question.
        shifts: most surely changed first.
    """

    outcome: str
    before: int
    now: int
    shifts: tuple[Shift, ...]

    @property
    def exit_code(self) -> int:
        """0 no drift, 1 drift, 3 not enough data."""
        return {"no_drift": 0, "drift": 1, "not_enough_data": 3}[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"format": "rankgate-drift", "version": 1, **asdict(self)}


def read_log(files: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Rows of question logs, in order of time.

    Raises:
        InputError: no such file, or a row without time and signals, as logs of before have them.
    """
    rows = []
    for file in map(Path, files):
        if not file.is_file():
            raise InputError(
                f"there is no question log at {file}: set question_log in the application, or give "
                "question_log=FILE to the component that answers"
            )
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
            try:
                row = json.loads(line)
                known = bool(row["time"]) and isinstance(row["signals"], dict)
            except (ValueError, KeyError, TypeError, RecursionError):
                known = False
            if not known:
                raise InputError(
                    f"{file}:{number} is no row of a question log with its signals, which older "
                    "versions did not keep: leave such rows out"
                )
            rows.append(row)
    return sorted(rows, key=lambda row: str(row["time"]))


def split_at(rows: Sequence[Row], day: date) -> tuple[list[Row], list[Row]]:
    """What was asked before a day (UTC), and from it on."""
    cut = day.isoformat()
    return [r for r in rows if r["time"] < cut], [r for r in rows if r["time"] >= cut]


def compare_logs(before: Sequence[Row], now: Sequence[Row]) -> Drift:
    """Two-sample tests of every signal, probability and outcome, corrected for their number.

    Kolmogorov and Smirnov's test for numbers, Fisher's for outcomes; a conversation counts once,
    because its questions are alike. The chance of any drift where nothing has changed is at most
    5%.
    """
    then, today = _first_questions(before), _first_questions(now)
    if min(len(then), len(today)) < LEAST:
        return Drift(outcome="not_enough_data", before=len(then), now=len(today), shifts=())
    found = [_of_outcome(name, then, today) for name in _OUTCOMES]
    for name in sorted({n for row in (*then, *today) for n in row["signals"]} | {"probability"}):
        a, b = _numbers(name, then), _numbers(name, today)
        if min(a.size, b.size) >= LEAST:
            p = float(ks_2samp(a, b).pvalue)
            found.append((name, float(np.median(a)), float(np.median(b)), p, _stability(a, b)))
    p_values = holm({name: p for name, _, _, p, _ in found})
    shifts = [
        Shift(
            name=name,
            before=a,
            now=b,
            p=p_values[name],
            stability=index,
            drifted=p_values[name] <= _ALPHA and index > _MOVED,
        )
        for name, a, b, _, index in found
    ]
    shifts.sort(key=lambda s: (not s.drifted, s.p, -s.stability))
    outcome = "drift" if any(s.drifted for s in shifts) else "no_drift"
    return Drift(outcome=outcome, before=len(then), now=len(today), shifts=tuple(shifts))


def _first_questions(rows: Sequence[Row]) -> list[Row]:
    first: dict[Any, Row] = {}
    for number, row in enumerate(rows):
        first.setdefault(row.get("session") or number, row)
    return list(first.values())


def _numbers(name: str, rows: Sequence[Row]) -> FloatArray:
    values = (r.get(name) if name == "probability" else r["signals"].get(name) for r in rows)
    return np.array([v for v in values if v is not None], dtype=np.float64)


def _of_outcome(
    name: str, then: Sequence[Row], today: Sequence[Row]
) -> tuple[str, float, float, float, float]:
    field = "status" if name == "refused" else "path"
    a, b = (sum(row.get(field) == name for row in rows) for rows in (then, today))
    table = [[a, len(then) - a], [b, len(today) - b]]
    p = min(1.0, float(fisher_exact(table).pvalue))
    shares = np.array([[a / len(then), 1 - a / len(then)], [b / len(today), 1 - b / len(today)]])
    return name, float(shares[0, 0]), float(shares[1, 0]), p, _index(shares[0], shares[1])


def _stability(a: FloatArray, b: FloatArray) -> float:
    edges = np.unique(np.quantile(a, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, x, "left"), minlength=edges.size + 1) / x.size
        for x in (a, b)
    ]
    return _index(*shares)


def _index(a: FloatArray, b: FloatArray) -> float:
    """Of shares; an empty cell counts as half a thousandth."""
    a, b = np.maximum(a, 5e-4), np.maximum(b, 5e-4)
    return float(((b - a) * np.log(b / a)).sum())
