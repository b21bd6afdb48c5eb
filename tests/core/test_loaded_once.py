"""Models are in memory once, however many others come and go."""

import gc
import pickle

import pytest
from tiny_models import build_encoder

from rankgate.encoders.once import loaded_once


class Model:
    pass


def test_what_is_held_is_never_loaded_twice_and_what_is_not_goes():
    loads = []

    @loaded_once
    def load(name):
        loads.append(name)
        return Model()

    held = load("a")
    for n in range(20):
        load(n)
    assert load("a") is held and loads.count("a") == 1
    gc.collect()
    assert load(0) is not None and loads.count(0) == 2
    assert load(19) is not None and loads.count(19) == 1


def test_a_failure_is_not_remembered():
    answers = iter([ValueError("torn"), Model()])

    @loaded_once
    def load(name):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(ValueError, match="torn"):
        load("a")
    assert isinstance(load("a"), Model)


def test_an_encoder_survives_others(tmp_path):
    from rankgate.encoders import TokenEncoder

    first = TokenEncoder.load(build_encoder(tmp_path / "first", max_length=64))
    for n in range(5):
        TokenEncoder.load(build_encoder(tmp_path / str(n), max_length=64))
    assert TokenEncoder.load(first.files.folder) is first
    assert pickle.loads(pickle.dumps(first)) is first
