"""Question layers of one's own: the file, what it is checked for, and the scorer that has them."""

import json
import pickle
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_models import build_encoder, layers_of

from rankgate.encoders import (
    QueryEncoder,
    TokenEncoder,
    TokenHead,
    TokenStore,
    bundled,
    save_query_layers,
)
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, ModelNotFoundError, WeightsMismatchError
from rankgate.scorers.late_interaction import LateInteractionScorer, maxsim
from rankgate.scorers.protocol import ScoreContext

TEXTS = ["the red cat sat in paris", "a dog in berlin", "", "blue sky and green water " * 12]
QUESTIONS = ["cat of paris", "", "where is the blue sky", "red " * 300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256)


@pytest.fixture(scope="module")
def tiny(folder):
    return TokenEncoder.load(folder)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return TokenEncoder.load(build_encoder(tmp_path_factory.mktemp("other"), max_length=128))


def changed_layers(encoder, by=0.1):
    """The encoder's layers, each number moved a little."""
    draw = np.random.default_rng(7)
    return {
        n: values + by * draw.normal(size=values.shape).astype(np.float32)
        if "encoder.layer." in n
        else values
        for n, values in sorted(layers_of(encoder).items())
    }


@pytest.fixture(scope="module")
def file(tiny, tmp_path_factory):
    target = tmp_path_factory.mktemp("layers") / "query-encoder.safetensors"
    save_query_layers(changed_layers(tiny), target, encoder=tiny.sha256)
    return target


@pytest.fixture(scope="module")
def layers(file, tiny):
    return QueryEncoder.load(file, tiny)


