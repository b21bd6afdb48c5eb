"""Complaints of other projects' users that only a real model can show.

Named after the issue, as in `tests/quick/test_complaints.py`.
"""

import pytest

from rankgate.encoders import TokenEncoder
from rankgate.scorers import LateInteractionScorer


@pytest.mark.model
def test_infinity_666_what_is_cut_off_is_counted(encoder):
    """Naive: a text that is too long is truncated, and the answer does not say so."""
    scorer = LateInteractionScorer(encoder)
    stats = scorer.score("harbour", ["harbour " * 600, "harbour"]).stats
    assert (stats.pairs, stats.truncated) == (2, 1)


@pytest.mark.model
def test_khora_340_the_model_is_not_loaded_for_each_query(encoder):
    """Naive: the model is built in the request handler."""
    assert TokenEncoder.load() is encoder
    assert LateInteractionScorer.load().encoder is encoder
