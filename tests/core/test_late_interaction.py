"""Late interaction: MaxSim against a loop, the encoder against sentence-transformers."""

import subprocess
import sys

import numpy as np
import pytest

from rankgate import Deadline, ScoreContext
from rankgate.encoders import MINILM_SHA256, TokenStore, TokenVectors, find_minilm
from rankgate.encoders.head import TokenHead
from rankgate.encoders.packing import packed, rotation, unpacked
from rankgate.errors import ModelNotFoundError, WeightsMismatchError
from rankgate.scorers import LateInteractionScorer
from rankgate.scorers.late_interaction import maxsim

TEXTS = ["Gravity bends light.", "Bread needs flour, water and salt.", "", "a " * 600]


def vectors_of(rng, length):
    rows = rng.normal(size=(length, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return TokenVectors(
        tokens=rows.astype(np.float16),
        pooled=rows[0] if length else np.zeros(8, np.float32),
        truncated=False,
    )


def test_maxsim_equals_the_definition_and_never_matches_padding():
    rng = np.random.default_rng(1)
    query = vectors_of(rng, 4).tokens.astype(np.float32)
    passages = [vectors_of(rng, n) for n in (3, 1, 0, 7)]
    kept = [unpacked([packed(p)], 8) @ rotation(8).T for p in passages]
    expected = [
        np.mean([max(min(float(q @ t), 1.0) for t in rows) for q in query]) if len(rows) else -1.0
        for rows in kept
    ]
    assert maxsim(query, passages) == pytest.approx(expected, abs=1e-6)
    opposite = TokenVectors(tokens=-query[:1].astype(np.float16), pooled=query[0], truncated=False)
    assert maxsim(query[:1], [opposite])[0] == pytest.approx(-1.0, abs=1e-3), (
        "a padding 0 would win"
    )
    assert maxsim(query[:0], passages[:2]).tolist() == [0.0, 0.0]


@pytest.mark.model
def test_pooled_vectors_are_those_of_sentence_transformers(encoder):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(encoder.files.folder), local_files_only=True)
    reference.max_seq_length = 256
    ours = encoder.embed(TEXTS)
    theirs = reference.encode(TEXTS, normalize_embeddings=True)
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.model
def test_scores_are_cosines_and_count_what_was_cut(encoder):
    scores = LateInteractionScorer(encoder).score("What bends light?", TEXTS)
    assert scores.values[0] == scores.values.max() and np.abs(scores.values).max() <= 1.001
    assert scores.stats.truncated == 1 and scores.stats.pairs == 4
    same = LateInteractionScorer(encoder).score("What bends light?", ["What bends light?"])
    assert same.values[0] == pytest.approx(1.0, abs=2e-3)


@pytest.mark.model
def test_stored_tokens_give_the_same_scores_and_only_the_query_is_read(encoder, tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder=encoder.sha256, dimension=encoder.dimension)
    store.put_many(dict(zip(TEXTS, encoder.encode(TEXTS), strict=True)))
    fresh = LateInteractionScorer(encoder).score("flour", TEXTS)
    stored = LateInteractionScorer(encoder, token_store=store).score("flour", TEXTS)
    assert stored.values == pytest.approx(fresh.values, abs=2e-3)
    assert stored.stats.cached == 4 and stored.stats.tokens < 5 < fresh.stats.tokens
    store.delete_texts(TEXTS[:1])
    assert len(store) == 3
    store.close()
    other = TokenStore(tmp_path / "t.sqlite", encoder="another", dimension=384)
    assert len(other) == 0, "vectors of another encoder must never be read"
    other.close()


@pytest.mark.model
def test_a_deadline_leaves_a_prefix(encoder):
    class Clock:
        now = 0.0

        def __call__(self):
            self.now += 1.0
            return self.now

    deadline = Deadline(expires_at=3.5, clock=Clock())
    scores = LateInteractionScorer(encoder).score(
        "q", [f"text {i}" for i in range(30)], ScoreContext(deadline=deadline)
    )
    read = int(scores.scored.sum())
    assert 0 < read < 30 and scores.scored[:read].all()


def test_the_model_is_the_published_one_or_named_by_its_hash(tmp_path):
    found = find_minilm()
    assert (found.sha256, found.found_in, found.name) == (
        MINILM_SHA256,
        "package",
        "all-MiniLM-L6-v2",
    )
    with pytest.raises(ModelNotFoundError, match=r"no model\.safetensors"):
        find_minilm(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    mine = find_minilm(tmp_path)
    assert mine.name.startswith(tmp_path.name) and mine.found_in == "path"
    from rankgate.encoders.locate import _checked

    with pytest.raises(WeightsMismatchError, match=MINILM_SHA256):
        _checked(tmp_path, "package")


FORK = """
import os
import numpy as np
from rankgate.scorers import LateInteractionScorer

scorer = LateInteractionScorer.load()
texts = ["cats eat mice", "dogs bark"] * 20
before = scorer.score("what eats mice", texts).values
child = os.fork()
if child == 0:
    again = scorer.score("what eats mice", texts).values
    os._exit(0 if np.allclose(before, again, atol=1e-4) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.model
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not():
    """Without `survive_fork` the child hangs in OpenMP once its parent has run torch."""
    done = subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False)
    assert done.returncode == 0


def test_the_heads_hash_is_the_same_under_every_numpy():
    # It is part of the scorer's name: where it differs, no policy fits.
    digest = "cbfbf218c542fd88f3731b53e281bd44f97077a7055775da093b6f7545495932"
    assert TokenHead(encoder="ab" * 32).sha256 == digest