def rewritten(file, target, *, about=None, drop=None, add=None, reshape=None):
    """The same file with something wrong in it."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(str(file), framework="np") as data:
        metadata = data.metadata()
        state = {name: data.get_tensor(name) for name in data.keys()}
    names = sorted(state)
    if drop:
        del state[names[0]]
    if add:
        state["embeddings.word_embeddings.weight"] = np.zeros((2, 2), np.float32)
    if reshape:
        state[names[0]] = np.zeros(3, np.float16)
    save_file(state, str(target), metadata={**metadata, **(about or {})})
    return target


# --- the file -------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_read(tiny, file, layers):
    state = {n: v.astype(np.float16) for n, v in changed_layers(tiny).items()}
    by_hand = tiny.with_layers(state).encode(QUESTIONS)
    plain = tiny.encode(QUESTIONS)
    for found, wanted, before in zip(layers.encode(QUESTIONS), by_hand, plain, strict=True):
        assert found.tokens.shape == wanted.tokens.shape == before.tokens.shape
        assert np.array_equal(found.tokens, wanted.tokens)
        assert found.truncated == before.truncated
    first = layers.encode(QUESTIONS[:1])[0].tokens.astype(float)
    assert np.abs(first - plain[0].tokens.astype(float)).max() > 0.05, "layers of its own"
    assert layers.sha256 == file_sha256(file)


def test_only_layers_are_written_in_half_precision(tiny, file):
    from safetensors import safe_open

    with safe_open(str(file), framework="np") as data:
        names = list(data.keys())
        assert data.metadata() == {"format": "1", "encoder": tiny.sha256}
        assert {data.get_tensor(n).dtype for n in names} == {np.dtype(np.float16)}
    assert set(names) == {n for n in layers_of(tiny) if "encoder.layer." in n}
    assert not list(file.parent.glob(".*.part"))


def test_what_is_written_is_the_hash_that_is_told(tiny, tmp_path):
    told = save_query_layers(changed_layers(tiny), tmp_path / "a", encoder=tiny.sha256)
    assert told == file_sha256(tmp_path / "a")
    assert QueryEncoder.load(tmp_path / "a", tiny, sha256=told).sha256 == told


def test_the_hash_is_checked_where_it_is_given(tiny, file):
    assert QueryEncoder.load(file, tiny, sha256=file_sha256(file)).sha256 == file_sha256(file)
    with pytest.raises(WeightsMismatchError, match="expected 000"):
        QueryEncoder.load(file, tiny, sha256="0" * 64)


def test_no_file_and_another_encoders_file(tiny, other, file, tmp_path):
    with pytest.raises(ModelNotFoundError, match="no query encoder at") as caught:
        QueryEncoder.load(tmp_path / "none", tiny)
    assert "`rankgate train DATA --method query`" in str(caught.value)
    assert "scorer = late-interaction" in str(caught.value)
    with pytest.raises(ModelNotFoundError):
        QueryEncoder.load(tmp_path, tiny)
    with pytest.raises(WeightsMismatchError, match="tuned for the encoder"):
        QueryEncoder.load(file, other)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_damaged_file_is_named(tiny, file, tmp_path, keep):
    whole = file.read_bytes()
    (tmp_path / "cut").write_bytes(whole[:keep])
    with pytest.raises(ConfigError, match="is not a query encoder"):
        QueryEncoder.load(tmp_path / "cut", tiny)


def test_a_file_that_claims_gigabytes_is_refused_unread(tiny, tmp_path):
    header = json.dumps(
        {"x": {"dtype": "F16", "shape": [10**10], "data_offsets": [0, 2 * 10**10]}}
    ).encode()
    (tmp_path / "huge").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ConfigError, match="is not a query encoder"):
        QueryEncoder.load(tmp_path / "huge", tiny)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"about": {"format": "2"}}, "format '2', not '1'"),
        ({"drop": True}, "does not hold the layers"),
        ({"add": True}, "does not hold the layers"),
        ({"reshape": True}, "another shape"),
    ],
)
def test_a_file_of_something_else_is_refused(tiny, file, tmp_path, wrong, said):
    target = rewritten(file, tmp_path / "wrong.safetensors", **wrong)
    with pytest.raises(ConfigError, match=said):
        QueryEncoder.load(target, tiny)


def test_what_cannot_be_written_leaves_no_file(tiny, tmp_path):
    target = tmp_path / "q.safetensors"
    with pytest.raises(ConfigError, match=r"holds no encoder\.layer"):
        save_query_layers({"pooler.weight": np.zeros(2)}, target, encoder="e")
    state = changed_layers(tiny)
    name = next(n for n in state if "encoder.layer." in n)
    state[name].flat[0] = 1e6  # finite, but not in half precision
    with pytest.raises(ConfigError, match="not finite in float16"):
        save_query_layers(state, target, encoder="e")
    with pytest.raises(ConfigError, match="30000000 are allowed"):
        save_query_layers(
            {"encoder.layer.0.w": np.zeros(16_000_000, np.float16)}, target, encoder="e"
        )
    assert not list(tmp_path.iterdir())


# --- what is shared -------------------------------------------------------------------------


def test_a_file_is_read_once_for_each_encoder_and_anew_when_it_has_changed(tiny, folder, tmp_path):
    file = tmp_path / "q.safetensors"
    save_query_layers(changed_layers(tiny), file, encoder=tiny.sha256)
    first = QueryEncoder.load(file, tiny)
    assert QueryEncoder.load(file, tiny, sha256=first.sha256) is first
    assert pickle.loads(pickle.dumps(first)) is first, "what is unpickled here is here already"
    twin = tiny.with_layers(layers_of(tiny))
    assert QueryEncoder.load(file, twin).encoder is twin, "each encoder shares its own embeddings"
    before = first.encode(QUESTIONS[:1])[0].tokens
    save_query_layers(changed_layers(tiny, by=0.3), file, encoder=tiny.sha256)
    second = QueryEncoder.load(file, tiny)
    assert second is not first and second.sha256 == file_sha256(file) != first.sha256
    assert np.abs(second.encode(QUESTIONS[:1])[0].tokens.astype(float) - before).max() > 0.05
    assert (first.encode(QUESTIONS[:1])[0].tokens == before).all()


def test_threads_that_load_at_once_get_the_same_layers(tiny, file, tmp_path):
    copy = tmp_path / "q.safetensors"
    copy.write_bytes(file.read_bytes())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: QueryEncoder.load(copy, tiny), range(8)))
    assert len({id(one) for one in found}) == 1


def test_the_encoder_reads_as_before(folder, tiny, file):
    before = tiny.encode(TEXTS)
    QueryEncoder.load(file, tiny).encode(QUESTIONS)
    for a, b in zip(before, tiny.encode(TEXTS), strict=True):
        assert (a.tokens == b.tokens).all()


# --- processes and threads ------------------------------------------------------------------


def test_pickled_it_comes_back_over_the_shared_encoder(layers, tiny):
    raw = pickle.dumps(layers)
    assert len(raw) < 2_000, "a path travels, not the weights"
    again = pickle.loads(raw)
    assert again.sha256 == layers.sha256 and again.encoder is tiny
    for a, b in zip(again.encode(QUESTIONS), layers.encode(QUESTIONS), strict=True):
        assert (a.tokens == b.tokens).all()


def test_a_scorer_with_it_travels_too(layers, tiny):
    scorer = LateInteractionScorer(tiny, head=TokenHead(encoder=tiny.sha256), query_encoder=layers)
    again = pickle.loads(pickle.dumps(scorer))
    assert again.info == scorer.info
    expected = scorer.score(QUESTIONS[0], TEXTS).values
    assert (again.score(QUESTIONS[0], TEXTS).values == expected).all()


FORKING = """
import os, sys, threading
import rankgate.encoders as models
encoder = models.TokenEncoder.load(sys.argv[1])
layers = models.QueryEncoder.load(sys.argv[2], encoder)
text = "where is the cat of paris " * 20
before = layers.encode([text] * 20)  # the parent has threads by now
child = os.fork()
if child == 0:
    same = layers.encode([text])[0].tokens.tobytes() == before[0].tokens.tobytes()
    os._exit(0 if same else 3)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


