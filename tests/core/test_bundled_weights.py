"""The weights that come with the package: whole, described, and what the default scorer uses."""

import hashlib
import re
from pathlib import Path

import pytest

import rankgate.encoders.bundled as bundled
from rankgate.encoders import MINILM_SHA256
from rankgate.errors import WeightsMismatchError
from rankgate.scorers import LateInteractionScorer

FOLDER = Path(bundled.__file__).parent / "weights"
FILE = FOLDER / "query-encoder.safetensors"


def test_the_file_is_the_one_that_was_released_and_small_enough():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == bundled.QUERY_SHA256
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) <= 30_000_000


def test_the_card_names_the_hashes_and_a_licence_for_every_source():
    card = (FOLDER / "CARD.md").read_text("utf-8")
    assert bundled.QUERY_SHA256 in card and MINILM_SHA256 in card
    rows = re.findall(
        r"^\| (covid-qa|pubmedqa|medquad|xquad-en|nq-oracle)[^|]*\| ([^|]+) \|", card, re.M
    )
    stated = dict(rows[:5])
    assert len(stated) == 5 and all(re.search(r"Apache|MIT|CC BY", v) for v in stated.values())


@pytest.mark.model
def test_the_default_scorer_reads_questions_with_it_and_passages_without(encoder):
    default, plain = LateInteractionScorer.load(), LateInteractionScorer.load(plain=True)
    assert default.query_encoder is not None and default.head is not None
    assert default.query_encoder.sha256 == bundled.QUERY_SHA256
    question = ["What are the symptoms of Lyme disease?"]
    tuned, own = default.read_queries(question)[0], plain.read_queries(question)[0]
    assert tuned.tokens.shape == own.tokens.shape
    assert 0.01 < abs(tuned.tokens - own.tokens).max() < 1.0
    assert default.encoder is plain.encoder is encoder
    assert default.info.scale == "maxsim-head" and plain.info.scale == "maxsim-mean"


@pytest.mark.model
def test_another_encoder_gets_none_and_a_damaged_file_is_refused(encoder, tmp_path, monkeypatch):
    class Other:
        sha256 = "0" * 64

    assert bundled.bundled_query_encoder(Other()) is None
    damaged = bytearray(FILE.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / FILE.name).write_bytes(damaged)
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    with pytest.raises(WeightsMismatchError, match="reinstall rankgate"):
        bundled.bundled_query_encoder(encoder)
