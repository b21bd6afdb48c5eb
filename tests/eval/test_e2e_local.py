"""The local judge of answers: names of its own, no key, never beside its own weights."""

from __future__ import annotations

import math

import pytest

from rankgate.errors import ConfigError
from rankgate.judge import GroundingJudge
from rankgate.scorers import LateInteractionScorer
from rankgate.testing import FakeScorer
from rankgate_eval.answers import AskedQuestion, as_system, compare_answers
from rankgate_eval.answers.local_judge import LOCAL_METRICS, LocalJudge
from rankgate_eval.cli.judging import JudgeOptions

pytestmark = pytest.mark.model

PASSAGE = "The boiler holds 1.8 litres of water. It must be descaled every six months."
QUESTION = AskedQuestion(id="q", text="How much does it hold?", references=("1.8 litres",))


@pytest.fixture(scope="module")
def local(encoder):
    return LocalJudge(judge=GroundingJudge(encoder))


def said(text, *more):
    return lambda question: {"answer": text, "contexts": [PASSAGE, *more]}


def test_scores_have_names_of_their_own_and_tell_invention_from_what_is_there(local):
    arms = {
        "invented": as_system(said("It was designed by Ettore Bianchi in Milan."), name="invented"),
        "right": as_system(
            said("The boiler holds 1.8 litres of water.", "Zinc is a metal."), name="right"
        ),
    }  # from other passages: an answer to the same ones would be one answer
    found = compare_answers([QUESTION], arms, judge=local).to_dict()
    assert found["name"] == "end_to_end_local"
    assert found["deciding"] == ["containment", "token_f1", "local_faithfulness"]
    assert any("not Ragas' faithfulness" in note for note in found["notes"])
    for metric in LOCAL_METRICS:
        low, high = (found["arms"][a][metric]["mean"] for a in ("invented", "right"))
        assert 0.0 <= low <= 1.0 and 0.0 <= high <= 1.0
    assert found["arms"]["invented"]["local_faithfulness"]["mean"] < 0.4
    assert found["arms"]["right"]["local_faithfulness"]["mean"] > 0.6
    assert "faithfulness" not in found["arms"]["right"]
    assert found["made"]["judge"]["judge"] == "rankgate-grounding"


def test_it_never_judges_beside_its_own_weights(local, encoder):
    assert local.beside(FakeScorer()) is local
    with pytest.raises(ConfigError, match="never judges its own arm"):
        local.beside(LateInteractionScorer(encoder))
    shared = local.beside(LateInteractionScorer.load())
    assert shared.names == ("local_faithfulness",)
    assert "reads passages with the encoder" in shared.notes[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"judge": "gpt"}, "takes local"),
        ({"judge": "local", "judge_model": "m"}, "two judges"),
        ({"judge": "local", "repeat": 2}, "same every time"),
    ],
)
def test_wrong_options_say_what_to_do(options, match):
    with pytest.raises(ConfigError, match=match):
        JudgeOptions(**options).made(1.0)


def test_as_a_metric_of_ragas(local):
    from ragas.metrics.collections.base import BaseMetric

    from rankgate_eval import LocalFaithfulness

    metric = LocalFaithfulness(local.judge)
    assert isinstance(metric, BaseMetric) and metric.name == "local_faithfulness"
    right, invented, nothing = metric.batch_score(
        [
            {"response": "The boiler holds 1.8 litres of water.", "retrieved_contexts": [PASSAGE]},
            {"response": "It was designed in Milan.", "retrieved_contexts": []},
            {"response": "Is it so?", "retrieved_contexts": [PASSAGE]},
        ]
    )
    assert right.value > 0.6 and right.reason == "all supported"
    assert invented.value == 0.0 and "designed in Milan" in invented.reason
    assert math.isnan(nothing.value)
