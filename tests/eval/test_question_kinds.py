"""Not judged is not unanswerable: three kinds of questions without a relevant passage."""

import dataclasses
import json

import eval_world as w
import numpy as np
import pytest
from command_kit import invoke
from evaluate_kit import QUICK, policy, run

from rankgate.errors import InputError
from rankgate.testing import FakeScorer
from rankgate_eval import evaluate
from rankgate_eval.answers.questions import questions_of
from rankgate_eval.calibrate.material import read_material
from rankgate_eval.data.kinds import Kind, answerable_in_words
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.run.metrics import measure


def half_dropped(**changes):
    """A world of 124 answerable questions, of which somebody lost every second judgement."""
    data = w.world(124)
    kept = {q: grades for i, (q, grades) in enumerate(data.qrels.items()) if i % 2}
    return dataclasses.replace(data, qrels=kept, **changes)


@pytest.fixture
def mixed(tmp_path):
    """A folder with a question of every kind."""
    data = w.world(6)
    queries = {**data.queries, "said": "who said it", "flag": "who flagged it", "odd": "which odd"}
    qrels = {
        **data.qrels, "q0": {"g0": 3, "g1": 1}, "q1": {"g1": 1}, "q2": {"g2": 0}, "q4": {"g4": 2},
    }  # fmt: skip
    del qrels["q3"]
    fields = {
        "said": {"answerability": "UNANSWERABLE"},
        "flag": {"answerable": False},
        "odd": {"answerability": "underspecified"},
        "q4": {"answerability": "unanswerable"},
    }
    data = dataclasses.replace(data, queries=queries, qrels=qrels, fields=fields)
    return w.write_beir(tmp_path / "mixed", data)


def test_lost_judgements_make_no_question_unanswerable():
    result = run(half_dropped(), w.knowing())  # without a floor everything is answered
    assert result.n == 62 and result.refusals.unanswerable == {} and result.unanswerable == ()
    asked = run(half_dropped(unjudged="unanswerable"), w.knowing())
    assert asked.refusals.unanswerable["unjudged"].count == 62


def test_the_kinds(mixed):
    data, report = load_dataset(mixed)
    kinds = {q: str(data.kind_of(q)) for q in data.queries}
    assert kinds == {
        "q0": "relevant", "q1": "relevant", "q2": "graded_0", "q3": "unjudged", "q4": "relevant",
        "q5": "relevant", "said": "unanswerable", "flag": "unanswerable", "odd": "unjudged",
    }  # fmt: skip
    assert data.judged() == ["q0", "q1", "q4", "q5"]
    assert data.unanswerable() == ["q2", "said", "flag"]
    assert data.stratum_of("odd") == "unjudged:underspecified" and data.stratum_of("q3") == Kind(
        "unjudged"
    )
    assert report.warning_counts == {
        "unjudged_queries": 1, "graded_0_queries": 1, "unanswerable_but_judged": 1,
        "large_group": 1,
    }  # fmt: skip
    counts = {k: n for k, n in report.counts.items() if k.endswith("queries")}
    assert counts == {
        "queries": 9, "judged_queries": 4, "unanswerable_queries": 2, "graded_0_queries": 1,
        "unjudged_queries": 2,
    }  # fmt: skip
    told = " ".join(str(x) for x in report.warnings)
    assert "2 of 9 queries (first: 'q3') have no judgement at all: left out. --unjudged" in told


def test_what_becomes_of_the_unjudged(mixed):
    refused, _ = load_dataset(mixed, unjudged="unanswerable")
    assert refused.unanswerable() == ["q2", "q3", "said", "flag", "odd"]
    kept, _ = load_dataset(mixed, unjudged="irrelevant")
    assert kept.judged() == ["q0", "q1", "q4", "q5"] and kept.counted_0() == 2
    assert kept.unanswerable() == ["q2", "said", "flag"] and kept.relevant("q3") == ()
    with pytest.raises(InputError, match="ignore, irrelevant, unanswerable; got 'none'"):
        load_dataset(mixed, unjudged="none")


def test_what_nobody_judged_counts_0_in_averages_that_are_told_and_nowhere_else():
    """One denominator: of half the questions nobody knows what there was to lift."""
    whole = run(half_dropped(unjudged="irrelevant"), w.knowing(), policy=policy())
    part = run(half_dropped(), w.knowing(), policy=policy())
    assert whole.n == part.n == 62
    assert all(whole.arms[a].metrics == arm.metrics for a, arm in part.arms.items())
    assert (whole.headroom, whole.recall_curve) == (part.headroom, part.recall_curve)
    assert whole.refusals == part.refusals and whole.differences == part.differences
    (told,) = [x for x in whole.warnings if "Nobody judged 62 of 124" in x]
    assert not any("Nobody judged" in x for x in part.warnings)
    ndcg = part.arms["policy"].metrics["ndcg@10"].mean
    assert "is 0.500 of what is shown" in told and f"policy ndcg@10 {ndcg / 2:.3f}" in told


