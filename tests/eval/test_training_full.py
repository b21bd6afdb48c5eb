"""A cross-encoder under sentence-transformers' trainer: its loss, its course, its exports."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import training_kit
from tiny_models import build_cross_encoder, build_encoder
from training_kit import train_small_cross_encoder

from rankgate.errors import ConfigError, ModelNotFoundError
from rankgate.scorers import CrossEncoderScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.train.export import export_onnx, quantise
from rankgate_eval.train.trainer import list_loss

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from rankgate_eval.train.full import ChoosingLoss, load_cross_encoder, scores_of  # noqa: E402

_one_thread = training_kit.one_thread
LISTS = [
    ("where is the cat of paris", ["the red cat sat in paris", "a dog in berlin", "blue sky no"]),
    ("bread for people", ["water", "many people bread and water in the river", "the cat", "no"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_cross_encoder(tmp_path_factory.mktemp("cross"), max_length=64)


@pytest.fixture
def model(folder):
    return load_cross_encoder(str(folder), max_length=48).eval()


def test_it_scores_as_the_scorer_of_that_name(folder, model):
    scorer = CrossEncoderScorer(folder, max_length=48)
    for query, texts in LISTS:
        found = scores_of(model)(query, texts)
        assert found == pytest.approx(scorer.score(query, texts).values, abs=1e-4)


def test_the_loss_is_the_softmax_of_what_answers_over_its_list(model):
    loss = ChoosingLoss(model, negatives=3)
    marks = [torch.tensor([40.0] + [0.0] * (len(texts) - 1)) for _, texts in LISTS]
    queries, texts = zip(*LISTS, strict=True)
    with torch.no_grad():
        found = float(loss([list(queries), list(texts)], marks))
    expected = list_loss([torch.tensor(scores_of(model)(*one)) for one in LISTS])
    assert found == pytest.approx(float(expected), abs=1e-4)


def test_the_list_loss_is_that_of_a_softmax():
    two = [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])]
    expected = (np.log1p(np.exp(-2.0)) + np.log(1.0 + 2.0 * np.e)) / 2.0
    assert float(list_loss(two)) == pytest.approx(expected)
    assert float(list_loss([s + 7.0 for s in two])) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("doubted", [False, True])
def test_of_an_open_list_the_hardest_are_learned_from_but_not_those_in_doubt(model, doubted):
    query, texts = LISTS[1]
    values = scores_of(model)(query, texts)
    answer = int(np.argsort(values)[1])  # some are above it, one is not
    others = [i for i in np.argsort(-values) if i != answer]
    mark = -2.0 if doubted else -1.0
    given = [texts[answer], *(texts[i] for i in others), "a mat"]
    marks = torch.tensor([40.0, *[mark] * len(others), 0.0])
    with torch.no_grad():
        found = float(ChoosingLoss(model, negatives=1)([[query], [given]], [marks]))
        kept = [i for i in others if not (doubted and values[i] > values[answer])][:1]
        scores = scores_of(model)(query, [texts[answer], *(texts[i] for i in kept), "a mat"])
        assert found == pytest.approx(float(list_loss([torch.tensor(scores)])), abs=1e-4)


def test_a_loss_that_is_not_finite_is_an_error_with_advice(tmp_path, model):
    model.model.classifier.weight.data.fill_(float("nan"))
    model.save_pretrained(str(tmp_path / "broken"), create_model_card=False)
    with pytest.raises(ConfigError, match="lower the learning rate"):
        train_small_cross_encoder(tmp_path / "run", tmp_path / "broken")


def weights_of(run):
    from safetensors.torch import load_file

    last = max(
        (run / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1])
    )
    return load_file(last / "model.safetensors")


def same(one, other):
    return all(torch.equal(one[n], other[n]) for n in one)


def test_it_learns_the_lists_and_keeps_its_history(tmp_path, folder):
    result = train_small_cross_encoder(
        tmp_path / "run", folder, lists=96, epochs=2, evaluate_every=24, learning_rate=3e-3
    )
    first, last = result.history[0], result.history[-1]
    assert (result.steps, result.stopped) == (48, "finished")
    assert first.step == 0 and first.train_loss is None
    assert last.held_out_loss < first.held_out_loss - 0.2
    saved = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [point["step"] for point in saved] == [0, 24, 48]
    best = max(result.history, key=lambda p: p.ndcg)
    assert result.best_step == best.step
    assert CrossEncoderScorer(tmp_path / "run" / "best").info.max_length == 48


def test_stopped_by_time_and_resumed_it_ends_with_identical_weights(tmp_path, folder):
    expected = train_small_cross_encoder(tmp_path / "whole", folder)
    results = []
    for _ in range(8):
        ticks = iter(range(10_000))
        results.append(
            train_small_cross_encoder(
                tmp_path / "parts", folder, resume=True, clock=lambda t=ticks: float(next(t)),
                time_limit=2.0,
            )
        )  # fmt: skip
        if results[-1].stopped == "finished":
            break
    assert [r.steps for r in results] == [2, 4, 6]
    assert [r.stopped for r in results] == ["time", "time", "finished"]
    assert results[-1].history == expected.history
    assert same(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


CHILD = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from training_kit import train_small_cross_encoder
from pathlib import Path
def report(what, done, total):
    if what == "training":
        print(done, flush=True)
train_small_cross_encoder(Path({run!r}), Path({model!r}), report=report)
"""


