"""Near misses: the data set's own questions about another name or number, that nothing answers."""

import eval_world as w
import numpy as np
import pytest
from command_kit import invoke

from rankgate.decide.logistic import sigmoid
from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError
from rankgate.scorers import Scores
from rankgate.types import Candidate
from rankgate_eval.calibrate.material import read_material
from rankgate_eval.calibrate.relevance_fit import fit_relevance
from rankgate_eval.calibrate.rows import evidence, row_of
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.negatives.mentions import Mentions
from rankgate_eval.negatives.near_miss import near_miss_questions

CORPUS = {
    "p1": "The mayor of Lisbon opened a bridge in 1966. Every year Lisbon pays 12 workers.",
    "p2": "In summer the trams of Porto carry 31 people, and old Porto has hills.",
    "p3": "The harbour of Faro is small, and near Faro they make salt since 1902.",
    "p4": "The mayor of Porto went to see a play by Jan Novak, and then Jan Novak left.",
    "p5": "The bridge of Braga and the mayor of Braga were opened to visitors in 1966.",
}
# Towns lie together, people elsewhere.
VECTORS = {
    "Jan Novak": [0.0, 1.0, 0.0], "Lisbon": [1.0, 0.0, 0.0], "Braga": [1.0, 0.0, 0.0],
    "Porto": [1.0, 0.2, 0.0], "Faro": [1.0, 0.4, 0.0],
}  # fmt: skip


def embed(texts):
    matrix = np.array([VECTORS.get(t, [0.0, 0.0, 1.0]) for t in texts], dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return 0.9 * matrix  # no two are one thing


def data(**queries):
    return Dataset(
        name="towns", corpus=CORPUS, queries=queries, splits={},
        qrels={q: {"p1": 1} for q in queries},
    )  # fmt: skip


def made(**queries):
    found = near_miss_questions(data(**queries), list(queries), embed=embed, at_most=10)
    return {q.id: q.text for q in found}


def test_names_and_numbers_are_found_without_capitals_too():
    mentions = Mentions(CORPUS, embed)
    assert {"lisbon", "porto", "faro", "jan novak", "1966", "12"} <= set(mentions.surfaces)
    assert "the" not in mentions.surfaces and "every" not in mentions.surfaces
    text = "was the bridge of LISBON opened in 1966 by jan novak?"
    assert [m.key for m in mentions.of(text)] == ["lisbon", "1966", "jan novak"]
    assert set(mentions.alike("1966")) == {"1902"} and set(mentions.alike("12")) == {"31"}
    assert set(mentions.alike("lisbon")) == {"porto", "faro", "braga"}


def test_another_name_of_the_same_kind_that_no_passage_puts_there():
    # More alike are Braga, which has a bridge and a mayor, and Porto, whose mayor went to see.
    assert made(q="did the mayor see the bridge of Lisbon") == {
        "near_miss:q": "did the mayor see the bridge of Faro"
    }
    assert made(q="did the mayor see the bridge of lisbon") == {
        "near_miss:q": "did the mayor see the bridge of faro"
    }, "written as the question is"


def test_numbers_are_changed_for_numbers_of_their_form():
    assert made(q="which bridge opened during 1966") == {
        "near_miss:q": "which bridge opened during 1902"
    }


def test_what_leaves_too_little_or_names_nothing_makes_none():
    assert made(a="who is Lisbon", b="how many workers pay", c="") == {}


def test_it_belongs_to_the_group_of_its_question_and_is_the_same_again():
    data_set = data(q="who was the mayor of Lisbon when it opened", r="which bridge of 1966 opened")
    found = [
        near_miss_questions(data_set, ["q", "r"], embed=embed, at_most=10, seed=3) for _ in "ab"
    ]
    assert found[0] == found[1] and {q.group for q in found[0]} == {"q"}
    assert {q.stratum for q in found[0]} == {"near_miss"}
    assert len(near_miss_questions(data_set, ["q", "r"], embed=embed, at_most=1)) == 1


def row(stratum, raw, *, corpus="", relevant=False):
    candidates = [Candidate(id="g", text="t", rank=1), Candidate(id="x", text="t", rank=2)]
    return row_of(
        candidates,
        compute_signals("what", candidates),
        Scores.full(np.array([raw, raw - 3.0]), "s"),
        gold=["g"] if relevant else [],
        stratum=stratum,
        corpus=corpus,
    )


def test_what_people_gave_weighs_as_much_as_what_was_made():
    strata = ["answerable"] * 4 + ["removed"] * 3 + ["near_miss"] + ["unanswerable"] + ["graded_0"]
    weights = evidence([row(s, 0.0) for s in strata])
    assert weights[:4].tolist() == [1.0] * 4
    assert weights[4:8].sum() == pytest.approx(weights[8:].sum())
    assert weights[4:].sum() == pytest.approx(6.0), "against answerable ones nothing changes"
    few = evidence([row("removed", 0.0)] * 90 + [row("unanswerable", 0.0)])
    assert few[-1] / few[0] == pytest.approx(5.0), "one question does not outweigh everything"
    assert (
        evidence([row(s, 0.0) for s in ("unanswerable",) * 3 + ("removed",)]).tolist() == [1.0] * 4
    )


def test_the_probabilities_follow_what_people_gave():
    rng = np.random.default_rng(4)
    rows = [row("answerable", 4.0 + rng.normal(), relevant=True) for _ in range(60)]
    rows += [row("removed", -2.0 + rng.normal()) for _ in range(60)]
    people = [row("unanswerable", 3.0 + rng.normal()) for _ in range(12)]

    def sure(of):
        model = fit_relevance(of, ["raw"], scored=True).model
        return sigmoid(model.logit({"raw": 3.0}))

    assert sure(rows + people) < sure(rows)
    as_made = [row("foreign:x", float(p.listed.scores.values[0])) for p in people]
    assert sure(rows + people) < sure(rows + as_made) - 0.02


def test_calibration_makes_what_is_asked_for():
    world = w.world(12)

    def strata(*negatives):
        stage, scorer = w.stage_of(world), w.knowing()
        reading = read_material(world, stage=stage, scorer=scorer, k=10, negatives=negatives)
        return {r.stratum for r in reading.reading.rows}

    assert strata() == {"answerable"} and strata("removed") == {"answerable", "removed"}
    with pytest.raises(InputError, match="negatives are of removed, near_miss; got 'far'"):
        strata("far")


def test_the_command_names_what_it_does_not_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("calibrate", "data", "--negatives", "removed,nearly")
    assert done.exit_code == 2
    assert "removed, near-miss or none; got 'nearly'" in " ".join(done.stderr.split())
