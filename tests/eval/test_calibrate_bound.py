"""The floor's bound counts documents: simulated with refusals that come together."""

import numpy as np
import pytest
from scipy.stats import norm

from rankgate_eval.calibrate.floor_fit import fit_threshold, independent

ALLOWED = {"share": 0.05, "confidence": 0.95}
CORRELATIONS = (0.0, 0.3, 0.7, 1.0)


def document_sizes(kind, documents, rng):
    """Questions a document: five each, skewed, or a few documents with most of them."""
    if kind in ("equal", "copied"):
        return np.full(documents, 5)
    if kind == "skewed":
        return np.minimum(60, np.ceil(rng.lognormal(1.0, 1.0, documents))).astype(int)
    return np.minimum(100, rng.zipf(1.7, documents))


def probabilities(correlation, kind, documents, rng):
    """Uniform on (0, 1) for each question, alike within a document; and the documents.

    So the share that a threshold refuses in the long run is the threshold itself.
    """
    sizes = document_sizes(kind, documents, rng)
    of = np.repeat(np.arange(documents), sizes)
    if kind == "copied":  # a question has its document's probability, or one of its own
        alike = rng.random(of.size) < correlation
        return np.where(alike, rng.random(documents)[of], rng.random(of.size)), of
    latent = np.sqrt(correlation) * rng.normal(size=documents)[of]
    return norm.cdf(latent + np.sqrt(1.0 - correlation) * rng.normal(size=of.size)), of


def missed(correlation, kind, documents, draws, seed=0):
    """How often the floor refuses more than it promised, and how often there is none."""
    rng = np.random.default_rng([seed, documents, int(10 * correlation)])
    over = none = 0
    for _ in range(draws):
        values, of = probabilities(correlation, kind, documents, rng)
        found = fit_threshold(values, of.tolist(), **ALLOWED)
        none += found is None
        over += found is not None and found.value > ALLOWED["share"]
    return over / draws, none / draws


@pytest.mark.parametrize("draws", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["equal", "skewed", "heavy", "copied"])
@pytest.mark.parametrize("documents", [60, 150, 400])
def test_the_promise_holds_however_alike_the_questions_of_a_document_are(kind, documents, draws):
    slack = 3.0 * np.sqrt(0.05 * 0.95 / draws)  # Monte Carlo error of a coverage of 95%
    for correlation in CORRELATIONS:
        over, _ = missed(correlation, kind, documents, draws)
        assert over <= 0.05 + slack, correlation


def test_documents_of_one_question_each_lose_nothing():
    rng = np.random.default_rng(0)
    found = fit_threshold(rng.random(400), range(400), **ALLOWED)
    assert found.effective == pytest.approx(400.0) and found.wrongs >= 12


def test_sixty_questions_on_one_document_show_nothing():
    values = np.linspace(0.1, 0.9, 60)
    assert fit_threshold(values, ["one"] * 60, **ALLOWED) is None
    assert fit_threshold(values, [i // 2 for i in range(60)], **ALLOWED) is None
    assert fit_threshold(values, range(60), **ALLOWED).effective == 60.0
    # Many questions on 58 documents are still 58 independent ones; 59 are enough for a bound.
    many = np.linspace(0.1, 0.9, 590)
    assert fit_threshold(many, [i % 58 for i in range(590)], **ALLOWED) is None
    found = fit_threshold(many, [i % 59 for i in range(590)], **ALLOWED)
    assert found.effective == pytest.approx(59.0) and found.upper <= 0.05


def test_large_documents_count_for_less_than_as_many_small_ones():
    assert independent([]) == 0.0
    assert independent(["a"] * 7) == 1.0
    assert independent(["a", "a", "b", "b"]) == 2.0
    assert independent(["a"] * 9 + ["b"]) == pytest.approx(100.0 / 82.0)
    # One document with half of the questions: no bound, though there are 101 of them.
    values = np.linspace(0.1, 0.9, 200)
    assert fit_threshold(values, ["big"] * 100 + list(range(100)), **ALLOWED) is None
