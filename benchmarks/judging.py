"""What people's labels are worth with and without a model's: coverage and width of the interval.

    python benchmarks/judging.py --cache .rankgate/corpora --out eval/results/judging

Dev questions of corpora whose judgements are hidden and asked for one by one, as `rankgate judge`
does: the default scorer and policy, both ways, 50 candidates. A scripted model judges the same
passages: `biased` misses a tenth of what is relevant and calls half of what the reranker put
first relevant though it is not, so alone it praises reranking; `careful` errs with 5% of each;
`blind` guesses. The truth is the mean gain in nDCG@10 over all the questions by the judgements of
the passages shown. Each draw is another order of questions and another model. Writes FILE.json and
FILE.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex, KnownScores
from left_out import drawn

from rankgate import Action, Policy, Reranker
from rankgate.bounds import clopper_pearson
from rankgate.encoders import TokenEncoder
from rankgate.retrieve import Fusion
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.judging.plan import (
    Question,
    Ways,
    draw,
    drawn_questions,
    gain,
    range_of_gain,
)
from rankgate_eval.stats.betting import drawn_mean
from rankgate_eval.verdict.provenance import git_state, hardware

CORPORA = ("covid-qa", "medquad", "nq-oracle", "mtrag")
JUDGES = {"biased": (0.1, 0.5, 0.05), "careful": (0.05, 0.05, 0.05), "blind": (0.5, 0.5, 0.5)}
"""Shares missed, wrongly praised where the reranker put it among its first three, and elsewhere."""
LABELS = (25, 50, 100, 150, 200, 250)
Values = npt.NDArray[np.float64]


def questions_of(
    data: Dataset, cache: Path, encoder: TokenEncoder, limit: int, seed: int
) -> tuple[tuple[Question, ...], list[dict[str, int]]]:
    """Dev questions as drawn once, and the grades of what is shown."""
    index = CorpusIndex(data, cache, encoder, LateInteractionScorer.load())
    ids = drawn(data.judged("dev"), limit, seed)
    texts = [data.queries[q] for q in ids]
    known = KnownScores(index.scorer.info)
    policy = Policy.default()
    reranker = Reranker(known, policy=policy, first_stage="hybrid", lexicon=index.bm25.lexicon)
    section = policy.section("hybrid")
    ways = {}
    asked = index.scorer.read_queries(texts)
    for q, text, vector, own in zip(ids, texts, encoder.encode(texts), asked, strict=True):
        found = index.retrieve(q, text, vector, fusion=section.fusion or Fusion(), k=50, asked=own)
        known.values = found.raw
        without, reranked, decided = (
            reranker.rerank(text, found.candidates, force=force)
            for force in (Action.SKIP, Action.RERANK, None)
        )
        ways[q] = Ways(
            text=text,
            without=without,
            reranked=reranked,
            decided=decided,
            threshold=section.gate.threshold,
            floor=section.floor,
        )
    questions, _ = drawn_questions(ways, top_n=5, seed=seed)
    return questions, [{p: data.qrels[q.id].get(p, 0) for p in q.shown} for q in questions]


def guess(
    question: Question, grades: Mapping[str, int], judge: str, rng: np.random.Generator
) -> float:
    """What a model's labels say of a question's gain."""
    missed, praised, elsewhere = JUDGES[judge]
    said = {}
    for passage, grade in grades.items():
        wrong = praised if passage in question.reranked[:3] else elsewhere
        said[passage] = int(rng.random() >= missed if grade > 0 else rng.random() < wrong)
    return gain(question, said)


def interval(
    parts: Mapping[str, Values], order: list[int], n: int, guesses: Values | None
) -> tuple[float, float]:
    """At 95%, after n labels."""
    taken = {name: parts[name][order] for name in ("weights", "least", "most")}
    found = drawn_mean(
        parts["gain"][order[:n]], guesses=None if guesses is None else guesses[order], **taken
    )
    return found.low, found.high


def measure(
    questions: tuple[Question, ...], labels: list[dict[str, int]], draws: int, seed: int
) -> dict[str, Any]:
    """Coverage after 100 labels, and width by number of labels."""
    spans = np.array([range_of_gain(q) for q in questions])
    chosen = {
        "gain": np.array([gain(q, g) for q, g in zip(questions, labels, strict=True)]),
        "weights": np.array([q.weight for q in questions]),
        "least": spans[:, 0],
        "most": spans[:, 1],
    }
    plain = {**chosen, "weights": np.ones(len(questions))}
    truth, size = float(chosen["gain"].mean()), len(questions)
    counts = [n for n in LABELS if n < size]
    middle = 100 if size > 120 else counts[-1]
    kinds = ("by lot", "chosen", *JUDGES)
    widths: dict[str, dict[int, list[float]]] = {k: {n: [] for n in counts} for k in kinds}
    hit = dict.fromkeys((*kinds, "normal"), 0)
    alone: dict[str, list[float]] = {judge: [] for judge in JUDGES}
    for number in range(draws):
        rng = np.random.default_rng([seed, number])
        order, lot = draw(chosen["weights"], rng), draw(plain["weights"], rng)
        sample = plain["gain"][lot[:middle]]
        half = 1.96 * float(sample.std(ddof=1)) * np.sqrt((1.0 - middle / size) / middle)
        hit["normal"] += abs(float(sample.mean()) - truth) <= half
        guesses = {
            judge: np.array(
                [guess(q, g, judge, rng) for q, g in zip(questions, labels, strict=True)]
            )
            for judge in JUDGES
        }
        for judge, values in guesses.items():
            alone[judge].append(float(values.mean()))
        for kind in kinds:
            parts, drawing = (plain, lot) if kind == "by lot" else (chosen, order)
            for n in counts if number < 40 else [middle]:
                low, high = interval(parts, drawing, n, guesses.get(kind))
                widths[kind][n].append(high - low)
                if n == middle:
                    hit[kind] += low - 1e-9 <= truth <= high + 1e-9
        print(f"\r{number + 1}/{draws}", end="", file=sys.stderr)
    curves = {kind: {n: float(np.mean(found[n])) for n in counts} for kind, found in widths.items()}
    return {
        "questions": size,
        "undecided": int((spans[:, 1] > spans[:, 0]).sum()),
        "gain": float(truth),
        "labels": middle,
        "covered": {k: [int(h), *clopper_pearson(int(h), draws)] for k, h in hit.items()},
        "width": curves,
        "alone": {judge: float(np.mean(v)) for judge, v in alone.items()},
        "needed": {kind: needed(curve, curves["biased"][middle]) for kind, curve in curves.items()},
    }


def needed(curve: Mapping[int, float], width: float) -> float | None:
    """Labels at which a curve is as narrow; None where it nowhere is."""
    counts, found = list(curve), list(curve.values())
    if found[-1] > width:
        return None
    return float(np.interp(-width, [-w for w in found], counts))


def lines(result: Mapping[str, Any]) -> list[str]:
    """As Markdown."""
    made = result["made"]
    rows = [
        "# Judging: people, and people with a model",
        "",
        f"`{made['command']}`, commit {made['commit']}, seed {made['seed']}, {made['hardware']}.",
        "",
        (
            f"{made['draws']} draws a corpus; 95% intervals of the mean gain in nDCG@10 over all "
            "questions. `by lot`: people alone, questions in random order; `chosen`: "
            "people alone, in the order of `rankgate judge`; the others with a model beside them. "
            "`normal` is mean and standard error of the questions drawn by lot. Widths in points."
        ),
        "",
        "| corpus | questions | labels | gain | biased model alone | kind | covered | width | "
        "labels for the width of `biased` |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in result["corpora"].items():
        head = (
            f"| {name} | {found['questions']} | {found['labels']} | {100 * found['gain']:+.1f} | "
            f"{100 * found['alone']['biased']:+.1f} |"
        )
        for kind, (hits, low, high) in found["covered"].items():
            curve = found["width"].get(kind)
            width = "" if curve is None else f"{100 * curve[found['labels']]:.1f}"
            wanted = found["needed"].get(kind)
            most = max(found["width"]["chosen"])
            said = (
                "" if curve is None else f"more than {most}" if wanted is None else f"{wanted:.0f}"
            )
            share = f"{hits / made['draws']:.1%} [{low:.1%}, {high:.1%}]"
            rows.append(f"{head} {kind} | {share} | {width} | {said} |")
    return rows


def main() -> None:
    """Read the options, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True, help="encoded passages")
    parser.add_argument("--corpora", default=",".join(CORPORA))
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    encoder = TokenEncoder.load()
    commit, _ = git_state()
    made = {
        "command": f"python benchmarks/judging.py --limit {asked.limit} --draws {asked.draws}",
        "commit": commit,
        "seed": asked.seed,
        "hardware": hardware(),
        "draws": asked.draws,
    }
    corpora = {}
    for name in asked.corpora.split(","):
        data = Dataset.load(asked.data / name)
        questions, labels = questions_of(data, asked.cache, encoder, asked.limit, asked.seed)
        corpora[name] = measure(questions, labels, asked.draws, asked.seed)
        result = {"made": made, "corpora": corpora}
        asked.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        asked.out.with_suffix(".md").write_text("\n".join(lines(result)) + "\n", "utf-8")
        print(f"\n{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
