"""What is named on the command line: objects, scorers, systems."""

import sys

import numpy as np
import pytest

from rankgate.encoders import TokenStore
from rankgate.encoders.encoder import TokenVectors
from rankgate.errors import ConfigError, InputError, ModelNotFoundError
from rankgate.plan import kind_of
from rankgate.retrieve import Fusion, TokenCache
from rankgate.scorers import LateInteractionScorer
from rankgate.scorers.wrappers.traits import innermost
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval import Dataset
from rankgate_eval.data.attribute import is_attribute_name, load_object
from rankgate_eval.evaluation import open_under_test
from rankgate_eval.run.encoding import build_index
from rankgate_eval.run.scorer_choice import choose_scorer
from rankgate_eval.run.system_choice import choose_system, index_stage, profile_of

MODULE = """
from rankgate.testing import FakeScorer

table = {"a": 1}
class Kept:
    scorer = FakeScorer()
class Made(FakeScorer):
    pass
def factory():
    return FakeScorer()
def search(query, k):
    return ["p1", "p2"][:k]
def search_with_defaults(query="", k=3):
    return ["p2"]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "things.py").write_text(MODULE)
    (tmp_path / "needy.py").write_text("import a_package_that_is_not_there\n")
    sys.modules.pop("things", None)
    return tmp_path


def test_objects_by_name(mine):
    assert load_object("things:table", what="x") == {"a": 1}
    assert isinstance(load_object("things:Kept.scorer", what="x"), FakeScorer)
    assert isinstance(load_object("things:Made", what="x"), FakeScorer)
    assert isinstance(load_object("things:factory", what="x"), FakeScorer)
    assert load_object("things:search", what="x")("q", 1) == ["p1"]
    assert load_object("things:search_with_defaults", what="x")() == ["p2"]
    for name, message in (
        ("things", "module:attribute"),
        ("things:", "module:attribute"),
        ("absent:x", "no module 'absent'"),
        ("things:absent", "has no 'absent'"),
        ("things:table.absent", "has no 'table.absent'"),
    ):
        with pytest.raises(InputError, match=message):
            load_object(name, what="--system")
    with pytest.raises(ModuleNotFoundError, match="a_package"):
        load_object("needy:x", what="--system")
    assert not is_attribute_name("BAAI/bge:x") and not is_attribute_name("a b:c")


def test_scorers_by_name(mine):
    assert isinstance(choose_scorer("things:factory"), FakeScorer)
    with pytest.raises(InputError, match=r"scorer cannot be"):
        choose_scorer("things:table")
    for nonsense in ("none", "", "off", " None "):
        with pytest.raises(InputError, match="arm first_stage"):
            choose_scorer(nonsense)
    with pytest.raises(InputError, match="unknown scorer 'bm25'"):
        choose_scorer("bm25")
    (mine / "model").mkdir()
    for name in ("cross-encoder:model", "model", "onnx:model"):
        with pytest.raises(ModelNotFoundError, match="model"):
            choose_scorer(name)


def test_a_hosted_scorers_key_comes_from_its_variable(monkeypatch):
    for name in ("COHERE_API_KEY", "RANKGATE_SCORER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="COHERE_API_KEY or RANKGATE_SCORER_API_KEY"):
        choose_scorer("cohere:rerank-v3.5")
    monkeypatch.setenv("RANKGATE_SCORER_API_KEY", "k-1")
    assert "rerank-v3.5" in choose_scorer("cohere:rerank-v3.5").info.id
    monkeypatch.setenv("COHERE_API_KEY", "not\nusable")  # the service's own goes first
    with pytest.raises(ConfigError, match="visible ASCII"):
        choose_scorer("cohere:rerank-v3.5")


DATA = Dataset(
    name="two", corpus={"p1": "one", "p2": "two"}, queries={"q": "one"}, qrels={"q": {"p1": 1}},
    splits={},
)  # fmt: skip


def test_systems_by_name(mine):
    found = choose_system("things:search", DATA).candidates("q", 2)
    assert [(c.id, c.text) for c in found] == [("p1", "one"), ("p2", "two")]
    with pytest.raises(InputError, match="a system under test has"):
        choose_system("things:table", DATA)
    with pytest.raises(InputError, match="hybrid, dense, bm25; got 'order'"):
        index_stage(DATA, kind="order")


def test_the_kind_is_what_all_candidates_carry():
    def one(**scores):
        return Candidate(id="a", text="t", rank=1, **scores)

    both, dense, bm25, bare = one(dense=0.1, bm25=0.0), one(dense=0.0), one(bm25=1.0), one()
    assert kind_of([both, both]) is FirstStageKind.HYBRID
    assert kind_of([both, dense]) is FirstStageKind.DENSE
    assert kind_of([both, bm25]) is FirstStageKind.BM25
    assert kind_of([both, bare]) is kind_of([]) is FirstStageKind.ORDER


class Tokens:
    """Encodes like `TokenEncoder`; remembers what it was asked."""

    name, sha256, dimension, max_length = "tiny", "ab" * 32, 2, 8

    def __init__(self):
        self.texts = []

    def encode(self, texts, *, should_stop=None, max_length=None):
        self.texts += texts
        row = np.array([[1.0, 0.0]], dtype=np.float16)
        return [
            TokenVectors(tokens=row, pooled=row[0].astype(np.float32), truncated=False)
            for _ in texts
        ]

    def embed(self, texts):
        return np.stack([v.pooled for v in self.encode(texts)])


@pytest.fixture
def tokens(monkeypatch):
    """The tiny encoder, taken for a `TokenEncoder` where the code asks for one."""
    monkeypatch.setattr("rankgate_eval.run.encoding.TokenEncoder", Tokens)
    return Tokens()


def test_passages_are_encoded_once_for_both_uses(tokens, tmp_path):
    store = TokenStore.in_folder(tmp_path / "cache", tokens)
    index = build_index(DATA, encoder=tokens, store=store, cache=tmp_path / "cache")
    assert tokens.texts == ["one", "two"]
    TokenCache(tokens, store).fill(["two", "one", "two"])
    assert tokens.texts == ["one", "two"], "late interaction finds them known"
    assert len(store) == 2
    index.search("a question", 2, kind="dense")
    assert tokens.texts == ["one", "two", "a question"]
    assert len(store) == 2, "a question is never kept: its time is part of the latency"
    index.close()
    again = build_index(DATA, encoder=tokens, store=store, cache=tmp_path / "cache")
    assert tokens.texts == ["one", "two", "a question"], "the next run encodes nothing"
    again.search("a question", 2, kind="dense")
    assert tokens.texts.count("a question") == 2
    assert profile_of(index_stage(DATA, encoder=tokens)).embedder == "tiny"
    store.close()


def test_filling_resumes_where_it_stopped(tokens, tmp_path):
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=2)
    TokenCache(tokens, store).fill(["a", "b"])
    seen = []
    TokenCache(tokens, store).fill(["a", "b", "c"], progress=lambda done, n: seen.append((done, n)))
    assert tokens.texts == ["a", "b", "c"] and seen == [(1, 1)]
    assert store.missing(["c", "x", "x", "a", "y"]) == ["x", "y"]
    assert store.missing([]) == []
    store.close()


def test_bm25_alone_loads_no_encoder():
    stage = index_stage(DATA, kind="bm25")
    assert not stage.index.has_dense
    assert profile_of(stage).embedder is None and profile_of(stage).analyser is not None


@pytest.mark.model
def test_first_stage_and_scorer_share_one_encoder_and_one_memory(tmp_path, encoder):
    with open_under_test(DATA, cache=tmp_path) as under:
        scorer = under.scorer
        late = innermost(scorer)
        assert isinstance(late, LateInteractionScorer) and late.token_store is not None
        assert len(late.token_store) == 2, "the index has filled it"
        assert under.stage.fusion is None
        scores = scorer.score("one", ["one", "two"])
        assert scores.stats.cached == 2 and scores.values[0] > scores.values[1]
    from rankgate.decide.section import Section
    from rankgate.policy import Policy

    fused = Policy(name="p", sections={"hybrid": Section(fusion=Fusion(dense_weight=0.0))})
    with open_under_test(DATA, policy=fused, scorers=(FakeScorer(),)) as under:
        assert under.stage.fusion == Fusion(dense_weight=0.0), "what ships is what is measured"
