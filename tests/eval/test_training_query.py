"""Question layers in training: what they compute, what they share, what a list holds for them."""

from functools import partial

import numpy as np
import pytest
import training_kit
from tiny_models import build_encoder
from training_kit import QueryTraining, run_in_parts

from rankgate.encoders import QueryEncoder, TokenEncoder, TokenHead, TokenStore
from rankgate.errors import ConfigError, InputError, ModelNotFoundError, WeightsMismatchError
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate_eval.train.course import query_settings
from rankgate_eval.train.query import QUERY_FILE, load_query_ranker
from rankgate_eval.train.trainer import list_loss

torch = pytest.importorskip("torch")
_one_thread = training_kit.one_thread

TEXTS = ["the red cat sat in paris", "a dog in berlin", "", "blue sky and green water " * 12, "no"]
LISTS = [("cat of paris", TEXTS), ("blue sky", TEXTS[::-1]), ("", TEXTS), ("bread", ["", ""])]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return TokenEncoder.load(build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = build_encoder(tmp_path_factory.mktemp("other"), max_length=128)
    return TokenEncoder.load(folder)


def scorer_of(encoder, file=None):
    return LateInteractionScorer(
        encoder,
        head=TokenHead(encoder=encoder.sha256),
        query_encoder=None if file is None else QueryEncoder.load(file, encoder),
    )


def bent(ranker, steps=4, rate=2e-3):
    """A few steps on LISTS, so that the layers are no copy any more."""
    wanted = [p for p in ranker.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(wanted, lr=rate)
    losses = []
    for _ in range(steps):
        loss = list_loss(ranker.scores(LISTS[:2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def values_of(ranker):
    with torch.no_grad():
        return [s.numpy() / ranker.scale for s in ranker.scores(LISTS)]


def test_before_the_first_step_it_is_the_scorer_without_a_part(tiny):
    found = values_of(load_query_ranker(encoder=tiny))
    for (query, texts), values in zip(LISTS, found, strict=True):
        assert values == pytest.approx(scorer_of(tiny).score(query, texts).values, abs=1e-3)


def test_what_is_trained_saved_and_loaded_is_what_the_scorer_computes(tiny, tmp_path):
    ranker = load_query_ranker(encoder=tiny)
    before = values_of(ranker)
    losses = bent(ranker)
    assert losses[-1] < losses[0]
    ranker.rescale(1.7)
    ranker.save(tmp_path)
    scorer = scorer_of(tiny, tmp_path / QUERY_FILE)
    again = load_query_ranker(str(tmp_path), encoder=tiny)
    assert again.scale == pytest.approx(ranker.scale, rel=1e-6)
    trained, loaded = values_of(ranker), values_of(again)
    assert np.abs(trained[0] - before[0]).max() > 0.02, "it has learned something to lose"
    for (query, texts), a, b in zip(LISTS, trained, loaded, strict=True):
        expected = scorer.score(query, texts).values
        assert a == pytest.approx(expected, abs=5e-3), "layers in float16"
        assert b == pytest.approx(expected, abs=1e-3), "the same layers; tokens in float16"


def test_the_encoder_never_changes_and_word_embeddings_are_not_trained(tiny):
    before = [v.tokens for v in tiny.encode(["red cat"])]
    ranker = load_query_ranker(encoder=tiny)
    bent(ranker)
    (body,) = ranker.module._body
    assert not any(p.requires_grad for p in body.embeddings.parameters())
    assert not any("embeddings" in n for n in ranker.module.state_dict()), "not in checkpoints"
    assert np.array_equal([v.tokens for v in tiny.encode(["red cat"])], before)


def test_dropout_stays_off_whatever_the_trainer_says(tiny):
    ranker = load_query_ranker(encoder=tiny)
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in ranker.module.modules())
    ranker.module.train()
    assert not any(m.training for m in ranker.module.modules())
    one, two = (ranker.scores(LISTS[:1])[0].detach() for _ in range(2))
    assert torch.equal(one, two)


def test_a_question_scores_the_same_whatever_is_beside_it(tiny):
    ranker = load_query_ranker(encoder=tiny)
    together = values_of(ranker)
    with torch.no_grad():
        for one, expected in zip(LISTS, together, strict=True):
            alone = ranker.scores([one])[0].numpy() / ranker.scale
            assert alone == pytest.approx(expected, abs=1e-5)


def test_long_questions_are_cut_as_the_encoder_cuts_them(tiny):
    ranker = load_query_ranker(encoder=tiny)
    with torch.no_grad():
        (found,) = ranker.read(["red cat " * 300])
    assert found.shape[0] == 254 == tiny.encode(["red cat " * 300])[0].tokens.shape[0]


def test_passages_come_from_the_store_and_are_put_there_once(tiny, tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=tiny.dimension)
    ranker = load_query_ranker(encoder=tiny, store=store)
    expected = values_of(load_query_ranker(encoder=tiny))
    for _ in range(2):
        for a, b in zip(values_of(ranker), expected, strict=True):
            assert a == pytest.approx(b, abs=1e-6)
    assert len(store) == len(set(TEXTS)), "passages alone: a question is read anew each time"


def test_starts_that_are_none(tiny, other, tmp_path):
    with pytest.raises(ModelNotFoundError, match="no query encoder for this encoder"):
        load_query_ranker("bundled", encoder=tiny)
    with pytest.raises(ConfigError, match="holds no query encoder"):
        load_query_ranker(str(tmp_path), encoder=tiny)
    ranker = load_query_ranker(encoder=tiny)
    bent(ranker, steps=1)
    ranker.save(tmp_path)
    with pytest.raises(WeightsMismatchError, match="tuned for the encoder"):
        load_query_ranker(str(tmp_path), encoder=other)
    started = load_query_ranker(str(tmp_path), encoder=tiny)
    assert started.start_sha256 == QueryEncoder.load(tmp_path / QUERY_FILE, tiny).sha256
    assert ranker.start_sha256 == tiny.sha256


# --- settings and the trainer ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("questions", "epochs", "batch"), [(50, 3, 8), (300, 3, 16), (1001, 2, 16), (9000, 1, 16)]
)
def test_settings_for_question_layers(questions, epochs, batch):
    found = query_settings(questions, seed=4)
    assert (found.epochs, found.batch, found.seed) == (epochs, batch, 4)
    assert found.lists == min(questions, 5000)
    assert (found.learning_rate, found.spoiled, found.mine_again) == (3e-5, 0.3, None)
    assert found.negatives + found.randoms == 48 and found.depth == 50 and found.prior


def test_too_few_questions_are_refused():
    with pytest.raises(InputError, match="49 questions to learn from are too few"):
        query_settings(49)


def state_of(trainer):
    return {n: t.clone() for n, t in trainer.ranker.module.state_dict().items()}


def test_it_learns_the_layers_and_the_scale_at_its_own_pace(tmp_path, tiny):
    fell = []
    for seed in (3, 4):  # one draw of so few questions can be lucky
        trainer = QueryTraining(
            tmp_path / "run" / str(seed), tiny, prior=False, epochs=6, learning_rate=3e-4,
            evaluate_every=24, seed=seed,
        )  # fmt: skip
        before = state_of(trainer)
        history = trainer.run().history
        fell.append(history[0].held_out_loss - history[-1].held_out_loss)
    assert np.mean(fell) > 0.25 and min(fell) > 0.1, fell
    after = state_of(trainer)
    learned = {n for n, p in trainer.ranker.module.named_parameters() if p.requires_grad}
    assert all(n == "scale" or n.startswith("encoder.") for n in learned)
    changed = [n for n in before if not torch.equal(before[n], after[n])]
    assert any("layer.0.attention" in n for n in changed), "down to the first layer"
    assert any("layer.1.output" in n for n in changed)
    assert sorted(p.name for p in (tmp_path / "run" / "4" / "best").iterdir()) == [
        QUERY_FILE, "rankgate_model.json",
    ]  # fmt: skip


def test_the_scale_moves_by_its_pace_and_weights_by_the_rate(tmp_path, tiny):
    trainer = QueryTraining(
        tmp_path / "run", tiny, lists=4, epochs=1, warmup=0.0, learning_rate=1e-5
    )
    before = state_of(trainer)
    trainer.run()
    after = state_of(trainer)
    moved = abs(float(after["scale"] - before["scale"]))
    # The first step of Adam moves everything by the rate, and the last one of a list of one.
    assert moved == pytest.approx(0.1, rel=0.05), "1e-5 at a pace of 1e4"
    weights = [
        float((after[n] - before[n]).abs().max()) for n in before if n.startswith("encoder.")
    ]
    assert 5e-6 < max(weights) < 2e-5


def test_stopped_by_time_and_resumed_it_ends_with_identical_weights(tmp_path, tiny):
    whole = QueryTraining(tmp_path / "whole", tiny)
    expected = whole.run()
    part, parts = run_in_parts(partial(QueryTraining, tmp_path / "parts", tiny), most=12)
    assert [p.stopped for p in parts] == ["time"] * 7 + ["finished"]
    assert parts[-1].history == expected.history
    one, two = state_of(whole), state_of(part)
    assert all(torch.equal(one[n], two[n]) for n in one)
    from safetensors.torch import load_file

    saved = [load_file(tmp_path / run / "best" / QUERY_FILE) for run in ("whole", "parts")]
    assert all(torch.equal(saved[0][n], saved[1][n]) for n in saved[0])
