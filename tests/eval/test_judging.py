"""Judging: what is drawn and shown, what is kept, and what follows from it."""

import json
import multiprocessing

import eval_world as w
import judging_kit as kit
import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.data.readers.asked import read_asked
from rankgate_eval.errors import DatasetError
from rankgate_eval.judging import Kind, Question, Session, Verdict, drawn_questions, standing
from rankgate_eval.judging.plan import Ways, gain, range_of_gain
from rankgate_eval.judging.standing import consensus, kappa


def question(without, reranked, shown=None, *, weight=1.0):
    seen = dict.fromkeys([*without[:5], *reranked[:5]]) if shown is None else shown
    return Question(
        id="q",
        text="?",
        shown=tuple(seen),
        without=tuple(without),
        reranked=tuple(reranked),
        weight=weight,
    )


def test_no_labels_leave_the_range_of_the_gain():
    rng = np.random.default_rng(0)
    for _ in range(60):
        passages = [f"p{i}" for i in range(14)]
        orders = [list(rng.permutation(passages)[:10]) for _ in range(2)]
        q = question(*orders)
        for metric in ("ndcg", "recall@5"):
            least, most = range_of_gain(q, metric)
            seen = []
            for _ in range(60):
                grades = dict(zip(q.shown, rng.integers(0, 3, len(q.shown)).tolist(), strict=True))
                seen.append(gain(q, grades, metric))
            assert least - 1e-12 <= min(seen) and max(seen) <= most + 1e-12
            assert least <= 0.0 <= most
    assert range_of_gain(question(["a", "b"], ["a", "b"])) == (0.0, 0.0)
    # The only relevant one at the top or absent: all there is to gain.
    assert range_of_gain(question(["a"], ["b"])) == (-1.0, 1.0)


def test_both_ways_are_pooled_once_in_no_telling_order():
    questions, texts = kit.drawn(w.world(40), w.knowing())
    assert sorted(q.id for q in questions) == sorted(f"q{i}" for i in range(40))
    firsts = []
    for q in questions:
        assert set(q.shown) == {*q.without[:5], *q.reranked[:5]} and len(set(q.shown)) == len(
            q.shown
        )
        assert all(texts[p] for p in q.shown)
        firsts.append(q.shown.index(q.reranked[0]) == 0)
    assert 0 < sum(firsts) < 20
    assert kit.drawn(w.world(40), w.knowing()) == (questions, texts)
    assert kit.drawn(w.world(40), w.knowing(), seed=1)[0] != questions


def test_what_decides_comes_first_and_everything_has_its_chance():
    """In every second question of this world the two ways differ."""
    early = []
    ways = kit.ways(w.world(40), w.knowing())
    for seed in range(20):
        questions, _ = drawn_questions(ways, top_n=5, seed=seed)
        weight = {q.id: q.weight for q in questions}
        assert min(weight.values()) >= 0.3 - 1e-6
        assert weight["q1"] > 2.0 * weight["q0"]
        early += [int(q.id[1:]) % 2 for q in questions[:10]]
    assert 0.7 < np.mean(early) < 1.0


def test_estimates_from_the_first_drawn_are_unbiased():
    data = w.world(40)
    ways = kit.ways(data, w.knowing())
    means, low, high = [], 0, 0
    for seed in range(40):
        session = kit.memory(*drawn_questions(ways, top_n=5, seed=seed))
        truth = np.mean([gain(q, kit.truth(data, q)) for q in session.questions])
        kit.answer(session, data, count=12)
        found = standing(session).gains["ndcg@10"]
        means.append(found.mean)
        low, high = low + (found.low > truth + 1e-9), high + (found.high < truth - 1e-9)
    assert abs(np.mean(means) - truth) < 3.0 * np.std(means) / np.sqrt(40) + 0.01
    assert low + high <= 4


