"""What the components keep of passages: read once, whichever component asks, and where."""

import sys
from pathlib import Path

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rankgate import RankGateRerank, RankGateRunnable
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from rankgate.adapters.late import LateReranker, RerankerParts, default_scorer
from rankgate.adapters.token_cache import token_cache_folder
from rankgate.errors import InputError
from rankgate.testing import FakeScorer

TEXTS = [f"Bread number {i} needs flour, water, salt and {i + 1} hours." for i in range(12)]
LONG = " ".join(f"Step {i}: knead the dough again, and wait." for i in range(80))


def read(engine: LateReranker, question: str, texts: list[str]) -> tuple[int, int]:
    """Tokens that went through the model, and passages that did not."""
    stats = engine.get().scorer.score(question, texts).stats
    return stats.tokens, stats.cached


@pytest.mark.model
def test_a_second_question_reads_the_question_alone_in_either_framework(tmp_path):
    langchain = RankGateRerank(token_cache=tmp_path, force="rerank")
    documents = [Document(t) for t in [*TEXTS, LONG]]
    first = langchain.compress_documents(documents, "How long does bread take?")
    assert first and list(tmp_path.glob("tokens-*.sqlite"))
    engine = LateReranker(RerankerParts(token_cache=tmp_path))
    tokens, cached = read(engine, "What does bread need?", [*TEXTS, LONG])
    assert tokens < 15 and cached > len(TEXTS), "a long text's windows are kept as well"

    llama = LlamaRerank(token_cache=str(tmp_path))
    nodes = [NodeWithScore(node=TextNode(text=t)) for t in TEXTS]
    assert llama.postprocess_nodes(nodes, query_str="How long does bread take?")
    fresh = LateReranker(RerankerParts(token_cache=False)).get().scorer
    asked = ("How many hours does it take?", [*TEXTS, LONG])
    kept = engine.get().scorer.score(*asked).values
    assert kept == pytest.approx(fresh.score(*asked).values, abs=2e-3)


@pytest.mark.model
@pytest.mark.parametrize("off", [False, None])
def test_it_can_be_switched_off(tmp_path, monkeypatch, off):
    monkeypatch.setenv("RANKGATE_TOKEN_CACHE", str(tmp_path))
    RankGateRunnable(token_cache=off, force="rerank").invoke(
        {"query": "bread", "documents": [Document(t) for t in TEXTS]}
    )
    assert not list(tmp_path.iterdir())
    assert default_scorer(off) is default_scorer(off) is not default_scorer(tmp_path)


@pytest.mark.model
def test_a_named_late_interaction_keeps_as_well_and_a_folder_that_is_none_fails_nothing(tmp_path):
    named = LateReranker(RerankerParts(scorer="late-interaction", token_cache=tmp_path / "a"))
    read(named, "bread", TEXTS)
    assert read(named, "bread again", TEXTS)[1] == len(TEXTS)
    (tmp_path / "file").write_text("")
    kept = RankGateRerank(token_cache=tmp_path / "file", force="rerank")
    assert kept.compress_documents([Document(t) for t in TEXTS], "bread")
    assert any("token vectors" in note for note in kept.describe().notes)


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("RANKGATE_TOKEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert token_cache_folder(True) == tmp_path / "rankgate"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
        assert token_cache_folder(True) == Path.home() / ".cache" / "rankgate"
    monkeypatch.setenv("RANKGATE_TOKEN_CACHE", str(tmp_path / "mine"))
    assert token_cache_folder(True) == tmp_path / "mine"
    assert token_cache_folder(tmp_path) == tmp_path, "what the caller names goes first"
    monkeypatch.setenv("RANKGATE_TOKEN_CACHE", "off")
    assert token_cache_folder(True) is token_cache_folder(False) is token_cache_folder(None) is None
    for wrong in (1, "", 0.0):
        with pytest.raises(InputError, match="token_cache"):
            token_cache_folder(wrong)


def test_a_folder_for_a_scorer_that_cannot_use_it_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="token_cache"):
        RankGateRerank(scorer=FakeScorer(), token_cache=tmp_path)
    RankGateRerank(scorer=FakeScorer(), token_cache=False)
