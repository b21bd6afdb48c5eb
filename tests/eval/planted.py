"""Small data sets whose truth is known: the reranker's effect is planted, the verdict must find it.

Each query has one relevant passage, shared with the other query about the same item, so that
document groups matter. A world is a rule for where the first stage puts that passage and for
what the scorer makes of it. Nothing here is tuned to the evaluation: ranks are drawn, scores
follow from ranks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate import Candidate, Policy
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.retrieve import reciprocal_rank_fusion
from rankgate.testing import FakeScorer
from rankgate_eval.data.dataset import Dataset

__all__ = ["WORLDS", "Planted", "plant", "write_beir"]

Ranks = npt.NDArray[np.int64]

DEPTH = 20
TYPO_SHARE = 0.3
_CLEAN = ("what is the colour of item {}", "please tell me the number of item {}")
_MISSPELT = ("waht iz teh colr of itm {}", "plase tel me teh numbr of itm {}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One data set, the system on it, and the verdict that is right.

    Attributes:
        stage: query and k to candidates.
        gains: the planted change of the mean reciprocal rank, for tests of the plant itself.
        right: the verdicts that are right.
    """

    data: Dataset
    stage: Callable[[str, int], list[Candidate]]
    scorer: FakeScorer
    policy: Policy
    gains: float
    right: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """Where the relevant passage stands, for each query.

    Attributes:
        before: rank in the first stage's (dense) list.
        after: rank by the scorer.
        bm25: rank in the BM25 list; None: a dense first stage.
        sure: queries whose first stage is far ahead, which the gated policy skips.
    """

    before: Ranks
    after: Ranks
    bm25: Ranks | None = None
    sure: npt.NDArray[np.bool_] | None = None


def _drawn(rng: np.random.Generator, n: int, right: float = 0.5) -> Ranks:
    """First in `right` of the queries, else anywhere from 2 to 15."""
    return np.where(rng.random(n) < right, 1, rng.integers(2, 16, n))


def _harming_typos(rng: np.random.Generator, before: Ranks, typo: npt.NDArray[np.bool_]) -> Ranks:
    """Most others come first; misspelt ones slip by a few ranks, but seldom out of the top five."""
    better = np.where(rng.random(before.size) < 0.9, 1, before)
    slipped = np.minimum(before + rng.integers(1, 4, before.size), DEPTH)
    return np.where(typo, slipped, better)