def test_a_session_goes_on_where_it_was_left(tmp_path):
    data = w.world(12)
    file = tmp_path / "s.jsonl"
    session = Session.create(file, *kit.drawn(data, w.knowing()), top_n=5)
    kit.answer(session, data, count=4, judge="ann")
    with pytest.raises(InputError, match="there already"):
        Session.create(file, session.questions, session.passages, top_n=5)
    again = Session.open(file)
    assert again.questions == session.questions and again.passages == session.passages
    assert again.by("ann") == session.by("ann") and again.settled == 4
    assert again.next("ann").id == session.questions[4].id
    assert again.next("bob").id == session.questions[0].id
    # Killed in the middle of a line: that answer is asked for again, and nothing else is lost.
    whole = file.read_bytes()
    for cut in range(2, 40, 3):
        file.write_bytes(whole[:-cut])
        torn = Session.open(file)
        assert torn.settled == 3
        kit.answer(torn, data, count=1, judge="ann")
        assert Session.open(file).settled == 4
    assert standing(Session.open(file)) == standing(session)


def _write(file, judge):
    session = Session.open(file)
    for q in session.questions:
        session.add(
            Verdict(question=q.id, judge=judge, kind=Kind.GRADED, grades=dict.fromkeys(q.shown, 0))
        )


def test_two_people_write_into_one_file_at_the_same_time(tmp_path):
    file = tmp_path / "s.jsonl"
    Session.create(file, *kit.drawn(w.world(30), w.knowing()), top_n=5)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(file, name)) for name in ("ann", "bob")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = Session.open(file)
    assert len(found.by("ann")) == len(found.by("bob")) == 30


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "q99"},
        {"judge": " "},
        {"grades": {}},
        {"kind": Kind.SKIPPED},
        {"grades": "three"},
        {"grades": "true"},
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_and_not_written(tmp_path, changed):
    file = tmp_path / "s.jsonl"
    session = Session.create(file, *kit.drawn(w.world(4), w.knowing()), top_n=5)
    q = session.questions[0]
    given = {
        "question": q.id,
        "judge": "ann",
        "kind": Kind.GRADED,
        "grades": dict.fromkeys(q.shown, 1),
    }
    if isinstance(changed.get("grades"), str):
        changed = {"grades": dict.fromkeys(q.shown, 3 if changed["grades"] == "three" else True)}
    before = file.read_bytes()
    with pytest.raises(InputError):
        session.add(Verdict(**{**given, **changed}))
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}', "no json"])
def test_another_file_is_no_session(tmp_path, text):
    file = tmp_path / "s.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=r"s\.jsonl"):
        Session.open(file)


def test_judges_agree_as_far_as_they_do():
    assert kappa([0, 1, 2, 1], [0, 1, 2, 1]) == 1.0
    assert kappa([1, 1, 1], [1, 1, 1]) is None
    # Cohen's own example by hand: observed .7, expected .5.
    a, b = [1] * 25 + [1] * 10 + [0] * 5 + [0] * 10, [1] * 25 + [0] * 10 + [1] * 5 + [0] * 10
    expected = (35 * 30 + 15 * 20) / 2500
    assert kappa(a, b) == pytest.approx((0.7 - expected) / (1.0 - expected))
    # A step of two counts four times as much as a step of one.
    assert kappa([0, 1, 2], [0, 1, 1], squared=True) > kappa([0, 1, 2], [0, 1, 0], squared=True)


