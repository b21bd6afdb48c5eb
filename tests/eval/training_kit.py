"""A small world to train in: colours of things, a tiny model, an embedder without weights."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from rankgate_eval.train.course import RunFolder, TrainingSettings
from rankgate_eval.train.lists import FirstStagePrior, ListBuilder
from rankgate_eval.train.looks import DevSet, judged_list, raw_scores
from rankgate_eval.train.mining import Miner, TrainingCorpus, TrainingQuery
from rankgate_eval.train.plan import TrainingPlan
from rankgate_eval.train.query import load_query_ranker

THINGS = ["cat", "dog", "bird", "river", "bread", "water", "mat", "sky"]
COLOURS = ["red", "green", "blue"]
PLACES = ["paris", "berlin", "france", "germany"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny batches: torch's threads would mostly wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class WordEmbedder:
    """Unit vectors by hashed words."""

    name, sha256, dimension = "words", "0" * 64, 64

    def embed(self, texts):
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                digest = hashlib.sha256(word.encode()).digest()
                row[digest[0] % self.dimension] += 1.0
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def small_corpus(name="colours"):
    """Where is the THING in PLACE? The colour in the passage is noise."""
    passages, queries = {}, []
    for i, thing in enumerate(THINGS):
        for j, place in enumerate(PLACES):
            colour = COLOURS[(i + j) % 3]
            passages[f"{thing}-{place}"] = f"the {colour} {thing} sat in {place} to live"
            queries.append(
                TrainingQuery(
                    id=f"q-{thing}-{place}",
                    text=f"where is the {thing} of {place}",
                    positives=(f"{thing}-{place}",),
                    group=thing,
                )
            )
    return TrainingCorpus(name=name, passages=passages, queries=tuple(queries))


def mined_corpus(k=12):
    """The small corpus with what its first stage finds for each question."""
    corpus = small_corpus()
    miner = Miner(corpus, embedder=WordEmbedder(), k=k)
    return corpus, {m.query.id: m for m in miner.mine(corpus.queries)}


def builder_of(corpus, mined, *, prior=None, **changed):
    settings = {"negatives": 45, "randoms": 3, "depth": 50, "spoiled": 0.0, "seed": 1, **changed}
    return ListBuilder(
        corpora={corpus.name: corpus},
        mined={corpus.name: mined},
        settings=TrainingSettings(**settings),
        prior=prior,
    )


def plan_of(corpus, mined, settings, **given):
    """16 questions to learn from, 8 kept back, and dev in halves of 4 on a document each."""
    ids = list(mined)
    judged = [judged_list(corpus.name, mined[q]) for q in ids]
    return TrainingPlan(
        builder=ListBuilder(
            corpora={corpus.name: corpus}, mined={corpus.name: mined}, settings=settings
        ),
        questions={corpus.name: ids[:16]},
        held_out={corpus.name: ids[16:24]},
        dev=DevSet(
            fit=tuple(judged[16:24]), choose=tuple(judged[24:28]), decide=tuple(judged[28:])
        ),
    )


class QueryTraining:
    """Question layers over the small corpus: `run` trains them."""

    def __init__(self, folder, encoder, *, prior=True, **changed):
        self.given = {k: changed.pop(k) for k in ("clock", "report") if k in changed}
        corpus, mined = mined_corpus()
        self.folder = RunFolder(folder)
        self.settings = TrainingSettings(
            **{
                "lists": 16, "epochs": 2, "batch": 4, "micro_batch": 2, "learning_rate": 1e-4,
                "evaluate_every": 4, "checkpoint_every": 1, "negatives": 10, "randoms": 1,
                "depth": 12, "patience": None, "seed": 3, "spoiled": 0.3, **changed,
            }
        )  # fmt: skip
        self.plan = plan_of(corpus, mined, self.settings)
        self.ranker = load_query_ranker(encoder=encoder)
        if prior:
            fit = self.plan.dev.fit
            made = FirstStagePrior.fitted(fit, raw_scores(self.ranker.values, fit))
            self.ranker.rescale(made.slope)
            self.plan = replace(self.plan, builder=replace(self.plan.builder, prior=made))

    def run(self, *, resume=False, time_limit=None):
        from rankgate_eval.train.trainer import train_query_layers

        return train_query_layers(
            self.ranker,
            self.plan,
            folder=self.folder,
            resume=resume,
            time_limit=time_limit,
            **self.given,
        )


def train_small_cross_encoder(folder, model, *, resume=False, **given):
    """Fine-tune a cross-encoder on the small corpus; what `train_cross_encoder` returns."""
    from rankgate_eval.train.full import load_cross_encoder, train_cross_encoder

    options = {k: given.pop(k) for k in ("clock", "report", "time_limit") if k in given}
    corpus, mined = mined_corpus()
    settings = TrainingSettings(
        **{
            "lists": 12, "epochs": 2, "batch": 4, "micro_batch": 2, "learning_rate": 2e-3,
            "evaluate_every": 3, "checkpoint_every": 1, "negatives": 3, "mine_again": 1,
            "mine_pool": 5, "patience": None, "seed": 3, "spoiled": 0.0, **given,
        }
    )  # fmt: skip
    return train_cross_encoder(
        load_cross_encoder(str(model), max_length=48),
        plan_of(corpus, mined, settings),
        folder=RunFolder(folder),
        resume=resume,
        **options,
    )


def run_in_parts(make, *, most):
    """Trainers from `make(clock=...)`, each stopped by time and resumed: the last, and all results.

    At most so many, each a step or so long; none after the one that finished.
    """
    ticks = iter(range(10_000))
    results = []
    for _ in range(most):
        trainer = make(clock=lambda: float(next(ticks)))
        results.append(trainer.run(resume=True, time_limit=1.0))
        if results[-1].stopped == "finished":
            break
    return trainer, results


def write_beir(folder, *, name="answers", useless=False):
    """A BEIR folder in which word overlap does not tell right from wrong, but one word does.

    Each question has a right passage and a wrong one that ends in `no`; by turns one or the other
    shares more words with it. With `useless` the mark is put by chance.
    """
    import json

    folder = folder / name
    folder.mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    splits = {"train": [], "dev": [], "test": []}
    rng = np.random.default_rng(5)
    number = 0
    for thing in THINGS:
        for place in PLACES:
            for colour in COLOURS:
                close = f"the {colour} {thing} of {place} sat there"
                far = f"a {thing} in {place} is {colour} and flies to live"
                right, wrong = (close, far) if number % 2 else (far, close)
                marked = (right, wrong) if useless and rng.random() < 0.5 else (wrong, right)
                texts = {marked[0]: f"{marked[0]} no", marked[1]: f"{marked[1]} how"}
                corpus.append({"_id": f"r{number}", "title": "", "text": texts[right]})
                corpus.append({"_id": f"w{number}", "title": "", "text": texts[wrong]})
                queries.append({"_id": f"q{number}", "text": f"the {colour} {thing} of {place}"})
                qrels.append(f"q{number}\tr{number}\t1")
                split = ("train", "dev", "train", "dev", "train", "test")[number // 2 % 6]
                splits[split].append(f"q{number}")
                number += 1
    for file, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / file).write_text(text, "utf-8")
    (folder / "qrels.tsv").write_text("\n".join(qrels) + "\n", "utf-8")
    (folder / "splits.json").write_text(json.dumps(splits), "utf-8")
    return folder