def _perfect(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    return _World(before=_drawn(rng, typo.size), after=np.ones(typo.size, dtype=np.int64))


def _harmful(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    before = _drawn(rng, typo.size)
    lost = rng.random(typo.size) < 0.5
    return _World(before=before, after=np.where(lost, rng.integers(2, DEPTH, typo.size), before))


def _harms_typos(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    before = _drawn(rng, typo.size)
    return _World(before=before, after=_harming_typos(rng, before, typo))


def _gated(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    before = _drawn(rng, typo.size)
    return _World(before=before, after=_harming_typos(rng, before, typo), sure=typo)


def _no_headroom(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    before = _drawn(rng, typo.size, right=0.99)
    return _World(before=before, after=np.where(rng.random(typo.size) < 0.01, 2, before))


def _null(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    """Another draw of the same: the true difference is zero, the noise is not."""
    return _World(before=_drawn(rng, typo.size), after=_drawn(rng, typo.size))


def _only_tuning(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    """A poor BM25 list spoils the fusion; the scorer only says what the dense list knew."""
    dense = _drawn(rng, typo.size, right=0.7)
    return _World(before=dense, after=dense, bm25=rng.integers(8, DEPTH + 1, typo.size))


def _slight_tuning(rng: np.random.Generator, typo: npt.NDArray[np.bool_]) -> _World:
    """The same, but BM25 spoils so little that tuning is hard to tell from chance."""
    dense = _drawn(rng, typo.size, right=0.7)
    bm25 = np.where(rng.random(typo.size) < 0.85, dense, rng.integers(2, DEPTH + 1, typo.size))
    return _World(before=dense, after=dense, bm25=bm25)


_Rule = Callable[[np.random.Generator, npt.NDArray[np.bool_]], _World]
_HOLD = ("dont_ship", "not_enough_data")
_RULES: Mapping[str, tuple[_Rule, tuple[str, ...]]] = {
    "perfect": (_perfect, ("ship",)),
    "harmful": (_harmful, ("dont_ship",)),
    "harms typos": (_harms_typos, ("dont_ship",)),
    "gated": (_gated, ("ship_behind_gate",)),
    "no headroom": (_no_headroom, ("dont_ship",)),
    "ten queries": (_perfect, ("not_enough_data",)),
    "only tuning": (_only_tuning, _HOLD),
    "slight tuning": (_slight_tuning, _HOLD),
    "null": (_null, _HOLD),
}
WORLDS = tuple(_RULES)
"""Names of the worlds."""


def plant(kind: str, seed: int, *, queries: int = 120) -> Planted:
    """Make one data set.

    Args:
        kind: of `WORLDS`.
        seed: of every draw.
        queries: judged queries, two for each item; `ten queries` has ten whatever is asked.
    """
    rule, right = _RULES[kind]
    n = 10 if kind == "ten queries" else queries
    rng = np.random.default_rng([seed, WORLDS.index(kind)])
    typo = np.zeros(n, dtype=np.bool_)
    typo[rng.choice(n, size=round(TYPO_SHARE * n), replace=False)] = True
    world = rule(rng, typo)
    texts = [(_MISSPELT if bad else _CLEAN)[i % 2].format(i // 2) for i, bad in enumerate(typo)]
    items = (n + 1) // 2
    corpus = {f"p{j}": f"the colour and number of item {j} what is it" for j in range(items)}
    fillers = {f"f{j}": f"please tell me of another thing {j}" for j in range(2 * DEPTH)}
    corpus.update(fillers)
    data = Dataset(
        name=f"planted {kind} {seed}",
        corpus=corpus,
        queries={f"q{i}": text for i, text in enumerate(texts)},
        qrels={f"q{i}": {f"p{i // 2}": 1} for i in range(n)},
        splits={},
        fields={f"q{i}": {"spelling": "bad" if bad else "good"} for i, bad in enumerate(typo)},
    )
    lists: dict[str, list[Candidate]] = {}
    table: dict[tuple[str, str], float] = {}
    for i, text in enumerate(texts):
        others = [str(name) for name in rng.choice(list(fillers), size=DEPTH - 1, replace=False)]
        gold = f"p{i // 2}"
        margin = 0.4 if world.sure is not None and world.sure[i] else 0.0
        lists[text] = _candidates(
            corpus,
            _placed(gold, others, world.before[i]),
            None if world.bm25 is None else _placed(gold, others, world.bm25[i]),
            margin,
        )
        for rank, name in enumerate(_placed(gold, others, world.after[i])):
            table[(text, corpus[name])] = 1.0 - rank / DEPTH
    return Planted(
        data=data,
        stage=lambda query, k: lists[query][:k],
        scorer=FakeScorer(lambda query, text: table[(query, text)]),
        policy=_policy(gated=world.sure is not None),
        gains=float(np.mean(1.0 / world.after) - np.mean(1.0 / world.before)),
        right=right,
    )


def _placed(gold: str, others: list[str], rank: int) -> list[str]:
    return [*others[: rank - 1], gold, *others[rank - 1 :]]


def _candidates(
    corpus: Mapping[str, str], dense: list[str], bm25: list[str] | None, margin: float
) -> list[Candidate]:
    """Scores that fall evenly with the rank, the first one `margin` ahead."""
    order = dense if bm25 is None else [name for name, _ in reciprocal_rank_fusion([dense, bm25])]
    cosine = {name: 0.5 - 0.01 * i + (margin if i == 0 else 0.0) for i, name in enumerate(dense)}
    words = {name: 10.0 - 0.4 * i for i, name in enumerate(bm25)} if bm25 is not None else {}
    return [
        Candidate(id=name, text=corpus[name], rank=rank, dense=cosine[name], bm25=words.get(name))
        for rank, name in enumerate(order, start=1)
    ]


def _policy(*, gated: bool) -> Policy:
    """Raw order and no floor; with a rule that skips what the first stage is sure of."""
    policy = Policy.unfitted(k=DEPTH, top_n=5)
    if not gated:
        return policy
    clear = Rule(
        name="clear", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.3),)
    )
    return policy.with_section("dense", gate=Gate(rules=(clear,)))


def write_beir(planted: Planted, folder: Path) -> None:
    """The data set as a BEIR folder, for the command line."""
    folder.mkdir(parents=True, exist_ok=True)
    data = planted.data
    rows = [{"_id": key, "text": text} for key, text in data.corpus.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    rows = [{"_id": key, "text": text, **data.fields[key]} for key, text in data.queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"{q}\t{p}\t{g}" for q, found in data.qrels.items() for p, g in found.items()]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", "utf-8")
