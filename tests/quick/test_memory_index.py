"""The in-memory index, hybrid search over it, and the caches of vectors."""

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankgate.decide.signals import query_words
from rankgate.encoders import TokenStore, TokenVectors
from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import Fusion, MemoryIndex, TokenCache, VectorCache, hybrid_candidates
from rankgate.types import FirstStageKind


class WordEncoder:
    """Bags of words in 64 dimensions; remembers what it was asked, stops when told to."""

    def __init__(self, name="words", stop_after=None):
        self.name, self.sha256, self.dimension = name, "0" * 64, 64
        self.texts = []
        self.stop_after = stop_after

    def embed(self, texts):
        if self.stop_after is not None and len(self.texts) >= self.stop_after:
            raise KeyboardInterrupt
        self.texts += texts
        rows = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in query_words(text):
                row[int(hashlib.md5(word.encode()).hexdigest(), 16) % 64] += 1.0
        return rows


CORPUS = {
    "rain": "rain falls on the roof",
    "snow": "snow falls on the hill and on the roof",
    "sun": "sun shines all summer long",
    "rain2": "rain falls on the roof",
    "empty": "",
}


@pytest.fixture
def index():
    return MemoryIndex.build(CORPUS, encoder=WordEncoder(), documents={"rain": "weather.md"})


def ids(candidates):
    return [c.id for c in candidates]


def test_kinds_carry_their_scores(index):
    dense = index.search("rain roof", 3, kind="dense")
    bm25 = index.search("rain roof", 3, kind=FirstStageKind.BM25)
    hybrid = index.search("rain roof", 3)
    assert all(c.bm25 is None and c.dense is not None for c in dense)
    assert all(c.dense is None and c.bm25 > 0 for c in bm25)
    assert all(c.dense is not None and c.bm25 is not None for c in hybrid)
    assert [c.rank for c in hybrid] == [1, 2, 3]
    assert hybrid[0].id == "rain" and hybrid[0].metadata == {"document": "weather.md"}
    assert hybrid[0].text == CORPUS["rain"]


def test_ties_keep_corpus_order(index):
    for kind in ("dense", "bm25", "hybrid"):
        found = ids(index.search("rain", 5, kind=kind))
        assert found.index("rain") < found.index("rain2")


