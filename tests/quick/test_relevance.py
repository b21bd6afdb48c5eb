"""Relevance model, logistic and floor: canonical values and defined edges."""

import numpy as np
import pytest

from rankgate import Floor, RelevanceModel
from rankgate.decide.logistic import Feature, Logistic, sigmoid
from rankgate.decide.rank import CandidateList
from rankgate.decide.signals import compute_signals
from rankgate.errors import PolicyError
from rankgate.scorers import Scores
from rankgate.testing import candidates_of


def columns(dense=None, bm25=None, raw=None, n=3):
    c = candidates_of([str(i) for i in range(n)], dense=dense, bm25=bm25)
    signals = compute_signals("two words", c, lexical=False)
    scores = None if raw is None else Scores.full(raw, "s")
    listed = CandidateList.of(c, scores, k=n, signals=signals)
    return listed.columns if raw is None else listed.read_columns


def test_features_of_three_candidates():
    got = columns(dense=[0.8, 0.5, 0.2], bm25=[4.0, 2.0, 0.0], raw=np.array([1, 3, 2], np.float32))
    assert got["raw"].tolist() == [1, 3, 2]
    assert got["dense"] == pytest.approx([0.8, 0.5, 0.2])
    assert got["bm25_log"] == pytest.approx(np.log([5, 3, 1]))
    assert got["bm25_per_word"].tolist() == [2.0, 1.0, 0.0], "by the two words of the query"


def test_what_is_not_known_is_absent_not_zero():
    got = columns(dense=[0.8, 0.5, 0.2])
    assert set(got) == {"dense"}
    model = RelevanceModel(model=Logistic(features=(Feature(name="bm25_log", weight=1.0),)))
    assert model.missing(got) == ("bm25_log",)


@pytest.mark.parametrize("old", ["raw_z", "raw_gap", "query_raw_top", "reciprocal_rank"])
def test_features_of_the_whole_list_are_refused_with_the_command_that_mends_it(old):
    with pytest.raises(PolicyError, match="rankgate calibrate"):
        RelevanceModel(model=Logistic(features=(Feature(name=old, weight=1.0),)), scale="s")


def test_platt_scaling_is_the_special_case_of_one_feature():
    platt = RelevanceModel(
        model=Logistic(intercept=-1.0, features=(Feature(name="raw", weight=2.0),)), scale="s"
    )
    logits = platt.logits(columns(raw=np.array([0.0, 0.5, 3.0], np.float32)), 3)
    assert logits == pytest.approx([-1.0, 0.0, 5.0])
    assert sigmoid(0.0) == 0.5


@pytest.mark.parametrize("logit", [-1e4, -745.0, 745.0, 1e4])
def test_sigmoid_does_not_overflow(logit):
    assert 0.0 <= sigmoid(logit) <= 1.0


def test_a_standardised_feature():
    model = Logistic(features=(Feature(name="x", weight=2.0, mean=10.0, scale=4.0),))
    assert model.logit({"x": 12.0}) == pytest.approx(1.0)
    assert model.logit({"x": None}) is None and model.logit({}) is None
    assert Logistic.from_dict(model.to_dict()) == model


@pytest.mark.parametrize(
    "build",
    [
        lambda: RelevanceModel(model=Logistic(features=(Feature(name="rraw", weight=1.0),))),
        lambda: RelevanceModel(model=Logistic(features=(Feature(name="raw", weight=1.0),))),
        lambda: RelevanceModel(model=Logistic(features=(Feature(name="raw", weight=1.0),))),
        lambda: Feature(name="raw", weight=float("nan")),
        lambda: Feature(name="raw", weight=1.0, scale=0.0),
        lambda: Logistic(features=(Feature(name="a", weight=1.0), Feature(name="a", weight=2.0))),
        lambda: Floor(refuse_below=1.1),
        lambda: Floor(drop_below=float("nan")),
    ],
)
def test_models_that_cannot_work_are_refused(build):
    with pytest.raises(PolicyError):
        build()


def test_the_floor_is_inclusive_and_zero_is_not_none():
    floor = Floor(refuse_below=0.4, drop_below=0.2)
    assert not floor.refuses(0.4) and floor.refuses(0.3999)
    assert not floor.drops(0.2) and floor.drops(0.1999)
    zero, none = Floor(refuse_below=0.0), Floor()
    assert zero.active and not none.active
    assert not zero.refuses(0.0)
    assert not floor.refuses(None) and not floor.drops(None)
