"""Models that are trained: where they start, what they save, what their exports give."""

import json

import numpy as np
import pytest
from tiny_models import build_cross_encoder, build_encoder

from rankgate.errors import ConfigError, InputError, ModelNotFoundError
from rankgate.scorers import CrossEncoderScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.train.engine import list_loss, load_ranker
from rankgate_eval.train.engine.adapt import freeze_embeddings
from rankgate_eval.train.engine.export import export_onnx, quantise

LISTS = [
    ("where is the cat of paris", ["the red cat sat in paris", "a dog in berlin", "blue sky no"]),
    ("bread for people", ["water", "many people bread and water in the river", "the cat", "no"]),
]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return build_cross_encoder(tmp_path_factory.mktemp("cross"), max_length=64)


def scores_of(ranker, lists=LISTS):
    import torch

    with torch.no_grad():
        return [s.numpy() for s in ranker.scores(lists)]


def test_a_joint_model_starts_as_maxsim_over_jointly_encoded_tokens(encoder_folder):
    import torch
    from transformers import BertModel

    ranker = load_ranker(str(encoder_folder), max_length=48)
    assert ranker.kind == "joint"
    body = BertModel.from_pretrained(encoder_folder).eval()
    query, texts = LISTS[1]
    for text, found in zip(texts, scores_of(ranker, [(query, texts)])[0], strict=True):
        one = ranker.pairs.encode(query, [text])
        ids, types = torch.tensor(one.input_ids), one.token_type_ids[0]
        with torch.no_grad():  # token types left at zero: the encoder knows no others
            hidden = body(input_ids=ids).last_hidden_state[0].numpy()
        units = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        own = ~np.isin(one.input_ids[0], [2, 3])  # neither [CLS] nor [SEP]
        asked, given = units[own & (types == 0)], units[own & (types == 1)]
        assert found == pytest.approx(20.0 * (asked @ given.T).max(1).mean(), abs=1e-4)


def test_scores_do_not_depend_on_what_is_scored_beside(encoder_folder, cross_encoder):
    for folder in (encoder_folder, cross_encoder):
        ranker = load_ranker(str(folder), max_length=48)
        together = scores_of(ranker)
        for one, expected in zip(LISTS, together, strict=True):
            for i, text in enumerate(one[1]):
                alone = scores_of(ranker, [(one[0], [text])])[0]
                assert alone[0] == pytest.approx(expected[i], abs=1e-4)


def test_empty_texts_have_finite_scores(encoder_folder):
    ranker = load_ranker(str(encoder_folder), max_length=48)
    assert np.isfinite(
        np.concatenate(scores_of(ranker, [("", ["", "a cat"]), ("cat", [""])]))
    ).all()


def test_a_plain_cross_encoder_scores_as_the_scorer_of_that_name(cross_encoder):
    ranker = load_ranker(str(cross_encoder), max_length=48)
    assert ranker.kind == "cross-encoder"
    scorer = CrossEncoderScorer(cross_encoder, max_length=48)
    for (query, texts), found in zip(LISTS, scores_of(ranker), strict=True):
        assert found == pytest.approx(scorer.score(query, texts).values, abs=1e-4)