def test_dense_scores_are_the_cosines(index):
    query = "rain on the hill"
    vectors = WordEncoder().embed([query, *CORPUS.values()]).astype(np.float64)
    q, rows = vectors[0], vectors[1:]
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(q)
    wanted = np.divide(rows @ q, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    for c in index.search(query, 5, kind="dense"):
        assert c.dense == pytest.approx(wanted[list(CORPUS).index(c.id)], abs=1e-6)


def test_hidden_passages_do_not_exist(index):
    for kind in ("dense", "bm25", "hybrid"):
        before = ids(index.search("rain roof", 5, kind=kind))
        after = ids(index.search("rain roof", 5, kind=kind, hidden={"rain"}))
        assert after == [i for i in before if i != "rain"]
    assert ids(index.search("rain roof", 5)) == ids(index.search("rain roof", 5, hidden=()))
    everything = index.search("rain", 5, hidden=list(CORPUS))
    assert everything == []


def test_hidden_ranks_close_up_and_k_is_filled(index):
    found = index.search("falls", 2, kind="dense", hidden={"rain", "rain2"})
    assert [c.rank for c in found] == [1, 2]


def test_fusion_weights_count(index):
    only_bm25 = index.search("snow hill", 5, fusion=Fusion(dense_weight=0.0))
    assert ids(only_bm25) == ids(index.search("snow hill", 5, kind="bm25"))
    only_dense = index.search("snow hill", 5, fusion=Fusion(bm25_weight=0.0))
    assert ids(only_dense) == ids(index.search("snow hill", 5, kind="dense"))


def test_k_cuts_a_longer_list():
    rng = random.Random(1)
    words = "red green blue black white tall short old new fast".split()
    corpus = {f"p{i}": " ".join(rng.choices(words, k=6)) for i in range(120)}
    index = MemoryIndex.build(corpus, encoder=WordEncoder())
    for kind in ("dense", "bm25", "hybrid"):
        long = index.search("red tall", 40, kind=kind)
        assert ids(index.search("red tall", 7, kind=kind)) == ids(long)[:7]
    assert len(index.search("red tall", 100, kind="dense")) == 100


def test_bm25_alone_needs_no_encoder():
    index = MemoryIndex.build(CORPUS)
    assert not index.has_dense
    assert ids(index.search("summer", 5, kind="bm25")) == ["sun"]
    assert index.search("?!", 5, kind="bm25") == []
    with pytest.raises(InputError, match="kind='bm25'"):
        index.search("summer", 5)


def test_wrong_use(index):
    for bad in ("order", "sparse"):
        with pytest.raises(InputError, match="hybrid, dense, bm25"):
            index.search("x", 1, kind=bad)
    with pytest.raises(InputError, match="k must be"):
        index.search("x", 0)
    with pytest.raises(InputError, match="'ghost'"):
        index.search("x", 1, hidden=["ghost"])
    with pytest.raises(InputError, match="needs passages"):
        MemoryIndex.build({})


def test_a_question_is_encoded_once():
    encoder = WordEncoder()
    index = MemoryIndex.build(CORPUS, encoder=encoder)
    first = index.search("rain", 5)
    asked = len(encoder.texts)
    assert index.search("rain", 5) == first
    assert len(encoder.texts) == asked
    index.search("sun", 1)
    assert encoder.texts[-1] == "sun"


def test_the_cache_survives_and_only_new_texts_are_encoded(tmp_path):
    first = WordEncoder()
    a = MemoryIndex.build(CORPUS, encoder=first, cache=tmp_path / "vectors")
    a.close()
    second = WordEncoder()
    changed = {**CORPUS, "sun": "sun sets", "new": "rain falls on the roof"}
    b = MemoryIndex.build(changed, encoder=second, cache=tmp_path / "vectors")
    assert second.texts == ["sun sets"], "same content under another id is known"
    assert np.array_equal(a.matrix[0], b.matrix[0])
    b.close()
    other = WordEncoder(name="another")
    MemoryIndex.build(CORPUS, encoder=other, cache=tmp_path / "vectors").close()
    assert len(other.texts) == 4, "another encoder's vectors are not taken"


def test_encoding_resumes_where_it_stopped(tmp_path):
    corpus = {f"p{i}": f"text number {i}" for i in range(300)}
    with pytest.raises(KeyboardInterrupt):
        MemoryIndex.build(corpus, encoder=WordEncoder(stop_after=128), cache=tmp_path)
    seen = []
    encoder = WordEncoder()
    index = MemoryIndex.build(
        corpus, encoder=encoder, cache=tmp_path, progress=lambda done, n: seen.append((done, n))
    )
    index.close()
    assert len(encoder.texts) == 300 - 128
    assert seen == [(128, 300), (256, 300), (300, 300)]


class Broken(WordEncoder):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def embed(self, texts):
        return np.array(self.rows, dtype=np.float32)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[np.nan] * 64], np.ones((2, 64)), np.ones(64)])
def test_an_encoder_that_returns_nonsense(rows, tmp_path):
    cache = VectorCache(Broken(rows), tmp_path)
    for _ in range(2):  # nothing of it may have been kept
        with pytest.raises(InputError, match="encoder 'words' returned"):
            cache.embed(["x"])
    cache.close()


def test_cache_odd_texts_and_no_texts(tmp_path):
    cache = VectorCache(WordEncoder(), tmp_path)
    assert cache.embed([]).shape == (0, 64)
    rows = cache.embed(["a\ud800b", "", "x\x00y", "a\ud800b"])
    assert rows.shape == (4, 64) and np.array_equal(rows[0], rows[3])
    assert np.linalg.norm(rows[0]) == pytest.approx(1.0) and not rows[1].any()
    cache.close()


def test_a_damaged_cache_says_what_to_do(tmp_path):
    cache = VectorCache(WordEncoder(), tmp_path)
    cache.close()
    cache.path.write_bytes(b"not a database, but long enough to look like a file" * 100)
    with pytest.raises(ConfigError, match="delete the file"):
        VectorCache(WordEncoder(), tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="name another folder"):
        VectorCache(WordEncoder(), tmp_path / "file")


class Reader(WordEncoder):
    """Token vectors too: one token, the pooled vector itself."""

    def encode(self, texts):
        return [
            TokenVectors(tokens=row[None].astype(np.float16), pooled=row, truncated=False)
            for row in self.embed(texts)
        ]


