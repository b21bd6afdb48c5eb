"""Build, with real models: lazily loaded ones, and the default scorer in its wrappers."""

import pickle

import numpy as np
import pytest

import rankgate
from rankgate import FirstStageKind, Policy, Reranker
from rankgate.errors import ModelNotFoundError
from rankgate.scorers import LateInteractionScorer
from rankgate.scorers.wrappers import Batched, Breaker, Cached, Windowed
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.scorers.wrappers.traits import innermost
from rankgate.testing import candidates_of


def layers(scorer):
    found = []
    while scorer is not None:
        found.append(type(scorer))
        scorer = getattr(scorer, "inner", None)
    return found


def test_a_lazy_model_is_announced_then_loaded_once(tmp_path):
    scorer = rankgate.load(f"cross-encoder:{tmp_path}", lazy=True)
    assert scorer.info.id == f"cross-encoder/{tmp_path.name}"
    lazy = innermost(scorer)
    assert isinstance(lazy, Lazy) and not lazy.loaded
    assert pickle.loads(pickle.dumps(scorer)).info == scorer.info
    outcome = Reranker(scorer, policy=Policy.unfitted()).rerank("q", candidates_of(["a", "b"]))
    assert outcome.status == "degraded" and str(tmp_path) in outcome.detail
    with pytest.raises(ModelNotFoundError):
        rankgate.load(f"cross-encoder:{tmp_path}")
    with pytest.raises(ModelNotFoundError):
        rankgate.load(f"onnx:{tmp_path}")


@pytest.mark.model
def test_the_default_policy_fits_the_default_scorer_in_its_wrappers():
    scorer = rankgate.load()
    assert layers(scorer) == [Cached, Breaker, Batched, Windowed, LateInteractionScorer]
    for kind in FirstStageKind:
        assert Reranker(scorer, first_stage=kind).policy is Policy.default()


@pytest.mark.model
def test_what_is_read_whole_scores_as_without_wrappers(encoder):
    bare = LateInteractionScorer.load()
    words = "the committee met on tuesday to discuss the budget of the harbour and".split()
    texts = ["", "a red cat", " ".join((words * 30)[:230]), " ".join((words * 30)[:254])]
    one, other = bare.score("harbour budget", texts), rankgate.load().score("harbour budget", texts)
    assert one.stats.truncated == other.stats.truncated == 0
    assert other.stats.windows == len(texts)
    np.testing.assert_array_equal(one.values, other.values)
