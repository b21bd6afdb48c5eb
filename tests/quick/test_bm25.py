"""BM25 against the formula, and what the index on disk survives."""

import math

import numpy as np
import pytest

from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import Analyser, BM25Index

DOCS = [("d1", "red fox jumps"), ("d2", "red red hen sleeps deeply"), ("d3", "blue whale")]


def lucene_bm25(tf, length, average, n_docs, df, k1=1.5, b=0.75):
    """Robertson's formula without the constant factor (k1 + 1), as Lucene computes it."""
    idf = math.log(1 + (n_docs - df + 0.5) / (df + 0.5))
    return idf * tf / (tf + k1 * (1 - b + b * length / average))


def test_scores_follow_the_formula():
    index = BM25Index.build(DOCS)
    average = (3 + 5 + 2) / 3
    expected = [lucene_bm25(1, 3, average, 3, 2), lucene_bm25(2, 5, average, 3, 2), 0.0]
    assert index.all_scores("Red?") == pytest.approx(expected, rel=1e-5)


def test_search_returns_matches_only_best_first_ties_by_index():
    index = BM25Index.build([("a", "cat"), ("b", "cat"), ("c", "dog")])
    assert list(index.search("cat", 10)) == ["a", "b"]
    assert index.search("cat", 0) == {} and index.search("zebra", 5) == {}
    assert index.search("", 5) == {} and index.search("the of", 5) == {}
    assert index.scores("cat", ["c", "b"]) == [0.0, pytest.approx(index.search("cat", 1)["a"])]


def test_lexicon_knows_corpus_and_stop_words():
    lexicon = BM25Index.build(DOCS).lexicon
    assert "whale" in lexicon and "the" in lexicon
    assert "whael" not in lexicon and "" not in lexicon


@pytest.mark.parametrize("docs", [[], [("a", "")], [("a", "... !")]])
def test_an_index_without_terms_works(docs, tmp_path):
    index = BM25Index.build(docs)
    assert index.all_scores("cat").tolist() == [0.0] * len(docs)
    index.save(tmp_path / "bm25")
    assert BM25Index.load(tmp_path / "bm25").ids == tuple(i for i, _ in docs)


def test_saved_and_loaded_is_the_same(tmp_path):
    index = BM25Index.build(DOCS, analyser=Analyser(stop_words="none"))
    index.save(tmp_path / "bm25", extra={"fingerprint": "f"})
    loaded = BM25Index.load(tmp_path / "bm25")
    assert np.array_equal(loaded.all_scores("red hen"), index.all_scores("red hen"))
    assert loaded.analyser == index.analyser and loaded.lexicon == index.lexicon
    assert BM25Index.read_meta(tmp_path / "bm25")["extra"] == {"fingerprint": "f"}
    BM25Index.build(DOCS[:1]).save(tmp_path / "bm25")
    assert BM25Index.load(tmp_path / "bm25").ids == ("d1",)
    assert [p.name for p in tmp_path.iterdir()] == ["bm25"], "nothing is left behind"


def test_damage_is_named_and_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="no readable BM25 index"):
        BM25Index.load(tmp_path / "absent")
    BM25Index.build(DOCS).save(tmp_path / "bm25")
    for file in (tmp_path / "bm25").glob("*.npy"):
        file.write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="build it again"):
        BM25Index.load(tmp_path / "bm25")


def test_doubled_and_unknown_ids_are_refused():
    with pytest.raises(InputError, match="'a' stands twice"):
        BM25Index.build([("a", "x"), ("a", "y")])
    with pytest.raises(InputError, match="'z' is not in the BM25 index"):
        BM25Index.build(DOCS).scores("red", ["z"])


@pytest.mark.parametrize(
    ("question", "passage", "other"),
    [
        ("黑豹队的防守丢了多少分", "黑豹队的防守仅丢了308分", "野马队在对手得分方面排名第四"),
        ("東京の人口は", "2020年の東京都の人口は約1400万人", "京都は古い都です"),
        ("แมวกินอะไร", "เมื่อวานแมวกินปลาในครัว", "สุนัขวิ่งเร็วมาก"),
        ("서울의 인구는", "대한민국의 수도 서울에는 많은 인구가 산다", "부산은 항구 도시이다"),
        ("कितने लोग", "शहर में बहुत लोग रहते हैं", "नदी लंबी है"),
        ("المدينة", "عاش في مدينةٍ كبيرة", "النهر طويل"),
        ("Wo liegt Zürich?", "Zu\u0308rich liegt in der Schweiz", "Bern an der Aare"),
        ("effi\ufb01cient", "effificient", "other"),
    ],
)
def test_every_script_is_found(question, passage, other):
    index = BM25Index.build([("other", other), ("hit", passage)])
    assert next(iter(index.search(question, 2))) == "hit"


def test_words_keep_their_vowel_signs_and_identifiers_their_underscores():
    assert Analyser().terms(["हिन्दी snake_case \u2014 x", "猫"]) == [
        ["हिन्दी", "snake_case"],
        ["猫"],
    ]


def test_an_index_of_the_earlier_analyser_is_named(tmp_path):
    BM25Index.build(DOCS).save(tmp_path / "bm25")
    meta = tmp_path / "bm25" / "rankgate.json"
    meta.write_text(meta.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(ConfigError, match="format 1, this rankgate reads 2; build it again"):
        BM25Index.load(tmp_path / "bm25")