@pytest.mark.parametrize("kept", [True, False])
def test_a_token_cache_reads_each_text_once(tmp_path, kept):
    reader = Reader()
    store = TokenStore(tmp_path / "t.sqlite", encoder="words", dimension=64) if kept else None
    cache = TokenCache(reader, store)
    rows = cache.embed(["rain", "snow", "rain"])
    assert np.array_equal(rows, WordEncoder().embed(["rain", "snow", "rain"]))
    assert set(cache.token_vectors(["snow", "sun"])) == {"snow", "sun"}
    told = []
    cache.fill(["sun", "hill", "hill"], progress=lambda done, n: told.append((done, n)))
    assert reader.texts == ["rain", "snow", "sun", "hill"] and told == [(1, 1)]
    assert cache.embed([]).shape == (0, 64)
    if store is not None:
        store.close()


def test_caches_stack_and_questions_are_not_kept(tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder="words", dimension=64)
    reader = Reader()
    folder = tmp_path / "vectors"
    index = MemoryIndex.build(
        CORPUS, encoder=reader, passages=TokenCache(reader, store), cache=folder
    )
    index.search("a question", 2)
    assert len(store) == len(set(CORPUS.values())) and store.missing(["a question"])
    index.close()
    again = Reader()
    second = MemoryIndex.build(CORPUS, encoder=again, cache=folder)
    second.search("a question", 2)
    assert again.texts == ["a question"], "passages are known, a question never is"
    second.close()
    store.close()


WORDS = [f"{a}{b}" for a in ("bar", "lin", "mos", "tek") for b in ("an", "el", "is", "or")]
texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=90
)


class Partial:
    """An approximate index: it finds every second of the nearest, and knows all scores."""

    def __init__(self, lists):
        self.lists = lists
        self.bm25, self.bm25_scores = lists.bm25, lists.bm25_scores
        self.dense_scores = lists.dense_scores

    def dense(self, depth):
        return dict(list(self.lists.dense(depth).items())[::2])


@given(
    passages=texts,
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    other=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    gone=st.sets(st.integers(0, 89), max_size=10),
    k=st.integers(1, 120),
)
def test_every_score_is_computed_whoever_found_the_passage(passages, query, other, gone, k):
    index = MemoryIndex.build({f"p{i}": t for i, t in enumerate(passages)}, encoder=WordEncoder())
    asked = index.ask(query)
    away = {f"p{i}" for i in gone}
    found = hybrid_candidates(
        Partial(asked),
        k=k,
        fusion=Fusion(),
        fetch=index.fetch,
        also=[(index.ask(other), 2.0)],
        present=lambda ids: set(ids) - away,
    )
    index.close()
    assert not away & set(ids(found))
    assert [c.rank for c in found] == list(range(1, len(found) + 1)) and len(found) <= k
    assert [c.dense for c in found] == asked.dense_scores(ids(found))
    assert [c.bm25 for c in found] == index.bm25.scores(query, ids(found))
    assert [c.text for c in found] == [index.corpus[i] for i in ids(found)]


@given(passages=texts, gone=st.sets(st.integers(0, 89), max_size=10), k=st.integers(1, 120))
def test_hidden_in_memory_is_absent_from_a_store(passages, gone, k):
    # The two ways to be without a passage: evaluation hides it, an application has lost it.
    index = MemoryIndex.build({f"p{i}": t for i, t in enumerate(passages)}, encoder=WordEncoder())
    away = {f"p{i}" for i in gone} & set(index.ids)
    hidden = index.search("baran linel", k, hidden=away)
    lists = index.ask("baran linel")
    deep = hybrid_candidates(
        All(lists, len(index.ids)),
        k=k,
        fusion=Fusion(),
        fetch=index.fetch,
        present=lambda ids: set(ids) - away,
    )
    index.close()
    assert [(c.id, c.rank, c.dense, c.bm25) for c in hidden] == [
        (c.id, c.rank, c.dense, c.bm25) for c in deep
    ]


class All:
    """Lists that are read to the end, whatever depth is asked for."""

    def __init__(self, lists, n):
        self.lists, self.n = lists, n
        self.dense_scores, self.bm25_scores = lists.dense_scores, lists.bm25_scores

    def dense(self, depth):
        return self.lists.dense(self.n)

    def bm25(self, depth):
        return self.lists.bm25(self.n)
