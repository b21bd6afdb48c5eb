"""Windowed around a real model: what stands behind its limit is found."""

import pytest

from rankgate.scorers import LateInteractionScorer
from rankgate.scorers.wrappers import Windowed
from rankgate.scorers.wrappers.spans import TokenizerSpans, cut_windows


@pytest.mark.model
def test_a_real_model_finds_the_answer_behind_its_limit(encoder):
    scorer = LateInteractionScorer(encoder)
    filler = "The committee met on Tuesday to discuss the budget of the harbour. " * 30
    text = filler + "The capital of France is Paris."
    query = "what is the capital of france"
    plain = scorer.score(query, [text])
    wrapper = Windowed.for_scorer(scorer)
    whole = wrapper.score(query, [text])
    assert plain.stats.truncated == 1
    assert whole.stats.truncated == 0 and whole.stats.windows > 1
    assert whole.values[0] > plain.values[0] + 0.2
    spans = TokenizerSpans(encoder.tokenizer)
    windows = cut_windows(text, spans(text), window=252, overlap=40)
    assert whole.values[0] == pytest.approx(scorer.score(query, windows).values.max(), abs=2e-3)
