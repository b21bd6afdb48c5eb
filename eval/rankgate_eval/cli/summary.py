"""A result in a terminal: verdict, reasons, arms, where to mend it, where the files are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rankgate_eval.report.numbers import count_noun
from rankgate_eval.report.runs import headline, run_rows
from rankgate_eval.result.parts import Estimate
from rankgate_eval.result.result import ARMS, Result
from rankgate_eval.verdict.runs import RunsResult

VERDICTS = {
    "ship": "SHIP: the reranker pays on this data",
    "ship_behind_gate": "SHIP BEHIND THE GATE: the reranker pays where the gate lets it run",
    "dont_ship": "DON'T SHIP: the reranker does not pay on this data",
    "not_enough_data": "NOT ENOUGH DATA to decide",
    "not_a_fair_test": "NOT A FAIR TEST",
}
_WIDTH = 96


def summary_lines(result: Result, files: Sequence[Path]) -> list[str]:
    """What `rankgate eval` prints."""
    top = result.primary[1]
    lines = [VERDICTS[result.verdict]]
    for reason in result.reasons:
        lines += wrapped(reason, "  - ")
    if result.queries_needed is not None:
        lines += wrapped(f"About {result.queries_needed} queries like these are needed.", "  - ")
    lines += [
        "",
        f"{result.n} judged queries in {result.clusters} document groups, K = {result.made.k}, "
        f"top_n = {result.made.top_n}",
        "",
    ]
    rows = [["", "nDCG@10", "95% interval", top, "95% interval", "p50 ms", "p95 ms"]]
    for arm in ARMS:
        found = result.arms[arm]
        ndcg, recall = found.metrics["ndcg@10"], found.metrics[top]
        latency = found.latency_ms
        rows.append(
            [
                arm.replace("_", " "),
                f"{ndcg.mean:.3f}",
                _span(ndcg),
                f"{recall.mean:.3f}",
                _span(recall),
                "-" if latency is None or latency.p50 is None else f"{latency.p50:.0f}",
                "-" if latency is None or latency.p95 is None else f"{latency.p95:.0f}",
            ]
        )
    lines += table_lines(rows)
    lines += ["", *_facts(result), ""]
    for said in result.diagnosis[:1]:
        lines += wrapped(f"{said.sentence} {said.advice}", "Diagnosis: ")
    for warning in result.warnings:
        lines += wrapped(warning, "Warning: ")
    total = sum(result.data.warning_counts.values())
    if total:
        kinds = ", ".join(f"{n} {code}" for code, n in sorted(result.data.warning_counts.items()))
        counted = f"{count_noun(total, 'warning')} ({kinds}), listed in the report."
        lines += wrapped(counted, "Data set: ")
    lines += ["", "Files: " + ", ".join(str(file) for file in files)]
    return lines


def runs_lines(result: RunsResult, files: Sequence[Path]) -> list[str]:
    """What `rankgate eval` prints of several runs."""
    lines = [line for said in result.warnings for line in wrapped(said, "Warning: ")]
    lines.append(headline(result))
    for name, run in result.runs.items():
        lines += [f"{name}:"] if run.reasons else []
        for reason in run.reasons:
            lines += wrapped(reason, "  - ")
    groups = f"{result.n} judged queries in {result.clusters} document groups"
    lines += ["", groups, "", *table_lines(run_rows(result)), ""]
    for name, run in result.runs.items():
        if run.beyond:
            first = next(iter(result.runs))
            said = f"{run.beyond} passages that {first} does not have: not a reranking alone"
            lines += wrapped(said, f"{name}: ")
    return [*lines, "", "Files: " + ", ".join(str(file) for file in files)]


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns set flush, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _facts(result: Result) -> list[str]:
    refused = result.refusals
    lines = [
        f"skipped {result.skip_rate:.0%}; headroom {result.headroom.mean:.3f} of recall; "
        f"{result.inversions.passages} relevant passages left the top {result.made.top_n}, "
        f"{result.lifts.passages} came into it",
        f"refused {refused.answerable.count} of {refused.answerable.n} answerable queries"
        + (
            ""
            if "all" not in refused.unanswerable
            else f"; answered {refused.unanswerable['all'].count} of "
            f"{refused.unanswerable['all'].n} unanswerable ones"
        ),
    ]
    return lines


def _span(estimate: Estimate) -> str:
    return "-" if estimate.ci is None else f"{estimate.ci[0]:.3f}-{estimate.ci[1]:.3f}"


def wrapped(text: str, lead: str) -> list[str]:
    """The text in lines, the first led in, the others under it."""
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
