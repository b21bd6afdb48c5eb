"""The lists by which sufficiency is measured and fitted, kept on disk: dev splits alone.

Each question of a corpus four times: as it is, with the passages that answer it removed, about
another name or number, and questions from other corpora; mtrag's conversations with what people
said; NoMIRACL's English questions with their ten passages. Every list is scored by the shipped
encoder and policy and by those that know nothing of its domain.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpus_index import CorpusIndex
from domains import domain_of, scorer_without
from policy_rows import CORPORA, LEFT_OUT

from rankgate import Candidate, Policy
from rankgate.decide.evidence import LISTED
from rankgate.decide.rank import rank
from rankgate.encoders import TokenEncoder
from rankgate.retrieve import DEFAULT_K, BM25Index, Fusion
from rankgate.scorers import LateInteractionScorer, Scores
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.negatives.near_miss import near_miss_questions
from rankgate_eval.negatives.unanswerable import foreign_questions

__all__ = ["Listed", "collect", "load"]

_NEAR_DUPLICATE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One question's best passages.

    Attributes:
        corpus, domain, stratum, group, question: what it is.
        answerable: whether the corpus (NoMIRACL: the list) holds an answer.
        sufficient: whether one of the passages below is known to hold it.
        shown: by `shipped` and `left_out`: the best five, with the logits of the relevance model.
    """

    corpus: str
    domain: str
    stratum: str
    group: str
    question: str
    answerable: bool
    sufficient: bool
    shown: dict[str, list[tuple[Candidate, float]]]


def _plain(one: Listed) -> dict[str, Any]:
    row: dict[str, Any] = {n: getattr(one, n) for n in Listed.__slots__}
    row["shown"] = {
        how: [[c.id, c.text, c.rank, c.dense, c.bm25, logit] for c, logit in shown]
        for how, shown in one.shown.items()
    }
    return row


def load(folder: Path, name: str) -> list[Listed]:
    """What `collect` has kept of a corpus."""
    found = []
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            row["shown"] = {
                how: [
                    (Candidate(id=i, text=t, rank=r, dense=d, bm25=b), logit)
                    for i, t, r, d, b, logit in shown
                ]
                for how, shown in row["shown"].items()
            }
            found.append(Listed(**row))
    return found


class _Judge:
    """Orders lists as the shipped parts and as those without a domain do."""

    def __init__(self, encoders: Path, policies: Path, encoder: TokenEncoder, domain: str) -> None:
        without = f"without-{domain}.json"
        self.ways: dict[str, tuple[LateInteractionScorer, Policy]] = {
            "shipped": (scorer_without(encoders, encoder), Policy.default()),
            "left_out": (
                scorer_without(encoders, encoder, domain),
                Policy.load(policies / without) if domain in LEFT_OUT else Policy.default(),
            ),
        }

    def shown(
        self, question: str, candidates: Sequence[Candidate], vectors: Sequence[Any], kind: str
    ) -> dict[str, list[tuple[Candidate, float]]]:
        found = {}
        for how, (scorer, policy) in self.ways.items():
            raw = scorer.compare(scorer.read_queries([question])[0], vectors)
            ranking = rank(question, candidates, Scores.full(raw, scorer.info.scale),
                           policy.section(kind))  # fmt: skip
            first = ranking.order[:LISTED].tolist()
            logits = ranking.logits[:LISTED].tolist()
            found[how] = [(candidates[i], v) for i, v in zip(first, logits, strict=True)]
        return found


def collect(
    data: Path, cache: Path, encoders: Path, policies: Path, out: Path, *, most: int
) -> None:
    """Write the lists that are not there yet, one file a corpus."""
    encoder = TokenEncoder.load()
    out.mkdir(parents=True, exist_ok=True)
    for name in (*CORPORA, "nomiracl-en"):
        file = out / f"{name}.jsonl.gz"
        if file.exists():
            continue
        made = (
            _nomiracl(data / name, _Judge(encoders, policies, encoder, "encyclopedia"), encoder)
            if name == "nomiracl-en"
            else _corpus(data, name, cache, _Judge(encoders, policies, encoder, domain_of(name)),
                         encoder, most)
        )  # fmt: skip
        with gzip.open(file.with_suffix(".tmp"), "wt", encoding="utf-8") as lines:
            for one in made:
                lines.write(json.dumps(_plain(one)) + "\n")
        file.with_suffix(".tmp").replace(file)
        print(name, file=sys.stderr)


