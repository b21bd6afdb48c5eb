"""A result as a file: round trip, schema, versions."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import eval_world as w
import jsonschema
import pytest
from pydantic import ValidationError

from rankgate.errors import ConfigError
from rankgate_eval import Result, evaluate, result_schema
from rankgate_eval.result import parts, rows
from rankgate_eval.result.call import Call


@pytest.fixture(scope="module")
def result():
    data = w.world(60, unanswerable=2)
    return evaluate(
        data, stage=w.stage_of(data), scorer=w.knowing(), resamples=200, permutations=99,
        fields=("topic",), budget_ms=1000.0,
    )  # fmt: skip


def test_round_trip(result, tmp_path):
    result.save(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == result
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"], "nothing temporary is left"
    extended = result.with_end_to_end({"arms": {"policy": 0.5}})
    assert Result.from_dict(extended.to_dict()) == extended and result.end_to_end is None


def test_it_follows_the_published_schema(result):
    schema = result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(result.to_dict())
    for name in (
        "verdict", "reasons", "n", "arms", "differences", "headroom", "inversions", "skip_rate",
        "refusals", "strata",
    ):  # fmt: skip
        assert name in schema["required"]


def test_the_schema_is_that_of_the_models():
    schema = result_schema()
    assert schema["$schema"].endswith("2020-12/schema") and schema["$id"].endswith("result-2.json")
    assert set(schema["properties"]) == {f.name for f in dataclasses.fields(Result)}
    assert set(schema["required"]) == set(schema["properties"])
    made = {name: kind for module in (parts, rows) for name, kind in vars(module).items()
            if dataclasses.is_dataclass(kind)}  # fmt: skip
    assert len(made) >= 25
    for name, kind in made.items():
        fields = {f.name for f in dataclasses.fields(kind)}
        assert set(schema["$defs"][name]["properties"]) == fields, name
        assert schema["$defs"][name]["additionalProperties"] is False
    assert schema["$defs"]["ArmResult"]["additionalProperties"] == {"$ref": "#/$defs/Estimate"}
    assert set(schema["$defs"]["Call"]["enum"]) == set(Call)
    result_schema()["properties"].clear()
    assert result_schema() == schema, "a fresh copy"


def test_the_golden_baseline_loads():
    file = Path(__file__).parents[2] / "eval/golden/baseline.json"
    loaded = Result.load(file)
    assert loaded.verdict == "not_enough_data" and loaded.exit_code == 3
    # What it did not know then is what it does not say.
    assert Result.from_dict(loaded.to_dict()) == loaded


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "result version 1, this rankgate reads 2"),
        ({"format": "other"}, "not a result of"),
        ({"n": "many"}, "at n: Input should be a valid integer"),
        ({"verdict": "maybe"}, "at verdict"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_what_is_not_a_result_is_refused(result, change, message, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**result.to_dict(), **change}))
    with pytest.raises(ConfigError, match=message):
        Result.load(file)


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "absent.json"):
        with pytest.raises(ConfigError, match=name):
            Result.load(tmp_path / name)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match="not a result"):
        Result.load(tmp_path / "list.json")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(result, bad, tmp_path):
    with pytest.raises(ValidationError, match="finite"):
        parts.Estimate(mean=bad, ci=None)
    with pytest.raises(ValidationError, match="finite"):
        dataclasses.replace(result.headroom, ci=(0.0, bad))
    with pytest.raises(ValueError, match="JSON compliant"):
        result.with_end_to_end({"mean": bad}).save(tmp_path / "result.json")


def test_nothing_is_made_to_fit(result):
    data = result.to_dict()
    for path, value, said in (
        (("n",), "60", "valid integer"),
        (("skip_rate",), True, "valid number"),
        (("precision_gap", "mean"), None, "valid number"),
        (("arms", "policy", "ndcg@10"), 0.5, "arms/policy/ndcg@10"),
    ):
        changed = copy.deepcopy(data)
        at = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        with pytest.raises(ConfigError, match=said):
            Result.from_dict(changed)
    assert Result.from_dict({**data, "skip_rate": 0}).skip_rate == 0.0
