"""One question, one corpus: the same candidates and signals wherever they are looked at.

A gate is fitted on signals of the candidates. If evaluation, calibration and application fused
lists of different depth, its skip share in production would not be the one that was measured.
"""

import random
import zlib

import corpus_index
import fake_index
import numpy as np
import pytest

from langchain_rankgate import RankGateRetriever
from rag_app.ask.first_stage import HybridFirstStage
from rag_app.ask.pipeline import Pipeline
from rag_app.settings import Settings as AppSettings
from rankgate import Policy, Reranker
from rankgate.decide.signals import LEXICAL_SIGNALS
from rankgate.encoders import TokenVectors
from rankgate.retrieve import DEFAULT_K, LIST_DEPTH, Fusion, MemoryIndex
from rankgate.testing import FakeScorer
from rankgate_eval.answers.handover import hand_over
from rankgate_eval.answers.questions import AskedQuestion
from rankgate_eval.calibrate.material import read_material
from rankgate_eval.comparison.measure import compare_scorers
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.experiment import EvalSettings, run_experiment
from rankgate_eval.run.system import IndexStage
from rankgate_eval.train.mining import Miner, TrainingCorpus, TrainingQuery

_DRAW = random.Random(7)
WORDS = [f"{a}{b}" for a in ("bar", "lin", "mos", "tek", "ruv") for b in ("an", "el", "is", "or")]
SECTIONS = [
    (f"H{i}", " ".join(_DRAW.choices(WORDS, k=_DRAW.randint(5, 30))) + ".") for i in range(300)
]
QUESTIONS = {f"q{i}": " ".join(_DRAW.sample(WORDS, k=4)) for i in range(12)}


class Encoder:
    """A word is a random direction, so no two passages are equally near."""

    name, sha256, dimension = "words", "0" * 64, 48

    def embed(self, texts):
        rows = [
            sum(
                np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dimension)
                for word in text.lower().replace(".", "").split()
            )
            for text in texts
        ]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode(self, texts, should_stop=None):
        return [
            TokenVectors(tokens=v[None].astype(np.float16), pooled=v, truncated=False)
            for v in self.embed(texts)
        ]

    encode_queries = encode

    def count_tokens(self, text):
        return len(text.split())


class Index(fake_index.FakeIndex):
    def __init__(self):
        super().__init__({"d": ("D", SECTIONS)})
        self.embedder = Encoder()
        self.vectors = self.embedder.embed(list(self.texts.values()))


STORE = Index()
DATA = Dataset(
    name="words",
    corpus=STORE.texts,
    queries=QUESTIONS,
    qrels={q: {f"d-{n}": 1} for n, q in enumerate(QUESTIONS)},
    splits={},
)
MEMORY = MemoryIndex.build(STORE.texts, encoder=Encoder())
STAGE = IndexStage(index=MEMORY)


def seen(candidates):
    """What the gate, the relevance model and the scorer read of them, in their order."""
    return [(c.id, (c.rank, c.dense, c.bm25)) for c in candidates]


def told(signals):
    # The clock is the application's alone; it reads the candidates' texts only where a part of the
    # policy's section does, and a fit has to be able to choose from all.
    own = {"remaining_ms", *LEXICAL_SIGNALS}
    return {k: v for k, v in signals.values().items() if k not in own and v is not None}


def assert_same(found, expected):
    """Ids in the same order, and scores and signals but for the noise of float32."""
    assert list(found) == list(expected)
    for q, (rows, signals) in found.items():
        assert_same_rows(rows, expected[q][0])
        assert signals == pytest.approx(expected[q][1], abs=1e-4)


def assert_same_rows(rows, expected):
    assert [i for i, _ in rows] == [i for i, _ in expected]
    for (_, row), (_, wanted) in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


def in_the_application():
    pipeline = Pipeline(AppSettings(), STORE, scorer=FakeScorer())
    found = {}
    for q, text in QUESTIONS.items():
        outcome = pipeline.search(text, top_n=1).outcome
        by_rank = sorted((p.candidate for p in outcome.passages), key=lambda c: c.rank)
        found[q] = (seen(by_rank), told(outcome.signals))
    return found


def in_an_evaluation(stage=STAGE):
    made = run_experiment(
        DATA, stage, FakeScorer(), policy=None, split=None, settings=EvalSettings(permutations=99)
    )
    assert made.depth > made.k
    return {q: (seen(p.candidates), told(p.signals)) for q, p in made.pool.items()}


def in_the_benchmarks(tmp_path):
    index = corpus_index.CorpusIndex(DATA, tmp_path, Encoder())
    found = {}
    for q, text in QUESTIONS.items():
        (vectors,) = index.encoder.encode_queries([text])
        one = index.retrieve(
            q, text, vectors, fusion=Fusion(), k=DEFAULT_K, lexicon=index.bm25.lexicon
        )
        found[q] = (seen(one.candidates), told(one.signals))
    return found


def in_training():
    asked = [TrainingQuery(id=q, text=t, positives=(f"d-{q[1:]}",)) for q, t in QUESTIONS.items()]
    corpus = TrainingCorpus(name="words", passages=STORE.texts, queries=asked)
    mined = Miner(corpus, embedder=Encoder()).mine(asked)
    return {m.query.id: (seen(m.candidates), told(m.signals)) for m in mined}


