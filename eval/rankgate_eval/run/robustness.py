"""Robustness suites: pairs of passages of which one answers, and which ranker sees it.

Each suite asks for one thing that rankers are known to get wrong: negation, time, two conditions
at once, numbers and units, versions that differ in a word, typos, very short questions. The
pairs are few and written by hand: they show kinds of failure, not how often one will meet them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate.errors import InputError
from rankgate.retrieve import BM25Index, Encoder
from rankgate.scorers import Scorer

__all__ = [
    "Pair",
    "PairScores",
    "SuiteResult",
    "bm25_pairs",
    "dense_pairs",
    "load_suites",
    "measure_suites",
    "scorer_pairs",
]

_FIELDS = ("id", "query", "right", "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A question, a passage that answers it, and one that looks like it and does not.

    Attributes:
        id: unique over all suites.
        suite: name of the suite.
        query: the question.
        right: the passage that answers.
        wrong: the passage that does not.
    """

    id: str
    suite: str
    query: str
    right: str
    wrong: str


PairScores = Callable[[Sequence[Pair]], npt.NDArray[np.float64]]
"""Gives (n, 2) scores: of the right and of the wrong passage of each pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One ranker on one suite.

    Attributes:
        suite: its name.
        ranker: its name.
        n: pairs.
        wins: pairs in which the right passage has the higher score.
        ties: pairs in which both have the same score; they are no wins.
        share: wins / n.
        ci: exact 95% interval of the share (Clopper and Pearson, Biometrika 26, 1934).
        lost: ids of the pairs that were not won.
    """

    suite: str
    ranker: str
    n: int
    wins: int
    ties: int
    share: float
    ci: tuple[float, float]
    lost: tuple[str, ...]


def load_suites(folder: str | Path) -> tuple[Pair, ...]:
    """Every pair of every .jsonl file in a folder; a file is a suite.

    Raises:
        InputError: no suites, a row that cannot be read (file and line), an id twice, or a pair
            whose passages are equal.
    """
    files = sorted(Path(folder).glob("*.jsonl"))
    if not files:
        raise InputError(f"no .jsonl suites in {folder}")
    found: list[Pair] = []
    seen: set[str] = set()
    for file in files:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if not line.strip():
                continue
            pair = _pair(line, file.stem, f"{file}:{number}")
            if pair.id in seen:
                raise InputError(f"{file}:{number}: id {pair.id!r} stands twice")
            seen.add(pair.id)
            found.append(pair)
    return tuple(found)


def _pair(line: str, suite: str, where: str) -> Pair:
    try:
        row = json.loads(line)
    except ValueError as exc:
        raise InputError(f"{where}: not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {type(row).__name__}")
    values: dict[str, str] = {}
    for name in _FIELDS:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: {name!r} must be a text that is not empty, got {value!r}")
        values[name] = value
    if values["right"] == values["wrong"]:
        raise InputError(f"{where}: right and wrong are the same passage")
    return Pair(suite=suite, **values)


def measure_suites(
    pairs: Sequence[Pair], rankers: Mapping[str, PairScores]
) -> tuple[SuiteResult, ...]:
    """Each ranker on each suite, and on all of them together (suite `all`).

    Raises:
        InputError: no pairs, or a ranker that gives other than two finite scores a pair.
    """
    if not pairs:
        raise InputError("there are no pairs to measure on")
    suites = list(dict.fromkeys(p.suite for p in pairs))
    results = []
    for ranker, scores_of in rankers.items():
        scores = scores_of(pairs)
        if scores.shape != (len(pairs), 2) or not np.isfinite(scores).all():
            raise InputError(
                f"{ranker} must give two finite scores for each of {len(pairs)} pairs, got "
                f"shape {scores.shape}"
            )
        for suite in (*suites, "all"):
            chosen = [i for i, p in enumerate(pairs) if suite in (p.suite, "all")]
            won = [i for i in chosen if scores[i, 0] > scores[i, 1]]
            results.append(
                SuiteResult(
                    suite=suite,
                    ranker=ranker,
                    n=len(chosen),
                    wins=len(won),
                    ties=sum(bool(scores[i, 0] == scores[i, 1]) for i in chosen),
                    share=len(won) / len(chosen),
                    ci=clopper_pearson(len(won), len(chosen)),
                    lost=tuple(pairs[i].id for i in chosen if i not in set(won)),
                )
            )
    return tuple(results)


def bm25_pairs(pairs: Sequence[Pair]) -> npt.NDArray[np.float64]:
    """BM25 over the passages of all pairs together, as an index of them would score."""
    index = BM25Index.build(
        (f"{p.id}/{side}", text)
        for p in pairs
        for side, text in (("right", p.right), ("wrong", p.wrong))
    )
    rows = [index.scores(p.query, [f"{p.id}/right", f"{p.id}/wrong"]) for p in pairs]
    return np.array(rows, dtype=np.float64)


def dense_pairs(encoder: Encoder) -> PairScores:
    """Cosine of the sentence vectors of question and passage."""

    def scores(pairs: Sequence[Pair]) -> npt.NDArray[np.float64]:
        queries, right, wrong = (
            encoder.embed([getattr(p, name) for p in pairs]).astype(np.float64)
            for name in ("query", "right", "wrong")
        )
        return np.stack([(queries * right).sum(1), (queries * wrong).sum(1)], axis=1)

    return scores


def scorer_pairs(scorer: Scorer) -> PairScores:
    """Any scorer's raw scores."""

    def scores(pairs: Sequence[Pair]) -> npt.NDArray[np.float64]:
        rows = [scorer.score(p.query, [p.right, p.wrong]).values for p in pairs]
        return np.stack(rows).astype(np.float64)

    return scores