@pytest.mark.parametrize(("treated", "strata"), [
    ("ignore", {"answerable": 62, "removed": 62}),
    ("unanswerable", {"answerable": 62, "removed": 62, "unjudged": 62}),
    ("irrelevant", {"answerable": 62, "removed": 62}),
])  # fmt: skip
def test_calibration_reads_the_same_kinds(treated, strata):
    data = half_dropped(unjudged=treated)
    rows = read_material(data, stage=w.stage_of(data), scorer=w.knowing(), k=10).reading.rows
    found = [row.stratum for row in rows]
    assert {name: found.count(name) for name in dict.fromkeys(found)} == strata
    assert sum(row.found for row in rows) == 62


def test_of_an_unjudged_question_no_refusal_is_right_or_wrong(mixed):
    known = {q.id: q.answerable for q in questions_of(load_dataset(mixed)[0])}
    assert known["q0"] is True and known["q2"] is False and known["said"] is False
    assert known["q3"] is None and known["odd"] is None
    data, _ = load_dataset(mixed, unjudged="unanswerable")
    assert {q.id: q.answerable for q in questions_of(data)}["q3"] is False


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, None),
        ({"answerable": "false"}, False),
        ({"answerable": 1}, True),
        ({"answerability": "Partial"}, True),
        ({"answerability": "underspecified", "answerable": False}, None),
        ({"answerable": "perhaps"}, None),
    ],
)
def test_what_a_row_says(fields, known):
    assert answerable_in_words(fields) is known


def test_a_least_grade_counts_everywhere(mixed):
    data, report = load_dataset(mixed, min_grade=2)
    assert data.qrels["q0"] == {"g0": 3, "g1": 0} and data.relevant("q0") == ("g0",)
    assert data.kind_of("q1") == "graded_0" and data.judged() == ["q0", "q4"]
    assert report.counts["judged_queries"] == 2 and report.counts["graded_0_queries"] == 3
    # Grades at or above it stay gains, and what it silenced stays judged.
    ranking = {"q0": ["g1", "g0"]}
    found = measure(data.qrels, ranking, ["q0"])
    assert found.mean("ndcg@10") == pytest.approx(1.0 / np.log2(3)) and found.mean("judged@10") == 1
    with pytest.raises(InputError, match="at least 1, got 0"):
        load_dataset(mixed, min_grade=0)
    with pytest.raises(InputError, match="no relevant passage"):
        load_dataset(mixed, min_grade=4)


def test_the_commands_say_it_before_the_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(w.SCORERS)
    w.write_beir(tmp_path / "data", half_dropped())
    common = ("--scorer", "mine:knowing", "--first-stage", "bm25", "--out", "out")
    done = invoke("eval", "data", *common)
    assert "62 of 124 queries (first: 'q0') have no judgement at all: left out" in done.stderr
    assert "unanswerable ones" not in done.stdout
    done = invoke("eval", "data", *common, "--unjudged", "unanswerable", "--json")
    assert json.loads(done.stdout)["refusals"]["unanswerable"]["unjudged"]["n"] == 62
    assert "taken as unanswerable for the floor, as asked" in done.stderr
    assert invoke("eval", "data", *common, "--unjudged", "maybe").exit_code == 2
    done = invoke("eval", "data", *common, "--min-grade", "2")
    assert done.exit_code == 2 and "no relevant passage for any query" in done.stderr
    assert "the highest grade is 1, --min-grade 2" in done.stderr.replace("\n", " ")


def test_holes_in_the_judgements_are_told():
    data = w.world(60)
    # Judges saw what the first stage gave: rivals are judged, what the scorer lifts is not.
    graded = {
        q: {f"g{q[1:]}": 1, **{f"r{q[1:]}-{j}": 0 for j in range(w.RIVALS)}} for q in data.qrels
    }
    judged = dataclasses.replace(data, qrels=graded)
    bare = dataclasses.replace(
        judged, qrels={q: {p: g for p, g in known.items() if g} for q, known in graded.items()}
    )

    def search(query, k):
        i = int(query.split("alpha")[1].split()[0])
        near = [f"g{i}", *(f"r{i}-{j}" for j in range(w.RIVALS))]
        return [*near, *(f"g{(i + d) % 60}" for d in range(1, 14))][:k]

    def stranger(query, text):
        return float(text.split()[1] not in query)

    def warned(of, scorer):
        return " ".join(evaluate(of, stage=search, scorer=scorer, **QUICK).warnings)

    assert "what nobody judged counts as irrelevant" in warned(judged, FakeScorer(stranger))
    assert "what nobody judged" not in warned(bare, FakeScorer(stranger)), "no judge said so"
    assert "what nobody judged" not in warned(judged, w.indifferent())


def test_questions_that_nobody_can_answer_for_do_not_fill_up_a_verdict():
    """Twenty known answers among two hundred shipped: the others count 0 on both sides."""
    data = w.world(124)
    few = {q: grades for q, grades in data.qrels.items() if int(q[1:]) < 20}
    found = run(
        dataclasses.replace(data, qrels=few, unjudged="irrelevant"), w.knowing(), policy=policy()
    )
    assert found.n == 20 and found.verdict == "not_enough_data"
    assert found.differences["policy-tuned_first_stage"]["ndcg@10"].n == 20
    assert "20 judged queries are too few" in found.reasons[0]
