"""Times what the framework components add to a query besides the scorer, at K candidates.

For each component: the whole call with a scorer that costs nothing, the engine alone on the same
candidates, and the framework alone (its retriever without ours). The component's own share is
the whole less those two. Wall clock and CPU time, because the machine may be shared.

python benchmarks/adapters.py --out eval/results/adapters
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from llama_index.core.base.base_retriever import BaseRetriever as LlamaBaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from langchain_rankgate import RankGateRerank, RankGateRetriever, RankGateRunnable
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from llama_index.postprocessor.rankgate import RankGateRetriever as LlamaRetriever
from rankgate import Candidate, Policy, Request, Reranker, ScorerInfo, Scores
from rankgate.types import FirstStageKind

QUERY = "which enzymes does the drug inhibit in the liver after surgery"
BATCH = 16


class Instant:
    """A scorer that costs nothing, on the default policy's scale."""

    def __init__(self, n: int, seed: int) -> None:
        profile = Policy.default().section(FirstStageKind.DENSE).profile
        self.info = ScorerInfo(id=profile.scorer or "", scale=profile.scale or "")
        self.scores = Scores.full(
            np.random.default_rng(seed).uniform(0.5, 1, n).astype(np.float32), self.info.scale
        )

    def score(self, query: str, texts: list[str], context: object = None) -> Scores:
        """The same values each time."""
        return self.scores


class Fixed(BaseRetriever):
    """A LangChain retriever that costs nothing."""

    rows: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.rows


class Store(VectorStore):
    """A LangChain vector store that costs nothing."""

    def __init__(self, rows: list[tuple[Document, float]]) -> None:
        self.rows = rows

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        """The k first."""
        return self.rows[:k]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k first."""
        return [document for document, _ in self.rows[:k]]

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any:
        """Not needed."""
        raise NotImplementedError


class LlamaFixed(LlamaBaseRetriever):
    """A LlamaIndex retriever that costs nothing."""

    def __init__(self, rows: list[NodeWithScore]) -> None:
        super().__init__()
        self.rows = rows

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One component: the whole call, the engine's part, the framework's part, queries in it."""

    whole: Callable[[], Any]
    engine: Callable[[], Any]
    framework: Callable[[], Any] | None = None
    queries: int = 1


def cases(k: int, seed: int) -> dict[str, Case]:
    """Every component over the same passages."""
    rng = np.random.default_rng(seed)
    cosines = np.sort(rng.uniform(0.1, 0.7, k))[::-1].tolist()
    texts = [f"passage number {i} about enzymes and the liver" for i in range(k)]
    metadata = {"source": "papers.pdf", "page": 3, "section": "Methods"}
    documents = [
        Document(id=f"d{i}", page_content=t, metadata=dict(metadata)) for i, t in enumerate(texts)
    ]
    with_cosine = [
        d.model_copy(update={"metadata": {**d.metadata, "cosine": c}})
        for d, c in zip(documents, cosines, strict=True)
    ]
    nodes = [
        NodeWithScore(
            node=TextNode(id_=f"d{i}", text=t, metadata=dict(metadata)),
            score=float(np.exp(-(1 - c))),
        )
        for i, (t, c) in enumerate(zip(texts, cosines, strict=True))
    ]
    dense = [
        Candidate(id=f"d{i}", text=t, rank=i + 1, metadata=metadata, dense=c)
        for i, (t, c) in enumerate(zip(texts, cosines, strict=True))
    ]
    order = [Candidate(id=c.id, text=c.text, rank=c.rank, metadata=metadata) for c in dense]
    parts: dict[str, Any] = {"scorer": Instant(k, seed), "policy": Policy.default()}
    # Forced, so that the work is all of it, whatever the gate would say of these numbers.
    by_dense = Reranker(**parts, first_stage="dense")
    by_order = Reranker(**parts, first_stage="order")

    def engine(reranker: Reranker, given: list[Candidate]) -> Callable[[], Any]:
        return lambda: reranker.rerank(QUERY, given, force="rerank")

    rows = [(d, 1.0 - c) for d, c in zip(documents, cosines, strict=True)]
    store, fixed = Store(rows), Fixed(rows=documents)
    over_store = RankGateRetriever.from_chroma(store, space="cosine", force="rerank", **parts)
    over_fixed = RankGateRetriever.from_retriever(fixed, force="rerank", **parts)
    fused = RankGateRetriever.from_retrievers([fixed, fixed], force="rerank", **parts)
    own = RankGateRetriever.from_first_stage(
        lambda query, k: dense, kind="dense", force="rerank", **parts
    )
    compressor = RankGateRerank(dense_key="cosine", force="rerank", **parts)
    runnable = RankGateRunnable(dense_key="cosine", force="rerank", **parts)
    llama = LlamaRerank(chroma_space="cosine", **parts)
    llama_fixed = LlamaFixed(nodes)
    llama_retriever = LlamaRetriever.from_retriever(llama_fixed, **parts)
    bundle = QueryBundle(QUERY)
    step = {"query": QUERY, "documents": with_cosine}
    child = store.as_retriever(search_kwargs={"k": k})
    requests = [Request(query=QUERY, candidates=dense, force="rerank")] * BATCH

    def llama_engine() -> Any:
        return by_dense.rerank(QUERY, dense)

    return {
        "LangChain RankGateRetriever.from_chroma": Case(
            whole=lambda: over_store.invoke(QUERY),
            engine=engine(by_dense, dense),
            framework=lambda: child.invoke(QUERY),
        ),
        "LangChain RankGateRetriever.from_retriever": Case(
            whole=lambda: over_fixed.invoke(QUERY),
            engine=engine(by_order, order),
            framework=lambda: fixed.invoke(QUERY),
        ),
        "LangChain RankGateRetriever.from_retrievers (two)": Case(
            whole=lambda: fused.invoke(QUERY),
            engine=engine(by_order, order),
            framework=lambda: (fixed.invoke(QUERY), fixed.invoke(QUERY)),
        ),
        "LangChain RankGateRetriever.from_first_stage": Case(
            whole=lambda: own.invoke(QUERY), engine=engine(by_dense, dense)
        ),
        f"LangChain RankGateRetriever.batch, a query of {BATCH}": Case(
            whole=lambda: own.batch([QUERY] * BATCH),
            engine=lambda: by_dense.rerank_many(requests),
            queries=BATCH,
        ),
        "LangChain RankGateRerank": Case(
            whole=lambda: compressor.compress_documents(with_cosine, QUERY),
            engine=engine(by_dense, dense),
        ),
        "LangChain RankGateRunnable": Case(
            whole=lambda: runnable.invoke(step), engine=engine(by_dense, dense)
        ),
        "LlamaIndex RankGateRerank": Case(
            whole=lambda: llama.postprocess_nodes(nodes, query_bundle=bundle), engine=llama_engine
        ),
        "LlamaIndex RankGateRetriever.from_retriever": Case(
            whole=lambda: llama_retriever.retrieve(bundle),
            engine=lambda: by_order.rerank(QUERY, order),
            framework=lambda: llama_fixed.retrieve(bundle),
        ),
    }


