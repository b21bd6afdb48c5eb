"""The files, tables and frames of a comparison of answers."""

from __future__ import annotations

import itertools
import json
import re

import e2e_planted as planted
import pytest

from rankgate.errors import InputError
from rankgate_eval.answers import (
    AskedQuestion,
    Comparison,
    Handed,
)
from rankgate_eval.answers.result import summarise
from rankgate_eval.report.answers_markdown import answers_markdown


def test_the_files_hold_everything_and_hostile_text_stays_text(tmp_path):
    hostile = AskedQuestion(
        id="q0", text="a | b <script>alert(1)</script> `c`", references=("x",), answerable=True
    )
    before = {"q0": Handed.of([("p", "a b c. <img src=x>")])}
    after = {"q0": Handed.of([("r", "c b a. done.")])}
    result = planted.keyless([hostile], before, after)
    paths = result.save(tmp_path)
    assert {p.name for p in paths} == {"end_to_end.json", "end_to_end.md", "samples.jsonl"}
    text = (tmp_path / "end_to_end.md").read_text()
    assert re.search(r"(?<!\\)<", text) is None  # each one escaped
    assert "script" in text
    assert json.loads((tmp_path / "end_to_end.json").read_text()) == json.loads(
        json.dumps(result.to_dict())
    )
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(r["arm"], r["contexts"]) for r in rows] == [
        ("first_stage", ["a b c. <img src=x>"]),
        ("policy", ["c b a. done."]),
    ]


def test_markdown_tables_are_well_formed():
    result = planted.judged(25, planted.wrong, planted.right)
    lines = "\n\n".join(answers_markdown(result.section)).splitlines()
    for above, line in itertools.pairwise(lines):
        if line.startswith("| ---"):
            assert line.count("|") == above.replace("\\|", "").count("|")
    assert lines[0] == "**Not enough data**"
    assert any(line.startswith("| ---") for line in lines)


def test_frames_have_every_arm_and_metric():
    result = planted.judged(3, planted.wrong, planted.right)
    assert len(result.to_frame()) == 6
    table = result.table()
    assert table.loc[("faithfulness", "policy"), "n"] == 3
    assert summarise(result.questions, result.samples, Comparison(judged=planted.FEW))["n"] == 3
    with pytest.raises(InputError, match="no arm"):
        summarise(result.questions, result.samples, Comparison(after="nobody"))


def test_arms_must_hand_over_every_question_once():
    questions = planted.questions(2)
    right = planted.hand(questions, planted.right)
    with pytest.raises(InputError, match="hands over nothing for question 'q1'"):
        planted.keyless(questions, right, {"q0": right["q0"]})
    with pytest.raises(InputError, match="twice"):
        planted.keyless([questions[0], questions[0]], right, right)
    with pytest.raises(InputError, match="no questions"):
        planted.keyless([], {}, {})