def test_it_reads_the_same_in_a_forked_process(folder, file):
    # A process of its own: one that runs tests has more threads than a user's would.
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(folder), str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_threads_read_what_one_reads_alone(layers, tiny):
    wanted = [v.tokens for v in layers.encode(QUESTIONS)]
    passages = [v.tokens for v in tiny.encode(TEXTS)]
    wrong = []

    def work(turn):
        for _ in range(10):
            reader, texts, expected = (
                (layers, QUESTIONS, wanted) if turn % 2 else (tiny, TEXTS, passages)
            )
            for found, one in zip(reader.encode(texts), expected, strict=True):
                if not np.array_equal(found.tokens, one):
                    wrong.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- the scorer -----------------------------------------------------------------------------


def test_the_scorer_reads_questions_with_it_and_passages_without(tiny, layers, tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=tiny.dimension)
    store.put_many(dict(zip(TEXTS, tiny.encode(TEXTS), strict=True)))
    scorer = LateInteractionScorer(tiny, token_store=store, query_encoder=layers)
    found = scorer.score(QUESTIONS[0], TEXTS)
    asked = layers.encode(QUESTIONS[:1])[0].tokens.astype(np.float32)
    assert found.values == pytest.approx(maxsim(asked, tiny.encode(TEXTS)), abs=1e-6)
    assert found.stats.cached == 4, "the same stored vectors serve it"
    plain = LateInteractionScorer(tiny).score(QUESTIONS[0], TEXTS).values
    assert np.abs(found.values - plain).max() > 0.01


def test_parts_are_named_in_id_and_hash(tiny, layers, other):
    head = TokenHead(encoder=tiny.sha256)
    infos = [
        LateInteractionScorer(tiny, head=h, query_encoder=q).info
        for h in (None, head)
        for q in (None, layers)
    ]
    assert len({i.id for i in infos}) == len({i.weights for i in infos}) == 4
    plain, asked, _, both = infos
    assert plain.weights == tiny.sha256
    assert f"+query-{layers.sha256[:8]}" in asked.id and "+head-" not in asked.id
    assert f"+query-{layers.sha256[:8]}+head-{head.sha256[:8]}" in both.id
    assert [i.scale for i in infos] == ["maxsim-mean", "maxsim-mean", *["maxsim-head"] * 2]
    assert all(len(i.weights) == 64 for i in infos)
    with pytest.raises(WeightsMismatchError, match="tuned for"):
        LateInteractionScorer(other, query_encoder=layers)


def test_load_takes_a_file_and_mixes_the_window_in(folder, tiny, layers, file):
    loaded = LateInteractionScorer.load(folder, query=file)
    assert loaded.query_encoder.sha256 == layers.sha256
    assert (loaded.head.window, loaded.head.mix) == (32, 0.5)
    expected = TokenHead(encoder=tiny.sha256).scores(
        layers.encode(QUESTIONS[:1])[0].tokens.astype(np.float32), tiny.encode(TEXTS)
    )
    assert loaded.score(QUESTIONS[0], TEXTS).values == pytest.approx(expected, abs=1e-6)


def test_plain_is_maxsim_alone_and_refuses_a_query_encoder(folder, tiny, file):
    plain = LateInteractionScorer.load(folder, plain=True)
    assert plain.head is None and plain.query_encoder is None
    asked = tiny.encode(QUESTIONS[:1])[0].tokens.astype(np.float32)
    expected = maxsim(asked, tiny.encode(TEXTS))
    assert plain.score(QUESTIONS[0], TEXTS).values == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="plain late interaction has no query encoder"):
        LateInteractionScorer.load(folder, plain=True, query=file)


def test_another_encoder_has_no_bundled_layers(tiny):
    assert bundled.bundled_query_encoder(tiny) is None


def test_a_request_that_is_cancelled_reads_no_question(tiny, layers):
    context = ScoreContext()
    context.cancelled.set()
    scorer = LateInteractionScorer(tiny, query_encoder=layers)
    assert not scorer.score(QUESTIONS[0], TEXTS, context).scored.any()
