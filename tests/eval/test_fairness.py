"""A policy that is judged by the questions that it was fitted on never ships."""

from __future__ import annotations

import dataclasses
import json

import evaluate_kit as kit
import numpy as np
import pytest

from rankgate import Candidate, Policy
from rankgate.decide.section import Section
from rankgate.testing import FakeScorer
from rankgate.types import FirstStageKind
from rankgate_eval import evaluate
from rankgate_eval.answers.verdict import decide
from rankgate_eval.calibrate.calibration import calibrate
from rankgate_eval.comparison.measure import compare_scorers
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.fingerprint import MOST_MARKS, fingerprint, question_marks
from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.readers import Run
from rankgate_eval.report.runs import headline
from rankgate_eval.result.call import Call
from rankgate_eval.run.experiment import EvalSettings
from rankgate_eval.run.system import as_first_stage
from rankgate_eval.stats.significance import compare
from rankgate_eval.verdict.fairness import shared_questions
from rankgate_eval.verdict.runs import compare_runs

w, run = kit.w, kit.run
BM25 = FirstStageKind.BM25


def halves(n=240):
    ids = [f"q{i}" for i in range(n)]
    return w.world(n, splits={"dev": tuple(ids[: n // 2]), "test": tuple(ids[n // 2 :])})


def fitted(data, split):
    found = calibrate(data, stage=w.stage_of(data), scorer=w.knowing(), split=split, k=20)
    return Policy.from_dict(json.loads(json.dumps(found.policy.to_dict())))


def renamed(data):
    """The same questions under other ids, another name, another split, other white space."""
    new = {q: f"other-{q}" for q in data.queries}
    return dataclasses.replace(
        data,
        name="another",
        queries={new[q]: f"  {text.upper()} " for q, text in data.queries.items()},
        qrels={new[q]: found for q, found in data.qrels.items()},
        splits={"fresh": tuple(new[q] for q in data.splits["dev"])},
        fields={},
    )


def test_what_calibration_fitted_is_known_again_and_other_questions_ship():
    data = halves()
    policy = fitted(data, "dev")
    assert run(data, w.knowing(), policy=policy, split="test").verdict in (
        "ship",
        "ship_behind_gate",
    )
    for same, split in ((data, "dev"), (data, None), (renamed(data), "fresh")):
        result = run(same, w.knowing(), policy=policy, split=split)
        assert (result.verdict, result.exit_code) == ("not_a_fair_test", 4)
        assert "was fitted on" in result.reasons[0]
        assert not any("was fitted on" in warning for warning in result.warnings)


def test_a_harmful_reranker_and_too_few_questions_keep_their_verdict():
    data = halves()
    policy = fitted(data, "dev")
    harmful = run(data, w.hating(), policy=policy, split="dev")
    assert harmful.verdict == "dont_ship"
    assert any("was fitted on" in warning for warning in harmful.warnings)
    assert run(data, w.knowing(), policy=policy, split="dev", limit=20).verdict == (
        "not_enough_data"
    )


def test_a_question_mark_more_makes_no_other_question():
    asked = ["What is alpha", "who made beta?", "c++ or rust"]
    marks = " ".join(question_marks(asked))

    def share(questions, marks=marks):
        data = {"name": "x", "marks": marks}
        return shared_questions(provenance(data=data), BM25, questions, name="y", split=None)

    assert "on 100% of" in share(["what is alpha?", "Who made beta", "C++, or Rust!"]).sentence
    assert share(["what is gamma?"]) is None
    earlier = " ".join(question_marks(asked, form=normalised))
    assert "on 100% of" in share(asked, earlier).sentence


def provenance(**found):
    return Policy(name="own", sections={"bm25": Section()}, provenance=found)


def test_a_policy_without_marks_is_known_by_fingerprint_or_name():
    data = halves()
    mark = fingerprint(data, data.judged("dev"))

    def shared(split="dev", **found):
        return shared_questions(
            provenance(**found),
            BM25,
            [data.queries[q] for q in data.judged(split)],
            name=data.name,
            split=split,
            fingerprint=fingerprint(data, data.judged(split)),
        )

    assert "these very queries" in shared(data={"name": "x", "fingerprint": mark}).sentence
    assert "of this name" in shared(data={"small": "dev"}).sentence
    assert "of this name" in shared(None, data=[{"name": "small", "split": "dev"}]).sentence
    assert shared(data={"name": "small", "split": None}).unfair
    assert shared(data={"small": "test"}) is None
    assert shared(data={"name": "other", "fingerprint": "sha256:0"}) is None
    assert shared() is None


def test_a_section_of_the_base_was_fitted_on_what_the_base_was():
    texts = [f"question {i}" for i in range(50)]
    marks = " ".join(question_marks(texts))
    own = {"name": "own", "marks": " ".join(question_marks(["something else"]))}
    policy = provenance(section="dense", data=own, base={"data": {"name": "b", "marks": marks}})
    found = shared_questions(policy, BM25, texts, name="x", split=None)
    assert found is not None and found.unfair
    assert shared_questions(policy, FirstStageKind.DENSE, texts, name="x", split=None) is None


@pytest.mark.parametrize(("common", "unfair"), [(0, None), (1, False), (2, False), (3, True)])
def test_a_few_common_questions_are_a_warning(common, unfair):
    asked = [f"asked {i}" for i in range(100)]
    policy = provenance(data={"name": "x", "marks": " ".join(question_marks(asked[:common]))})
    found = shared_questions(policy, BM25, asked, name="other", split=None)
    assert (None if found is None else found.unfair) is unfair
    if found is not None:
        assert f"{common}%" in found.sentence


def test_the_marks_of_very_many_questions_are_a_sample_that_still_tells():
    many = [f"question {i}" for i in range(5 * MOST_MARKS)]
    marks = question_marks(many)
    assert len(marks) == MOST_MARKS and marks == question_marks(reversed(many))
    policy = provenance(data={"name": "x", "marks": " ".join(marks)})
    half = [*many[:500], *(f"new {i}" for i in range(500))]
    found = shared_questions(policy, BM25, half, name="y", split=None)
    share = int(found.sentence.split("fitted on ")[1].split("%")[0])
    assert found.unfair and 38 <= share <= 62
    new = [f"new {i}" for i in range(1000)]
    assert shared_questions(policy, BM25, new, name="y", split=None) is None


def test_answers_do_not_ship_either():
    better = compare([0.2] * 60, [0.8] * 60, permutations=999)
    verdict = decide({"faithfulness": better}, None, skip_rate=0.0, unfair="Learned by heart.")
    assert (verdict.call, verdict.exit_code) == (Call.NOT_A_FAIR_TEST, 4)
    assert verdict.reasons[0] == "Learned by heart."
    worse = compare([0.8] * 60, [0.2] * 60, permutations=999)
    assert decide({"faithfulness": worse}, None, skip_rate=0.0, unfair="x").call == "dont_ship"


def planted(gold, n=60, length=20):
    """Questions with a list each, whose relevant passage stands at `gold`, and their data set."""
    lists = {f"question {i}": [f"p{i}.{j}" for j in range(length)] for i in range(n)}
    data = Dataset(
        name="planted",
        corpus={p: f"text of {p}" for ids in lists.values() for p in ids},
        queries={f"q{i}": query for i, query in enumerate(lists)},
        qrels={f"q{i}": {ids[gold]: 1} for i, ids in enumerate(lists.values())},
        splits={},
    )

    def stage(query, k):
        found = enumerate(lists[query][:k], start=1)
        return [Candidate(id=p, text=data.corpus[p], rank=r) for r, p in found]

    return data, stage, {q: tuple(lists[text]) for q, text in data.queries.items()}


@pytest.mark.parametrize("seed", range(3))
def test_random_numbers_ship_over_no_lists_that_are_upside_down(seed):
    """Any order gains over such lists; with distances for scores three of three seeds shipped."""
    data, stage, lists = planted(gold=19)
    rng = np.random.default_rng(seed)
    noise = FakeScorer(lambda query, text: float(rng.random()))
    found = evaluate(data, stage=stage, scorer=noise, k=20, **kit.QUICK)
    assert found.differences["policy-first_stage"]["ndcg@10"].ci[0] > 0.0
    assert (found.verdict, found.exit_code) == (Call.NOT_A_FAIR_TEST, 4)
    assert "lists are upside down" in found.reasons[0]
    shuffled = {q: tuple(rng.permutation(ids).tolist()) for q, ids in lists.items()}
    runs = [Run(name="distances", lists=lists), Run(name="any", lists=shuffled)]
    compared = compare_runs(data, runs, settings=EvalSettings(**kit.QUICK))
    assert (compared.runs["any"].verdict, compared.exit_code) == (Call.NOT_A_FAIR_TEST, 4)
    assert headline(compared) == "NOT A FAIR TEST: the lists of distances are upside down"
    several = compare_scorers(
        data,
        as_first_stage(stage, data=data),
        {"noise": noise},
        ks=(20,),
        settings=EvalSettings(**kit.QUICK),
    )
    calls = {p.call for p in several.points if p.call is not None}
    assert Call.NOT_A_FAIR_TEST in calls and Call.SHIP not in calls and several.taken is None


def test_lists_that_are_bad_but_not_upside_down_are_a_fair_test():
    data, stage, _ = planted(gold=5)
    found = evaluate(data, stage=stage, scorer=knowing(data), k=20, **kit.QUICK)
    assert found.verdict is Call.SHIP
    assert not any("upside down" in s for s in (*found.reasons, *found.warnings))


def knowing(data):
    relevant = {f"text of {p}" for found in data.qrels.values() for p in found}
    return FakeScorer(lambda query, text: float(text in relevant))
