"""Passages read ahead of any question: in the background, stoppable, resumable."""

import threading

import llamaindex_index as kit
import pytest
from langchain_core.documents import Document
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode

import langchain_rankgate
from llama_index.postprocessor.rankgate import RankGateRetriever as LlamaRetriever
from rankgate.adapters.late import LateReranker, RerankerParts
from rankgate.errors import ConfigError, InputError
from rankgate.testing import FakeScorer

index_in = kit.index_in
TEXTS = [f"Passage {i} says that {i} and {i + 1} are neighbours." for i in range(70)]
LONG = " ".join(f"Step {i}: knead the dough again, and wait." for i in range(80))


@pytest.mark.model
def test_what_was_warmed_is_not_read_again(tmp_path):
    engine = LateReranker(RerankerParts(token_cache=tmp_path))
    seen = []
    run = engine.warm(lambda: [*TEXTS, LONG, "nul \x00"], lambda *at: seen.append(at))
    assert run.wait(300) and not run.running
    assert run.done == run.total == 72 and run.progress == 1.0
    assert seen[-1] == (72, 72) and len(seen) == 3
    stats = engine.get().scorer.score("Who is next to 7?", [*TEXTS, LONG, "nul \x00"]).stats
    assert stats.tokens < 15, "the question alone"
    again = engine.warm(lambda: TEXTS)
    assert again.wait(60) and again.done == 70


@pytest.mark.model
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    engine = LateReranker(RerankerParts(token_cache=tmp_path))
    begun, go_on = threading.Event(), threading.Event()

    def progress(done, total):
        begun.set()
        go_on.wait(60)

    run = engine.warm(lambda: TEXTS, progress)
    assert begun.wait(120) and run.running and 0.0 < run.progress < 1.0
    run.stop()
    go_on.set()
    assert run.wait(60) and run.done == 32 < run.total
    stats = engine.get().scorer.score("neighbours", TEXTS[:32]).stats
    assert stats.cached == 32
    assert engine.warm(lambda: TEXTS).wait(120)
    assert engine.get().scorer.score("who", TEXTS).stats.cached == 70


@pytest.mark.model
def test_what_goes_wrong_is_said_to_whoever_waits(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = LateReranker(RerankerParts(token_cache=tmp_path / "file")).warm(lambda: TEXTS)
    with pytest.raises(ConfigError, match="cannot be kept"):
        nowhere.wait(120)

    def broken():
        yield "one"
        raise OSError("the store is gone")

    run = LateReranker(RerankerParts(token_cache=tmp_path)).warm(broken)
    with pytest.raises(OSError, match="the store is gone"):
        run.wait(60)
    assert LateReranker(RerankerParts(token_cache=tmp_path)).warm(lambda: ()).wait(60)


def test_a_scorer_that_keeps_nothing_cannot_be_warmed():
    with pytest.raises(ConfigError, match="nothing that fake"):
        LateReranker(RerankerParts(scorer=FakeScorer())).warm(lambda: TEXTS)


@pytest.mark.model
def test_langchains_retriever_reads_its_whole_store(tmp_path, make_chroma):
    store = make_chroma([(t, 0.5) for t in TEXTS])
    settings = {"token_cache": tmp_path, "embedder": "all-MiniLM-L6-v2"}
    retriever = langchain_rankgate.RankGateRetriever.from_vectorstore(store, **settings)
    assert retriever.warm().wait(120)
    assert retriever.retrieve_outcome("neighbours", force="rerank").stats.cached == 50
    fused = langchain_rankgate.RankGateRetriever.from_retrievers(
        [store.as_retriever(), store.as_retriever()], **settings
    )
    run = fused.warm()
    assert run.wait(120) and run.total == 2 * len(TEXTS)
    run = retriever.warm([Document("another one")])
    assert run.wait(60) and run.total == 1
    unknown = langchain_rankgate.RankGateRetriever.from_first_stage(
        lambda query, k: [], token_cache=tmp_path
    )
    with pytest.raises(InputError, match="cannot list its passages"):
        unknown.warm()
    with pytest.raises(InputError, match="str"):
        retriever.warm(["text"])


@pytest.mark.model
def test_llamaindexs_retriever_reads_its_whole_index_as_it_will_be_asked(tmp_path, index_in):
    nodes = [TextNode(text=t, metadata={"page": i}) for i, t in enumerate(kit.COSINES)]
    in_memory = VectorStoreIndex(nodes, embed_model=kit.AtCosines())
    for index in (index_in("cosine"), in_memory):
        folder = tmp_path / type(index.vector_store).__name__
        settings = {"token_cache": folder, "embedder": "all-MiniLM-L6-v2"}
        retriever = LlamaRetriever.from_defaults(index, **settings)
        run = retriever.warm()
        assert run.wait(120) and run.total == len(kit.COSINES)
        outcome = retriever.retrieve_outcome("red green", force="rerank")
        assert outcome.stats.cached == len(kit.COSINES), "with the metadata that is embedded"
    with pytest.raises(InputError, match="cannot list its nodes"):
        LlamaRetriever.from_first_stage(lambda query, k: [], token_cache=tmp_path).warm()
