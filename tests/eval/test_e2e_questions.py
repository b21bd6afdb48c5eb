"""One's own questions, and samples of them."""

from __future__ import annotations

import e2e_planted as planted
import pytest

from rankgate.errors import InputError
from rankgate_eval.answers import (
    read_own_questions,
)
from rankgate_eval.answers.questions import sample_questions
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.errors import DatasetError


def test_own_questions_are_read(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text(
        '{"question": "A?", "answer": "a", "passage_ids": ["p1"], "kind": "short"}\n'
        '{"query": "B?", "id": 7, "answers": ["b", "bb"], "group": "g"}\n'
        '{"text": "C?"}\n'
        '{"question": "D?", "answerable": false}\n'
        '{"question": "E?", "answer": 1969, "split": "dev"}\n'
    )
    a, b, c, d, e = read_own_questions(file)
    assert (a.id, a.references, a.answerable, a.relevant) == ("q1", ("a",), True, ("p1",))
    assert a.fields == {"kind": "short"}
    assert (b.id, b.references, b.cluster) == ("7", ("b", "bb"), "g")
    assert (c.answerable, d.answerable) == (None, False)
    assert (e.references, e.fields) == (("1969",), {"split": "dev"})


def test_bad_own_questions_are_told_with_their_lines(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"id": 1}\n{"question": "A?", "answer": 2.5}\nnope\n')
    with pytest.raises(DatasetError) as caught:
        read_own_questions(file)
    assert len(caught.value.findings) == 3
    assert all(f"own.jsonl, line {n}:" in str(caught.value) for n in (1, 2, 3))
    for wrong in ('"answerable": "perhaps"', '"passages": ["A text."]', '"id": "x"'):
        line = f'{{"question": "A?", {wrong}}}\n'
        file.write_text(line * 2)
        with pytest.raises(DatasetError):
            read_own_questions(file)
    file.write_text("")
    with pytest.raises(DatasetError, match="no questions"):
        read_own_questions(file)


def test_own_questions_about_one_passage_or_document_are_a_group(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text(
        '{"question": "A?", "passage_ids": ["p1"]}\n'
        '{"question": "B?", "passage_ids": ["p2", "p1"]}\n'
        '{"question": "C?", "passage_ids": ["p3"]}\n'
        '{"question": "D?", "passage_ids": ["p4"]}\n'
        '{"question": "E?", "answer": "e"}\n'
        '{"question": "F?", "answer": "f"}\n'
        '{"question": "G?", "passage_ids": ["p1"], "group": "mine"}\n'
    )
    data = Dataset(
        name="d",
        corpus={f"p{i}": "text" for i in range(1, 5)},
        queries={},
        qrels={},
        splits={},
        documents={"p3": "page", "p4": "page"},
    )
    a, b, c, d, e, f, g = (q.cluster for q in read_own_questions(file, data=data))
    assert a == b and c == d and g == "mine"
    assert len({a, c, e, f, g}) == 5
    file.write_text('{"question": "A?", "passage_ids": ["ghost"]}\n')
    with pytest.raises(DatasetError, match=r"own.jsonl, line 1: passage 'ghost' is not in"):
        read_own_questions(file, data=data)


def test_a_sample_is_drawn_over_the_whole_file():
    questions = planted.questions(100)
    drawn = sample_questions(questions, 20, seed=1)
    assert drawn == sample_questions(questions, 20, seed=1)
    assert drawn != sample_questions(questions, 20, seed=2)
    numbers = [int(q.id[1:]) for q in drawn]
    assert numbers == sorted(numbers)
    assert max(numbers) > 50
    assert sample_questions(questions, None) == questions
    with pytest.raises(InputError, match="at least 1"):
        sample_questions(questions, 0)
