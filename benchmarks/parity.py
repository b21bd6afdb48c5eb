"""The same queries through the application, LangChain and LlamaIndex: same outcome, same order?

Part one gives every part the same signals: the dense list of a Chroma collection, in each of its
three spaces. Part two lets the signals differ as they do in practice (hybrid, dense, order
alone) and measures what that costs. Dev queries only; the default policy was fitted on a sample
of the dev splits, this corpus's among them.

python benchmarks/parity.py --out eval/results/parity
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import numpy.typing as npt
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex

from langchain_rankgate import RankGateRetriever
from llama_index.postprocessor.rankgate import RankGateRetriever as LlamaRetriever
from rag_app.ask.first_stage import HybridFirstStage
from rag_app.index.vectors import VectorIndex
from rankgate import Candidate, Outcome, Policy, Reranker
from rankgate.encoders import TokenEncoder, TokenVectors
from rankgate.retrieve import cosine_from_distance
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.metrics import measure
from rankgate_eval.stats.significance import compare

SPACES = ("cosine", "l2", "ip")
# So deep that Chroma's approximate search finds the true neighbours in every space. The
# application's own collection searches as the application does, less deep.
HNSW = {"ef_construction": 400, "ef_search": 1000, "max_neighbors": 64}


class Known:
    """Token vectors of the corpus, as `LateInteractionScorer` reads them from a token store."""

    def __init__(self, index: CorpusIndex) -> None:
        texts = [index.data.corpus[i] for i in index.ids]
        self.vectors = dict(zip(texts, index.vectors, strict=True))

    def get_many(self, texts: Sequence[str]) -> dict[str, TokenVectors]:
        """Those that are known."""
        return {t: self.vectors[t] for t in texts if t in self.vectors}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A corpus, queries of its dev split, and what is needed to rank for them."""

    data: Dataset
    ids: list[str]
    index: CorpusIndex
    encoder: TokenEncoder
    scorer: LateInteractionScorer

    @classmethod
    def of(cls, args: argparse.Namespace) -> Sample:
        """The corpus, indexed, and n queries of dev, drawn with the seed."""
        data = Dataset.load(args.data / args.corpus)
        dev = sorted(data.splits["dev"])
        drawn = np.random.default_rng(args.seed).choice(
            len(dev), min(args.n, len(dev)), replace=False
        )
        encoder = TokenEncoder.load()
        index = CorpusIndex(data, args.cache, encoder)
        known: Any = Known(index)
        return cls(
            data=data,
            ids=[dev[i] for i in sorted(drawn)],
            index=index,
            encoder=encoder,
            scorer=LateInteractionScorer.load(token_store=known),
        )

    @property
    def queries(self) -> list[str]:
        """Their words."""
        return [self.data.queries[i] for i in self.ids]


