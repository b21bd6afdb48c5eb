"""Ask a folder's questions; judge the answers by what they contain: right, partly, wrong.

`python eval/folders/ask.py eval/folders/html.jsonl DATA_DIR [--half dev|report] [--out FILE]`

The folders are made by `fetch.sh` and filled by `rankgate ingest FOLDER --data-dir DATA_DIR`.
Every second question is for development, the others for the report. An answer is right where
every part of the reference stands in it (alternatives between bars), partly where some do; of a
question without an answer, a refusal is right. Containment says nothing of what else is quoted:
the answers are written to FILE, to be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from rag_app.ask.pipeline import Pipeline
from rag_app.settings import Settings


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").lower().split())


def judged(answer: list[str], text: str, refused: bool) -> str:
    """What became of one question."""
    if not answer:
        return "refused (rightly)" if refused else "answered (wrongly)"
    if refused:
        return "refused"
    found = [any(_plain(a) in _plain(text) for a in part.split("|")) for part in answer]
    return "right" if all(found) else "partly" if any(found) else "wrong"


def main() -> None:
    """Ask them, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--half", choices=("dev", "report"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.questions.read_text("utf-8").splitlines()]
    if args.half:
        rows = rows[args.half == "report" :: 2]
    counts: Counter[str] = Counter()
    said = []
    with Pipeline.open(Settings.load(overrides={"data_dir": args.data_dir})) as pipeline:
        for row in rows:
            result = pipeline.answer(row["question"])
            text = "" if result.answer is None else result.answer.text
            verdict = judged(row["answer"], text, result.refused)
            quoted = [q for s in (result.answer.sources if result.answer else ()) for q in s.quotes]
            kept = result.outcome.kept
            held = [judged(row["answer"], p.candidate.text, False) == "right" for p in kept]
            counts[verdict] += 1
            said.append(
                {
                    **row,
                    "verdict": verdict,
                    "said": text,
                    "quotes": len(quoted),
                    "kept": len(kept),
                    "rank": held.index(True) + 1 if True in held else None,
                    "band": str(result.outcome.band),
                }
            )
    if args.out:
        args.out.write_text("".join(json.dumps(s, ensure_ascii=False) + "\n" for s in said))
    counted = ", ".join(f"{what} {many}" for what, many in sorted(counts.items()))
    sys.stdout.write(f"{args.questions.stem} {args.half or 'all'}: {counted}\n")


if __name__ == "__main__":
    main()
