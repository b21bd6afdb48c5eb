"""`rankgate calibrate` as it is typed: on a folder, with the user's own system and scorer."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from command_kit import invoke

from rankgate.errors import InputError, ProfileMismatchError
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.retrieve import MemoryIndex
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.calibrate import Question, calibrate, foreign_questions, read_questions
from rankgate_eval.calibrate.calibration import fit_material
from rankgate_eval.calibrate.material import read_material
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.negatives.unanswerable import WithoutStage, hidden_passages, questions_data
from rankgate_eval.run.system import IndexStage, as_first_stage
from rankgate_eval.run.system_choice import profile_of
from rankgate_eval.stats.ndcg import ndcg

# The system knows which passage belongs to which query, and gets it wrong now and then; the
# scorer nearly never does. Both are deterministic.
SYSTEM = """
import hashlib
import numpy as np
from rankgate import Candidate
from rankgate.scorers import ScorerInfo
from rankgate.testing import FakeScorer

def noise(*words):
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32

def search(query, k):
    number = int(query.split()[-1]) if query.split()[-1].isdigit() else -1
    names = [f"p{number + d}" for d in range(12) if 0 <= number + d < 300]
    if number < 0:
        names = [f"p{j}" for j in range(12)]
    scored = []
    for name in names:
        right = name == f"p{number}"
        scored.append((name, 0.3 + 0.2 * noise("d", query, name) + 0.12 * right,
                       1.0 + 4.0 * noise("b", query, name) + 1.5 * right))
    scored.sort(key=lambda row: -(row[1] / 0.2 + row[2] / 4.0))
    return [Candidate(id=name, text=f"text of {name}", rank=i + 1, dense=d, bm25=b)
            for i, (name, d, b) in enumerate(scored[:k])]

def shallow(query, k):
    return search(query, min(k, 8))

def read(query, text):
    right = text == "text of p" + query.split()[-1]
    return 3.0 * right + noise("s", query, text) * 2.0

