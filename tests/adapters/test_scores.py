"""What a store's scores mean is found by looking, whatever it returns and whoever embeds."""

import math
import pickle

import numpy as np
import pytest

from rankgate.adapters.scales import SCALES, best_first, scales_that_fit
from rankgate.adapters.scores import ScoreReader
from rankgate.errors import ConfigError

RNG = np.random.default_rng(7)


def l2(q, d):
    return float(np.sum(np.square(q - d)))


def cos(q, d):
    return float(q @ d / np.linalg.norm(q) / np.linalg.norm(d))


# Written from the stores' own documentation, not from the code under test.
FORWARD = {
    "cosine similarity": cos,
    "cosine distance": lambda q, d: 1 - cos(q, d),
    "squared L2 distance": l2,
    "inner product": lambda q, d: float(q @ d),
    "inner product distance": lambda q, d: 1 - float(q @ d),
    "negative inner product": lambda q, d: -float(q @ d),
    "L2 distance": lambda q, d: math.sqrt(l2(q, d)),
    "relevance of squared L2": lambda q, d: 1 - l2(q, d) / math.sqrt(2),
    "relevance of L2": lambda q, d: 1 - math.sqrt(l2(q, d)) / math.sqrt(2),
    "halved cosine": lambda q, d: (1 + cos(q, d)) / 2,
    "exp(-cosine distance)": lambda q, d: math.exp(cos(q, d) - 1),
    "exp(-squared L2)": lambda q, d: math.exp(-l2(q, d)),
    "exp(-inner product distance)": lambda q, d: math.exp(float(q @ d) - 1),
    "1 / (1 + cosine distance)": lambda q, d: 1 / (2 - cos(q, d)),
    "1 / (1 + squared L2)": lambda q, d: 1 / (1 + l2(q, d)),
    "1 / (1 + L2)": lambda q, d: 1 / (1 + math.sqrt(l2(q, d))),
}


class Store:
    """Passages with vectors, scored in one way, and an embedder that knows them."""

    def __init__(self, scale, *, n=12, dims=8, unit=True, towards=0.0):
        vectors = RNG.normal(size=(n + 4, dims))
        vectors[:, 0] += towards
        if unit:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.passages = {f"p{i}": v for i, v in enumerate(vectors[:n])}
        self.queries = {f"q{i}": v for i, v in enumerate(vectors[n:])}
        self.score, self.higher = FORWARD[scale], SCALES[scale].higher
        self.embedded = 0

    def search(self, query, k=12):
        q = self.queries[query]
        rows = [(i, self.score(q, v)) for i, v in self.passages.items()]
        rows.sort(key=lambda row: row[1], reverse=self.higher)
        return [i for i, _ in rows][:k], [s for _, s in rows][:k]

    def truth(self, query, ids):
        return [cos(self.queries[query], self.passages[i]) for i in ids]

    def embed_query(self, query):
        self.embedded += 1
        return self.queries[query]

    def embed_texts(self, texts):
        self.embedded += len(texts)
        return [self.passages[t] for t in texts]

    def vectors_of(self, ids):
        return [self.passages[i] for i in ids]

    def reader(self, *how, **more):
        return ScoreReader("Store", **{name: getattr(self, name) for name in how}, **more)

    def read(self, reader, query, k=12, **more):
        ids, scores = self.search(query, k)
        return ids, reader.read(query, ids, ids, scores, **more)


EMBEDDED = ("embed_query", "embed_texts")
KEPT = ("embed_query", "vectors_of")


def test_every_scale_has_its_formula_here():
    assert set(FORWARD) == set(SCALES)


@pytest.mark.parametrize("how", [EMBEDDED, KEPT], ids=["embedded", "kept"])
@pytest.mark.parametrize("scale", FORWARD)
def test_unit_vectors_give_true_cosines_on_every_scale(scale, how):
    store = Store(scale)
    reader = store.reader(*how)
    for query in store.queries:
        ids, reading = store.read(reader, query)
        assert reading.cosines == pytest.approx(store.truth(query, ids), abs=1e-6)
        assert reading.notes == ()
    assert reader.settled and reader.scale.higher is SCALES[scale].higher


@pytest.mark.parametrize("scale", ["cosine similarity", "squared L2 distance"])
def test_looking_costs_one_query_and_a_few_texts_once(scale):
    store = Store(scale, n=50)
    reader = store.reader(*EMBEDDED)
    for query in store.queries:
        store.read(reader, query, k=50)
    assert store.embedded == 1 + 8


@pytest.mark.parametrize("scale", FORWARD)
def test_vectors_of_any_length_give_true_cosines_where_the_store_has_them(scale):
    store = Store(scale, unit=False)
    reader = store.reader(*KEPT)
    for query in store.queries:
        ids, reading = store.read(reader, query)
        assert reading.cosines == pytest.approx(store.truth(query, ids), abs=1e-6)


def test_and_are_an_order_alone_where_it_has_not():
    store = Store("inner product", unit=False)
    reader = store.reader(*EMBEDDED)
    for query in store.queries:
        _, reading = store.read(reader, query)
        assert reading.cosines is None
        assert "not of unit length" in reading.notes[0]
    assert "inner product (higher is better)" in str(reader)
    # Cosines need no length.
    store = Store("cosine distance", unit=False)
    ids, reading = store.read(store.reader(*EMBEDDED), "q0")
    assert reading.cosines == pytest.approx(store.truth("q0", ids), abs=1e-6)


