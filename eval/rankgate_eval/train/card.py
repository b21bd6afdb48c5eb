"""The training card: what a model was made of and how good it was when it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankgate_eval.stats.significance import Difference
from rankgate_eval.train.course import TrainingResult, TrainingSettings
from rankgate_eval.train.mining import MarginRule


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUse:
    """One corpus as this training used it.

    Attributes:
        source: `beir`, `triples`, `feedback` or `documents`.
        licence: as the user stated it.
        learned: questions that lists were made of.
        kept_back: training questions on which the order was fitted.
        choose: dev questions that chose the step.
        decide: dev questions, on other documents, that judged it.
        excluded: mined passages that the margin rule left out, by reason.
    """

    name: str
    source: str
    licence: str
    sha256: str
    passages: int
    learned: int
    kept_back: int
    choose: int
    decide: int
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCard:
    """Everything that a reader of the weights should know.

    Attributes:
        start: what training started from, as the user named it.
        start_sha256: of its weights; "" where it has none of its own.
        rule: which mined passages were left out.
        first_stage: nDCG@10 of the first stage's own order on the half of dev that decides, by
            corpus.
        before: of the policy's order with the model that training started from, likewise.
        after: with the best step, likewise.
        difference: of the two over all deciding questions, with its interval; None where no step
            was better on the half that chooses.
        against_first_stage: of the kept model and the first stage's own order, likewise.
        kept: whether the result is better than its start beyond noise.
        weights: file name to sha256.
        environment: versions, hardware, commit, command, date.
        notes: what else a reader should know.
    """

    start: str
    start_sha256: str
    data: tuple[DataUse, ...]
    settings: TrainingSettings
    rule: MarginRule
    result: TrainingResult
    first_stage: Mapping[str, float]
    before: Mapping[str, float]
    after: Mapping[str, float]
    difference: Difference | None
    against_first_stage: Difference
    kept: bool
    weights: Mapping[str, str]
    environment: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def choosing(self) -> tuple[float, float]:
        """nDCG@10 of start and best step on the half of dev that chose the step."""
        points = {p.step: p.ndcg for p in self.result.history}
        return self.result.history[0].ndcg, points[self.result.best_step]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        data: dict[str, Any] = json.loads(json.dumps({"version": 2, **asdict(self)}))
        return data

    def write(self, folder: Path) -> None:
        """card.json, and CARD.md for people."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"
        (folder / "card.json").write_text(text, "utf-8")
        (folder / "CARD.md").write_text(self.to_markdown(), "utf-8")

    def to_markdown(self) -> str:
        """For people."""
        start, best = self.choosing
        lines = [
            "# Training card",
            "",
            f"A reranker trained by `{self.environment.get('command', 'rankgate train')}` on "
            f"{self.environment.get('date', 'an unknown day')}, from {self.start}"
            + (f" (sha256 {self.start_sha256})." if self.start_sha256 else "."),
            "",
            self.verdict,
            "",
            "## Data",
            "",
            "Fingerprints are over passages and questions. Licences are as the user stated them.",
            "",
            "| data | form | licence | passages | learned | kept back | choose | decide | "
            "left out | sha256 |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {d.name} | {d.source} | {d.licence} | {d.passages} | {d.learned} | {d.kept_back} "
            f"| {d.choose} | {d.decide} | {_counts(d.excluded)} | `{d.sha256[:12]}` |"
            for d in self.data
        ]
        lines += [
            "",
            f"Left out by the margin rule: {self.rule.margin:g} of the best positive's score in "
            f"dense and BM25 both; duplicates from a Jaccard index of {self.rule.jaccard:g}, a "
            f"containment of {self.rule.containment:g} or a cosine of {self.rule.cosine:g}.",
            "",
            "## Quality on dev",
            "",
            "nDCG@10 of the policy's order, its relevance model refitted on training questions "
            "that were kept back, on the half of dev that did not choose the step. On the other "
            f"half: start {start:.4f}, best step {best:.4f}. A test split was not read.",
            "",
            "| data | first stage | start | trained |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {self.first_stage[name]:.4f} | {self.before[name]:.4f} | {value:.4f} |"
            for name, value in self.after.items()
        ]
        lines += [
            "",
            f"Kept: step {self.result.best_step} of {self.result.steps} ({self.result.stopped}). "
            "Looks on the half that chooses:",
            "",
            "| step | loss of training lists | loss of lists kept back | nDCG@10 |",
            "|---|---|---|---|",
            *(
                f"| {p.step} | {'' if p.train_loss is None else format(p.train_loss, '.4f')} "
                f"| {p.held_out_loss:.4f} | {p.ndcg:.4f} |"
                for p in self.result.history
            ),
            "",
            "## How",
            "",
            "| setting | value |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in asdict(self.settings).items()),
            *(f"| {name} | {value} |" for name, value in self.environment.items()),
            "",
            "## Files",
            "",
            *(f"- `{name}`: sha256 {sha}" for name, sha in self.weights.items()),
        ]
        if self.notes:
            lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    @property
    def verdict(self) -> str:
        """Whether it is better than its start, and than the first stage, in words."""
        first = f"{_interval(self.against_first_stage)} against the first stage's own order"
        if self.difference is None:
            return (
                "No step was better than the start on the half of dev that chooses; the start "
                f"itself is {first}."
            )
        word = "Better beyond noise" if self.kept else "Not better beyond noise: do not use it"
        text = f"{word}: {_interval(self.difference)} against its start; {first}."
        if self.kept and self.against_first_stage.low <= 0.0:
            text += (
                " It is not shown to be better than no reranker at all: look at it with `rankgate "
                "eval` before it is used."
            )
        return text


def _interval(found: Difference) -> str:
    return (
        f"{found.mean:+.4f} nDCG@10 [{found.low:+.4f}, {found.high:+.4f}] over "
        f"{found.n} deciding dev questions in {found.clusters} groups"
    )


def _counts(excluded: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in excluded.items()) or "0"
