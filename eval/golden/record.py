"""Keeps a result of the golden set: as the baseline of the check, and as a committed result.

    python eval/golden/record.py .rankgate/golden/result.json

Writes `eval/golden/baseline.json` (what `rankgate eval check` compares with) and
`eval/results/golden.{json,md}` (what a reader looks at). The texts of passages are left out of
both: they stand in docs/.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankgate_eval import Result
from rankgate_eval.report import render_markdown

ROOT = Path(__file__).resolve().parents[2]
# Per query or by passage: in the baseline, or in the report that `make golden` writes.
_LONG = ("per_query", "worst_queries", "unanswerable", "lifts", "inversions", "snippets")


def brief(result: Result) -> dict[str, Any]:
    """The result without its lists of queries, and without how the policy was fitted."""
    plain = {name: value for name, value in result.to_dict().items() if name not in _LONG}
    plain["format"] = "rankgate-eval-brief"
    plain["lifts"] = {"passages": result.lifts.passages, "queries": result.lifts.queries}
    plain["inversions"] = {
        "passages": result.inversions.passages,
        "queries": result.inversions.queries,
    }
    plain["made"]["policy"].pop("provenance", None)
    return plain


def record(result: Result, root: Path = ROOT) -> None:
    """Write the three files below a project's folder."""
    slim = replace(result, worst_queries=(), snippets={})
    slim.save(root / "eval" / "golden" / "baseline.json")
    results = root / "eval" / "results"
    text = json.dumps(brief(result), indent=1, allow_nan=False)
    (results / "golden.json").write_text(text + "\n", encoding="utf-8")
    (results / "golden.md").write_text(render_markdown(slim), encoding="utf-8")


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser(description="Keep a result of the golden set.")
    parser.add_argument("result", type=Path, help="The result.json of `make golden-baseline`.")
    record(Result.load(parser.parse_args().result))


if __name__ == "__main__":
    main()
