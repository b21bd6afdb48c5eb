"""The comparison as a table: for a terminal, as Markdown, and as CSV with every number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rankgate_eval.comparison.choice import in_words
from rankgate_eval.comparison.points import Comparison, Pair, Point
from rankgate_eval.report.numbers import (
    percent,
    probability,
    score,
    signed,
    signed_interval,
)
from rankgate_eval.report.safe_text import prose
from rankgate_eval.report.tables import bullets, table
from rankgate_eval.result.parts import Change

_NOTHING = "-"


def recall_rows(found: Comparison) -> list[list[str]]:
    """Recall of the first stage by depth, head first."""
    curve = found.recall_curve
    return [
        ["depth", *(str(p.depth) for p in curve.points)],
        ["recall", *(score(p.recall) for p in curve.points)],
    ]


def point_rows(found: Comparison) -> list[list[str]]:
    """Every point, head first."""
    head = ["scorer, K", "arm", "nDCG@10", "gain", "95% interval", "p (Holm)"]
    head += [f"recall@{found.top_n}", "refused wrongly", "answered wrongly"]
    head += ["skipped", "p50 ms", "p95 ms", "USD/1,000", ""]
    rows = [head]
    for position, point in enumerate(found.points):
        marks = {"baseline": found.baseline, "best": found.best, "take": found.taken}
        told = [word for word, at in marks.items() if at == position]
        gain, latency, cost = point.gain, point.latency_ms, point.cost
        usd = None if cost is None else cost.usd
        rows.append(
            [
                f"{point.scorer}, {point.k}" if point.scorer else "none",
                point.arm.replace("_", " "),
                score(point.ndcg.mean),
                _NOTHING if gain is None else signed(gain.mean),
                _NOTHING if gain is None else signed_interval(gain.ci),
                _NOTHING if gain is None else probability(point.adjusted_p),
                score(point.recall.mean),
                *(
                    _NOTHING if share.rate is None else percent(share.rate)
                    for share in (point.false_refusals, point.false_answers)
                ),
                percent(point.skip_rate, digits=0),
                *(_NOTHING if ms is None else f"{ms:.0f}" for ms in (latency.p50, latency.p95)),
                _NOTHING if usd is None else f"{usd:.3g}",
                ", ".join(told),
            ]
        )
    return rows


def pair_rows(pairs: Sequence[Pair]) -> list[list[str]]:
    """Every pair of scorers, head first."""
    rows = [["scorer", "minus", "K", "arm", "nDCG@10", "95% interval", "p (Holm)"]]
    for pair in pairs:
        change = pair.change
        rows.append(
            [
                pair.second,
                pair.first,
                str(pair.k),
                pair.arm,
                signed(change.mean),
                signed_interval(change.ci),
                probability(pair.adjusted_p),
            ]
        )
    return rows


def markdown(found: Comparison) -> str:
    """Sentence, tables and notes."""
    base = found.points[found.baseline]
    facts = [
        f"{found.n} judged queries in {found.clusters} document groups; gain: nDCG@10 minus that "
        f"of {in_words(base)}, made of {found.baseline_k} candidates; "
        f"recall@{found.top_n} is of what is kept after the floor",
        *costs_in_words(found.points),
        *found.notes,
        *(f"{name}: {value}" for name, value in found.made.items() if isinstance(value, str)),
    ]
    (head, *rows), (depths, recall) = point_rows(found), recall_rows(found)
    parts = [
        "# Rerankers compared",
        prose(found.sentence),
        table(head, [[prose(cell) for cell in row] for row in rows]),
        prose(f"Rule: {found.rule}"),
    ]
    if found.pairs:
        first, *others = pair_rows(found.pairs)
        parts += [
            "## Between scorers",
            table(first, [[prose(cell) for cell in row] for row in others]),
        ]
    parts += [
        "## Recall of the first stage",
        f"{found.recall_curve.knee_words}:",
        table(depths, [recall]),
        "## Made",
        bullets(prose(fact) for fact in facts),
    ]
    return "\n\n".join(parts) + "\n"


def costs_in_words(points: Sequence[Point]) -> list[str]:
    """What each scorer's cost was reckoned by."""
    found = {p.scorer: p.cost.basis for p in points if p.cost is not None and p.cost.basis != ""}
    return [f"Cost of {name}: {basis}" for name, basis in found.items()]


def csv_text(found: Comparison) -> str:
    """One line a point, every number in full; empty where there is none."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    head = ["scorer", "k", "arm", "policy"]
    for name in ("ndcg@10", f"recall@{found.top_n}"):
        head += [name, f"{name}_low", f"{name}_high"]
        head += [f"{name}_{part}" for part in ("gain", "gain_low", "gain_high", "gain_p")]
    head += [
        "false_refusals",
        "false_answers",
        "holm_p",
        "verdict",
        "skip_rate",
        "mean_ms",
        "p50_ms",
        "p95_ms",
        "inside",
    ]
    head += ["usd_per_1000", "cpu_s_per_1000", "cost_basis", "baseline", "best", "take"]
    lines.writerow(head)
    for i, p in enumerate(found.points):
        row: list[object] = [p.scorer, p.k, p.arm, p.policy]
        for value, gain in ((p.ndcg, p.gain), (p.recall, p.recall_gain)):
            row += [value.mean, *(value.ci if value.ci is not None else (None, None))]
            row += _numbers(gain)
        cost = p.cost
        latency = p.latency_ms
        row += [p.false_refusals.rate, p.false_answers.rate]
        row += [p.adjusted_p, p.call, p.skip_rate, latency.mean, latency.p50, latency.p95]
        row += [p.inside]
        row += (None, None, "") if cost is None else (cost.usd, cost.cpu_s, cost.basis)
        row += [i == found.baseline, i == found.best, i == found.taken]
        lines.writerow(["" if cell is None else cell for cell in row])
    return out.getvalue()


def _numbers(change: Change | None) -> list[float | None]:
    if change is None:
        return [None, None, None, None]
    low, high = (None, None) if change.ci is None else change.ci
    return [change.mean, low, high, change.p]
