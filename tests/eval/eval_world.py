"""A small data set with a known truth, as objects and as a BEIR folder.

Each query shares both of its words with its gold passage; in every second one, six rivals hold
them twice and stand above it in a BM25 list. So a scorer that knows gold from rival has
everything to win, and one that hates gold everything to lose.
"""

import json

from rankgate.retrieve import MemoryIndex
from rankgate.testing import FakeScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.system import IndexStage

RIVALS = 6


def corpus_of(n, *, easy=False):
    corpus = {}
    for i in range(n):
        corpus[f"g{i}"] = f"gold alpha{i} beta{i} and something else to say of it"
        strong = not easy and i % 2 == 1
        for j in range(RIVALS):
            corpus[f"r{i}-{j}"] = (
                f"alpha{i} beta{i} alpha{i} beta{i} rival{j}"
                if strong
                else f"alpha{i} among many other words that make it long and weak rival{j}"
            )
    return corpus


def world(n=120, *, easy=False, unanswerable=0, splits=None):
    queries = {f"q{i}": f"what about alpha{i} beta{i}" for i in range(n)}
    for i in range(unanswerable):
        queries[f"u{i}"] = f"who is nobody{i}"
    return Dataset(
        name="small",
        corpus=corpus_of(n, easy=easy),
        queries=queries,
        qrels={f"q{i}": {f"g{i}": 1} for i in range(n)},
        splits={} if splits is None else splits,
        fields={
            q: {
                "topic": "even" if i % 2 == 0 else "odd",
                **({"answerability": "unanswerable"} if q.startswith("u") else {}),
            }
            for i, q in enumerate(queries)
        },
    )


def stage_of(data):
    return IndexStage(index=MemoryIndex.build(data.corpus), kind="bm25")


def knowing():
    """Knows gold, and is sure of nothing else."""
    return FakeScorer(lambda query, text: float(text.startswith("gold")))


def hating():
    """Puts gold last."""
    return FakeScorer(lambda query, text: -float(text.startswith("gold")))


def indifferent():
    """Leaves everything as it came."""
    return FakeScorer(lambda query, text: 0.0)


SCORERS = '''
"""Scorers that the command line names."""

from rankgate.testing import FakeScorer

knowing = FakeScorer(lambda query, text: float(text.startswith("gold")))
hating = FakeScorer(lambda query, text: -float(text.startswith("gold")))


def made():
    return knowing


class Broken:
    @property
    def info(self):
        raise ZeroDivisionError("planted")

    def score(self, query, texts, context=None):
        raise ZeroDivisionError("planted")


class Stops(Broken):
    @property
    def info(self):
        raise StopIteration("planted")


def search(query, k=10):
    word = query.split()[-1].removeprefix("beta")
    return [f"g{word}"] if word.isdigit() else []
'''


def write_beir(folder, data, *, splits=None):
    folder.mkdir(parents=True, exist_ok=True)

    def lines(rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    (folder / "corpus.jsonl").write_text(
        lines({"_id": i, "title": "", "text": t} for i, t in data.corpus.items())
    )
    (folder / "queries.jsonl").write_text(
        lines({"_id": q, "text": t, **data.fields.get(q, {})} for q, t in data.queries.items())
    )
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"{q}\t{p}\t{g}\n" for q, judged in data.qrels.items() for p, g in judged.items())
    )
    if splits is not None:
        (folder / "splits.json").write_text(json.dumps(splits))
    return folder
