"""Policy files: round trip, refusals that name the place, and profiles that do not fit."""

import json
import pickle
from dataclasses import replace

import jsonschema
import pytest

from rankgate import Floor, Gate, Policy, Profile, RelevanceModel, Reranker, Section
from rankgate.decide.gate import Condition, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import PolicyError, ProfileMismatchError
from rankgate.policy import policy_schema
from rankgate.retrieve import Fusion
from rankgate.testing import FakeScorer

FULL = Policy(
    name="full",
    sections={
        "hybrid": Section(
            profile=Profile(scorer="fake", scale="fake", space="cosine"),
            fusion=Fusion(method="weighted", dense_weight=0.3),
            gate=Gate(
                rules=(
                    Rule(
                        name="clear",
                        conditions=(Condition(signal="dense_top1", op=">=", value=0.0),),
                    ),
                ),
                veto=("negation",),
                min_remaining_ms=5.0,
                provenance={"n": 3},
            ),
            reranked=RelevanceModel(
                model=Logistic(features=(Feature(name="raw", weight=2.0),)), scale="fake"
            ),
            first_stage=RelevanceModel(
                model=Logistic(features=(Feature(name="dense", weight=2.0),))
            ),
            floor=Floor(refuse_below=0.0, drop_below=None),
            k=20,
            top_n=3,
            deadline_ms=400.0,
            reserve_ms=20.0,
        )
    },
)


def test_round_trip_through_a_file(tmp_path):
    FULL.save(tmp_path / "p.json")
    loaded = Policy.load(tmp_path / "p.json")
    assert loaded.to_dict() == FULL.to_dict()
    assert loaded.section("hybrid") == FULL.section("hybrid")
    assert loaded.section("hybrid").floor.refuse_below == 0.0, "0.0 is not null"
    assert [f.name for f in tmp_path.iterdir()] == ["p.json"]
    assert pickle.loads(pickle.dumps(loaded)).to_dict() == loaded.to_dict()


def test_what_we_write_satisfies_the_published_schema():
    jsonschema.Draft202012Validator.check_schema(policy_schema())
    for policy in (FULL, Policy.default(), Policy.unfitted()):
        jsonschema.validate(policy.to_dict(), policy_schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "policy version 2, this rankgate reads 1"),
        (lambda d: d.update(sectoins={}), "sectoins"),
        (
            lambda d: d["sections"]["hybrid"]["floor"].update(refuse_below=1.5),
            "sections/hybrid/floor",
        ),
        (
            lambda d: d["sections"]["hybrid"]["floor"].update(refuse_below="0.3"),
            "sections/hybrid/floor",
        ),
        (lambda d: d["sections"]["hybrid"].update(k=0), "sections/hybrid/k"),
        (lambda d: d["sections"]["hybrid"].update(deadline_ms=20), "fallback could never run"),
        (
            lambda d: d["sections"]["hybrid"]["gate"]["rules"][0]["conditions"][0].update(
                signal="x"
            ),
            "unknown signal 'x'",
        ),
        (
            lambda d: d["sections"]["hybrid"]["relevance"].update(reranked=None, first_stage=None),
            "needs a relevance model",
        ),
        (
            lambda d: d["sections"]["hybrid"]["relevance"]["first_stage"].update(scale="fake"),
            "must not read raw",
        ),
        (lambda d: d["sections"].update(sparse={}), "sparse"),
        (lambda d: d.pop("name"), "name"),
    ],
)
def test_a_wrong_file_is_refused_at_its_place(tmp_path, change, message):
    data = json.loads(json.dumps(FULL.to_dict()))
    change(data)
    file = tmp_path / "p.json"
    file.write_text(json.dumps(data))
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.load(file)
    assert str(file) in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(PolicyError, match="cannot read policy file"):
        Policy.load(tmp_path / "none.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(PolicyError, match="not JSON"):
        Policy.load(tmp_path / "p.json")
    (tmp_path / "p.json").write_text('{"version": 1, "name": "x", "sections": NaN}')
    with pytest.raises(PolicyError, match="NaN is not a number"):
        Policy.load(tmp_path / "p.json")


def test_a_missing_section_names_the_command_that_fits_it():
    with pytest.raises(PolicyError, match="rankgate calibrate DATA --first-stage dense"):
        FULL.section("dense")


def test_a_policy_of_another_scorer_is_refused_with_the_remedy():
    with pytest.raises(
        ProfileMismatchError,
        match=r"scorer: fitted for 'fake', in use is 'other'.*rankgate calibrate",
    ):
        FULL.check_profile("hybrid", Profile(scorer="other"))
    with pytest.raises(ProfileMismatchError, match="space: fitted for 'cosine', in use is 'l2'"):
        FULL.check_profile("hybrid", Profile(scorer="fake", space="l2"))
    assert FULL.check_profile("hybrid", Profile(scorer="fake", embedder="x")).k == 20


def test_with_section_changes_a_copy():
    changed = FULL.with_section("hybrid", top_n=1)
    assert (changed.section("hybrid").top_n, FULL.section("hybrid").top_n) == (1, 3)


def test_may_skip_only_with_a_first_stage_model_under_a_refusal_floor():
    assert FULL.section("hybrid").may_skip
    bare = FULL.with_section("hybrid", first_stage=None)
    assert not bare.section("hybrid").may_skip
    assert bare.with_section("hybrid", floor=Floor()).section("hybrid").may_skip


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "faq", "split": "dev", "judged": 90}, "fitted on faq, split dev"),
        (
            {"name": "log", "split": None, "asked": 200, "conversations": 150},
            "fitted on log, 200 questions without labels",
        ),
        ({"covid-qa": {}, "medquad": {}}, "fitted on covid-qa, medquad"),
    ],
)
def test_a_description_names_what_a_policy_was_fitted_on(data, said):
    policy = replace(Policy.unfitted(), provenance={"data": data})
    found = Reranker(FakeScorer(), policy=policy).describe()
    assert found.fitted_on == said and f"({said})" in str(found)
