"""OnnxScorer against torch and the tokenizers library, on a tiny exported cross-encoder."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
from tokenizers import Tokenizer

from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, InputError, ModelNotFoundError
from rankgate.scorers.onnx import OnnxScorer
from rankgate.scorers.pairs import PairEncoder, share_tokens

QUERY = "what is the capital of france"
TEXTS = [
    "paris is the capital of france",
    "the cat sat on the mat",
    "",
    "blue sky " * 60,
    "water in the river",
    "?",
    "berlin",
    "Ünïcödé 😀 שלום",
    "no bread",
    "dog",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.build_cross_encoder(tmp_path_factory.mktemp("tiny") / "tiny-bert")
    tiny.export_onnx(made)
    return made


@pytest.fixture(scope="module")
def scorer(folder):
    return OnnxScorer(folder, threads=1)


@pytest.fixture
def copy(folder, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_the_logits_are_torchs(folder, scorer):
    from rankgate.scorers.cross_encoder import CrossEncoderScorer

    ours = scorer.score(QUERY, TEXTS)
    theirs = CrossEncoderScorer(folder).score(QUERY, TEXTS)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-4)
    assert ours.values.std() > 0.5, "a model that says the same of everything shows nothing"
    assert ours.stats == theirs.stats
    assert ours.stats.truncated == 1


def test_who_is_scoring(folder, scorer):
    info = scorer.info
    assert info.id == "onnx/tiny-bert"
    assert (info.scale, info.backend, info.dtype, info.max_length) == (
        "logit", "onnxruntime", "float32", 64,
    )  # fmt: skip
    assert info.weights == file_sha256(folder / "model.onnx")


def test_scores_do_not_depend_on_the_batch(scorer):
    """Measured: 0 on this model; 1e-5 is the promise."""
    together = scorer.score(QUERY, TEXTS).values
    alone = [float(scorer.score(QUERY, [t]).values[0]) for t in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("max_length", [5, 6, 9, 16, 33])
@pytest.mark.parametrize("query", [QUERY, "a", "", QUERY * 9])
def test_truncation_is_the_tokenizers_librarys_longest_first(folder, query, max_length):
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.enable_truncation(max_length, strategy="longest_first")
    reference.enable_padding(pad_id=0)
    encoder = PairEncoder(folder / "tokenizer.json", max_length=max_length, pad_id=0)
    batch = encoder.encode(query, TEXTS)
    wanted = reference.encode_batch([(query, t) for t in TEXTS])
    assert batch.input_ids.tolist() == [w.ids for w in wanted]
    assert batch.attention_mask.tolist() == [w.attention_mask for w in wanted]
    assert batch.token_type_ids.tolist() == [w.type_ids for w in wanted]
    assert batch.truncated == sum(bool(w.overflowing) for w in wanted)
    assert batch.tokens == sum(sum(w.attention_mask) for w in wanted)


def test_shares_never_exceed_the_budget_and_waste_nothing():
    for first in range(12):
        for second in range(12):
            for budget in range(2, 14):
                a, b = share_tokens(first, second, budget)
                assert a <= first and b <= second
                assert a + b == min(first + second, budget)


def test_a_shorter_max_length_truncates_more(folder):
    short = OnnxScorer(folder, max_length=12)
    assert short.info.max_length == 12
    assert short.score(QUERY, TEXTS).stats.truncated > 1


@pytest.mark.parametrize("name", ["onnx/model.onnx", "model_quantized.onnx"])
def test_the_usual_places_of_the_graph(copy, name):
    target = copy / name
    target.parent.mkdir(exist_ok=True)
    shutil.move(copy / "model.onnx", target)
    assert OnnxScorer(copy).score(QUERY, TEXTS).complete


def test_a_named_file(copy):
    shutil.copy(copy / "model.onnx", copy / "mine.onnx")
    (copy / "model.onnx").write_bytes(b"not a graph")
    assert OnnxScorer(copy, file="mine.onnx").score(QUERY, TEXTS).complete


def test_without_token_types(copy):
    tiny.export_onnx(copy, token_types=False)
    assert OnnxScorer(copy).score(QUERY, TEXTS).complete


def test_dynamic_int8_is_recognised_and_does_not_depend_on_the_batch_either(copy, scorer):
    """Its activation ranges come from the whole batch: run in eights, neighbours moved a score
    of this model by 0.29 of the scores' spread."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            copy / "model.onnx", copy / "model_quantized.onnx", weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(logging.NOTSET)
    (copy / "model.onnx").unlink()
    small = OnnxScorer(copy, threads=1)
    assert small.info.dtype == "int8"
    assert small.info.weights != scorer.info.weights
    together = small.score(QUERY, TEXTS).values
    alone = np.array([small.score(QUERY, [t]).values[0] for t in TEXTS])
    np.testing.assert_array_equal(together, alone)
    assert np.corrcoef(together, scorer.score(QUERY, TEXTS).values)[0, 1] > 0.9