scorer = FakeScorer(read, info=ScorerInfo(id="planted", scale="planted"))
wrong = FakeScorer(lambda q, t: -read(q, t), info=ScorerInfo(id="planted", scale="planted"))
constant = FakeScorer(lambda q, t: 1.0, info=ScorerInfo(id="planted", scale="planted"))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A BEIR folder of 130 dev and 20 test queries, and the system beside it."""
    write(tmp_path / "data", dev=130)
    write(tmp_path / "small", dev=30)
    (tmp_path / "planted_system.py").write_text(SYSTEM, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("planted_system", None)


def write(folder, *, dev, test=20, harmful_test=False, order=1):
    folder.mkdir()
    n = dev + test
    rows = [{"_id": f"p{i}", "text": f"text of p{i}"} for i in range(n + 12)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    queries = [{"_id": f"q{i}", "text": f"what about {i}"} for i in range(n)][::order]
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in queries), "utf-8")
    lines = ["query-id\tcorpus-id\tscore"]
    for i in range(n):
        gold = i if i < dev or not harmful_test else i + 5
        lines.append(f"q{i}\tp{gold}\t1")
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    splits = {"dev": [f"q{i}" for i in range(dev)], "test": [f"q{i}" for i in range(dev, n)]}
    (folder / "splits.json").write_text(json.dumps(splits), "utf-8")


run = partial(invoke, "calibrate")


SYSTEM_OPTIONS = (
    *("--system", "planted_system:search"),
    *("--scorer", "planted_system:scorer"),
    *("--folds", "4", "--k", "12", "--split", "dev"),
)


def test_a_policy_is_fitted_written_and_loaded_and_no_test_query_is_read(folder):
    found = run("data", *SYSTEM_OPTIONS, "--out", "policy.json", "--report", ".", "--json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert json.loads((folder / "calibration.json").read_text("utf-8")) == report
    policy = Policy.load("policy.json")
    assert list(policy.sections) == ["hybrid"]
    section = policy.section("hybrid")
    assert section.profile.scorer == "planted" and section.k == 12
    assert section.reranked.scale == "planted"
    assert report["data"]["strata"] == {"answerable": 130, "removed": 130}
    assert report["held_out"]["order"]["ndcg10"]["policy"] > 0.9
    assert report["parts"]["floor"]["kept"] and section.floor.refuse_below > 0.0
    assert policy.provenance["data"]["split"] == "dev"
    assert any("asked for deeper" in note for note in report["notes"])
    # Another test split, and another order of the queries: the same section.
    write(folder / "other", dev=130, harmful_test=True, order=-1)
    again = run("other", *SYSTEM_OPTIONS, "--out", "other.json")
    assert again.exit_code == 0, again.output
    assert Policy.load("other.json").section("hybrid") == section
    assert "false answers, removed" in again.stdout and "Written: other.json" in again.stdout


def test_the_engine_with_the_written_file_does_what_was_printed(folder):
    import planted_system

    found = run("data", *SYSTEM_OPTIONS, "--max-loss", "0.2", "--json")
    report = json.loads(found.stdout)
    data, _ = load_dataset("data")
    engine = Reranker(
        planted_system.scorer, policy=Policy.load("policy.json"), first_stage="hybrid"
    )
    gained, skipped, refused = [], 0, 0
    for query in report["fresh"]:
        text = data.queries[query]
        outcome = engine.rerank(text, planted_system.search(text, 12))
        skipped += outcome.path.value == "skipped"
        refused += outcome.refused
        ids = [p.candidate.id for p in outcome.passages]
        ids += [d.candidate.id for d in outcome.dropped]
        gained.append(ndcg([float(i in data.relevant(query)) for i in ids], 1))
    shown = report["held_out"]
    assert 0 < len(gained) == shown["gate"]["skip_rate"]["n"] < 130
    assert shown["fitted_on"] + len(gained) == 130
    assert skipped == shown["gate"]["skip_rate"]["count"]
    assert refused == shown["floor"]["false_refusals_all_answerable"]["count"]
    assert np.mean(gained) == pytest.approx(shown["order"]["ndcg10"]["policy"], abs=1e-5)
    assert report["parts"]["gate"]["kept"] and skipped > 0, report["parts"]["gate"]


def test_what_was_read_can_be_kept_and_fitted_later(folder):
    import planted_system

    data, _ = load_dataset("data")
    how = {"split": "dev", "k": 12, "folds": 3, "seed": 1, "limit": 100}
    stage = as_first_stage(planted_system.search, data=data)
    once = calibrate(data, stage=stage, scorer=planted_system.scorer, command="typed", **how)
    read = read_material(data, stage=stage, scorer=planted_system.scorer, **how)
    assert len(read.judged) == 100 and {row.query_id for row in read.reading.rows} <= set(
        data.splits["dev"]
    )
    kept = pickle.loads(pickle.dumps(read))
    # Folds, seed and kind are those of the reading, whatever the options say.
    options = FitOptions(kind=FirstStageKind.ORDER, folds=9, seed=7)
    again = fit_material(data, kept, options=options, command="typed")
    assert again.policy == once.policy and again.report == once.report
    other = fit_material(
        data,
        kept,
        options=FitOptions(kind=FirstStageKind.ORDER, skip_rate=0.5, max_loss=None),
        command="typed",
    )
    assert other.report["asked"] != once.report["asked"]


def test_few_queries_keep_what_there_is_and_say_so(folder):
    found = run("small", *SYSTEM_OPTIONS, "--out", "p.json")
    assert found.exit_code == 0
    assert "30 judged queries, fewer than the 100" in found.stdout
    section = Policy.load("p.json").section("hybrid")
    assert section.reranked is None and not section.floor.active and section.gate.model is None


@pytest.mark.parametrize("name", ["small", "data"])
def test_a_reranker_that_is_worse_is_the_first_thing_said_and_its_own_exit_code(folder, name):
    options = [o.replace("planted_system:scorer", "planted_system:wrong") for o in SYSTEM_OPTIONS]
    found = run(name, *options, "--out", "p.json", "--report", "r.json")
    assert found.exit_code == 1, found.output
    first = found.stdout.splitlines()[0]
    assert first.startswith(
        "The reranker is WORSE than the first stage: in its own order, over all "
    )
    told = json.loads((folder / "r.json").read_text("utf-8"))["reranker"]
    assert told["worse"] and not told["mended"]
    assert told["raw_minus_first_stage"]["interval"][1] < 0.0
    assert f"{told['raw_order']:.3f} against {told['first_stage']:.3f}" in first
    assert told["raw_minus_first_stage"]["n"] == (30 if name == "small" else 130)
    # One that helps says nothing of the kind, fitted or not.
    good = run(name, *SYSTEM_OPTIONS, "--out", "p.json")
    assert good.exit_code == 0 and "WORSE" not in good.stdout


def test_the_depth_that_a_system_really_gives_is_what_the_policy_is_fitted_for(folder):
    options = ("--scorer", "planted_system:scorer", "--folds", "2", "--split", "dev", "--json")
    found = run("data", "--system", "planted_system:shallow", *options, "--k", "12")
    assert found.exit_code == 0, found.output
    assert Policy.load("policy.json").section("hybrid").k == 8
    told = json.loads(found.stdout)
    assert told["k"] == 8
    assert any("at most 8 candidates, though 12 were asked for" in n for n in told["notes"])
    run("small", "--system", "planted_system:shallow", *options, "--k", "8")
    deep = json.loads(run("small", *SYSTEM_OPTIONS, "--json").stdout)
    assert deep["k"] == 12 and not any("asked for:" in note for note in deep["notes"])


def test_a_policy_is_bound_to_the_embedder_that_is_named_or_says_that_it_is_not(folder):
    unbound = json.loads(run("small", *SYSTEM_OPTIONS, "--json").stdout)
    assert any("not bound to an embedder" in note for note in unbound["notes"])
    assert Policy.load("policy.json").section("hybrid").profile.embedder is None
    bound = run("small", *SYSTEM_OPTIONS, "--embedder", "my-model", "--json")
    assert not any("embedder" in note for note in json.loads(bound.stdout)["notes"])
    section = Policy.load("policy.json").section("hybrid")
    assert section.profile.embedder == "my-model"
    with pytest.raises(ProfileMismatchError, match="embedder: fitted for 'my-model'"):
        Policy.load("policy.json").check_profile(
            "hybrid", replace(section.profile, embedder="another")
        )


def test_an_index_names_its_embedder_itself():
    index = MemoryIndex.build(CORPUS)
    with pytest.raises(InputError, match="an embedder is named for a system of one's own"):
        read_material(
            DATA, stage=IndexStage(index=index, kind="bm25"), scorer=FakeScorer(), embedder="x"
        )


def test_a_store_is_asked_for_its_embedder_and_a_retriever_for_its_store():
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    class Embeddings(DeterministicFakeEmbedding):
        model_name: str = "some-model"

    for embeddings, known in (
        (Embeddings(size=8), "some-model"),
        (DeterministicFakeEmbedding(size=8), "class DeterministicFakeEmbedding"),
    ):
        store = InMemoryVectorStore.from_texts(["a gate", "a floor"], embeddings)
        for system in (store, store.as_retriever()):
            stage = as_first_stage(system)
            stage.candidates("gate", 2)
            assert profile_of(stage).embedder == known


def test_few_queries_keep_the_base_and_its_other_sections(folder):
    base = Policy.unfitted(k=20)
    base = base.with_section("hybrid", reserve_ms=33.0)
    base.save("base.json")
    found = run("small", *SYSTEM_OPTIONS, "--out", "p.json", "--base", "base.json")
    assert found.exit_code == 0, found.output
    written = Policy.load("p.json")
    assert set(written.sections) == {"hybrid", "dense", "bm25", "order"}
    assert written.section("hybrid").reserve_ms == 33.0
    assert written.provenance["base"]["name"] == "unfitted"


def test_a_constant_scorer_is_found_out(folder):
    found = run(
        *("data", "--system", "planted_system:search", "--scorer", "planted_system:constant"),
        *("--folds", "2", "--k", "12", "--split", "dev", "--out", "p.json"),
    )
    assert found.exit_code == 0, found.output
    assert "the same score" in found.stdout
    assert Policy.load("p.json").section("hybrid").reranked is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "--split", "nope"), "no split 'nope'; it has: dev, test"),
        (("data", "--first-stage", "sparse"), "--first-stage is one of hybrid, dense, bm25, order"),
        (("data", "--max-loss", "0.1", "--skip-rate", "0.2"), "not both"),
        (("nowhere",), "no data set at nowhere"),
        (("data", "--out", "no/folder/p.json"), "there is no folder"),
        (("data", "--out", "data"), "is a folder"),
        (("data", *SYSTEM_OPTIONS, "--false-refusals", "1.5"), "--false-refusals"),
        (("data", *SYSTEM_OPTIONS, "--top-n", "20"), "k \\(12\\) must be at least top_n"),
    ],
)
def test_wrong_usage_is_a_sentence_and_2(folder, arguments, message):
    found = run(*arguments)
    assert found.exit_code == 2
    assert message.replace("\\", "") in found.stderr
    assert not (folder / "policy.json").exists()


def test_it_is_a_command_of_the_installed_program(folder):
    found = subprocess.run(
        [sys.executable, "-m", "rankgate.cli", "calibrate", "small", *SYSTEM_OPTIONS, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["first_stage"] == "hybrid"
    assert (folder / "policy.json").is_file()


def test_nothing_judged_is_an_error():
    data = Dataset(name="d", corpus={"p": "t"}, queries={"q": "t"}, qrels={}, splits={})
    stage = as_first_stage(lambda query, k: ["p"], data=data)
    with pytest.raises(InputError, match="d has no judged query"):
        calibrate(data, stage=stage, scorer=None)


# --- unanswerable questions ----------------------------------------------------------------------

CORPUS = {
    "a": "rain falls on the red roof of the old house in autumn",
    "b": "rain falls on the red roof of the old house in autumn again",
    "c": "snow lies on the mountain and nobody goes there in winter",
}
DATA = Dataset(
    name="made",
    corpus=CORPUS,
    queries={"q": "rain on the roof", "x": "who knows"},
    qrels={"q": {"a": 1}},
    splits={"dev": ("q",), "test": ("x",)},
)


def test_the_answer_and_its_copies_go_from_an_index():
    stage = IndexStage(index=MemoryIndex.build(CORPUS), kind="bm25")
    hidden = hidden_passages(DATA, ["q"], stage)
    assert hidden == {"q": frozenset({"a", "b"})}


def test_they_go_from_the_list_of_a_system_that_cannot_hide_them():
    asked = []

    def system(query, k):
        asked.append(k)
        return [Candidate(id=i, text=CORPUS[i], rank=r) for r, i in enumerate(CORPUS, 1)][:k]

    stage = WithoutStage(as_first_stage(system), {"q": {"a"}})
    left = stage.candidates_for("q", "rain", 2)
    assert [(c.id, c.rank) for c in left] == [("b", 1), ("c", 2)]
    assert asked == [3]
    assert [c.id for c in stage.candidates_for("x", "rain", 2)] == ["a", "b"]


def test_foreign_questions_come_from_the_same_split_and_are_spread():
    other = Dataset(
        name="o",
        corpus={"p": "t"},
        queries={f"q{i:02d}": f"question {i}" for i in range(20)},
        qrels={},
        splits={"dev": tuple(f"q{i:02d}" for i in range(10))},
    )
    found, notes = foreign_questions([other], split="dev", at_most=4)
    assert [q.id for q in found] == [f"foreign:o:q{i:02d}" for i in (0, 2, 5, 7)]
    assert notes == [] and {q.stratum for q in found} == {"foreign:o"}
    with pytest.raises(InputError, match="no split 'train'"):
        foreign_questions([other], split="train", at_most=4)
    own, _ = foreign_questions([other], split="dev", at_most=99, own={"question 3"})
    assert len(own) == 9


def test_questions_are_read_from_lines_and_conversations(tmp_path):
    file = tmp_path / "u.jsonl"
    rows = [
        {"_id": "1", "text": "plain"},
        {"_id": "2", "turns": [{"role": "user", "text": "last"}, {"role": "agent", "text": "no"}]},
        {"_id": "3", "text": "answered", "answerability": "answerable"},
        {"_id": "4", "text": "other split", "split": "test"},
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    found = read_questions(file, split="dev")
    assert [(q.id, q.text) for q in found] == [
        ("unanswerable:1", "plain"),
        ("unanswerable:2", "last"),
    ]
    assert len(read_questions(file, split=None)) == 3
    file.write_text('{"_id": "1", "text": "x"}\n{"_id": "2"}\n', "utf-8")
    with pytest.raises(InputError, match=r"u\.jsonl:2: a row needs"):
        read_questions(file, split=None)


def test_questions_become_queries_over_the_same_passages():
    made = questions_data(DATA, [Question(id="f:1", text="why", stratum="foreign:o")])
    assert made.queries == {"f:1": "why"} and made.judged() == []
    assert made.corpus is DATA.corpus
    assert np.isclose(len(made.groups), 1)
