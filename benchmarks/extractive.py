"""Compares two extractive answerers: sentences embedded at question time, and kept token vectors.

Each question gets its gold passage and its four nearest BM25 neighbours, in the order and with
the probabilities of the default policy. Dev splits only: the weights are chosen on them.

python benchmarks/extractive.py --data DATA --cache CACHE --out eval/results/extractive
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import platform
import random
import re
import statistics
import subprocess
import tempfile
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpus_index import CorpusIndex

from rag_app.generate.answer import Answer
from rag_app.generate.context import Context, build_context
from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.generate.sentences import split_sentences
from rag_app.generate.words import content_words
from rankgate import Action, Policy, Reranker
from rankgate.encoders import TokenEncoder, TokenStore
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.data.dataset import Dataset

CORPORA = ("xquad-en", "nq-oracle", "covid-qa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with what is to be read for it, and the reference answers."""

    question: str
    context: Context
    golds: tuple[str, ...]


def normalised(text: str) -> str:
    """Lower case, without accents, articles, punctuation and citations."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\[\d+\]", " ", text)).lower()
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", kept)
    return " ".join(w for w in words if w not in ("a", "an", "the"))


def before(encoder: TokenEncoder, question: str, context: Context) -> list[str]:
    """The sentences that were chosen when each of them was embedded at question time."""
    wanted = content_words(question)
    found = [(s.number, t) for s in context.sources for t in split_sentences(s.body)]
    words = [content_words(t.shown) for _, t in found]
    if len(found) > 24:
        order = sorted(range(len(found)), key=lambda i: (-len(words[i] & wanted), i))[:24]
        found, words = [found[i] for i in sorted(order)], [words[i] for i in sorted(order)]
    if not found:
        return []
    parts = [
        p.strip(" ?.!")
        for p in re.split(r"[?;]\s+|,?\s+\b(?:and|but)\b\s+", question, flags=re.IGNORECASE)
    ]
    parts = [p for p in parts if len(p.split()) >= 3 and content_words(p)]
    parts = parts[:3] if len(parts) > 1 else []
    vectors = encoder.embed([question, *parts, *(t.shown for _, t in found)])
    asked, told = vectors[: 1 + len(parts)], vectors[1 + len(parts) :]
    known = {s.number: s.passage.relevance_score or 0.0 for s in context.sources}
    top = max(known.values())
    extra = np.array(
        [0.15 * math.sqrt(known[n] / top) - (0.0 if t.finished else 0.15) for n, t in found]
    )

    def coverage(of: frozenset[str]) -> Any:
        weights = {
            w: math.log1p(len(found) / sum(w in own for own in words))
            for w in of
            if any(w in own for own in words)
        }
        total = math.fsum(weights.values())
        return np.array(
            [math.fsum(weights.get(w, 0.0) for w in own) / total if total else 0.0 for own in words]
        )

    chosen: list[int] = []

    def add(i: int) -> None:
        for j in chosen:
            fewer = min(len(words[i]), len(words[j]))
            shared = len(words[i] & words[j]) / fewer if fewer else 1.0
            if float(told[i] @ told[j]) >= 0.88 or shared >= 0.8:
                return
        chosen.append(i)

    whole = told @ asked[0] + extra + 0.35 * coverage(wanted)
    best = int(whole.argmax())
    add(best)
    for column, part in enumerate(parts, start=1):
        scores = told @ asked[column] + extra + 0.35 * coverage(content_words(part))
        add(int(scores.argmax()))
    covered = frozenset().union(*(words[i] for i in chosen)) & wanted
    for i in np.argsort(-whole, kind="stable").tolist():
        if len(chosen) >= 3 or whole[i] < 0.72 * whole[best]:
            break
        if whole[i] >= 0.88 * whole[best] or (words[i] & wanted) - covered:
            add(i)
            covered |= words[i] & wanted
    return [found[i][1].shown for i in chosen[:3]]


def cases_of(
    data: Dataset, index: CorpusIndex, store: TokenStore, titles: dict[str, int], n: int, seed: int
) -> list[Case]:
    """Up to n questions of the dev split, each with five passages."""
    section = Policy.default().section(FirstStageKind.HYBRID)
    scorer = LateInteractionScorer.load(token_store=store)
    reranker = Reranker(scorer, first_stage=FirstStageKind.HYBRID)
    asked = sorted(q for q in data.query_ids("dev") if data.answers(q) and data.relevant(q))
    cases = []
    for query in random.Random(seed).sample(asked, min(n, len(asked))):
        text = data.queries[query]
        vectors = index.encoder.encode([text])[0]
        found = index.retrieve(query, text, vectors, fusion=section.fusion, k=section.k).candidates
        gold = data.relevant(query)[0]
        if all(c.id != gold for c in found):
            cosine = float(index.pooled[index.position[gold]] @ vectors.pooled)
            bm25 = float(index.bm25.scores(text, [gold])[0])
            last = Candidate(
                id=gold, text=data.corpus[gold], rank=len(found), dense=cosine, bm25=bm25
            )
            found = (*found[:-1], last)
        outcome = reranker.rerank(text, found, force=Action.RERANK)
        others = sorted(
            (c for c in found if c.id != gold), key=lambda c: -(c.bm25 if c.bm25 is not None else 0)
        )
        names = {gold, *(c.id for c in others[:4])}
        passages = [p for p in outcome.passages if p.candidate.id in names]
        passages = [
            type(p)(
                candidate=Candidate(
                    id=p.candidate.id,
                    text=p.candidate.text,
                    rank=p.candidate.rank,
                    metadata={"body_offset": titles[p.candidate.id]},
                ),
                index=p.index,
                rank=p.rank,
                relevance_score=p.relevance_score,
            )
            for p in passages
        ]
        context = build_context(passages, budget=10_000, count_tokens=len)
        cases.append(Case(question=text, context=context, golds=data.answers(query)))
    return cases


def measured(cases: list[Case], told: Callable[[Case], tuple[str, int]]) -> dict[str, float]:
    """Containment of the reference answer, sentences, words and milliseconds an answer."""
    hits, counts, lengths, spent = [], [], [], []
    for case in cases:
        begun = time.perf_counter()
        text, sentences = told(case)
        spent.append((time.perf_counter() - begun) * 1000.0)
        said = f" {normalised(text)} "
        hits.append(any(f" {normalised(g)} " in said for g in case.golds if normalised(g)))
        counts.append(sentences)
        lengths.append(len(text.split()))
    return {
        "containment": round(sum(hits) / len(hits), 4),
        "sentences": round(statistics.mean(counts), 3),
        "words": round(statistics.mean(lengths), 1),
        "ms_p50": round(float(np.percentile(spent, 50)), 2),
        "ms_p95": round(float(np.percentile(spent, 95)), 2),
    }


def loaded(
    args: argparse.Namespace, encoder: TokenEncoder, folder: Path
) -> dict[str, tuple[list[Case], TokenStore]]:
    """The cases of each corpus, with a token store that holds their passages."""
    result = {}
    for name in CORPORA:
        data = Dataset.load(args.data / name)
        with gzip.open(args.data / name / "corpus.jsonl.gz", "rt", encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        titles = {r["_id"]: len(r["title"]) + 1 if r["title"] else 0 for r in rows}
        index = CorpusIndex(data, args.cache, encoder)
        store = TokenStore(
            folder / f"{name}.sqlite",
            encoder=f"{encoder.name}@{encoder.sha256}",
            dimension=encoder.dimension,
        )
        store.put_many(dict(zip(data.corpus.values(), index.vectors, strict=True)))
        result[name] = (cases_of(data, index, store, titles, args.n, args.seed), store)
    return result


def spoken(answer: Answer) -> tuple[str, int]:
    """Text and number of sentences of an answer."""
    return answer.text, sum(len(s.quotes) for s in answer.sources)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--cache", type=Path, required=True, help="folder of token vectors")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100, help="questions of each corpus")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    encoder = TokenEncoder.load()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (cases, store) in loaded(args, encoder, Path(folder)).items():
            generator = ExtractiveGenerator(encoder, token_store=store)
            generator.answer(cases[0].question, cases[0].context)

            def old(case: Case) -> tuple[str, int]:
                sentences = before(encoder, case.question, case.context)
                return " ".join(sentences), len(sentences)

            def new(case: Case, generator: ExtractiveGenerator = generator) -> tuple[str, int]:
                return spoken(generator.answer(case.question, case.context))

            rows[name] = {
                "n": len(cases),
                "before": measured(cases, old),
                "after": measured(cases, new),
            }
            rows[name]["times_faster_p50"] = round(
                rows[name]["before"]["ms_p50"] / rows[name]["after"]["ms_p50"], 1
            )
            store.close()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "command": "python benchmarks/extractive.py --data DATA --cache CACHE "
        f"--out {args.out} --n {args.n} --seed {args.seed}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "n": args.n,
        "split": "dev",
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
        "rows": rows,
    }
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
