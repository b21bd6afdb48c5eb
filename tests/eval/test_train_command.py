"""`rankgate train` from data to a model that the engine loads, and its exit codes."""

import json
import shutil
from datetime import UTC, datetime
from functools import partial

import pytest
import training_kit
from command_kit import invoke
from tiny_models import build_cross_encoder
from training_kit import write_beir

from rankgate.encoders.locate import file_sha256
from rankgate.feedback import Judgement, append_feedback
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.cli.train import EXIT_NOT_BETTER
from rankgate_eval.train import load_source
from rankgate_eval.train.engine import load_ranker

_one_thread = training_kit.one_thread
rankgate = partial(invoke, "train")
QUICK = [
    *("--max-length", "48", "--bm25-only", "--lists", "96", "--epochs", "4", "--lr", "2e-3"),
    *("--evaluate-every", "24", "--negatives", "2", "--spoiled", "0", "--k", "10"),
    *("--device", "cpu", "--no-int8"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    build_cross_encoder(folder / "tiny", max_length=64)
    write_beir(folder)
    write_beir(folder, name="useless", useless=True)
    return folder


@pytest.fixture(scope="module")
def trained(world):
    out = world / "out"
    done = rankgate(
        world / "answers", "--start", world / "tiny", "--out", out, *QUICK, "--json",
        "--licence", "answers=CC0",
    )  # fmt: skip
    return done, out


def test_a_model_that_learned_is_kept_and_the_engine_loads_it(trained):
    import torch

    done, out = trained
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["kept"] is True and answer["exports"] == [str(out / "onnx")]
    card = answer["card"]
    assert card == json.loads((out / "card.json").read_text("utf-8"))
    assert card["difference"]["low"] > 0.0 and card["difference"]["n"] == 32
    assert card["after"]["answers"] > card["before"]["answers"] + 0.05
    scorer = OnnxScorer(out / "onnx")
    assert scorer.info.weights == card["weights"]["onnx/model.onnx"]
    best = load_ranker(str(out / "best"), max_length=48)
    texts = ["a bread in berlin is red and flies to live how", "the red bread sat there no"]
    with torch.no_grad():
        expected = best.scores([("the red bread of berlin", texts)])[0].numpy()
    found = scorer.score("the red bread of berlin", texts).values
    assert found == pytest.approx(expected, abs=1e-3), "what was exported is what was kept"


def test_the_card_says_what_was_learned_from(trained):
    _, out = trained
    card = json.loads((out / "card.json").read_text("utf-8"))
    (data,) = card["data"]
    assert (data["name"], data["licence"], data["passages"]) == ("answers", "CC0", 192)
    assert data["learned"] + data["kept_back"] == 48 and data["dev"] == 32
    assert len(data["sha256"]) == 64 and data["excluded"]["likely_relevant"] > 0
    assert card["settings"]["lists"] == 96 and card["result"]["stopped"] == "finished"
    text = (out / "CARD.md").read_text("utf-8")
    assert "Better beyond noise" in text and "curves.svg" in text and "CC0" in text
    import xml.etree.ElementTree as ET

    picture = ET.fromstring((out / "curves.svg").read_text("utf-8"))
    lines = [e for e in picture.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 3, "two losses and one mean"
    assert len(lines[1].attrib["points"].split()) == len(card["result"]["history"])


def test_test_questions_are_not_even_read(world, tmp_path):
    """Another test split gives the very same training corpus."""
    changed = tmp_path / "answers"
    shutil.copytree(world / "answers", changed)
    splits = json.loads((changed / "splits.json").read_text())
    rows = [json.loads(line) for line in (changed / "queries.jsonl").read_text().splitlines()]
    for row in rows:
        if row["_id"] in splits["test"]:
            row["text"] = "something else"
    (changed / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    one, other = load_source(world / "answers"), load_source(changed)
    assert one.corpus.fingerprint == other.corpus.fingerprint
    assert not {q.id for q in one.corpus.queries} & set(splits["test"])


def test_a_model_that_is_not_better_has_its_own_exit_code_and_no_export(world):
    out = world / "out-useless"
    done = rankgate(world / "useless", "--start", world / "tiny", "--out", out, *QUICK)
    assert done.exit_code == EXIT_NOT_BETTER, done.output
    assert "Not kept" in done.stdout
    assert not (out / "onnx").exists()
    assert "not use it" in (out / "CARD.md").read_text("utf-8") or "No step" in (
        out / "CARD.md"
    ).read_text("utf-8")


def test_stopped_by_the_time_limit_it_goes_on_with_resume(world, trained):
    _, whole = trained
    out = world / "out-parts"
    common = [world / "answers", "--start", world / "tiny", "--out", out, *QUICK]
    first = rankgate(*common, "--time-limit", "0")
    assert first.exit_code == EXIT_NOT_BETTER and "--resume goes on" in first.stdout
    assert "already holds a training" in rankgate(*common).output
    again = rankgate(*common, "--resume")
    assert again.exit_code == 0, again.output
    best = "best/model.safetensors"
    assert (out / best).read_bytes() == (whole / best).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no data set at nowhere"),
        (["{answers}", "--dev", "validation"], "no split 'validation'"),
        (["{answers}", "{answers}"], "two sources are called 'answers'"),
        (["{answers}", "--licence", "other=MIT"], "none of the sources"),
        (["{answers}", "--split", "absent"], "nothing to learn from"),
        (["{answers}", "--adapt"], "too few"),
        (["{answers}", "--start", "bundled"], "no bundled cross-encoder"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(world, tmp_path, arguments, said):
    start = [] if "--start" in arguments else ["--start", str(world / "tiny")]
    filled = [a.format(answers=world / "answers") for a in arguments]
    done = rankgate(*filled, *start, "--out", tmp_path / "out", *QUICK)
    assert done.exit_code == 2, done.output
    assert said in done.output.replace("\n", " ")


def judged(query, passage_id):
    return Judgement(
        query=query,
        passage_id=passage_id,
        passage_text="hold the button",
        relevant=True,
        source="thumb",
        time=datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    )


def test_triples_feedback_and_documents_are_told_apart(tmp_path):
    rows = [{"query": f"q{i}", "positive": f"p{i}", "negative": "n"} for i in range(20)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    triples = load_source(tmp_path / "t.jsonl")
    assert triples.corpus.source == "triples"
    assert len(triples.dev) == 4 and len(triples.train) == 16
    assert not set(triples.dev) & set(triples.train)
    log = tmp_path / "log.jsonl"
    append_feedback(log, [judged(f"q{i}", f"p{i}") for i in range(10)])
    assert load_source(log).corpus.source == "feedback"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Routine vacuuming\n" + "word " * 40)
    documents = load_source(tmp_path / "docs")
    assert documents.corpus.source == "documents"
    assert documents.dev == (), "made-up questions say nothing about real ones"


@pytest.mark.model
def test_a_head_is_trained_over_an_encoder_that_stays_as_it_is(world):
    out = world / "out-head"
    done = rankgate(
        world / "answers", "--method", "head", "--head-part", "matrix", "--lists", "96",
        "--epochs", "2", "--lr", "1e-2", "--evaluate-every", "12", "--negatives", "2",
        "--spoiled", "0", "--k", "10", "--device", "cpu", "--cache", world / "cache", "--out", out,
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)["card"]
    assert card["difference"]["low"] > 0.0
    scorer = LateInteractionScorer.load(head=out / "best" / "head.npz")
    assert file_sha256(out / "best" / "head.npz") == card["weights"]["best/head.npz"]
    assert scorer.head.matrix.shape == (384, 384) and scorer.head.salience is None
    texts = ["a bread in berlin is red and flies to live how", "the red bread of berlin sat no"]
    right, wrong = scorer.score("the red bread of berlin", texts).values
    plain_right, plain_wrong = (
        LateInteractionScorer.load().score("the red bread of berlin", texts).values
    )
    assert right - wrong > plain_right - plain_wrong, "the mark counts for more than before"