def test_killed_and_resumed_it_ends_with_identical_weights(tmp_path, folder):
    train_small_cross_encoder(tmp_path / "whole", folder)
    code = CHILD.format(
        here=str(Path(__file__).parent), run=str(tmp_path / "killed"), model=str(folder)
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.strip() == "4":  # within the second epoch
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    torn = tmp_path / "killed" / "checkpoints" / "checkpoint-5"
    torn.mkdir(exist_ok=True)  # what a kill within the writing leaves
    (torn / "trainer_state.json").write_text('{"global_step"')
    result = train_small_cross_encoder(tmp_path / "killed", folder, resume=True)
    assert result.stopped == "finished"
    assert same(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))
    again = train_small_cross_encoder(tmp_path / "killed", folder, resume=True)
    assert (again.steps, again.stopped) == (6, "finished"), "nothing is done twice"
    assert again.history == result.history


def test_it_stops_early_when_dev_no_longer_gains(tmp_path, folder):
    make = partial(
        train_small_cross_encoder, tmp_path / "run", folder, lists=200, learning_rate=1e-9,
        evaluate_every=2, patience=3,
    )  # fmt: skip
    result = make()
    assert (result.stopped, result.best_step, result.steps) == ("early", 0, 6)
    assert make(resume=True).steps == 6, "what has stopped early is not begun again"


def test_a_batch_that_micro_batches_do_not_fill_is_refused(tmp_path, folder):
    with pytest.raises(ConfigError, match="multiple of the micro batch, 3"):
        train_small_cross_encoder(tmp_path / "run", folder, micro_batch=3)


def test_starts_that_are_none_are_named(tmp_path, folder):
    for gone in ("minilm", "bundled"):
        with pytest.raises(ConfigError, match="take --method query"):
            load_cross_encoder(gone)
    with pytest.raises(ModelNotFoundError, match="no cross-encoder at cross-encoder/none"):
        load_cross_encoder("cross-encoder/none")
    with pytest.raises(ConfigError, match="holds no cross-encoder but BertModel"):
        load_cross_encoder(str(build_encoder(tmp_path / "encoder")))
    with pytest.raises(ConfigError, match=r"within 8\.\.64"):
        load_cross_encoder(str(folder), max_length=65)
    two = build_cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(ConfigError, match="2 outputs"):
        load_cross_encoder(str(two), max_length=48)


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    whole = tmp_path_factory.mktemp("export") / "onnx"
    return export_onnx(folder, whole, LISTS, max_length=48)


def test_what_is_exported_scores_as_the_model(folder, model, exported):
    scorer = OnnxScorer(exported.folder)
    assert scorer.info.max_length == 48, "the limit that it was trained with"
    assert scorer.info.weights == exported.sha256
    assert exported.sha256 in (exported.folder / "SHA256SUMS").read_text()
    assert exported.correlation == pytest.approx(1.0)
    for query, texts in LISTS:
        found = scorer.score(query, texts).values
        assert found == pytest.approx(scores_of(model)(query, texts), abs=1e-3)


def test_int8_keeps_the_quality_or_is_refused(exported, tmp_path):
    small = quantise(exported, tmp_path / "int8", LISTS, max_length=48, least_correlation=0.5)
    assert OnnxScorer(tmp_path / "int8").info.dtype == "int8"
    assert small.megabytes < 0.9 * exported.megabytes
    seen = []

    def harsh(folder):
        seen.append(folder.name)
        return 1.0 if folder.name == "onnx" else 0.9

    with pytest.raises(ConfigError, match=r"0\.9000 < 0\.9970"):
        quantise(exported, tmp_path / "bad", LISTS, max_length=48, quality=harsh)
    assert seen == ["onnx", *["bad"] * 5], "each share of float32 layers is tried"
    assert not (tmp_path / "bad").exists()


def test_layers_are_given_back_until_the_quality_is_kept(exported, tmp_path):
    answers = iter([0.8, 0.7, 0.75, 0.799])
    small = quantise(
        exported, tmp_path / "int8", LISTS, max_length=48, quality=lambda folder: next(answers)
    )
    assert small.quality == 0.799
    assert len(small.float32_nodes) >= 2
    assert len(set(small.float32_nodes)) == len(small.float32_nodes)