class LangChainVectors(Embeddings):
    """Vectors computed beforehand; a new query goes through the encoder."""

    def __init__(self, encoder: TokenEncoder, known: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self.encoder, self.known = encoder, known

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Known ones, all of them."""
        return [self.known[t].tolist() for t in texts]

    def embed_query(self, text: str) -> list[float]:
        """The known one, or a new one."""
        found = self.known.get(text)
        vector = self.encoder.embed([text])[0] if found is None else found
        return [float(v) for v in vector]


class LlamaVectors(BaseEmbedding):  # type: ignore[misc]
    """The same for LlamaIndex."""

    inner: Any

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.inner.embed_query(query)  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self.inner.embed_documents([text])[0]  # type: ignore[no-any-return]


def langchain_store(sample: Sample, space: str, vectors: Embeddings) -> Chroma:
    """The corpus in a Chroma collection of LangChain's, in memory."""
    store = Chroma(
        f"c{uuid.uuid4().hex}",
        vectors,
        client=chromadb.EphemeralClient(),
        collection_configuration={"hnsw": {"space": space, **HNSW}},  # type: ignore[typeddict-item]
    )
    store.add_texts([sample.data.corpus[i] for i in sample.index.ids], ids=sample.index.ids)
    return store


def llama_index(sample: Sample, space: str, vectors: Embeddings) -> VectorStoreIndex:
    """The corpus in a Chroma collection of LlamaIndex's, in memory."""
    collection = chromadb.EphemeralClient().create_collection(
        f"c{uuid.uuid4().hex}",
        configuration={"hnsw": {"space": space, **HNSW}},  # type: ignore[typeddict-item]
    )
    store = ChromaVectorStore(chroma_collection=collection)
    nodes = [
        TextNode(id_=i, text=sample.data.corpus[i], embedding=v.tolist())
        for i, v in zip(sample.index.ids, sample.index.pooled, strict=True)
    ]
    store.add(nodes)
    return VectorStoreIndex.from_vector_store(store, embed_model=LlamaVectors(inner=vectors))


class AppIndex:
    """What `rag_app.ask.first_stage` needs of a store, over the application's own Chroma index."""

    def __init__(self, sample: Sample, folder: Path, vectors: LangChainVectors) -> None:
        self.sample, self.bm25, self.embedder = sample, sample.index.bm25, self
        self.known = vectors
        self.chroma = VectorIndex.open(folder, "parity", "cosine", suspect=False)
        self.chroma.upsert(sample.index.ids, sample.index.pooled.astype(np.float32))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of queries."""
        return np.array([self.known.embed_query(t) for t in texts], dtype=np.float32)

    def dense(self, vector: Any, k: int) -> dict[str, float]:
        """As the application's store."""
        found = self.chroma.search(vector, k)
        return {i: cosine_from_distance(distance, "cosine") for i, distance in found}

    def cosines(self, vector: Any, ids: Sequence[str]) -> list[float]:
        """Of the named passages."""
        rows = [self.sample.index.position[i] for i in ids]
        return (self.sample.index.pooled[rows] @ vector).tolist()  # type: ignore[no-any-return]

    def present(self, ids: Sequence[str]) -> set[str]:
        """All of them."""
        return set(ids)

    def fetch(self, ids: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """Texts."""
        return [(self.sample.data.corpus[i], {}) for i in ids]


def seen(outcome: Outcome) -> tuple[str, str, tuple[str, ...]]:
    """What must agree: outcome, reason, and the order of what is kept."""
    return outcome.status.value, outcome.reason, tuple(p.candidate.id for p in outcome.kept)


def same_signals(
    sample: Sample, app: AppIndex, vectors: LangChainVectors
) -> tuple[dict[str, Any], dict[str, Callable[[str], Outcome]]]:
    """Part one: every part sees the dense list, and nothing else."""
    policy = Policy.default()
    k = policy.section("dense").k
    reranker = Reranker(sample.scorer, policy=policy, first_stage="dense")

    def by_app(query: str) -> Outcome:
        found = app.dense(app.embed([query])[0], k)
        given = [
            Candidate(id=i, text=sample.data.corpus[i], rank=rank, dense=cosine)
            for rank, (i, cosine) in enumerate(found.items(), start=1)
        ]
        return reranker.rerank(query, given)

    parts: dict[str, Callable[[str], Outcome]] = {"application, dense": by_app}
    for space in SPACES:
        over = RankGateRetriever.from_chroma(
            langchain_store(sample, space, vectors), scorer=sample.scorer, policy=policy
        )
        parts[f"LangChain on Chroma, {space}"] = over.retrieve
        llama = LlamaRetriever.from_chroma(
            llama_index(sample, space, vectors), scorer=sample.scorer, policy=policy
        )
        parts[f"LlamaIndex on Chroma, {space}"] = llama.retrieve_outcome
    results = {name: [part(q) for q in sample.queries] for name, part in parts.items()}
    reference = results["application, dense"]
    truth = [nearest(sample, query, app, k) for query in sample.queries]
    rows: dict[str, Any] = {}
    for name, outcomes in results.items():
        pairs = list(zip(reference, outcomes, strict=True))
        cosines = [
            abs(a.candidate.dense - b.candidate.dense)
            for one, other in pairs
            for a, b in zip(one.passages, other.passages, strict=False)
            if a.candidate.id == b.candidate.id
            and a.candidate.dense is not None
            and b.candidate.dense is not None
        ]
        rows[name] = {
            "same_outcome_and_reason": sum(seen(a)[:2] == seen(b)[:2] for a, b in pairs),
            "same_kept_in_same_order": sum(seen(a) == seen(b) for a, b in pairs),
            "same_candidates": sum(
                {p.candidate.id for p in a.passages} == {p.candidate.id for p in b.passages}
                for a, b in pairs
            ),
            "true_nearest_k": sum(
                {p.candidate.id for p in outcome.passages} == ids
                for outcome, ids in zip(outcomes, truth, strict=True)
            ),
            "largest_difference_of_cosines": float(np.max(cosines)),
            "outcomes": counts(outcomes),
        }
    return rows, parts


def nearest(sample: Sample, query: str, app: AppIndex, k: int) -> set[str]:
    """The k nearest passages by exact search."""
    cosines = sample.index.pooled.astype(np.float32) @ app.embed([query])[0]
    return {sample.index.ids[i] for i in np.argsort(-cosines, kind="stable")[:k]}


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many queries ended how."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        found[outcome.status.value] = found.get(outcome.status.value, 0) + 1
    return dict(sorted(found.items()))


def other_signals(
    sample: Sample, app: AppIndex, parts: Mapping[str, Callable[[str], Outcome]], seed: int
) -> dict[str, Any]:
    """Part two: hybrid in the application, dense over Chroma, an order alone over a retriever."""
    policy = Policy.default()
    hybrid = HybridFirstStage(app, policy.section("hybrid").fusion)  # type: ignore[arg-type]
    by_hybrid = Reranker(sample.scorer, policy=policy, first_stage="hybrid")
    k = policy.section("hybrid").k
    by_order = Reranker(sample.scorer, policy=policy, first_stage="order")

    def without_scores(query: str) -> Outcome:
        found = app.dense(app.embed([query])[0], k)
        given = [
            Candidate(id=i, text=sample.data.corpus[i], rank=rank)
            for rank, i in enumerate(found, start=1)
        ]
        return by_order.rerank(query, given)

    arms: dict[str, Callable[[str], Outcome]] = {
        "hybrid (application)": lambda q: by_hybrid.rerank(q, hybrid.candidates(q, k)),
        "dense (LangChain or LlamaIndex on Chroma)": parts["LangChain on Chroma, cosine"],
        "order (any retriever, here the dense list)": without_scores,
    }
    ndcg: dict[str, npt.NDArray[np.float64]] = {}
    rows: dict[str, Any] = {}
    for name, arm in arms.items():
        outcomes = [arm(q) for q in sample.queries]
        rankings = {
            i: [p.candidate.id for p in o.passages]
            for i, o in zip(sample.ids, outcomes, strict=True)
        }
        measured = measure(sample.data.qrels, rankings, sample.ids, names=("ndcg@10", "recall@5"))
        ndcg[name] = np.asarray(measured.values["ndcg@10"])
        rows[name] = {
            "ndcg@10": float(ndcg[name].mean()),
            "recall@5": float(measured.values["recall@5"].mean()),
            "outcomes": counts(outcomes),
        }
        if name.startswith("hybrid"):
            continue
        clusters = [sample.data.groups[i] for i in measured.query_ids]
        d = compare(ndcg["hybrid (application)"], ndcg[name], clusters, seed=seed)
        rows[name]["ndcg@10_less_hybrid"] = {
            "mean": d.mean, "low": d.low, "high": d.high, "p": d.p, "clusters": d.clusters,
        }  # fmt: skip
    return rows


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What both benchmarks on a sample are told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--corpus", default="covid-qa")
    parser.add_argument(
        "--cache", type=Path, default=Path(".rankgate-bench"), help="token vectors, reused"
    )
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def provenance(script: str, args: argparse.Namespace, sample: Sample) -> dict[str, Any]:
    """Command, commit, seed, n, hardware."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "command": f"python benchmarks/{script}.py --out eval/results/{script} "
        f"--corpus {args.corpus} --n {args.n} --seed {args.seed}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "n": len(sample.ids),
        "corpus": f"{args.corpus}, dev split, {len(sample.index.ids)} passages",
        "policy": Policy.default().name,
        "scorer": sample.scorer.info.id,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
    }


def main() -> None:
    """Measure and write."""
    args = arguments(__doc__).parse_args()
    sample = Sample.of(args)
    texts = [sample.data.corpus[i] for i in sample.index.ids]
    known = dict(zip(texts, sample.index.pooled.astype(np.float32), strict=True))
    known.update(zip(sample.queries, sample.encoder.embed(sample.queries), strict=True))
    vectors = LangChainVectors(sample.encoder, known)
    with tempfile.TemporaryDirectory() as folder:
        app = AppIndex(sample, Path(folder), vectors)
        same, parts = same_signals(sample, app, vectors)
        other = other_signals(sample, app, parts, args.seed)
        app.chroma.close()
    result = {
        **provenance("parity", args, sample), "hnsw": HNSW,
        "same_signals": same, "other_signals": other,
    }  # fmt: skip
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


def table(result: Mapping[str, Any]) -> str:
    """The results for reading."""
    n = result["n"]
    lines = [
        "# One policy through three doors",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, n={n} queries, "
        f"{result['corpus']}, policy {result['policy']}, {result['hardware']}.",
        "",
        "## The same signals: same outcome, same order?",
        "",
        "Compared with the application's own dense list, query by query. Chroma searches deep "
        f"(`{json.dumps(result['hnsw'])}`) in the frameworks' collections, and as the application "
        "does in its own; `true nearest` counts the queries whose candidates are those of an "
        "exact search.",
        "",
        "| | outcome and reason | kept, in order | candidates | true nearest "
        "| largest difference of cosines | outcomes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["same_signals"].items():
        lines.append(
            f"| {name} | {row['same_outcome_and_reason']}/{n} "
            f"| {row['same_kept_in_same_order']}/{n} | {row['same_candidates']}/{n} "
            f"| {row['true_nearest_k']}/{n} "
            f"| {row['largest_difference_of_cosines']:.1e} | {told(row['outcomes'])} |"
        )
    lines += [
        "",
        "## Other signals: what does it cost?",
        "",
        "nDCG@10 and recall@5 of the final order, refused queries included (their order is kept "
        "in the outcome). Intervals by bootstrap over document groups.",
        "",
        "| signals | nDCG@10 | recall@5 | nDCG@10 less hybrid's [95%] | outcomes |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["other_signals"].items():
        d = row.get("ndcg@10_less_hybrid")
        cost = "" if d is None else f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
        lines.append(
            f"| {name} | {row['ndcg@10']:.3f} | {row['recall@5']:.3f} | {cost} "
            f"| {told(row['outcomes'])} |"
        )
    return "\n".join(lines) + "\n"


def told(outcomes: Mapping[str, int]) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {name}" for name, count in outcomes.items())


if __name__ == "__main__":
    main()
