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

from rankgate.errors import InputError
from rankgate.feedback import Judgement, append_feedback
from rankgate.scorers import CrossEncoderScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.cli.train import EXIT_NOT_BETTER
from rankgate_eval.train.sources import load_source, load_sources

_one_thread = training_kit.one_thread
rankgate = partial(invoke, "train")
QUICK = [
    *("--max-length", "48", "--bm25-only", "--lists", "192", "--epochs", "4", "--lr", "4e-3"),
    *("--evaluate-every", "24", "--negatives", "2", "--spoiled", "0", "--k", "10"),
    *("--device", "cpu", "--no-int8", "--no-remine"),
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
    done, out = trained
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["kept"] is True and answer["exports"] == [str(out / "onnx")]
    card = answer["card"]
    assert card == json.loads((out / "card.json").read_text("utf-8"))
    assert card["difference"]["low"] > 0.0 and card["difference"]["n"] == 16
    assert card["after"]["answers"] > card["before"]["answers"] + 0.05
    scorer = OnnxScorer(out / "onnx")
    assert scorer.info.weights == card["weights"]["onnx/model.onnx"]
    texts = ["a bread in berlin is red and flies to live how", "the red bread sat there no"]
    expected = CrossEncoderScorer(out / "best").score("the red bread of berlin", texts).values
    found = scorer.score("the red bread of berlin", texts).values
    assert found == pytest.approx(expected, abs=1e-3), "what was exported is what was kept"


def test_the_card_says_what_was_learned_from(trained):
    _, out = trained
    card = json.loads((out / "card.json").read_text("utf-8"))
    (data,) = card["data"]
    assert (data["name"], data["licence"], data["passages"]) == ("answers", "CC0", 192)
    assert data["learned"] + data["kept_back"] == 48
    assert data["choose"] == data["decide"] == 16
    assert len(data["sha256"]) == 64 and data["excluded"]["likely_relevant"] > 0
    assert card["settings"]["lists"] == 192 and card["result"]["stopped"] == "finished"
    text = (out / "CARD.md").read_text("utf-8")
    assert "Better beyond noise" in text and "CC0" in text
    points = card["result"]["history"]
    assert all(f"| {p['step']} |" in text and f"{p['ndcg']:.4f}" in text for p in points)
    best = max(p["ndcg"] for p in points)
    assert f"start {points[0]['ndcg']:.4f}, best step {best:.4f}" in text, "both halves are said"


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
        (["{answers}", "--split", "absent"], "train (48), dev (32), test (16)"),
        (["{answers}", "--split", "dev"], "what is learned from cannot judge"),
        (["{answers}", "--adapt", "--split", "dev"], "what is learned from cannot judge"),
        (["{answers}", "--adapt", "--method", "full"], "48 questions to learn from are too few"),
        (["{answers}", "--method", "full", "--start", "bundled"], "trains a cross-encoder"),
        (["{answers}", "--method", "full", "--start", "minilm"], "--method query"),
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
    assert len(triples.dev) == 6 and len(triples.train) == 14
    assert not set(triples.dev) & set(triples.train)
    log = tmp_path / "log.jsonl"
    append_feedback(log, [judged(f"q{i}", f"p{i}") for i in range(10)])
    assert load_source(log).corpus.source == "feedback"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Routine vacuuming\n" + "word " * 40)
    documents = load_source(tmp_path / "docs")
    assert documents.corpus.source == "documents"
    assert documents.dev == (), "made-up questions say nothing about real ones"


def test_without_a_train_split_dev_is_parted_by_document_and_says_so(world, tmp_path):
    folder = tmp_path / "answers"
    shutil.copytree(world / "answers", folder)
    splits = json.loads((folder / "splits.json").read_text())
    dev = [*splits["train"], *splits["dev"]]
    (folder / "splits.json").write_text(json.dumps({"dev": dev, "test": splits["test"]}))
    (one,) = load_sources([folder])
    assert len(one.train) == 56 and len(one.dev) == 24
    assert "dev parted" in one.note
    assert set(one.train) | set(one.dev) == set(dev), "a test split is never taken"
    with pytest.raises(InputError, match=r"in split 'train' \(answers has dev \(80\), test \(16\)"):
        load_sources([folder], train="train")


def leaking(folder, kind):
    """The small world with one dev question that training has seen, in one of three ways."""
    splits = json.loads((folder / "splits.json").read_text())
    learned, looked = splits["train"][0], splits["dev"][0]
    if kind == "itself":
        splits["train"].append(looked)
        (folder / "splits.json").write_text(json.dumps(splits))
    if kind == "words":
        rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
        text = next(row["text"] for row in rows if row["_id"] == learned)
        for row in rows:
            if row["_id"] == looked:
                row["text"] = text.upper().replace(" ", "  ")
        (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if kind == "passage":
        with (folder / "qrels.tsv").open("a") as stream:
            stream.write(f"{looked}\tr{learned[1:]}\t1\n")


@pytest.mark.parametrize("kind", ["itself", "words", "passage"])
def test_what_is_learned_from_does_not_judge(world, tmp_path, kind):
    folder = tmp_path / "answers"
    shutil.copytree(world / "answers", folder)
    assert load_source(folder).dev
    leaking(folder, kind)
    with pytest.raises(InputError, match="1 of the 32 dev questions would be learned from too"):
        load_source(folder)


def test_a_log_that_repeats_a_dev_question_is_refused(world, tmp_path):
    log = tmp_path / "log.jsonl"
    known = load_source(world / "answers")
    text = next(q.text for q in known.corpus.queries if q.id == known.dev[0])
    append_feedback(log, [judged(text, "p"), *(judged(f"q{i}", f"p{i}") for i in range(10))])
    with pytest.raises(InputError, match="what is learned from cannot judge"):
        load_sources([world / "answers", log], seed=1)


def test_questions_in_the_same_words_are_on_one_side(tmp_path):
    rows = [{"query": f"q{i % 10}  x", "positive": f"p{i}"} for i in range(20)]
    rows += [{"query": f"Q{i} x", "positive": f"r{i}"} for i in range(10)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    source = load_source(tmp_path / "t.jsonl")
    words = {q.id: q.text.casefold().split()[0] for q in source.corpus.queries}
    assert len(words) == 20, "the spaces differ, so these are two questions each"
    assert not {words[q] for q in source.train} & {words[q] for q in source.dev}


def test_the_head_says_what_to_use_instead(world, tmp_path):
    done = rankgate(world / "answers", "--method", "head", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "Use --method query" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