@pytest.mark.parametrize("kind", ["joint", "cross-encoder"])
def test_what_is_saved_is_loaded_and_exported_with_equal_scores(
    kind, encoder_folder, cross_encoder, tmp_path
):
    import torch

    folder = encoder_folder if kind == "joint" else cross_encoder
    ranker = load_ranker(str(folder), max_length=48)
    if kind == "joint":
        torch.nn.init.normal_(ranker.module.out.weight, std=0.5)
    ranker.save(tmp_path / "saved")
    again = load_ranker(str(tmp_path / "saved"), max_length=48)
    assert again.kind == kind
    expected = scores_of(ranker)
    for a, b in zip(scores_of(again), expected, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    exported = export_onnx(again, tmp_path / "onnx", LISTS)
    assert exported.correlation == pytest.approx(1.0)
    scorer = OnnxScorer(tmp_path / "onnx")
    assert scorer.info.max_length == 48, "the limit that it was trained with"
    assert scorer.info.weights == exported.sha256
    assert exported.sha256 in (tmp_path / "onnx" / "SHA256SUMS").read_text()
    for (query, texts), values in zip(LISTS, expected, strict=True):
        assert scorer.score(query, texts).values == pytest.approx(values, abs=1e-3)


def test_a_model_in_bfloat16_is_exported_in_float32_and_left_as_it_was(encoder_folder, tmp_path):
    ranker = load_ranker(str(encoder_folder), max_length=48, bfloat16=True)
    rough = scores_of(ranker)
    ranker.module.train()
    export_onnx(ranker, tmp_path / "onnx", LISTS)
    assert ranker.bfloat16 and ranker.device == "cpu" and ranker.module.training
    exact = scores_of(load_ranker(str(encoder_folder), max_length=48))
    found = OnnxScorer(tmp_path / "onnx").score(*LISTS[1]).values
    assert found == pytest.approx(exact[1], abs=1e-3)
    assert np.abs(rough[1] - exact[1]).max() > 1e-3, "bfloat16 would have been seen"


def test_int8_keeps_the_quality_or_is_refused(encoder_folder, tmp_path):
    ranker = load_ranker(str(encoder_folder), max_length=48)
    exported = export_onnx(ranker, tmp_path / "onnx", LISTS)
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


def test_layers_are_given_back_until_the_quality_is_kept(encoder_folder, tmp_path):
    ranker = load_ranker(str(encoder_folder), max_length=48)
    exported = export_onnx(ranker, tmp_path / "onnx", LISTS)
    answers = iter([0.8, 0.7, 0.75, 0.799])
    small = quantise(
        exported, tmp_path / "int8", LISTS, max_length=48, quality=lambda folder: next(answers)
    )
    assert small.quality == 0.799
    assert len(small.float32_nodes) >= 2
    assert len(set(small.float32_nodes)) == len(small.float32_nodes)


def test_frozen_embeddings_stay_while_the_rest_learns(encoder_folder):
    import torch

    ranker = load_ranker(str(encoder_folder), max_length=48)
    assert freeze_embeddings(ranker.module) > 1000
    before = {n: p.detach().clone() for n, p in ranker.module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in ranker.module.parameters() if p.requires_grad], lr=0.1)
    list_loss(ranker.scores(LISTS)).backward()
    optimizer.step()
    moved = {n for n, p in ranker.module.named_parameters() if not torch.equal(p, before[n])}
    assert moved and not any("embeddings." in n for n in moved)


def test_the_loss_is_that_of_a_softmax_over_each_list():
    import torch

    assert float(list_loss([torch.zeros(6)])) == pytest.approx(np.log(6))
    two = [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])]
    expected = (np.log1p(np.exp(-2.0)) + np.log(1.0 + 2.0 * np.e)) / 2.0
    assert float(list_loss(two)) == pytest.approx(expected)
    shifted = [s + 7.0 for s in two]
    assert float(list_loss(shifted)) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError):
        list_loss([])


def test_starts_that_are_not_there_are_named(tmp_path, encoder_folder):
    with pytest.raises(ModelNotFoundError, match="no bundled cross-encoder"):
        load_ranker("bundled")
    with pytest.raises(ModelNotFoundError, match="no model at"):
        load_ranker("cross-encoder/none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        load_ranker(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"within 8\.\.64"):
        load_ranker(str(encoder_folder), max_length=65)
    two = build_cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(ConfigError, match="2 outputs"):
        load_ranker(str(two), max_length=48)


def test_weights_of_another_model_are_refused(tmp_path, encoder_folder):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(encoder_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"lacks encoder\.layer\.2"):
        load_ranker(str(folder), max_length=48)
