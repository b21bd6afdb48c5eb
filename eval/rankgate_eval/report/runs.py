"""Compared runs as Markdown, and their table, which the terminal shows too."""

from __future__ import annotations

import json
from pathlib import Path

from rankgate.texts import whole_file
from rankgate_eval.report.numbers import interval, probability, score, signed, signed_interval
from rankgate_eval.report.safe_text import prose
from rankgate_eval.report.tables import bullets, table
from rankgate_eval.verdict.runs import RunsResult


def headline(result: RunsResult) -> str:
    """Which run to take, in a sentence."""
    first = next(iter(result.runs))
    if result.take != first:
        return f"SHIP {result.take}: better than {first} on this data"
    if result.exit_code == 3:
        return f"NOT ENOUGH DATA to tell the other runs from {first}"
    if result.exit_code == 4:
        return f"NOT A FAIR TEST: the lists of {first} are upside down"
    return f"DON'T SHIP: no run is worth its cost over {first} on this data"


def run_rows(result: RunsResult) -> list[list[str]]:
    """Head and a row for each run."""
    top = result.primary[1]
    head = ["run", "nDCG@10", "interval", top, "interval", "nDCG@10 won", "interval", "p (Holm)"]
    rows = [[*head, ""]]
    for name, run in result.runs.items():
        ndcg, recall = run.metrics["ndcg@10"], run.metrics[top]
        row = [name, score(ndcg.mean), interval(ndcg.ci), score(recall.mean), interval(recall.ci)]
        if run.differences is None:
            rows.append([*row, "", "", "", "baseline"])
            continue
        won = run.differences["ndcg@10"]
        call = "" if run.verdict is None else run.verdict.value.replace("_", " ")
        p = probability(run.adjusted_p)
        rows.append([*row, signed(won.mean), signed_interval(won.ci), p, call])
    return rows


def write_runs(result: RunsResult, folder: Path) -> list[Path]:
    """Write `runs.json` and `runs.md` into a folder that is there."""
    texts = {
        "runs.json": json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n",
        "runs.md": _markdown(result),
    }
    for name, text in texts.items():
        with whole_file(folder / name) as part:
            part.write_text(text, "utf-8", "backslashreplace")
    return [folder / name for name in texts]


def _markdown(result: RunsResult) -> str:
    head, *rows = run_rows(result)
    names = list(result.runs)
    metrics = list(result.runs[names[0]].metrics)
    parts = [
        f"# {prose(headline(result))}",
    ]
    if result.warnings:
        parts += ["**Read this before the numbers**", bullets(map(prose, result.warnings))]
    parts += [
        f"{result.n} judged queries in {result.clusters} document groups. p of nDCG@10 is Holm's, "
        "over all runs that are compared.",
        table(head, [[prose(cell) for cell in row] for row in rows]),
    ]
    for name, run in result.runs.items():
        if run.reasons:
            parts += [f"## {prose(name)}", bullets(map(prose, run.reasons))]
        if run.strata is not None:
            tested = [r for r in run.strata.rows if r.difference is not None]
            parts.append(
                table(
                    ["queries", "n", "nDCG@10 won", "interval", "p (Holm, over kinds)"],
                    [
                        [
                            prose(f"{r.dimension} = {r.name}"),
                            str(r.n),
                            signed(r.difference.mean),
                            signed_interval(r.difference.ci),
                            probability(r.adjusted_p),
                        ]
                        for r in tested
                        if r.difference is not None
                    ],
                )
            )
    parts += [
        "## All metrics",
        table(
            ["", *map(prose, names)],
            [
                *([m, *(score(result.runs[n].metrics[m].mean) for n in names)] for m in metrics),
                [
                    f"best recall@{result.top_n} that its passages allow",
                    *(score(result.runs[n].attainable) for n in names),
                ],
                [
                    "judged queries without a list",
                    *(str(result.runs[n].missing) for n in names),
                ],
                [
                    f"passages that {prose(names[0])} does not have",
                    *(str(result.runs[n].beyond) for n in names),
                ],
            ],
        ),
        "## How it was made",
        bullets(prose(f"{key}: {value}") for key, value in result.made.items()),
    ]
    return "\n\n".join(parts) + "\n"