@pytest.mark.parametrize(
    ("scale", "space", "fits"),
    [
        ("cosine similarity", "cosine", True),
        ("cosine similarity", "l2", False),
        ("squared L2 distance", "cosine", False),
        ("squared L2 distance", "ip", False),
        ("squared L2 distance", "l2", True),
        ("cosine distance", "l2", False),
        ("inner product", "ip", True),
        ("inner product", "cosine", True),  # of unit vectors they are one
    ],
)
def test_a_wrong_space_is_found_by_looking(scale, space, fits):
    store = Store(scale)
    reader = store.reader(*EMBEDDED, space=space)
    if not fits:
        for query in store.queries:  # with every question, not with the first alone
            with pytest.raises(ConfigError, match=f"space='{space}' was given, but the scores"):
                store.read(reader, query)
        return
    ids, reading = store.read(reader, "q0")
    assert reading.cosines == pytest.approx(store.truth("q0", ids), abs=1e-6)


def test_an_unknown_space_is_an_error_at_once():
    with pytest.raises(ConfigError, match="unknown vector space 'jaccard'"):
        ScoreReader("Store", space="jaccard")


def test_where_nothing_can_be_compared_the_order_tells_the_direction():
    """`space="cosine"` over similarities once turned the order round without a word."""
    for scale in ("cosine similarity", "cosine distance"):
        store = Store(scale)
        ids, reading = store.read(store.reader(space="cosine"), "q0")
        assert reading.cosines == pytest.approx(store.truth("q0", ids), abs=1e-6)
    told = store.reader(space="cosine")
    store.read(told, "q0")
    assert pickle.loads(pickle.dumps(told)).scale is SCALES["cosine distance"]
    store = Store("cosine similarity")
    _, reading = store.read(store.reader(), "q0")
    assert reading.cosines is None and reading.notes[0].startswith("scores_unread: ")


def test_an_embedder_that_fails_leaves_what_was_said(caplog):
    """The search has worked: a look that cannot be had fails no question."""

    def broken(texts):
        raise ConnectionError("no route")

    store = Store("cosine similarity")
    told = store.reader("embed_query", embed_texts=broken, space="cosine")
    ids, reading = store.read(told, "q0")
    assert reading.cosines == pytest.approx(store.truth("q0", ids), abs=1e-6)
    assert "cannot be embedded to look: no route" in caplog.text
    _, reading = store.read(store.reader("embed_query", embed_texts=broken), "q0")
    assert reading.cosines is None and reading.notes


def test_scores_of_no_known_scale_are_an_order_or_vectors():
    store = Store("cosine similarity")
    store.score = lambda q, d: 17.0 + math.tanh(cos(q, d))
    for how, known in ((EMBEDDED, False), (KEPT, True)):
        reader = store.reader(*how)
        for query in store.queries:
            ids, reading = store.read(reader, query)
            assert (reading.cosines is not None) is known
        assert reader.scale is None
    assert reading.cosines == pytest.approx(store.truth(query, ids))
    assert "unknown scale" in str(reader)


def test_one_passage_at_a_half_does_not_settle_what_a_score_is():
    """A cosine of .5 is a distance of .5 too."""
    half = np.array([0.5, math.sqrt(0.75)])
    vectors = {"a": half, "b": np.array([0.8, 0.6])}
    reader = ScoreReader(
        "Store",
        embed_query=lambda q: np.array([1.0, 0.0]),
        vectors_of=lambda ids: [vectors[i] for i in ids],
    )
    assert reader.read("q", ["a"], ["a"], [0.5]).cosines == [0.5]
    assert not reader.settled
    found = reader.read("q", ["b", "a"], ["b", "a"], [0.2, 0.5])
    assert found.cosines == pytest.approx([0.8, 0.5])
    assert reader.scale is SCALES["cosine distance"] and reader.settled


def test_a_diversified_order_tells_nothing_and_hides_nothing():
    store = Store("cosine distance")
    ids, scores = store.search("q0")
    mixed = [0, 5, 1, 7, 2]
    few, some = [ids[i] for i in mixed], [scores[i] for i in mixed]
    reading = store.reader(*EMBEDDED).read("q0", few, few, some, ordered=False)
    assert reading.cosines == pytest.approx(store.truth("q0", few), abs=1e-6)


def test_narrow_cosines_near_one_are_told_apart():
    """Embeddings whose cosines all lie in .8 to .99, as those of some models do."""
    for scale in FORWARD:
        store = Store(scale, n=30, dims=16, towards=12.0)
        reader = store.reader(*KEPT)
        for query in store.queries:
            ids, reading = store.read(reader, query, k=30)
            assert min(store.truth(query, ids)) > 0.5
            assert reading.cosines == pytest.approx(store.truth(query, ids), abs=1e-6)


def test_vectors_kept_in_eight_bits_are_near_enough():
    store = Store("cosine similarity", dims=384)
    exact = store.score
    store.score = lambda q, d: exact(q, np.round(d * 127 / abs(d).max()))
    ids, reading = store.read(store.reader(*EMBEDDED), "q0")
    assert reading.cosines == pytest.approx(store.truth("q0", ids), abs=0.01)


def test_edges():
    assert best_first([]) is best_first([0.5]) is best_first([0.5, 0.5]) is None
    assert best_first([3, 2, 2]) is True and best_first([1, 1, 2]) is False
    assert best_first([1, 3, 2]) is None
    reader = ScoreReader("Store")
    assert reader.read("q", [], [], []).cosines == [] and not reader.settled
    assert scales_that_fit(np.array([np.nan]), np.array([0.5]), higher=None) == {}
    store = Store("cosine similarity")
    _, reading = store.read(store.reader("embed_query", vectors_of=lambda ids: None), "q0")
    assert reading.cosines is None  # a store that lost its vectors