def spent(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of one call: wall clock, and CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Medians and 95th percentiles; the parts take turns, so that they meet the same load."""
    calls = {"whole": case.whole, "engine": case.engine}
    if case.framework is not None:
        calls["framework"] = case.framework
    for call in calls.values():
        for _ in range(repeats // 10):
            call()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(spent(call))
    row: dict[str, Any] = {}
    for i, clock in enumerate(("wall_ms", "cpu_ms")):
        arrays = {n: np.array([t[i] for t in ts]) / case.queries for n, ts in times.items()}
        row[clock] = {
            name: {f"p{q}": round(float(np.percentile(a, q)), 4) for q in (50, 95)}
            for name, a in arrays.items()
        }
        parts = arrays["engine"] + arrays.get("framework", np.zeros(repeats))
        row[clock]["own_p50"] = round(float(np.median(arrays["whole"] - parts)), 4)
    return row


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = {n: measure(c, args.repeats) for n, c in cases(args.k, args.seed).items()}
    result = {
        "command": f"python benchmarks/adapters.py --out {args.out} --k {args.k} "
        f"--repeats {args.repeats} --seed {args.seed}",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "n": args.repeats,
        "k": args.k,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
        "rows": rows,
    }
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


def commit() -> str:
    """The commit that is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()


def table(result: dict[str, Any]) -> str:
    """The results for reading."""
    lines = [
        f"# The components' own time, K={result['k']}, all but the scorer",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, "
        f"n={result['n']} calls, {result['hardware']}. Milliseconds a query, medians "
        "(95th percentile in brackets). The component's own share is the whole less the engine "
        "and the framework's own retriever, pair by pair. CPU time does not count waiting for "
        "a core that others use.",
        "",
        "| component | whole, wall | whole, CPU | engine alone, CPU | own share, wall "
        "| own share, CPU |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        wall, cpu = row["wall_ms"], row["cpu_ms"]
        lines.append(
            f"| {name} | {wall['whole']['p50']:.2f} ({wall['whole']['p95']:.2f}) "
            f"| {cpu['whole']['p50']:.2f} ({cpu['whole']['p95']:.2f}) "
            f"| {cpu['engine']['p50']:.2f} | {wall['own_p50']:.2f} | {cpu['own_p50']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
