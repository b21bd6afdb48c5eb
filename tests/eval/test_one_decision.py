"""Serving, evaluation and calibration give one query one decision: they are compared with each
other, not each with itself."""

import numpy as np
import pytest

from rankgate import Candidate, Floor, Policy, Reranker, Section
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.signals import compute_signals
from rankgate.scorers import ScorerInfo, Scores
from rankgate.types import Dropped, FirstStageKind, Path
from rankgate_eval.calibrate.rows import row_of
from rankgate_eval.calibrate.serve import serve
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.collect import FirstStageResult
from rankgate_eval.run.orderings import run_arms
from rankgate_eval.run.pool import Pooled

K, BEYOND, QUERIES = 8, 12, 60
INFO = ScorerInfo(id="planted", scale="planted")
DENSE = Feature(name="dense", weight=5.0)
TERMS = Feature(name="bm25_per_word", weight=0.5)
READ = RelevanceModel(
    model=Logistic(intercept=-6.0, features=(Feature(name="raw", weight=2.0), DENSE, TERMS)),
    scale="planted",
)
FIRST = RelevanceModel(model=Logistic(intercept=-4.0, features=(DENSE, TERMS)))
HALF = Gate(
    rules=(
        Rule(name="half", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.05),)),
    )
)
SECTIONS = {
    "everything": Section(
        gate=HALF,
        reranked=READ,
        first_stage=FIRST,
        floor=Floor(refuse_below=0.7, drop_below=0.3),
        k=K,
    ),
    "no floor": Section(gate=HALF, reranked=READ, first_stage=FIRST, k=K),
    "raw order": Section(gate=HALF, k=K),
    "drop alone": Section(reranked=READ, first_stage=FIRST, floor=Floor(drop_below=0.45), k=K),
    "never skips": Section(reranked=READ, floor=Floor(refuse_below=0.5), k=K),
}


class Planted:
    """Reads what stands in the passage's text."""

    info = INFO

    def score(self, query, texts, context=None):
        return Scores.full([float(t) for t in texts], INFO.scale)


def questions():
    rng = np.random.default_rng(7)
    for i in range(QUERIES):
        n = K + BEYOND if i % 3 else int(rng.integers(1, K + 1))
        yield (
            f"q{i}",
            f"question number {i}",
            tuple(
                Candidate(
                    id=f"p{i}-{j}",
                    text=repr(float(np.float32(rng.normal()))),
                    rank=j + 1,
                    dense=float(rng.random()),
                    bm25=float(6 * rng.random()),
                )
                for j in range(n)
            ),
        )


@pytest.mark.parametrize("name", SECTIONS)
def test_serving_evaluation_and_calibration_decide_alike(name):
    section = SECTIONS[name]
    policy = Policy(name="one", sections={FirstStageKind.HYBRID: section})
    reranker = Reranker(Planted(), policy=policy, first_stage="hybrid")
    pool, served, rows = {}, {}, {}
    for query_id, query, candidates in questions():
        head = candidates[:K]
        scores = Planted().score(query, [c.text for c in head])
        signals = compute_signals(query, head)
        pool[query_id] = Pooled(
            found=FirstStageResult(query_id=query_id, query=query, candidates=candidates, ms=1.0),
            candidates=head,
            scores=scores,
            signals=signals,
            scorer_ms=1.0,
        )
        # Whoever serves hands over everything that came, also what stands beyond K.
        served[query_id] = reranker.rerank(query, candidates, section.top_n)
        rows[query_id] = serve(row_of(head, signals, scores, gold=[head[0].id]), section)
    data = Dataset(
        name="planted",
        corpus={c.id: c.text for p in pool.values() for c in p.found.candidates},
        queries={q: p.query for q, p in pool.items()},
        qrels={q: {p.candidates[0].id: 1} for q, p in pool.items()},
        splits={},
    )
    arms = run_arms(
        pool, data, scorer=INFO, kind=FirstStageKind.HYBRID, policy=policy, k=K, top_n=section.top_n
    )
    paths = set()
    for query_id, outcome in served.items():
        measured, fitted = arms.decided[query_id], rows[query_id]
        within = [p for p in outcome.passages if p.index < K]
        # Evaluation.
        assert (outcome.status, outcome.path, outcome.reason) == (
            measured.status,
            measured.path,
            measured.reason,
        )
        assert [p.candidate.id for p in within] == [p.candidate.id for p in measured.passages]
        assert [p.relevance_score for p in within] == [p.relevance_score for p in measured.passages]
        kept = [p.candidate.id for p in outcome.kept if p.index < K]
        assert kept == [p.candidate.id for p in measured.kept]
        # Calibration.
        assert fitted.skips == (outcome.path is Path.SKIPPED)
        assert fitted.placed.order.tolist() == [p.index for p in within]
        known = [p.relevance_score for p in within if p.relevance_score is not None]
        assert fitted.placed.probabilities.tolist() == known
        assert fitted.answers == (not outcome.refused)
        weak = [p for p in within if p.dropped is Dropped.BELOW_FLOOR]
        assert outcome.refused or len(weak) == sum(section.floor.drops(p) for p in known)
        paths.add((outcome.path, outcome.refused))
    wanted = {"everything": 4, "no floor": 2, "raw order": 2, "drop alone": 2, "never skips": 2}
    assert len(paths) >= wanted[name], f"the world shows too little: {paths}"
