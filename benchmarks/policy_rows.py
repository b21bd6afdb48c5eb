"""Dev questions of all corpora, retrieved and scored, as rows for the default policy's fits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from corpus_index import CorpusIndex, Retrieved
from domains import domain_of, encoder_name, scorer_without, variants

from rankgate.decide.signals import compute_signals
from rankgate.encoders import TokenEncoder
from rankgate.retrieve import DEFAULT_K, Fusion
from rankgate.scorers import Scores
from rankgate_eval.calibrate.rows import Row, row_of
from rankgate_eval.data.dataset import Dataset

__all__ = [
    "CORPORA",
    "LEFT_OUT",
    "PER_CORPUS",
    "RETRIEVAL",
    "Found",
    "load",
    "reader_of",
    "rows_of",
    "view",
]

# Not cranfield: its licence is unclear, and weights fitted on it would be released.
CORPORA = ("covid-qa", "mtrag", "nq-oracle", "pubmedqa", "xquad-en", "medquad")
PER_CORPUS = 250
# Each gets a policy of its own that knows nothing of it: the estimate for a stranger's corpus.
LEFT_OUT = ("encyclopedia", "biomedicine", "mtrag")
RETRIEVAL = {
    "hybrid": Fusion(),
    "dense": Fusion(bm25_weight=0.0),
    "bm25": Fusion(dense_weight=0.0),
}
# `order` sees the candidates of both without their scores: it knows not what ordered them.
SOURCES = {"order": ("hybrid", "dense")}
DENSE_LIST = ", dense list"
_NEAR_DUPLICATE = 0.95


def view(found: Retrieved, kind: str) -> Retrieved:
    """The same candidates with only the scores that a first stage of this kind gives."""
    unknown = {"hybrid": (), "dense": ("bm25",), "bm25": ("dense",), "order": ("dense", "bm25")}
    if kind == "hybrid":
        return found
    candidates = tuple(replace(c, **dict.fromkeys(unknown[kind])) for c in found.candidates)
    signals = compute_signals(found.query, candidates, lexical=kind == "order")
    return replace(found, candidates=candidates, signals=signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A retrieval, its truth, and its scores by several query encoders.

    Attributes:
        corpus: name of the corpus.
        kind: of the first stage that found them.
        asked: how its questions were asked: "", or the label of those that were spoilt.
        retrieved: the candidates.
        gold: ids of the passages that answer; empty for a question from elsewhere.
        stratum: `answerable`, `removed` or `foreign`.
        raw: name of the query encoder to (n,) scores.
    """

    corpus: str
    kind: str
    asked: str
    retrieved: Retrieved
    gold: frozenset[str]
    stratum: str
    raw: Mapping[str, npt.NDArray[np.float32]]


def reader_of(corpus: str, left_out: str | None, *, at_home: bool) -> str:
    """The query encoder that reads a corpus's questions while a policy is fitted.

    Args:
        corpus: name of it.
        left_out: a domain that nothing may know of.
        at_home: the one that the policy ships with, which may have learned from this corpus;
            else one that has seen none of its domain, which is what a stranger's corpus gets.
    """
    without = [left_out] if left_out is not None else []
    return encoder_name(*without, *([] if at_home else [domain_of(corpus)]))


def rows_of(
    found: Sequence[Found], kind: str, scale: str, left_out: str | None, *, at_home: bool
) -> list[Row]:
    """Feature rows.

    Args:
        found: retrievals.
        kind: of the first stage.
        scale: of the scores.
        left_out: a domain that nothing may know of; its corpora are dropped.
        at_home: whose scores, see `reader_of`. What orders is fitted on a stranger's: an
            encoder's scores on what it was trained for would teach the relevance model to
            believe it too much.
    """
    result = []
    for one in found:
        # A foreign question without a word in common has no candidates under BM25.
        if domain_of(one.corpus) == left_out or not one.retrieved.candidates:
            continue
        r = view(one.retrieved, kind)
        raw = one.raw[reader_of(one.corpus, left_out, at_home=at_home)]
        result.append(
            row_of(
                r.candidates,
                r.signals,
                Scores.full(raw, scale),
                gold=one.gold,
                query_id=r.query_id,
                stratum=one.stratum,
                corpus=(one.asked or one.corpus)
                + (DENSE_LIST if kind == "order" and one.kind == "dense" else ""),
            )
        )
    return result


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
            encoder_name(*without): scorer_without(encoders, encoder, *without)
            for left_out in (None, *LEFT_OUT)
            for without in ((left_out or "",), (left_out or "", domain_of(name)))
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
        for label, spoilt in variants(dataset, data / name).items():
            # A floor that holds for clean questions alone refuses people who mistype.
            clean = label == name
            others = strangers if clean else []
            texts = [*(spoilt.queries[q] for q in queries), *others]
            vectors = encoder.encode(texts)
            asked = {n: scorer.read_queries(texts) for n, scorer in scorers.items()}
            rows = zip([*queries, *others], texts, vectors, strict=True)
            for at, (q, text, v) in enumerate(rows):
                gold = frozenset()
                cases = [(gold, "foreign")]
                if at < len(queries):
                    gold = frozenset(p for p, g in dataset.qrels[q].items() if g > 0)
                    positions = [index.position[p] for p in gold]
                    near = (index.pooled @ index.pooled[positions].T).max(1) > _NEAR_DUPLICATE
                    hidden = gold | {index.ids[i] for i in np.flatnonzero(near)}
                    cases = [(frozenset(), "answerable"), (hidden, "removed")]
                for kind in kinds:
                    for without, stratum in cases:
                        r = index.retrieve(
                            q,
                            text,
                            v,
                            fusion=RETRIEVAL[kind],
                            k=DEFAULT_K,
                            hidden=without,
                            lexicon=index.bm25.lexicon,
                            asked=v,
                        )
                        passages = [index.vectors[index.position[c.id]] for c in r.candidates]
                        found[kind].append(
                            Found(
                                corpus=name,
                                kind=kind,
                                asked="" if clean else label,
                                retrieved=r,
                                gold=gold,
                                stratum=stratum,
                                raw={
                                    n: scorer.compare(asked[n][at], passages)
                                    for n, scorer in scorers.items()
                                },
                            )
                        )
        print(f"{name}: {len(queries)} dev queries, {len(strangers)} foreign", file=sys.stderr)
    return found


def _sample(dataset: Dataset, rng: np.random.Generator, n: int) -> list[str]:
    queries = dataset.judged("dev")
    return [dataset.queries[queries[i]] for i in rng.choice(len(queries), n, replace=False)]
