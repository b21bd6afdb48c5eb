"""`rankgate train --adapt`: question layers from data to the scorer that reads with them."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import training_kit
from command_kit import invoke
from tiny_models import build_cross_encoder
from training_kit import write_beir

from rankgate.encoders import MINILM_SHA256, TokenStore
from rankgate.encoders.locate import file_sha256
from rankgate.errors import InputError, ModelNotFoundError
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.scorers.wrappers.traits import innermost
from rankgate_eval.cli.train import EXIT_NOT_BETTER
from rankgate_eval.run.scorer_choice import choose_scorer, reads_tokens

_one_thread = training_kit.one_thread
rankgate = partial(invoke, "train")
FILE = "query-encoder.safetensors"
QUICK = [
    *("--lists", "48", "--epochs", "3", "--batch", "8", "--lr", "2e-4", "--negatives", "9"),
    *("--evaluate-every", "9", "--spoiled", "0", "--k", "10", "--device", "cpu"),
]
OWN = ("--adapt", "--start", "minilm")  # whatever this release brings


def with_more_to_learn(folder):
    """The small world has 48 questions to learn from, and adapting wants 50; the rest is dev."""
    file = folder / "splits.json"
    splits = json.loads(file.read_text("utf-8"))
    more = splits["test"]
    file.write_text(
        json.dumps(
            {"train": splits["train"] + more[:2], "dev": splits["dev"] + more[2:], "test": []}
        )
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("query")
    with_more_to_learn(write_beir(folder))
    with_more_to_learn(write_beir(folder, name="useless", useless=True))
    return folder


@pytest.fixture(scope="module")
def trained(world):
    out = world / "out"
    return rankgate(
        world / "answers", *OWN, "--out", out, "--cache", world / "cache", *QUICK, "--json"
    ), out  # fmt: skip


@pytest.mark.model
def test_adapting_trains_question_layers_and_keeps_what_is_better(trained):
    done, out = trained
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    card = answer["card"]
    assert answer["kept"] is True and answer["exports"] == []
    assert card["difference"]["low"] > 0.0 and card["difference"]["n"] == 23
    assert (card["start"], card["start_sha256"]) == ("minilm", MINILM_SHA256)
    assert card["settings"]["prior"] is True and card["settings"]["mine_again"] is None
    assert card["environment"]["device"] == "cpu"
    assert card["weights"] == {f"best/{FILE}": file_sha256(out / "best" / FILE)}
    assert json.loads((out / "run.json").read_text("utf-8"))["method"] == "query"
    assert not (out / "onnx").exists()


@pytest.mark.model
def test_the_scorer_named_by_its_file_reads_stored_passages(trained, tmp_path):
    _, out = trained
    file = out / "best" / FILE
    scorer = innermost(choose_scorer(f"late-interaction:{file}"))
    assert isinstance(scorer, LateInteractionScorer)
    assert scorer.query_encoder.sha256 == file_sha256(file)
    texts = ["a bread in berlin is red and flies to live how", "the red bread of berlin sat no"]
    question = "the red bread of berlin"
    right, wrong = scorer.score(question, texts).values
    before = LateInteractionScorer(scorer.encoder, head=scorer.head).score(question, texts).values
    assert right - wrong > before[0] - before[1], "the mark counts for more than before"
    store = TokenStore(tmp_path / "t.sqlite", encoder="m", dimension=scorer.encoder.dimension)
    store.put_many(dict(zip(texts, scorer.encoder.encode(texts), strict=True)))
    stored = choose_scorer(f"late-interaction:{file}", token_store=store).score(question, texts)
    assert stored.stats.cached == 2
    assert stored.values == pytest.approx(np.array([right, wrong]), abs=1e-5)


@pytest.mark.model
def test_the_closing_words_say_how_to_use_it(world, trained):
    _, out = trained
    again = rankgate(
        world / "answers", *OWN, "--out", out, "--cache", world / "cache", *QUICK, "--resume"
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    said = again.stdout.replace("\n", " ")
    name = f"late-interaction:{out / 'best' / FILE}"
    assert f"Use it as --scorer {name}" in said
    assert f"rankgate calibrate DATA --scorer {name}" in said
    assert "LateInteractionScorer.load(query=...)" in said
    assert "Nothing has to be indexed again" in said


@pytest.mark.model
def test_stopped_and_resumed_it_ends_with_the_same_file(world, trained):
    _, whole = trained
    out = world / "parts"
    common = [world / "answers", *OWN, "--out", out, "--cache", world / "cache", *QUICK]
    first = rankgate(*common, "--time-limit", "0")
    assert first.exit_code == EXIT_NOT_BETTER and "--resume goes on" in first.stdout
    again = rankgate(*common, "--resume")
    assert again.exit_code == 0, again.output
    from safetensors.numpy import load_file

    one, other = (load_file(folder / "best" / FILE) for folder in (out, whole))
    assert all((one[name] == other[name]).all() for name in other)


@pytest.mark.model
def test_it_goes_on_from_what_was_trained_before(world, trained):
    _, before = trained
    done = rankgate(
        world / "answers", "--method", "query", "--start", before / "best", "--out", world / "next",
        "--cache", world / "cache", *QUICK, "--time-limit", "0", "--json",
    )  # fmt: skip
    card = json.loads(done.stdout)["card"]
    kept = json.loads((before / "card.json").read_text("utf-8"))
    assert card["start_sha256"] == kept["weights"][f"best/{FILE}"]
    assert card["before"]["answers"] == pytest.approx(kept["after"]["answers"], abs=1e-9)


@pytest.mark.model
def test_the_prior_stands_in_the_loss_unless_it_is_left_out(world, trained):
    _, beside = trained
    out = world / "alone"
    rankgate(
        world / "answers", *OWN, "--no-prior", "--out", out, "--cache", world / "cache",
        *QUICK, "--time-limit", "0",
    )  # fmt: skip
    first, other = (
        json.loads((folder / "history.json").read_text("utf-8"))[0] for folder in (beside, out)
    )
    assert first["ndcg"] == other["ndcg"], "the same start, judged in the same way"
    assert abs(first["held_out_loss"] - other["held_out_loss"]) > 0.01


@pytest.mark.model
def test_where_nothing_can_be_learned_nothing_is_kept(world):
    out = world / "out-useless"
    done = rankgate(
        world / "useless", *OWN, "--out", out, "--cache", world / "cache", *QUICK
    )  # fmt: skip
    assert done.exit_code == EXIT_NOT_BETTER, done.output
    assert "Not kept" in done.stdout and "late-interaction:" not in done.stdout


@pytest.mark.model
def test_every_passage_is_encoded_once_and_kept_for_the_next_training(world, trained):
    from rankgate.encoders import TokenEncoder
    from rankgate_eval.data.loading import load_dataset

    store = TokenStore.in_folder(world / "cache", TokenEncoder.load())
    data, _ = load_dataset(world / "answers")
    assert store.missing(list(data.corpus.values())) == []
    store.close()


def test_full_with_adapt_stays_a_cross_encoder(world, tmp_path):
    build_cross_encoder(tmp_path / "tiny", max_length=64)
    done = rankgate(
        world / "answers", "--method", "full", "--adapt", "--start", tmp_path / "tiny",
        "--max-length", "48", "--bm25-only", "--k", "10", "--device", "cpu", "--no-int8",
        "--time-limit", "0", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == EXIT_NOT_BETTER, done.output
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["method"] == "full" and run["adapting"] is True
    assert (run["settings"]["learning_rate"], run["settings"]["prior"]) == (2e-5, False)
    assert (run["settings"]["negatives"], run["settings"]["spoiled"]) == (4, 0.15)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "query", "--remine"], "takes them all"),
        (["--method", "query", "--device", "cuda"], "computes on the CPU"),
        (["--method", "full", "--start", "x", "--prior"], "--prior is for --method query"),
        (["--method", "full"], "name it with --start"),
        (["--method", "quary"], "the method is query or full, got 'quary'"),
        (["--adapt", "--start", "nowhere"], "holds no query encoder"),
        (["--adapt", "--split", "test"], "no source has a labelled question in split 'test'"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(world, tmp_path, arguments, said):
    done = rankgate(
        world / "answers", *arguments, "--bm25-only", "--out", tmp_path / "out",
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out" / "best").exists()


def test_scorer_names_that_are_none(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no query encoder at"):
        choose_scorer(f"late-interaction:{tmp_path / 'none'}")
    for name in ("late-interaction:", "late-interactive"):
        with pytest.raises(InputError, match="late-interaction:FILE"):
            choose_scorer(name)


@pytest.mark.model
def test_an_evaluation_gives_it_the_token_store(world, trained):
    from rankgate_eval.data.loading import load_dataset
    from rankgate_eval.evaluation import open_under_test

    _, out = trained
    data, _ = load_dataset(world / "answers")
    name = f"late-interaction:{out / 'best' / FILE}"
    with open_under_test(data, scorers=(name,), cache=world / "cache") as under:
        assert innermost(under.scorer).query_encoder.sha256 == file_sha256(out / "best" / FILE)
        found = under.scorer.score("bread of berlin", list(data.corpus.values())[:5])
    assert found.stats.cached == 5, "without it every passage would be read anew"


def test_names_of_scorers_that_a_token_store_serves():
    assert [reads_tokens(n) for n in (None, "late-interaction", " late-interaction:a/b.st")] == [
        True, True, True,
    ]  # fmt: skip
    assert not any(reads_tokens(n) for n in ("cross-encoder:late-interaction", "onnx:x", object()))


@pytest.mark.model
def test_a_copy_of_the_file_elsewhere_is_the_same_scorer(trained, tmp_path):
    _, out = trained
    shutil.copyfile(out / "best" / FILE, tmp_path / "mine.safetensors")
    one, other = (
        choose_scorer(f"late-interaction:{file}").info
        for file in (out / "best" / FILE, tmp_path / "mine.safetensors")
    )
    assert one == other != choose_scorer().info


def test_a_prior_without_a_scale_to_match_is_refused_before_anything_is_read(tmp_path):
    from rankgate_eval.train.course import TrainingSettings
    from rankgate_eval.train.run import TrainingJob, run_training

    settings = TrainingSettings(prior=True)
    job = TrainingJob(out=tmp_path / "out", method="full", settings=settings, start="nowhere")
    with pytest.raises(InputError, match="is for --method query, got --method full"):
        run_training([], job, embedder=None)
    assert not (tmp_path / "out").exists()