def test_pickling_carries_the_folder_and_not_the_session(scorer):
    data = pickle.dumps(scorer)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert copy.info == scorer.info
    np.testing.assert_array_equal(
        copy.score(QUERY, TEXTS).values, scorer.score(QUERY, TEXTS).values
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_opens_its_own_session(folder, threads):
    """The parent's session has no worker threads there, and would run on one core at best."""
    code = f"""
import os
from rankgate.scorers.onnx import OnnxScorer
scorer = OnnxScorer({str(folder)!r}, threads={threads})
texts = {TEXTS!r}
mine = scorer.score({QUERY!r}, texts).values
child = os.fork()
if child == 0:
    same = (scorer.score({QUERY!r}, texts).values == mine).all()
    os._exit(0 if same and os.getpid() in scorer._sessions else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    # A process of its own: one that has loaded torch forks less safely than a user's would.
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_torch_is_not_loaded(folder):
    code = (
        "import sys; from rankgate.scorers.onnx import OnnxScorer; "
        f"OnnxScorer({str(folder)!r}).score('a', ['b']); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_missing_file_says_how_to_get_it(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelNotFoundError, match="optimum-cli export onnx") as caught:
        OnnxScorer(copy)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_damaged_file_is_named(copy, name):
    (copy / name).write_bytes(b"\x00\x01 not it")
    with pytest.raises(ConfigError, match=name):
        OnnxScorer(copy)


def test_a_model_with_three_outputs_is_no_reranker(tmp_path):
    made = tiny.build_cross_encoder(tmp_path / "three", labels=3)
    tiny.export_onnx(made)
    with pytest.raises(ConfigError, match="one score a pair"):
        OnnxScorer(made)


def _graph(file, inputs, outputs, shape):
    """A graph that takes these inputs and gives a constant."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor("v", TensorProto.FLOAT, shape, np.zeros(shape).ravel())
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [name], value=value) for name in outputs],
        "g",
        [helper.make_tensor_value_info(n, k, ["b", "s"]) for n, k in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, file)


INT64, FLOAT = 7, 1
GOOD_INPUTS = {"input_ids": INT64, "attention_mask": INT64}


@pytest.mark.parametrize(
    ("inputs", "outputs", "shape", "word"),
    [
        ({**GOOD_INPUTS, "pixel_values": INT64}, ["logits"], [1, 1], "pixel_values"),
        ({"input_ids": INT64}, ["logits"], [1, 1], "attention_mask"),
        ({**GOOD_INPUTS, "attention_mask": FLOAT}, ["logits"], [1, 1], "int64 and int32"),
        (GOOD_INPUTS, ["hidden", "pooled"], [1, 1], "none is called"),
        (GOOD_INPUTS, ["logits"], [1, 1, 1], "one score a pair"),
        (GOOD_INPUTS, ["logits"], [3], "one score a pair"),
    ],
)
def test_graphs_that_are_no_cross_encoder(copy, inputs, outputs, shape, word):
    _graph(copy / "model.onnx", inputs, outputs, shape)
    with pytest.raises(ConfigError, match=word):
        OnnxScorer(copy)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"threads": 0}, "threads"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 65}, r"1\.\.64"),
        ({"max_length": 4}, "no room"),
        ({"providers": ["TPUExecutionProvider"]}, "CPUExecutionProvider"),
    ],
)
def test_unusable_settings_say_so(folder, settings, word):
    with pytest.raises(ConfigError, match=word):
        OnnxScorer(folder, **settings)


def test_the_limit_of_a_roberta_leaves_its_two_positions_out(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "xlm-roberta"}))
    assert OnnxScorer(copy).info.max_length == 62


def test_counting_tokens(scorer):
    assert scorer.count_tokens("the cat sat") == 3
    assert scorer.count_tokens("") == 0
    with pytest.raises(InputError):
        scorer.count_tokens(None)


def test_the_input_lists_are_only_read(scorer):
    texts = tuple(TEXTS)
    np.testing.assert_array_equal(
        scorer.score(QUERY, texts).values, scorer.score(QUERY, list(TEXTS)).values
    )
