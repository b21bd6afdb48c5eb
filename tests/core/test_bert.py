"""The encoder's own graph: what transformers computes, a valid ONNX file, and no torch at all."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from tiny_models import build_encoder, layers_of

from rankgate.encoders import TokenEncoder
from rankgate.encoders.bert import BertShape, bert_graph
from rankgate.encoders.runtime import Runtime, backend
from rankgate.errors import ConfigError

TEXTS = ["the red cat sat in paris", "", "blue sky and green water " * 12, "dog"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return TokenEncoder.load(build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256))


def test_it_computes_what_transformers_computes(tiny):
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(tiny.files.folder), attn_implementation="eager").eval()
    for text, found in zip(TEXTS, tiny.encode(TEXTS), strict=True):
        ids = tiny.tokenizer.encode(text).ids
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        units = torch.nn.functional.normalize(hidden, dim=-1).numpy()[1:-1]
        pooled = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
        exact = backend() == "onnxruntime"  # OpenVINO takes bfloat16 where the CPU has it
        near = np.abs(found.pooled - pooled).max()
        assert near < (1e-5 if exact else 0.02), "whatever else is in the batch"
        near = np.abs(found.tokens.astype(np.float32) - units).max(initial=0)
        assert near < (1e-3 if exact else 0.02)


def test_the_graph_is_valid_onnx(tiny):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(bert_graph(layers_of(tiny), tiny.shape))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["x", "mask"]


def test_openvino_computes_what_onnxruntime_computes(tiny):
    """Within .02 of vectors of length 1: bfloat16 where the CPU has it."""
    pytest.importorskip("openvino", reason="needs the extra openvino")
    graph = partial(bert_graph, layers_of(tiny), tiny.shape)
    rng = np.random.default_rng(0)
    width = next(iter(tiny.encode(["dog"]))).pooled.size
    x = rng.normal(size=(3, 9, width)).astype(np.float32)
    mask = np.ones((3, 9), dtype=np.float32)
    mask[1, 5:] = 0.0
    one, other = (Runtime(graph, by)(x, mask) for by in ("onnxruntime", "openvino"))
    units = [
        h[mask > 0] / np.linalg.norm(h[mask > 0], axis=-1, keepdims=True) for h in (one, other)
    ]
    assert np.abs(units[0] - units[1]).max() < 0.02


@pytest.mark.parametrize(
    "changed", [{"model_type": "roberta"}, {"hidden_act": "relu"}, {"model_type": None}]
)
def test_another_architecture_is_refused_with_its_name(tiny, changed):
    config = json.loads((tiny.files.folder / "config.json").read_text("utf-8"))
    BertShape.of_config(config)
    with pytest.raises(ConfigError, match=str(next(iter(changed.values())))):
        BertShape.of_config({**config, **changed})


def test_a_damaged_folder_is_named(tmp_path):
    folder = build_encoder(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="cannot be read as the tensors"):
        TokenEncoder.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        TokenEncoder.load(folder)


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "sentence_transformers"):
    sys.modules[name] = None  # importing it raises
import rankgate
from rankgate import Candidate, Policy, Reranker
scorer = rankgate.load()
texts = ["Gravity bends light.", "Bread needs flour, water and salt."]
values = scorer.score("What does bread need?", texts).values
assert values[1] > values[0], values
outcome = Reranker(scorer, policy=Policy.default()).rerank(
    "What does bread need?", [Candidate(id=t, text=t, rank=i + 1) for i, t in enumerate(texts)]
)
assert outcome.status == "reranked" and outcome.kept[0].candidate.text == texts[1], outcome
print(scorer.info.backend)
"""


@pytest.mark.model
def test_the_default_scorer_answers_without_torch():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("onnxruntime", "openvino")


HUB = """
import importlib.util, sys
from rankgate.encoders import find_minilm
from rankgate.errors import ModelNotFoundError
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if "minilm" in name else found(name, *a)
try:
    files = find_minilm()
    print(files.found_in, files.name)
except ModelNotFoundError as exc:
    print(exc)
"""


@pytest.mark.model
def test_what_the_hub_has_left_on_the_disk_is_found_without_a_network(tmp_path, encoder):
    def said():
        environment = {**os.environ, "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", HUB], capture_output=True, text=True, timeout=120,
            env=environment, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    assert "pip install rankgate-minilm" in said(), "it says what to do"
    repository = tmp_path / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (snapshot / name).symlink_to(encoder.files.folder / name)
    assert said() == "hub all-MiniLM-L6-v2"
