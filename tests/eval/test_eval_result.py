"""A result as a file: round trip, schema, versions."""

import dataclasses
import json
import math

import eval_world as w
import jsonschema
import pytest

from rankgate.errors import ConfigError, InputError
from rankgate_eval import Result, evaluate, result_schema
from rankgate_eval.result import parts
from rankgate_eval.result.plain import from_plain, to_plain


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


def test_the_schema_names_every_field_of_every_part():
    schema = result_schema()
    own = {f.name for f in dataclasses.fields(Result)} | {"format", "version"}
    assert set(schema["properties"]) == own == set(schema["required"])
    for name in parts.__all__:
        fields = {f.name for f in dataclasses.fields(getattr(parts, name))} - {"metrics"}
        assert set(schema["$defs"][name]["properties"]) == fields, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "result version 2, this rankgate reads 1"),
        ({"format": "other"}, "not a result of"),
        ({"n": "many"}, "at n: 'many' is not of type"),
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


def test_only_finite_plain_data():
    for bad in (math.nan, math.inf, {"a": (1.0, -math.inf)}):
        with pytest.raises(InputError, match="finite"):
            to_plain(bad)
    with pytest.raises(InputError, match="cannot hold a object"):
        to_plain([object()])
    with pytest.raises(InputError, match="needs 'ci'"):
        from_plain(parts.Estimate, {"mean": 1.0})
    assert from_plain(parts.Estimate, {"mean": 1, "ci": [0, 1]}) == parts.Estimate(
        mean=1.0, ci=(0, 1)
    )
