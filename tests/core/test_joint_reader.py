"""A reader of question and passage: what it reads, its file, and the scorer over it."""

import pickle

import numpy as np
import pytest
from tiny_models import build_encoder

from rankgate.encoders import TokenEncoder
from rankgate.encoders.bert import bert_graph, layer_shapes, read_tensors
from rankgate.encoders.reader import (
    LENGTH,
    JointReader,
    joint_input,
    reader_shape,
    save_reader,
)
from rankgate.encoders.runtime import Runtime
from rankgate.errors import ConfigError, ModelNotFoundError, WeightsMismatchError
from rankgate.judge.reading import JointScorer, load_reader
from rankgate.scorers import ScoreContext
from rankgate.scorers.build import BARE

PAIRS = [("where is the cat", "the red cat sat in paris"), ("dog", ""), ("", "water " * 400)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return TokenEncoder.load(build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256))


def heads(width):
    draw = np.random.default_rng(1)
    return {
        "kinds": draw.normal(size=(4, width)),
        "evidence": draw.normal(size=width),
        "outputs": draw.normal(size=(4, 3 * width)),
        "bias": np.zeros(4),
    }


def written(encoder, file, by=0.05):
    draw = np.random.default_rng(2)
    shapes = layer_shapes(reader_shape(encoder))
    changes = {n: draw.normal(size=s) * by for n, s in shapes.items()}
    save_reader(changes, heads(encoder.dimension), file, encoder=encoder.sha256)
    return changes


@pytest.fixture(scope="module")
def file(encoder, tmp_path_factory):
    at = tmp_path_factory.mktemp("reader") / "reader.safetensors"
    written(encoder, at)
    return at


def test_a_question_and_a_passage_are_one_row(encoder):
    row = joint_input(encoder.tokenizer, "where is the cat", "the red cat sat")
    ends = [encoder.tokenizer.token_to_id(n) for n in ("[CLS]", "[SEP]")]
    assert row.ids[0] == ends[0] and row.ids.count(ends[1]) == 2
    assert [row.kinds[0], row.kinds[-1]] == [0, 0] and len(row.kinds) == len(row.ids)
    inside = row.kinds[row.first : -1]
    assert inside == (2, 2, 3, 2), "cat is a word of the question, the is one that tells nothing"
    assert row.places == ((0, 3), (4, 7), (8, 11), (12, 15))


def test_of_a_long_passage_its_beginning_and_the_part_with_the_words_are_read(encoder):
    passage = "river " * 20 + "green " * 300 + "the cat sat on a mat " + "blue " * 200
    row = joint_input(encoder.tokenizer, "cat on the mat", passage)
    read = "".join(passage[a:b] + " " for a, b in row.places)
    assert len(row.ids) == LENGTH and read.startswith("river ") and "cat sat on a mat" in read
    asked = passage.index("blue") + 500
    other = joint_input(encoder.tokenizer, "cat on the mat", passage, around=(asked, asked + 4))
    assert any(a <= asked < b for a, b in other.places)


def test_a_reading_does_not_depend_on_its_company(encoder, file):
    reader = JointReader.load(file, encoder)
    alone = [reader.read([pair])[0] for pair in PAIRS]
    for one, other in zip(alone, reader.read(PAIRS), strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)
        assert len(one.evidence) == len(one.places)
        assert sum(one.stance) == pytest.approx(1.0)
    assert alone[0].evidence.sum() == pytest.approx(1.0, abs=1e-5)


def test_four_bits_a_number_and_the_same_file_each_time(encoder, file, tmp_path):
    changes = written(encoder, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    numbers = sum(v.size for v in changes.values()) + 13 * encoder.dimension
    assert file.stat().st_size < 0.75 * numbers + 20_000


def test_four_bits_change_little(encoder, file, tmp_path):
    shapes = layer_shapes(reader_shape(encoder))
    layers = read_tensors(encoder.files.folder / "model.safetensors", shapes)
    changes = written(encoder, tmp_path / "one")
    exact = {n: np.float32(layers[n] + changes[n]) for n in shapes}
    inputs = joint_input(encoder.tokenizer, *PAIRS[0])
    ids = np.array([inputs.ids])
    mask = np.ones(ids.shape, dtype=np.float32)
    x = encoder.embeddings.of(ids) + heads(encoder.dimension)["kinds"].astype(np.float16)[
        [list(inputs.kinds)]
    ].astype(np.float32)
    run = Runtime(lambda: bert_graph(exact, reader_shape(encoder)))
    hidden = run(x, mask)[0]
    told = heads(encoder.dimension)
    scores = np.exp(hidden[inputs.first : -1] @ told["evidence"])
    found = JointReader.load(file, encoder).read(PAIRS[:1])[0]
    assert np.corrcoef(found.evidence, scores / scores.sum())[0, 1] > 0.95


def test_it_stops_at_the_next_chunk_and_the_scorer_says_what_was_read(encoder, file):
    reader = JointReader.load(file, encoder)
    asked = []
    assert len(reader.read(PAIRS * 4, should_stop=lambda: asked.append(1) or len(asked) > 1)) == 8
    context = ScoreContext()
    context.cancelled.set()
    scores = JointScorer(reader).score("cat", ["a", "b"], context)
    assert not scores.scored.any()
    full = JointScorer(reader).score("cat", ["the cat", "dog"])
    assert full.complete and full.values[0] == pytest.approx(
        reader.read([("cat", "the cat")])[0].answers, abs=1e-4
    )


def test_files_that_are_none_and_of_another_encoder(encoder, file, tmp_path):
    with pytest.raises(ModelNotFoundError, match="no reader"):
        JointReader.load(tmp_path / "none", encoder)
    with pytest.raises(WeightsMismatchError, match="sha256"):
        JointReader.load(file, encoder, sha256="0" * 64)
    (tmp_path / "bad").write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match="is not a reader"):
        JointReader.load(tmp_path / "bad", encoder)
    other = TokenEncoder.load(build_encoder(tmp_path / "other", max_length=128))
    with pytest.raises(WeightsMismatchError, match="made for the encoder"):
        JointReader.load(file, other)


def test_it_pickles(encoder, file):
    reader = JointReader.load(file, encoder)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_allclose(again.read(PAIRS[:1])[0].logits, reader.read(PAIRS[:1])[0].logits)


def test_settings(encoder, file):
    assert load_reader("off") is None
    scorer = load_reader(f"reader:{file}", encoder=encoder.files.folder, wrapping=BARE)
    assert scorer.score("cat", ["the cat"]).complete
    assert scorer.info.id.startswith("joint-reader/")
    with pytest.raises(ModelNotFoundError, match="name where it lies now"):
        load_reader("reader:nowhere")
