"""A calibration as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankgate_eval.calibrate.calibration import Calibration

_NAMES = {
    "reranked": "relevance, reranked",
    "first_stage": "relevance, first stage",
    "gate": "gate",
    "floor": "floor",
    "sufficiency": "sufficiency",
}


def table_lines(found: Calibration) -> list[str]:
    """What was fitted, what it does on the fresh half, and what was there before."""
    report = found.report
    data = report["data"]
    where = data["name"] if data["split"] is None else f"{data['name']}, split {data['split']}"
    strata = ", ".join(f"{n} {name}" for name, n in data["strata"].items())
    lines = [
        *_harm(found),
        f"{where}: {data['judged']} judged queries in {data['groups']} document groups",
        f"questions read: {strata}",
        f"scorer {report['scorer']} over a {report['first_stage']} first stage, "
        f"k {report['k']}, top_n {report['top_n']}",
        "",
    ]
    for part in (name for name in _NAMES if name in report["parts"]):
        entry = report["parts"][part]
        mark = "kept" if entry["kept"] else ("base" if entry.get("from_base") else "none")
        lines.append(f"{_NAMES[part]:<24}{mark:<6}{entry['reason']}")
    if report["mixture"] is not None:
        lines.append(f"{'probabilities':<24}{'':<6}{_mixture(report['mixture'])}")
    lines.append(f"{'fusion':<24}{'':<6}{report['fusion']['note']}")
    lines += ["", *_numbers(report)]
    if report["notes"]:
        lines += ["", *(f"Note: {note}" for note in report["notes"])]
    return lines


def _mixture(mixture: Mapping[str, Any]) -> str:
    told = f"for traffic of which {mixture['unanswerable']:.0%} has no answer"
    return told if mixture["stated"] else f"{told}, as in the questions read; --prior names yours"


def _harm(found: Calibration) -> list[str]:
    """The first line, where the reranker is worse than doing without."""
    told = found.report["reranker"]
    if not told["worse"]:
        return []
    apart = told["raw_minus_first_stage"]
    seen = (
        f"in its own order, over all {apart['n']} questions, nDCG@10 {told['raw_order']:.3f} "
        f"against {told['first_stage']:.3f}, {_difference(apart)}"
    )
    if not found.harmful:
        return [
            f"By itself the reranker is WORSE than the first stage ({seen}); the fitted order, "
            "which reads the first stage's scores as well, is better on the fresh half (below).",
            "",
        ]
    return [
        f"The reranker is WORSE than the first stage: {seen}. Do not put it to use; try another "
        "scorer, or none.",
        "",
    ]


def _numbers(report: Mapping[str, Any]) -> list[str]:
    new, old = report["held_out"], report["in_place"]
    fitted = new["fitted_on"] is not None
    columns = [("as written, fresh half" if fitted else "this policy", new)]
    if old is not None and fitted:
        columns.append((f"{old['policy']} policy", old))
    rows: list[tuple[str, list[str]]] = [("", [name for name, _ in columns])]

    def row(name: str, cells: list[str]) -> None:
        rows.append((name, cells))

    for name, key in (
        ("nDCG@10 first stage", "first_stage"),
        ("nDCG@10 raw order", "raw_order"),
        ("nDCG@10 always reranked", "always_reranked"),
        ("nDCG@10 always skipped", "always_skipped"),
        ("nDCG@10 policy", "policy"),
    ):
        row(name, [f"{c['order']['ndcg10'][key]:.4f}" for _, c in columns])
    row("skipped", [_share(c["gate"]["skip_rate"]) for _, c in columns])
    row("lost by skipping", [_difference(c["gate"]["loss"]) for _, c in columns])
    row("false refusals", [_share(c["floor"]["false_refusals"]["served"]) for _, c in columns])
    for stratum in new["floor"]["false_answers"]:
        row(
            f"false answers, {stratum}",
            [_share(c["floor"]["false_answers"][stratum]["served"]) for _, c in columns],
        )
    row("Brier skill at the top", [_skill(c["probability"]["served"]) for _, c in columns])
    first = max(len(name) for name, _ in rows) + 2
    return [
        f"{name:<{first}}" + "".join(f"{c:<30}" for c in cells).rstrip() for name, cells in rows
    ]


def _share(found: Mapping[str, Any]) -> str:
    if found["share"] is None:
        return "-"
    low, high = found["interval"]
    return f"{found['share']:.1%} [{low:.1%}, {high:.1%}] n {found['n']}"


def _difference(found: Mapping[str, Any]) -> str:
    interval = found["interval"]
    span = "" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]"
    return f"{found['mean']:+.4f}{span}"


def _skill(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None or found["brier_skill"] is None else f"{found['brier_skill']:.3f}"
