"""The head over late interaction: what it computes, what it saves, how it is trained."""

import numpy as np
import pytest
from tiny_models import build_encoder

from rankgate.encoders import TokenEncoder, TokenHead, TokenStore, TokenVectors
from rankgate.errors import ConfigError, InputError, ModelNotFoundError, WeightsMismatchError
from rankgate.scorers.late_interaction import LateInteractionScorer, maxsim
from rankgate_eval.train.engine import list_loss
from rankgate_eval.train.engine.head import load_head_ranker

RNG = np.random.default_rng(0)


def units(n, d=8):
    rows = RNG.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passage(n):
    rows = units(n) if n else np.zeros((0, 8), dtype=np.float32)
    return TokenVectors(tokens=rows.astype(np.float16), pooled=units(1)[0], truncated=False)


PASSAGES = [passage(n) for n in (1, 7, 0, 8, 9, 40, 100, 3)]
QUERY = units(5)


def head(**changed):
    return TokenHead(**{"encoder": "e" * 64, "window": 8, "mix": 0.5, **changed})


def by_hand(query, one, *, window, mix, salience=None, matrix=None):
    tokens = one.tokens.astype(np.float32)
    if not len(tokens):
        return -1.0
    raw = np.zeros(len(query)) if salience is None else query @ salience
    weights = np.exp(raw) / np.exp(raw).sum()
    asked = query if matrix is None else query + query @ matrix
    similar = tokens @ asked.T
    windows = [
        similar[at : at + window].max(0) @ weights for at in range(0, len(tokens), window // 2)
    ]
    return mix * max(windows) + (1.0 - mix) * (similar.max(0) @ weights)


def test_without_anything_it_is_plain_maxsim():
    found = head(mix=0.0).scores(QUERY, PASSAGES)
    assert found == pytest.approx(maxsim(QUERY, PASSAGES), abs=1e-6)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("window", [2, 8, 32])
def test_windows_salience_and_matrix_are_what_they_are_by_hand(mix, window):
    settings = {
        "window": window,
        "mix": mix,
        "salience": units(1)[0] * 3.0,
        "matrix": RNG.normal(size=(8, 8)).astype(np.float32) * 0.2,
    }
    found = head(**settings).scores(QUERY, PASSAGES)
    expected = [by_hand(QUERY, p, **settings) for p in PASSAGES]
    assert found == pytest.approx(expected, abs=1e-5)


def test_nothing_in_the_question_or_in_the_passages():
    assert (head().scores(QUERY[:0], PASSAGES) == 0.0).all()
    assert (head().scores(QUERY, [passage(0), passage(0)]) == -1.0).all()
    assert head().scores(QUERY, []).shape == (0,)


def test_a_passage_scores_the_same_alone():
    together = head().scores(QUERY, PASSAGES)
    for one, expected in zip(PASSAGES, together, strict=True):
        assert head().scores(QUERY, [one])[0] == pytest.approx(expected, abs=1e-6)


def test_what_is_saved_is_loaded_and_its_hash_is_checked(tmp_path):
    matrix = RNG.normal(size=(8, 8)).astype(np.float32)
    made = head(salience=units(1)[0], matrix=matrix, mix=0.0)
    sha = made.save(tmp_path / "head.npz")
    assert sha == made.sha256
    again = TokenHead.load(tmp_path / "head.npz", sha256=sha, encoder="e" * 64)
    assert again.mix == 0.0 and again.window == 8
    assert (again.matrix == matrix).all() and (again.salience == made.salience).all()
    with pytest.raises(WeightsMismatchError, match="expected 00"):
        TokenHead.load(tmp_path / "head.npz", sha256="0" * 64)
    with pytest.raises(WeightsMismatchError, match="trained for the encoder eee"):
        TokenHead.load(tmp_path / "head.npz", encoder="f" * 64)
    with pytest.raises(ModelNotFoundError):
        TokenHead.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="is not a head"):
        TokenHead.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    "changed", [{"window": 7}, {"window": 0}, {"mix": 1.1}, {"salience": np.full(8, np.nan)}]
)
def test_impossible_heads_are_refused(changed):
    with pytest.raises(ConfigError):
        head(**changed)


def test_a_head_that_is_too_large_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="bytes"):
        head(matrix=np.zeros((800, 800), dtype=np.float32)).save(tmp_path / "head.npz")
    assert not (tmp_path / "head.npz").exists()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return TokenEncoder.load(build_encoder(tmp_path_factory.mktemp("tiny-encoder")))


TEXTS = ["the red cat sat in paris", "a dog in berlin", "", "blue sky " * 15]


def test_the_scorer_with_a_head_is_another_scorer(tiny, tmp_path):
    made = TokenHead(encoder=tiny.sha256, window=4, mix=1.0)
    plain, headed = LateInteractionScorer(tiny), LateInteractionScorer(tiny, head=made)
    assert headed.info.scale == "maxsim-head" != plain.info.scale
    assert headed.info.weights != plain.info.weights and headed.info.id != plain.info.id
    scores = headed.score("cat of paris", TEXTS)
    assert scores.scale == "maxsim-head"
    query = tiny.encode(["cat of paris"])[0].tokens.astype(np.float32)
    assert scores.values == pytest.approx(made.scores(query, tiny.encode(TEXTS)), abs=1e-5)
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=tiny.dimension)
    store.put_many(dict(zip(TEXTS, tiny.encode(TEXTS), strict=True)))
    stored = LateInteractionScorer(tiny, token_store=store, head=made).score("cat of paris", TEXTS)
    assert stored.stats.cached == 4, "the same stored vectors serve it"
    assert stored.values == pytest.approx(scores.values, abs=1e-5)
    with pytest.raises(WeightsMismatchError):
        LateInteractionScorer(tiny, head=head())


@pytest.mark.parametrize("parts", [("salience",), ("matrix",), ("salience", "matrix"), ()])
def test_what_is_trained_is_what_the_scorer_computes(tiny, tmp_path, parts):
    import torch

    ranker = load_head_ranker(parts=parts, window=4, encoder=tiny)
    lists = [("cat of paris", TEXTS), ("blue sky", TEXTS[::-1])]
    optimizer = torch.optim.Adam(ranker.module.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss = list_loss(ranker.scores(lists))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    ranker.save(tmp_path)
    again = load_head_ranker(str(tmp_path), encoder=tiny)
    scorer = LateInteractionScorer(tiny, head=TokenHead.load(tmp_path / "head.npz"))
    scale = float(ranker.module.scale.detach())
    for (query, texts), a, b in zip(lists, ranker.scores(lists), again.scores(lists), strict=True):
        assert a.detach().numpy() == pytest.approx(b.detach().numpy(), abs=1e-5)
        expected = a.detach().numpy() / scale
        assert scorer.score(query, texts).values == pytest.approx(expected, abs=1e-4)


def test_unknown_parts_and_folders_without_a_head_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="got 'colour'"):
        load_head_ranker(parts=("colour",), encoder=tiny)
    with pytest.raises(ConfigError, match="holds no head"):
        load_head_ranker(str(tmp_path), encoder=tiny)
