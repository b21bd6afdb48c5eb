"""Question layers learn, stop, and go on after a kill to the very same weights."""

import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import training_kit
from tiny_models import build_encoder
from training_kit import QueryTraining, run_in_parts

from rankgate.encoders import TokenEncoder
from rankgate.errors import ConfigError
from rankgate_eval.train.course import RunFolder
from rankgate_eval.train.trainer import rate_at

_one_thread = training_kit.one_thread


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256)


@pytest.fixture(scope="module")
def tiny(folder):
    return TokenEncoder.load(folder)


def weights_of(trainer):
    state = trainer.ranker.module.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, tiny):
    hashes = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trainer = QueryTraining(tmp_path / name, tiny, seed=seed)
        trainer.run()
        hashes.append(weights_of(trainer))
    assert hashes[0] == hashes[1] != hashes[2]


CHILD = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from training_kit import QueryTraining
from pathlib import Path
from rankgate.encoders import TokenEncoder
def report(what, done, total):
    if what == "training":
        print(done, flush=True)
encoder = TokenEncoder.load(Path({model!r}))
QueryTraining(Path({folder!r}), encoder, report=report).run(resume=True)
"""


def test_killed_and_resumed_it_ends_with_the_identical_weights(tmp_path, folder, tiny):
    whole = QueryTraining(tmp_path / "whole", tiny)
    whole.run()
    code = CHILD.format(
        here=str(Path(__file__).parent), folder=str(tmp_path / "killed"), model=str(folder)
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.strip() == "6":  # within the second epoch
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    steps = [
        int(p.name.rsplit("-", 1)[1])
        for p in (tmp_path / "killed" / "checkpoints").glob("checkpoint-*")
    ]
    assert 5 <= max(steps) < 8
    again = QueryTraining(tmp_path / "killed", tiny)
    result = again.run(resume=True)
    assert result.stopped == "finished"
    assert weights_of(again) == weights_of(whole)


def test_it_stops_early_when_dev_no_longer_gains(tmp_path, tiny):
    make = partial(
        QueryTraining, tmp_path / "run", tiny, lists=200, learning_rate=1e-9, evaluate_every=2,
        patience=3,
    )  # fmt: skip
    result = make().run()
    assert (result.stopped, result.best_step, result.steps) == ("early", 0, 6)
    assert make().run(resume=True).steps == 6, "what has stopped early is not begun again"


def test_another_trainings_folder_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.begin({"settings": {"seed": 1}}, resume=False) is False
    with pytest.raises(ConfigError, match="already holds a training"):
        folder.begin({"settings": {"seed": 1}}, resume=False)
    with pytest.raises(ConfigError, match="settings differ"):
        folder.begin({"settings": {"seed": 9}}, resume=True)
    assert folder.begin({"settings": {"seed": 1}}, resume=True) is True


def test_stopped_within_an_epoch_nothing_is_lost(tmp_path, tiny):
    _, parts = run_in_parts(partial(QueryTraining, tmp_path / "run", tiny, epochs=1), most=9)
    assert [p.steps for p in parts] == [1, 2, 3, 4]


def test_an_infinite_loss_is_an_error_with_advice(tmp_path, tiny):
    trainer = QueryTraining(tmp_path / "run", tiny, prior=False)
    trainer.ranker.module.scale.data.fill_(float("nan"))
    with pytest.raises(ConfigError, match="lower the learning rate"):
        trainer.run()


def test_the_learning_rate_rises_and_falls_to_zero():
    rates = [rate_at(step, 20, warmup=0.2) for step in range(20)]
    assert rates[3] == rates[4] == max(rates) == 1.0
    assert rates[:4] == sorted(rates[:4]) and rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[0] == pytest.approx(0.25) and rates[-1] == pytest.approx(1 / 16)
    assert rate_at(0, 1, warmup=0.0) == 1.0
