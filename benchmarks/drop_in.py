"""A LangChain user's first questions with the default scorer: cold, a second one, and warmed.

Over a Chroma store of a real corpus, dev questions, `force="rerank"`, so that every question is
read. No torch: importing it fails. `cold`: none of the 50 candidates was read before. `second`:
another question over the same ones. `warmed`: after `retriever.warm()` over the documents that
will be asked about. `without`: the store's own retriever.

python benchmarks/drop_in.py --out eval/results/drop_in
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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings

from langchain_rankgate import RankGateRerank, RankGateRetriever
from rankgate.encoders import TokenEncoder
from rankgate_eval import Dataset


class Known(Embeddings):
    """The corpus' vectors as they were encoded before; a question goes through the encoder."""

    def __init__(self, encoder: TokenEncoder, vectors: Mapping[str, Any]) -> None:
        self.encoder, self.vectors = encoder, vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Known ones."""
        return [self.vectors[t].tolist() for t in texts]

    def embed_query(self, text: str) -> list[float]:
        """By the encoder."""
        return [float(v) for v in self.encoder.embed([text])[0]]


# A module that is None cannot be imported: whatever wants torch from here on fails.
sys.modules["torch"] = None  # type: ignore[assignment]


def timed(ask: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds: wall clock and CPU of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    ask()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def again(store: Chroma, rerank: RankGateRerank, documents: Any, question: str) -> None:
    """A search, and the reranking of documents that were read before."""
    store.similarity_search(question, k=50)
    rerank.compress_documents(documents, question)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Every arm's times."""
    data, encoder = Dataset.load(args.data / args.corpus), TokenEncoder.load()
    files = sorted((args.cache / args.corpus).glob(f"{encoder.sha256[:8]}-??????.npz"))
    texts = list(data.corpus.values())
    pooled = np.concatenate([np.load(f)["pooled"] for f in files])[: len(texts)].astype(np.float32)
    store = Chroma(
        f"c{uuid.uuid4().hex}",
        Known(encoder, dict(zip(texts, pooled, strict=True))),
        client=chromadb.EphemeralClient(),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(texts, ids=list(data.corpus))
    asked = np.random.default_rng(args.seed).permutation(sorted(data.judged("dev")))
    questions = [data.queries[i] for i in asked[: args.n + 1]]
    first, questions = questions[0], questions[1:]
    plain = store.as_retriever(search_kwargs={"k": 5})
    spent: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("without", "cold", "second", "warmed")
    }
    settings: dict[str, Any] = {"embedder": "all-MiniLM-L6-v2", "force": "rerank", "top_n": 5}
    for question in questions:
        with tempfile.TemporaryDirectory() as folder:
            ours = RankGateRetriever.from_vectorstore(store, token_cache=folder, **settings)
            ours.candidates(first)  # what the store's scores are is looked at once
            spent["without"].append(timed(partial(plain.invoke, question)))
            spent["cold"].append(timed(partial(ours.invoke, question)))
            rerank = RankGateRerank(token_cache=folder, force="rerank", top_n=5)
            documents = store.similarity_search(question, k=50)
            for other in (q for q in [*questions, first] if q != question):
                # Another question over the same passages; the search is part of the time.
                spent["second"].append(timed(partial(again, store, rerank, documents, other)))
    with tempfile.TemporaryDirectory() as folder:
        ours = RankGateRetriever.from_vectorstore(store, token_cache=folder, **settings)
        few = questions[: args.warmed]
        union = {d.id: d for q in few for d in store.similarity_search(q, k=50)}
        wall, cpu = timed(lambda: ours.warm(list(union.values())).wait())
        ours.candidates(first)
        for question in few:
            spent["warmed"].append(timed(partial(ours.invoke, question)))
    rows = {}
    for name, pairs in spent.items():
        walls, cpus = np.array(pairs).T
        rows[name] = {
            "n": len(pairs),
            **{f"p{p}_ms": round(float(np.percentile(walls, p)), 1) for p in (50, 95)},
            **{f"p{p}_cpu_ms": round(float(np.percentile(cpus, p)), 1) for p in (50, 95)},
        }
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
        "scorer": ours.engine.get().scorer.info.id,
        "backend": ours.engine.get().scorer.info.backend,
        "corpus": args.corpus,
        "rows": rows,
        "warm": {"passages": len(union), "s": round(wall / 1e3, 1),
                 "cpu_ms_a_passage": round(cpu / len(union), 1)},
    }  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument("--corpus", default="covid-qa")
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--warmed", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    result = measured(args)
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
