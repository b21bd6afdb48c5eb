"""Fits the default policy on the dev splits; never reads a test split.

The relevance models are fitted by `rankgate_eval.calibrate`, over all corpora at once. Gate and
floor are explicit thresholds, searched on a grid: they have to hold on a stranger's documents, so
the worst corpus decides, where `rankgate calibrate` fits to one.

    python benchmarks/default_policy.py --data ../shared/data --out rankgate/policies/default.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex, Retrieved
from domains import domain_of, encoder_name, scorer_without

from rankgate import FirstStageKind, Floor, Gate, Policy, Profile, RelevanceModel, Section
from rankgate.firststage import Analyser, Fusion, compute_signals
from rankgate.gate import Condition, Rule
from rankgate.logistic import Logistic
from rankgate.models import TokenEncoder
from rankgate.scorers import ScorerInfo, Scores
from rankgate_eval.calibrate.relevance_fit import (
    FIRST_STAGE_ORDERING,
    LEVEL,
    ORDERING,
    first_stage_level,
    fit_relevance,
)
from rankgate_eval.calibrate.rows import Row, ndcg10, row_of
from rankgate_eval.dataset import Dataset
from rankgate_eval.provenance import git_state

FloatArray = npt.NDArray[np.float64]

# Not cranfield: its licence is unclear, and weights fitted on it would be released.
CORPORA = ("covid-qa", "mtrag", "nq-oracle", "pubmedqa", "xquad-en", "medquad")
PER_CORPUS = 250
NEAR_DUPLICATE = 0.95
TOP_N = 5
# Each gets a policy of its own that knows nothing of it: the estimate for a stranger's corpus.
LEFT_OUT = ("encyclopedia", "biomedicine", "mtrag")

# `order` sees the hybrid candidates without their scores.
RETRIEVAL = {
    "hybrid": Fusion(),
    "dense": Fusion(bm25_weight=0.0),
    "bm25": Fusion(dense_weight=0.0),
}
_RIDGE = 0.05  # of the list-wise step; six corpora sum up


def view(found: Retrieved, kind: str) -> Retrieved:
    """The same candidates with only the scores that a first stage of this kind gives."""
    unknown = {"hybrid": (), "dense": ("bm25",), "bm25": ("dense",), "order": ("dense", "bm25")}
    if kind == "hybrid":
        return found
    candidates = tuple(replace(c, **dict.fromkeys(unknown[kind])) for c in found.candidates)
    return replace(found, candidates=candidates, signals=compute_signals(found.query, candidates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A retrieval, its truth, and its scores by several query encoders.

    Attributes:
        corpus: name of the corpus.
        retrieved: the candidates.
        gold: ids of the passages that answer; empty for a question from elsewhere.
        stratum: `answerable`, `removed` or `foreign`.
        raw: name of the query encoder to (n,) scores.
    """

    corpus: str
    retrieved: Retrieved
    gold: frozenset[str]
    stratum: str
    raw: Mapping[str, npt.NDArray[np.float32]]


def rows_of(found: Sequence[Found], kind: str, scale: str, left_out: str | None) -> list[Row]:
    """Feature rows, scored by encoders that have not seen the corpus's domain.

    That is what a stranger's corpus will be: an encoder's scores on what it was trained for
    would teach the relevance model to believe it too much.

    Args:
        found: retrievals.
        kind: of the first stage.
        scale: of the scores.
        left_out: a domain that nothing may know of; its corpora are dropped.
    """
    result = []
    for one in found:
        domain = domain_of(one.corpus)
        # A foreign question without a word in common has no candidates under BM25.
        if domain == left_out or not one.retrieved.candidates:
            continue
        r = view(one.retrieved, kind)
        raw = one.raw[encoder_name(domain, *(() if left_out is None else (left_out,)))]
        result.append(
            row_of(
                r.candidates,
                r.signals,
                Scores.full(raw, scale),
                gold=one.gold,
                query_id=r.query_id,
                stratum=one.stratum,
                corpus=one.corpus,
            )
        )
    return result


def fit(rows: Sequence[Row], ordering: Sequence[str], level: Sequence[str]) -> Logistic:
    """A relevance model over all corpora, which weigh the same.

    Negative weights stay, as in the policy that ships.
    """
    fitted = fit_relevance(rows, ordering, level, scored=True, check_signs=False, ridge=_RIDGE)
    return fitted.model


