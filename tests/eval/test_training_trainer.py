"""The trainer learns, stops, and goes on after a kill to the very same weights."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import training_kit
from tiny_models import build_cross_encoder
from training_kit import run_in_parts, small_trainer

from rankgate.errors import ConfigError

_one_thread = training_kit.one_thread


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_cross_encoder(tmp_path_factory.mktemp("tiny"), max_length=64)


def weights_of(trainer):
    state = trainer.ranker.module.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()


def test_it_learns_the_lists(tmp_path, model):
    trainer = small_trainer(
        tmp_path / "run", model, lists=96, epochs=4, evaluate_every=48, learning_rate=3e-3
    )
    result = trainer.run()
    first, last = result.history[0], result.history[-1]
    assert result.steps == 96
    assert first.step == 0 and first.train_loss is None
    assert last.held_out_loss < first.held_out_loss - 0.2
    assert last.train_loss < result.history[1].train_loss - 0.2
    assert result.tokens > 10_000
    saved = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [point["step"] for point in saved] == [0, 48, 96]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, model):
    hashes = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trainer = small_trainer(tmp_path / name, model, seed=seed)
        trainer.run()
        hashes.append(weights_of(trainer))
    assert hashes[0] == hashes[1] != hashes[2]


def test_stopped_by_time_in_either_epoch_and_resumed_it_ends_the_same(tmp_path, model):
    whole = small_trainer(tmp_path / "whole", model)
    expected = whole.run()
    part, parts = run_in_parts(partial(small_trainer, tmp_path / "parts", model), most=9)
    assert [p.stopped for p in parts[:-1]] == ["time"] * (len(parts) - 1)
    assert len(parts) == 6, "one step at a time, in a new process's state each time"
    assert parts[-1].stopped == "finished"
    assert parts[-1].history == expected.history
    assert parts[-1].best_step == expected.best_step
    assert weights_of(part) == weights_of(whole)


CHILD = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from training_kit import small_trainer
from pathlib import Path
def report(what, done, total):
    if what == "training":
        print(done, flush=True)
small_trainer(Path({folder!r}), Path({model!r}), report=report).run(resume=True)
"""


def test_killed_and_resumed_it_ends_with_the_identical_weights(tmp_path, model):
    import torch

    whole = small_trainer(tmp_path / "whole", model)
    whole.run()
    code = CHILD.format(
        here=str(Path(__file__).parent), folder=str(tmp_path / "killed"), model=str(model)
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.strip() == "4":  # within the second epoch
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    data = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)
    assert 3 <= data["state"]["step"] < 6
    again = small_trainer(tmp_path / "killed", model)
    result = again.run(resume=True)
    assert result.stopped == "finished"
    assert weights_of(again) == weights_of(whole)


def test_it_stops_early_when_dev_no_longer_gains(tmp_path, model):
    trainer = small_trainer(
        tmp_path / "run", model, lists=200, learning_rate=1e-9, evaluate_every=2, patience=3
    )
    result = trainer.run()
    assert result.stopped == "early"
    assert result.best_step == 0
    assert result.steps == 6
    again = small_trainer(
        tmp_path / "run", model, lists=200, learning_rate=1e-9, evaluate_every=2, patience=3
    )
    assert again.run(resume=True).steps == 6, "what has stopped early is not begun again"


def test_another_trainings_folder_is_refused(tmp_path, model):
    small_trainer(tmp_path / "run", model, epochs=1).run()
    with pytest.raises(ConfigError, match="already holds a training"):
        small_trainer(tmp_path / "run", model, epochs=1).run()
    with pytest.raises(ConfigError, match="settings differ"):
        small_trainer(tmp_path / "run", model, epochs=1, seed=9).run(resume=True)


def test_an_infinite_loss_is_an_error_with_advice(tmp_path, model):
    trainer = small_trainer(tmp_path / "run", model)
    trainer.ranker.module.model.classifier.weight.data.fill_(float("nan"))
    with pytest.raises(ConfigError, match="lower the learning rate"):
        trainer.run()