APPLICATION = in_the_application()


def test_the_question_is_not_trivial():
    # With lists of another depth the head is another one, so the tests below can fail.
    query = next(iter(QUESTIONS.values()))
    deep = MEMORY.search(query, 300, kind="dense"), MEMORY.search(query, 300, kind="bm25")
    dense, bm25 = ({c.id: c.dense or c.bm25 for c in found} for found in deep)
    fused = [i for i, _ in Fusion().fuse(dense, bm25)][:DEFAULT_K]
    assert fused != [row[0] for row in APPLICATION["q0"][0]]
    assert all(len(rows) == DEFAULT_K for rows, _ in APPLICATION.values())


def test_evaluation_reads_what_the_application_reads():
    assert_same(in_an_evaluation(), APPLICATION)


def test_calibration_reads_what_the_application_reads():
    material = read_material(DATA, stage=STAGE, scorer=FakeScorer())
    rows = {r.query_id: r for r in material.reading.rows if r.stratum == "answerable"}
    for q, (candidates, signals) in APPLICATION.items():
        columns = rows[q].first_stage.columns
        assert told(rows[q].signals) == pytest.approx(signals, abs=1e-4)
        assert columns["dense"] == pytest.approx([row[1] for _, row in candidates], abs=1e-5)


def test_the_benchmarks_read_what_the_application_reads(tmp_path):
    assert_same(in_the_benchmarks(tmp_path), APPLICATION)


def test_training_mines_what_the_application_reads():
    assert_same(in_training(), APPLICATION)


def test_the_comparison_of_answers_reads_what_the_application_reads():
    asked = [AskedQuestion(id=q, text=text) for q, text in QUESTIONS.items()]
    handed = hand_over(
        STAGE,
        DATA,
        asked,
        scorer=FakeScorer(),
        k=DEFAULT_K,
        top_n=20,
        arms=["first_stage", "rerank"],
    )
    for q, (candidates, _) in APPLICATION.items():
        assert list(handed.arms["first_stage"][q].ids) == [c[0] for c in candidates[:20]]


def test_a_component_of_langchain_reads_what_the_application_reads():
    reranker = Reranker(FakeScorer(), policy=Policy.unfitted(), lexicon=STORE.bm25.lexicon)
    retriever = RankGateRetriever.from_first_stage(HybridFirstStage(STORE), reranker=reranker)
    for q, text in QUESTIONS.items():
        assert_same_rows(seen(retriever.candidates(text)), APPLICATION[q][0])


@pytest.mark.parametrize("k", [1, 7, LIST_DEPTH, LIST_DEPTH + 1, 2 * LIST_DEPTH, 130])
@pytest.mark.parametrize("fusion", [Fusion(), Fusion(method="weighted", bm25_weight=0.5)])
def test_fewer_candidates_are_the_head_of_more_in_both(k, fusion):
    app = HybridFirstStage(STORE, fusion)
    for text in QUESTIONS.values():
        found = seen(MEMORY.search(text, k, fusion=fusion))
        assert found == seen(MEMORY.search(text, 150, fusion=fusion))[:k]
        assert_same_rows(found, seen(app.candidates(text, k)))


def test_a_comparison_reads_at_each_k_what_the_application_reads_at_that_k():
    read = {}

    def remember(query, text):
        read.setdefault(query, []).append(text)
        return 0.0

    ks = (10, 60)
    compare_scorers(
        DATA,
        STAGE,
        {"fake": FakeScorer(remember)},
        ks=ks,
        settings=EvalSettings(resamples=100, permutations=1),
    )
    app = HybridFirstStage(STORE)
    for text in QUESTIONS.values():
        assert read[text][:60] == [c.text for c in app.candidates(text, 60)]
        assert read[text][60:70] == [c.text for c in app.candidates(text, 10)]


class Merging:
    """A system of one's own that reads its lists just as deep as it is asked."""

    def __init__(self):
        self.asked = []

    def candidates(self, query, k):
        self.asked.append(k)
        dense = {c.id: c.dense for c in MEMORY.search(query, k, kind="dense")}
        bm25 = {c.id: c.bm25 for c in MEMORY.search(query, k, kind="bm25")}
        by_id = {c.id: c for c in MEMORY.search(query, 300)}
        return [by_id[i] for i, _ in Fusion().fuse(dense, bm25)][:k]


def test_a_system_of_ones_own_is_asked_for_what_users_get_and_deeper_apart():
    system = Merging()
    pool = in_an_evaluation(system)
    assert system.asked == [DEFAULT_K, 100] * len(QUESTIONS)
    for q, (rows, _) in pool.items():
        assert [i for i, _ in rows] == [i for i, _ in APPLICATION[q][0]]
    # Asked for 100 at once, its head would have been another one.
    assert any(
        [c.id for c in system.candidates(text, 100)[:DEFAULT_K]] != [r[0] for r in pool[q][0]]
        for q, text in QUESTIONS.items()
    )