def columns_of(row: Row) -> Mapping[str, FloatArray]:
    """All features; the scorer has read every candidate here."""
    if row.reranked is None:
        raise SystemExit(f"query {row.query_id!r} was not scored")
    return row.reranked.columns


def quality(logits: FloatArray, row: Row) -> float:
    """nDCG@10 of the order that the logits give, ties by first-stage rank."""
    return ndcg10(np.argsort(-logits, kind="stable"), row)


def fit_section(rows: Sequence[Row], kind: str) -> tuple[Logistic, Logistic]:
    """Relevance models for reranked and for first-stage-only results."""
    which = FirstStageKind(kind)
    return (
        fit(rows, ORDERING[which], LEVEL[which]),
        fit(rows, FIRST_STAGE_ORDERING[which], first_stage_level(which)),
    )


def logits_of(model: Logistic, row: Row) -> FloatArray:
    """(n,) logits of one query's candidates."""
    return model.logits(columns_of(row), row.relevant.size)


def search_gate(
    rows: Sequence[Row], reranked: Logistic, first: Logistic, kind: str, max_loss: float
) -> tuple[tuple[Condition, ...], dict[str, Any]] | None:
    """The thresholds that skip most while losing little, on average and on each corpus."""
    answerable = [r for r in rows if r.answerable]
    loss = np.array(
        [quality(logits_of(reranked, r), r) - quality(logits_of(first, r), r) for r in answerable]
    )
    corpora = np.array([r.corpus for r in answerable])
    seen = [r.signals.values() for r in answerable]
    dense = [(d, "dense_margin_12") for d in (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)]
    terms = [(b, "bm25_margin_12") for b in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)]
    top = [(t, "dense_top1") for t in (0.0, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8)]
    grids = {
        "hybrid": [[(1.0, "top1_agrees")], dense, terms, top],
        "dense": [dense, top],
        "bm25": [terms],
    }[kind]
    best: tuple[float, tuple[Condition, ...], dict[str, Any]] | None = None
    for combination in itertools.product(*grids):
        conditions = tuple(
            Condition(signal=name, op=">=", value=value)
            for value, name in combination
            if value > 0.0
        )
        if not conditions:
            continue
        skipped = np.array(
            [
                all(c.holds(s) for c in conditions)
                and not any(s[v] for v in ("negation", "temporal", "conditional"))
                for s in seen
            ]
        )
        each = {c: float((loss * skipped)[corpora == c].mean()) for c in set(corpora)}
        mean = float(np.mean(list(each.values())))
        share = float(np.mean([skipped[corpora == c].mean() for c in each]))
        if mean <= max_loss and max(each.values()) <= 2.5 * max_loss:
            if best is None or share > best[0]:
                by = {c: round(float(skipped[corpora == c].mean()), 4) for c in sorted(each)}
                note = {
                    "skip_rate": round(share, 4),
                    "skip_rate_by_corpus": by,
                    "ndcg10_loss": round(mean, 5),
                    "ndcg10_loss_by_corpus": {c: round(v, 5) for c, v in sorted(each.items())},
                }
                best = (share, conditions, note)
    return None if best is None else (best[1], best[2])


def best_probability(model: Logistic, row: Row) -> float:
    """What the floor reads."""
    return float(1.0 / (1.0 + np.exp(-logits_of(model, row).max())))


