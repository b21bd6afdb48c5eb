"""The result of an end-to-end evaluation: its section, its samples, its frames, its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.errors import MissingExtraError
from rankgate_eval.answers.questions import AskedQuestion
from rankgate_eval.answers.sample import Sample, kind_of_answer
from rankgate_eval.verdict.verdict import Call

__all__ = ["EndToEnd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """What the evaluation found.

    Attributes:
        section: plain data; see `to_dict`.
        questions: that were asked.
        samples: arm to question id to what became of it.
    """

    section: Mapping[str, Any]
    questions: Sequence[AskedQuestion]
    samples: Mapping[str, Mapping[str, Sample]]

    @property
    def verdict(self) -> str:
        """Ship, ship_behind_gate, dont_ship, not_enough_data or not_a_fair_test."""
        return str(self.section["verdict"])

    @property
    def exit_code(self) -> int:
        """Of the command: 0 ship (also behind the gate), 1 don't, 3 not enough data, 4 unfair."""
        return Call(self.verdict).exit_code

    def to_dict(self) -> dict[str, Any]:
        """The section that belongs into a result under `end_to_end`."""
        return dict(self.section)

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a question and arm, with everything that was handed over, said and judged."""
        rows = []
        for question in self.questions:
            for arm, column in self.samples.items():
                sample = column[question.id]
                answer = sample.answer
                rows.append(
                    {
                        "query_id": question.id,
                        "query": question.text,
                        "group": question.cluster,
                        "answerable": question.answerable,
                        "arm": arm,
                        "path": sample.handed.path,
                        "passages": list(sample.handed.ids),
                        "contexts": list(sample.handed.texts),
                        "answer": None if answer is None else answer.text,
                        "kind": kind_of_answer(question, sample),
                        "failure": sample.failure,
                        "detail": sample.detail,
                        "shared_with": list(sample.shared_with),
                        "scores": {m: s.value for m, s in sample.scores.items()},
                        "judgings": {m: list(s.values) for m, s in sample.scores.items()},
                        "missing": {m: s.missing for m, s in sample.scores.items() if s.missing},
                    }
                )
        return rows

    def to_frame(self) -> Any:
        """The rows as a pandas frame, each metric a column.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = _pandas()
        rows = []
        for row in self.to_rows():
            scores = row.pop("scores")
            del row["judgings"], row["missing"]
            rows.append({**row, **scores})
        return pandas.DataFrame(rows)

    def table(self) -> Any:
        """Arms by metrics as a pandas frame: mean, interval, n and missing.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = []
        for arm, metrics in self.section["arms"].items():
            for metric, found in metrics.items():
                low, high = (None, None) if found["ci"] is None else found["ci"]
                rows.append(
                    {
                        "arm": arm,
                        "metric": metric,
                        "mean": found["mean"],
                        "low": low,
                        "high": high,
                        "n": found["n"],
                        "missing": found["missing"],
                    }
                )
        return _pandas().DataFrame(rows).set_index(["metric", "arm"])

    def save(self, folder: str | Path) -> list[Path]:
        """Write end_to_end.json, end_to_end.md and samples.jsonl, each whole or not at all."""
        from rankgate_eval.report.answers_markdown import answers_markdown

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.to_rows())
        texts = {
            "end_to_end.json": json.dumps(
                self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False
            )
            + "\n",
            "end_to_end.md": "\n\n".join(
                ["# Did the answers get better?", *answers_markdown(self.section)]
            )
            + "\n",
            "samples.jsonl": rows,
        }
        for name, text in texts.items():
            temporary = out / (name + ".tmp")
            temporary.write_text(text, "utf-8", errors="backslashreplace")
            os.replace(temporary, out / name)
        return [out / name for name in texts]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as exc:
        raise MissingExtraError("a result as a frame", "e2e") from exc
    return pandas
