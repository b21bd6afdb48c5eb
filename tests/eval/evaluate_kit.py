"""Evaluations of a planted world, quick and with policies of one's own."""

import eval_world as w

from rankgate import Policy, RelevanceModel
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.section import Section
from rankgate_eval import evaluate

QUICK = {"resamples": 200, "permutations": 199}


def run(data, scorer, **changes):
    return evaluate(data, stage=w.stage_of(data), scorer=scorer, **{**QUICK, **changes})


def model(weight=8.0, intercept=-4.0, *, name="raw", scale="fake"):
    feature = Feature(name=name, weight=weight)
    return RelevanceModel(
        model=Logistic(intercept=intercept, features=(feature,)),
        scale=scale if name == "raw" else None,
    )


def policy(**section):
    return Policy(name="own", sections={"bm25": Section(**section)})