def search_floor(
    rows: Sequence[Row], reranked: Logistic, first: Logistic | None, false_refusals: float
) -> tuple[float, dict[str, Any]]:
    """The highest refusal threshold at which no corpus has too many false refusals.

    The worst corpus decides, not the average: a stranger's documents are unlike all of these.
    An answerable query counts where a relevant passage is among its candidates: a refusal where
    retrieval has missed everything is right.
    """
    found = [r for r in rows if r.answerable and r.relevant.any()]
    names = sorted({r.corpus for r in found})
    models = [m for m in (reranked, first) if m is not None]
    # Either path may answer, so the less sure of the two sets the threshold.
    both = {
        c: [min(best_probability(m, r) for m in models) for r in found if r.corpus == c]
        for c in names
    }
    grid = np.round(np.arange(0.005, 0.5, 0.0025), 4)
    ok = [t for t in grid if max(np.mean(np.array(v) < t) for v in both.values()) <= false_refusals]
    threshold = float(max(ok, default=0.005))
    note: dict[str, Any] = {"max_false_refusals": false_refusals}
    for name, model in (("reranked", reranked), ("first_stage", first)):
        if model is None:
            continue

        def share(some: Sequence[Row], refused: bool, model: Logistic = model) -> float:
            hits = [(best_probability(model, r) < threshold) is refused for r in some]
            return round(float(np.mean(hits)), 4)

        note[name] = {
            c: {
                "false_refusals": share([r for r in found if r.corpus == c], True),
                **{
                    f"false_answers_{stratum}": share(
                        [r for r in rows if r.corpus == c and r.stratum == stratum], False
                    )
                    for stratum in ("removed", "foreign")
                },
            }
            for c in names
        }
    return threshold, note


def load(
    data: Path, cache: Path, encoders: Path | None, seed: int, kinds: Sequence[str]
) -> dict[str, list[Found]]:
    """By kind: dev queries, the same with gold passages removed, and queries of other corpora.

    Every list is scored by each query encoder that some policy needs for it.
    """
    rng = np.random.default_rng(seed)
    encoder = TokenEncoder.load()
    found: dict[str, list[Found]] = {kind: [] for kind in kinds}
    for name in CORPORA:
        dataset = Dataset.load(data / name)
        index = CorpusIndex(dataset, cache, encoder)
        scorers = {
            encoder_name(*left_out): scorer_without(encoders, encoder, *left_out)
            for left_out in ((domain_of(name), d) for d in (domain_of(name), *LEFT_OUT))
        }
        queries = dataset.judged("dev")
        if len(queries) > PER_CORPUS:
            chosen = rng.choice(len(queries), PER_CORPUS, replace=False)
            queries = [queries[i] for i in sorted(chosen)]
        # Questions that were asked of other corpora: the easy kind of unanswerable.
        strangers = [
            text
            for other in CORPORA
            if other != name
            for text in _sample(Dataset.load(data / other), rng, 15)
        ]
        texts = [*(dataset.queries[q] for q in queries), *strangers]
        vectors = encoder.encode(texts)
        asked = {label: scorer.read_queries(texts) for label, scorer in scorers.items()}
        for at, (q, text, v) in enumerate(zip([*queries, *strangers], texts, vectors, strict=True)):
            gold = frozenset()
            cases = [(gold, "foreign")]
            if at < len(queries):
                gold = frozenset(p for p, g in dataset.qrels[q].items() if g > 0)
                positions = [index.position[p] for p in gold]
                near = (index.pooled @ index.pooled[positions].T).max(1) > NEAR_DUPLICATE
                hidden = gold | {index.ids[i] for i in np.flatnonzero(near)}
                cases = [(frozenset(), "answerable"), (hidden, "removed")]
            for kind in kinds:
                for without, stratum in cases:
                    r = index.retrieve(
                        q,
                        text,
                        v,
                        fusion=RETRIEVAL[kind],
                        k=50,
                        hidden=without,
                        lexicon=index.bm25.lexicon,
                        asked=v,
                    )
                    passages = [index.vectors[index.position[c.id]] for c in r.candidates]
                    raw = {
                        label: scorer.compare(asked[label][at], passages)
                        for label, scorer in scorers.items()
                    }
                    found[kind].append(
                        Found(corpus=name, retrieved=r, gold=gold, stratum=stratum, raw=raw)
                    )
        print(f"{name}: {len(queries)} dev queries, {len(strangers)} foreign", file=sys.stderr)
    return found