def _nomiracl(folder: Path, judge: _Judge, encoder: TokenEncoder) -> Iterator[Listed]:
    with gzip.open(folder / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = {f"{r['id']}-{n}": p for r in rows for n, p in enumerate(r["passages"])}
    bm25 = BM25Index.build(texts.items())
    for row in rows:
        ids = [f"{row['id']}-{n}" for n in range(len(row["passages"]))]
        vectors = encoder.encode(row["passages"])
        asked = encoder.encode([row["question"]])[0]
        scores = dict(bm25.search(row["question"], len(texts)))
        candidates = [
            Candidate(id=i, text=texts[i], rank=n + 1, dense=float(v.pooled @ asked.pooled),
                      bm25=float(scores.get(i, 0.0)))
            for n, (i, v) in enumerate(zip(ids, vectors, strict=True))
        ]  # fmt: skip
        label = bool(row["answerable"])
        yield Listed(corpus="nomiracl-en", domain="encyclopedia", question=row["question"],
                     stratum="answerable" if label else "unanswerable", group=row["id"],
                     answerable=label, sufficient=label,
                     shown=judge.shown(row["question"], candidates, vectors, "hybrid"))  # fmt: skip


def _corpus(
    data: Path, name: str, cache: Path, judge: _Judge, encoder: TokenEncoder, most: int
) -> Iterator[Listed]:
    dataset = Dataset.load(data / name)
    index = CorpusIndex(dataset, cache, encoder)
    rng = np.random.default_rng(0)
    dev = list(dataset.judged("dev"))
    chosen = [dev[i] for i in sorted(rng.permutation(len(dev))[:most].tolist())]
    asked: list[tuple[str, str, str, frozenset[str], bool]] = []  # text, stratum, group, gold, hide
    for q in chosen:
        gold = frozenset(dataset.relevant(q))
        asked += [
            (dataset.queries[q], stratum, dataset.group_of(q), gold, stratum == "removed")
            for stratum in ("answerable", "removed")
        ]
    near = near_miss_questions(dataset, chosen, embed=encoder.embed, at_most=most)
    asked += [(n.text, "near_miss", n.group or n.id, frozenset(), False) for n in near]
    others = [Dataset.load(data / other) for other in CORPORA if other != name]
    strange, _ = foreign_questions(others, split="dev", at_most=most // 2)
    asked += [(n.text, "foreign", n.id, frozenset(), False) for n in strange]
    if name == "mtrag":
        rows = map(
            json.loads, (data / name / "conversations.jsonl").read_text("utf-8").splitlines()
        )
        for row in rows:
            if row["split"] == "dev" and row["answerability"].lower() in (
                "answerable",
                "unanswerable",
            ):
                turn = [t["text"] for t in row["turns"] if t["role"] == "user"][-1]
                label = row["answerability"].lower()
                known = frozenset() if label == "unanswerable" else frozenset(("?",))
                asked.append((turn, f"people_{label}", row["_id"].split("<::>")[0], known, False))
    told = (data / name / "conversations-qrels.tsv") if name == "mtrag" else None
    people = _people(data / name, told) if told is not None else {}
    for text, stratum, group, gold, hide in asked:
        if gold == {"?"}:
            gold = people.get(text, frozenset())
        hidden: frozenset[str] = frozenset()
        vector = encoder.encode([text])[0]
        if hide:
            known = index.pooled[[index.position[g] for g in gold]]
            close = (index.pooled @ known.T).max(1) > _NEAR_DUPLICATE
            hidden = gold | {index.ids[i] for i in np.flatnonzero(close)}
        found = index.index.search(text, DEFAULT_K, fusion=Fusion(), hidden=hidden,
                                   vector=vector.pooled)  # fmt: skip
        if not found:
            continue
        passages = [index.vectors[index.position[c.id]] for c in found]
        shown = judge.shown(text, found, passages, "hybrid")
        answerable = stratum in ("answerable", "people_answerable")
        yield Listed(
            corpus=name if not stratum.startswith("people") else "mtrag-conversations",
            domain=domain_of(name), stratum=stratum.removeprefix("people_"), group=group,
            question=text, answerable=answerable,
            sufficient=answerable and any(c.id in gold for c, _ in shown["left_out"]),
            shown=shown,
        )  # fmt: skip


def _people(folder: Path, file: Path) -> dict[str, frozenset[str]]:
    """The last question of each conversation, with the passages that answer it."""
    relevant: dict[str, set[str]] = {}
    for line in file.read_text("utf-8").splitlines()[1:]:
        query, passage, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(passage)
    rows = map(json.loads, (folder / "conversations.jsonl").read_text("utf-8").splitlines())
    return {
        [t["text"] for t in row["turns"] if t["role"] == "user"][-1]: frozenset(
            relevant.get(row["_id"], ())
        )
        for row in rows
    }


if __name__ == "__main__":
    collect(*map(Path, sys.argv[1:6]), most=int(sys.argv[6]))
