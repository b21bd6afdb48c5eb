"""A list that brings an order alone: its words are fitted, measured and served as one."""

from collections.abc import Sequence

import numpy as np
import pytest

from rankgate import FirstStageKind, Policy, Reranker
from rankgate.decide.section import Section
from rankgate.decide.signals import LEXICAL_SIGNALS, compute_signals
from rankgate.scorers import ScorerInfo, Scores
from rankgate.testing import FakeScorer, candidates_of
from rankgate_eval.calibrate.confirm import fit_checked, section_of
from rankgate_eval.calibrate.gate_fit import gate_signals
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.rows import row_of
from rankgate_eval.calibrate.serve import serve

QUERY = "how long is the warranty of the pump"
KINDS = {  # texts of a list, the place of the answer first
    "clear": ["warranty of the pump: long, two years", "pump oil", "valve", "seal"],
    "other words": ["guarantee: two years", "pump oil", "valve", "seal"],
    "behind": ["pump oil", "warranty of the pump is long", "valve", "seal"],
    "nothing": ["valve", "seal", "bolt", "nut"],
}


def world(queries: int) -> list[tuple[str, str, list[str], list[float]]]:
    """(id, kind, texts, scores): the scorer is right nearly always."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(queries):
        for kind, texts in KINDS.items():
            gold = {"clear": 0, "other words": 0, "behind": 1, "nothing": None}[kind]
            scores = rng.normal(0.0, 0.5, len(texts))
            if gold is not None:
                scores[gold] += 3.0
            made.append((f"{kind}-{i}", kind, texts, scores.tolist()))
    return made


def rows_of(made: Sequence[tuple[str, str, list[str], list[float]]]):
    rows = []
    for query_id, kind, texts, scores in made:
        found = candidates_of(texts)
        rows.append(
            row_of(
                found,
                compute_signals(QUERY, found),
                Scores.full(np.array(scores, np.float32), "fake"),
                gold={"clear": ["c0"], "other words": ["c0"], "behind": ["c1"]}.get(kind, []),
                query_id=query_id,
                stratum="removed" if kind == "nothing" else "answerable",
                group=query_id,
            )
        )
    return rows


@pytest.fixture(scope="module")
def fitted():
    made = world(60)
    judged = fit_checked(rows_of(made), FitOptions(kind=FirstStageKind.ORDER, max_loss=0.05))
    return judged, section_of(judged.parts, scale="fake", base=Section(top_n=3))


def test_a_bare_order_gets_a_gate_that_skips_and_a_floor_on_either_path(fitted):
    judged, section = fitted
    assert section.first_stage is not None and not section.first_stage.orders
    assert set(section.gate.model.names) & set(LEXICAL_SIGNALS)
    by_kind: dict[str, list[bool]] = {}
    for served in judged.served:
        by_kind.setdefault(served.row.query_id.rsplit("-", 1)[0], []).append(served.skips)
    assert all(by_kind["clear"]) and not any(by_kind["behind"])
    assert section.floor.refuse_below is not None and section.may_skip
    refused = [not s.answers for s in judged.served if not s.row.answerable]
    assert np.mean(refused) > 0.9


def test_what_calibration_measures_is_what_the_engine_serves(fitted):
    _, section = fitted
    policy = Policy(name="p", sections={"order": section})
    for one in world(9):
        _, _, texts, scores = one
        info = ScorerInfo(id="fake", scale="fake")
        scorer = FakeScorer(dict(zip(texts, scores, strict=True)), info=info)
        outcome = Reranker(scorer, policy=policy).rerank(QUERY, texts)
        (row,) = rows_of([one])
        served = serve(row, section)
        assert served.skips == (outcome.path == "skipped")
        assert served.answers == (not outcome.refused)
        assert [p.index for p in outcome.passages] == served.placed.order.tolist()
        told = [p.relevance_score for p in outcome.passages]
        assert told == pytest.approx(served.placed.probabilities.tolist())
        if not outcome.refused:
            assert served.handed(served.placed).ids == [p.index for p in outcome.kept]


def test_where_scores_are_known_the_gate_is_not_fitted_on_words():
    found = candidates_of(["red cat", "cat", "dog"], dense=[0.9, 0.5, 0.1])
    other = candidates_of(["dog", "red cat", "dog"], dense=[0.7, 0.6, 0.1])
    signals = [compute_signals("red cat", some) for some in (found, other)]
    assert not set(gate_signals(signals, lexicon=False)) & set(LEXICAL_SIGNALS)
    bare = [compute_signals("red cat", candidates_of([c.text for c in s])) for s in (found, other)]
    assert set(gate_signals(bare, lexicon=False)) & set(LEXICAL_SIGNALS)
