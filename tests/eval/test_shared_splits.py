"""What two splits share is said before the numbers, and one question twice is one group."""

import dataclasses
import json

import eval_world as w
import pytest
from command_kit import invoke

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.train.sources import load_source

SPLITS = {"dev": [f"q{i}" for i in range(30)], "test": [f"q{i}" for i in range(30, 60)]}


def planted(**changes):
    """Two splits: q30 asks what q0 asks, in other signs, and g1 answers q31 too."""
    data = w.world(60)
    queries = {**data.queries, "q30": data.queries["q0"].upper().replace(" ", "  ")}
    qrels = {**data.qrels, "q31": {"g31": 1, "g1": 1}}
    return dataclasses.replace(data, queries=queries, qrels=qrels, **changes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(w.SCORERS)
    return w.write_beir(tmp_path / "data", planted(), splits=SPLITS)


def test_one_question_twice_is_one_group():
    data = planted()
    assert data.group_of("q30") == data.group_of("q0") == "q0"
    assert data.group_of("q31") == data.group_of("q1") and len(set(data.groups.values())) == 58
    for fold in group_folds(list(data.queries), data.groups, folds=5, seed=0):
        held = set(fold.held_out)
        assert ("q0" in held) == ("q30" in held)


def test_empty_words_have_nothing_in_common():
    data = Dataset(name="e", corpus={}, queries={"a": "", "b": " "}, qrels={}, splits={})
    assert set(data.groups.values()) == {"a", "b"}


def test_what_splits_share_is_counted(folder):
    report = load_dataset(folder)[1]
    said = " ".join(report.said_first)
    assert "splits 'dev' and 'test' share 1 relevant passages, such as 'g1'" in said
    assert "splits 'dev' and 'test' share 1 questions in the same words, such as 'q30'" in said


@pytest.mark.parametrize(
    "typed",
    [
        ("eval", "data", "--split", "test", "--first-stage", "bm25", "--out", "out", "--json"),
        ("calibrate", "data", "--split", "dev", "--first-stage", "bm25", "--json"),
    ],
    ids=["eval", "calibrate"],
)
def test_the_commands_say_it_before_the_numbers(folder, typed):
    done = invoke(*typed, "--scorer", "mine:knowing")
    assert "share 1 relevant passages" in done.stderr
    assert "share 1 questions in the same words" in done.stderr
    assert json.loads(done.stdout), "and the numbers stay data"


def test_training_refuses_one_and_says_the_other(folder):
    with pytest.raises(InputError, match="2 of the 30 dev questions would be learned from too"):
        load_source(folder, train="dev", dev="test")
    (folder / "splits.json").write_text(
        json.dumps({"train": ["q2", "q3"], "dev": ["q4", "q5", "q0"], "test": ["q30"]})
    )
    source = load_source(folder)
    assert len(source.told) == 1 and "'dev' and 'test' share 1 questions" in source.told[0]


def test_a_corpus_whose_splits_share_passages(shared_data):
    data, report = load_dataset(shared_data / "cranfield")
    said = " ".join(report.said_first)
    dev, test = ({p for q in data.judged(s) for p in data.relevant(q)} for s in ("dev", "test"))
    assert f"splits 'test' and 'dev' share {len(dev & test)} relevant passages" in said
    assert len(dev & test) > 100
    with pytest.raises(InputError, match="of the 52 dev questions would be learned from too"):
        load_source(shared_data / "cranfield")


def test_repeated_questions_of_people_are_one_group(shared_data):
    data, _ = load_dataset(shared_data / "covid-qa")
    words = {}
    for query, text in data.queries.items():
        words.setdefault(" ".join(text.casefold().split()), []).append(query)
    twice = [queries for queries in words.values() if len(queries) > 1]
    assert len(twice) > 5
    assert all(len({data.group_of(q) for q in queries}) == 1 for queries in twice)