def _sample(dataset: Dataset, rng: np.random.Generator, n: int) -> list[str]:
    queries = dataset.judged("dev")
    return [dataset.queries[queries[i]] for i in rng.choice(len(queries), n, replace=False)]


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument(
        "--encoders", type=Path, help="folder of benchmarks/bundle.py; without it, none is used"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--left-out", type=Path, help="folder for policies that miss a domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-loss", type=float, default=0.002)
    parser.add_argument("--false-refusals", type=float, default=0.05)
    args = parser.parse_args()
    found = load(args.data, args.cache, args.encoders, args.seed, list(RETRIEVAL))
    encoder = TokenEncoder.load()
    for left_out in (None, *(LEFT_OUT if args.left_out is not None else ())):
        out = args.out if left_out is None else args.left_out / f"without-{left_out}.json"
        scorer = scorer_without(args.encoders, encoder, *(() if left_out is None else (left_out,)))
        policy(found, scorer.info, encoder, left_out, args).save(out)


def policy(
    found: Mapping[str, Sequence[Found]],
    info: ScorerInfo,
    encoder: TokenEncoder,
    left_out: str | None,
    args: argparse.Namespace,
) -> Policy:
    """All sections; those of a policy that misses a domain are measured on nothing here."""
    sections: dict[FirstStageKind, Section] = {}
    report: dict[str, Any] = {}
    for kind in (k.value for k in ORDERING):
        rows = rows_of(found["hybrid" if kind == "order" else kind], kind, info.scale, left_out)
        sections[FirstStageKind(kind)], report[kind] = section(rows, kind, info, encoder, args)
        print(left_out, kind, json.dumps(report[kind], indent=1), file=sys.stderr)
    commit, changed = git_state()
    provenance = {
        "command": "python benchmarks/default_policy.py",
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "seed": args.seed,
        "data": {r: "dev" for r in CORPORA if domain_of(r) != left_out},
        "queries_per_corpus_at_most": PER_CORPUS,
        "max_loss": args.max_loss,
        "scores": "by query encoders that were not trained on the corpus's domain",
        "sections": report,
    }
    name = "default" if left_out is None else f"without-{left_out}"
    return Policy(name=name, sections=sections, provenance=provenance)


def section(
    rows: Sequence[Row],
    kind: str,
    info: ScorerInfo,
    encoder: TokenEncoder,
    args: argparse.Namespace,
) -> tuple[Section, dict[str, Any]]:
    """Relevance models, gate and floor of one kind of first stage, and how good they are."""
    reranked, first = fit_section(rows, kind)
    held: dict[str, Any] = {}
    corpora = sorted({r.corpus for r in rows})
    for name in corpora:  # each corpus by models that have not seen it
        other = [r for r in rows if r.corpus != name]
        mine = [r for r in rows if r.corpus == name and r.answerable]
        re_out, fi_out = fit_section(other, kind)
        base = [quality(-columns_of(r)["log_rank"], r) for r in mine]
        held[name] = {
            "n": len(mine),
            "first_stage_order": round(float(np.mean(base)), 4),
            "raw": round(float(np.mean([quality(columns_of(r)["raw"], r) for r in mine])), 4),
            "reranked_model": round(
                float(np.mean([quality(logits_of(re_out, r), r) for r in mine])), 4
            ),
            "first_stage_model": round(
                float(np.mean([quality(logits_of(fi_out, r), r) for r in mine])), 4
            ),
        }
    gate, gate_note = Gate(), {}
    if kind != "order":
        searched = search_gate(rows, reranked, first, kind, args.max_loss)
        if searched is not None:
            conditions, gate_note = searched
            gate = Gate(
                rules=(Rule(name="clear_winner", conditions=conditions),),
                veto=("negation", "temporal", "conditional"),
                provenance=gate_note,
            )
    # Rank alone says nothing about relevance: a probability made of it would be a lie, and
    # without one a policy with a refusal floor never skips.
    judge = None if kind == "order" else first
    threshold, floor_note = search_floor(rows, reranked, judge, args.false_refusals)
    profile = Profile(
        scorer=info.id,
        scale=info.scale,
        weights=info.weights,
        dtype=info.dtype,
        max_length=info.max_length,
        window=info.window,
        embedder=encoder.name if kind in ("hybrid", "dense") else None,
        analyser=Analyser().name if kind in ("hybrid", "bm25") else None,
    )
    made = Section(
        profile=profile,
        gate=gate,
        reranked=RelevanceModel(model=reranked, scale=info.scale),
        first_stage=None if judge is None else RelevanceModel(model=judge),
        floor=Floor(refuse_below=threshold),
        top_n=TOP_N,
    )
    return made, {"left_out_ndcg10": held, "gate": gate_note, "floor": floor_note}


if __name__ == "__main__":
    main()