def test_two_judges_together_and_kinds_are_counted():
    data = w.world(12)
    session = kit.memory(*kit.drawn(data, w.knowing()))
    kit.answer(session, data, count=6, judge="ann")
    q = session.questions
    for i, kind in ((0, Kind.SKIPPED), (1, Kind.UNANSWERABLE)):
        session.add(Verdict(question=q[i].id, judge="bob", kind=kind))
    session.add(
        Verdict(
            question=q[2].id, judge="bob", kind=Kind.GRADED, grades=dict.fromkeys(q[2].shown, 0)
        )
    )
    session.add(Verdict(question=q[6].id, judge="bob", kind=Kind.UNANSWERABLE))
    session.add(Verdict(question=q[7].id, judge="bob", kind=Kind.SKIPPED))
    found = standing(session)
    assert found.people == 8 and found.kinds == {
        "graded": 6,
        "unanswerable": 1,
        "skipped": 1,
        "none": 1,
    }
    assert consensus(session.of(q[0].id)).grades == kit.truth(data, q[0])
    (pair,) = found.agreements
    assert pair.judges == ("ann", "bob")
    assert pair.passages == len(q[1].shown) + len(q[2].shown)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "What is zinc?\n\n# metals\n  What is tin?\nWhat is zinc?\n"),
        ("q.csv", "question,answer\nWhat is zinc?,a metal\nWhat is tin?,\n"),
        (
            "q.jsonl",
            '{"query": "What is zinc?"}\n{"question": "What is tin?", "passage_id": "p"}\n',
        ),
        (
            "q.jsonl",
            '{"_id": "1", "text": "What is zinc?"}\n{"_id": "2", "text": "What is tin?"}\n',
        ),
        (
            "q.jsonl",
            "".join(
                json.dumps({"_id": str(i), "turns": [{"role": "user", "text": t}]}) + "\n"
                for i, t in enumerate(["What is zinc?", "What is tin?"])
            ),
        ),
    ],
)
def test_questions_come_from_whatever_people_have(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    rows = read_asked(file)
    assert [r.text for r in rows] == ["What is zinc?", "What is tin?"]
    assert len({r.id for r in rows}) == 2


def test_a_file_without_questions_is_told(tmp_path):
    file = tmp_path / "q.txt"
    with pytest.raises(InputError, match="no file of questions"):
        read_asked(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="no question"):
        read_asked(file)
    bad = tmp_path / "q.jsonl"
    bad.write_text('{"question": 7}\n')
    with pytest.raises(DatasetError, match=r"q\.jsonl, line 1"):
        read_asked(bad)


def test_a_gate_on_its_threshold_is_looked_at_earlier():
    data = w.world(4)
    ways = kit.ways(data, w.indifferent())
    plain = {q.id: q.weight for q in drawn_questions(ways, top_n=5)[0]}
    edge = {key: kit.on_threshold(way) if key == "q2" else way for key, way in ways.items()}
    found = {q.id: q.weight for q in drawn_questions(edge, top_n=5)[0]}
    assert len(set(plain.values())) == 1 and found["q2"] == max(found.values()) > found["q0"]


def test_nothing_found_is_a_question_too():
    data = w.world(2)
    ways = kit.ways(data, w.knowing())
    empty = kit.emptied(ways["q0"])
    session = kit.memory(*drawn_questions({**ways, "q0": empty}, top_n=5))
    assert session.by_id["q0"].shown == ()
    session.add(Verdict(question="q0", judge="ann", kind=Kind.UNANSWERABLE))
    assert isinstance(empty, Ways)


def test_a_feedback_log_gives_the_questions_of_each_session_once(tmp_path):
    from datetime import UTC, datetime

    from rankgate.feedback import Judgement, append_feedback
    from rankgate_eval.calibrate.unlabelled import read_asked as read_unlabelled

    file = tmp_path / "feedback.jsonl"
    said = [("What is zinc?", "a", "p1"), ("What is zinc?", "a", "p2"), ("What is tin?", "b", "p1")]
    append_feedback(
        file,
        [
            Judgement(
                query=query,
                passage_id=passage,
                passage_text="metal",
                relevant=True,
                source="thumb",
                time=datetime.now(UTC),
                session=session,
            )
            for query, session, passage in said
        ],
    )
    assert [(r.text, r.fields["session"]) for r in read_asked(file)] == [
        ("What is zinc?", "a"),
        ("What is tin?", "b"),
    ]
    asked = read_unlabelled(file, source="log")
    assert list(asked.questions.values()) == ["What is zinc?", "What is tin?"]
    assert list(asked.groups.values()) == ["log:a", "log:b"]
