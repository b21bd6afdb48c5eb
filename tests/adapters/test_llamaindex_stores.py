"""Node scores of any vector index become cosines: what they mean is found by looking."""

import pickle
from dataclasses import replace

import llamaindex_index as kit
import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from llama_index.postprocessor.rankgate import RankGateRerank, RankGateRetriever
from rankgate import FirstStageKind
from rankgate.errors import ConfigError, InputError
from rankgate.testing import FakeScorer

# Not among what the oldest supported frameworks are tried with.
faiss = pytest.importorskip("faiss")
FaissVectorStore = pytest.importorskip("llama_index.vector_stores.faiss").FaissVectorStore

index_in = kit.index_in
WORDS = ["whale", "apple", "fish", "stone", "river", "bread", "cloud", "metal"]
PAGES = [f"{one} {other}" for i, one in enumerate(WORDS) for other in WORDS[i + 1 :]]
QUERY = "whale apple apple"


class Counts(BaseEmbedding):
    """Counts of words, of unit length or not."""

    unit: bool = True

    def _get_text_embedding(self, text):
        vector = np.array([float(text.split().count(w)) + 0.1 * (w[0] in text) for w in WORDS])
        return (vector / np.linalg.norm(vector) if self.unit else vector * 3.0).tolist()

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)


def truth(text, embed=Counts()):  # noqa: B008 -- it keeps nothing
    return float(np.dot(embed.get_text_embedding(QUERY), embed.get_text_embedding(text)))


class Odd(FaissVectorStore):
    """Scores by a scale of its own."""

    def query(self, query, **kwargs):
        found = super().query(query, **kwargs)
        found.similarities = [5.0 + s**3 for s in found.similarities]
        return found


def of_store(store, embed):
    context = None if store is None else StorageContext.from_defaults(vector_store=store)
    nodes = [TextNode(id_=f"n{i}", text=t) for i, t in enumerate(PAGES)]
    return VectorStoreIndex(nodes, storage_context=context, embed_model=embed)


def in_faiss(metric, kind=FaissVectorStore):
    return kind(faiss_index=getattr(faiss, f"IndexFlat{metric}")(len(WORDS)))


STORES = {
    "memory": (lambda: None, True, "cosine similarity"),
    "memory, any length": (lambda: None, False, "cosine similarity"),
    "FAISS L2": (lambda: in_faiss("L2"), True, "squared L2 distance"),
    "FAISS inner product": (lambda: in_faiss("IP"), True, "cosine similarity"),
}


@pytest.mark.parametrize("store", STORES)
async def test_scores_become_cosines_without_a_key_to_name(store, policies):
    make, unit, found = STORES[store]
    index = of_store(make(), Counts(unit=unit))
    for given in (index, index.as_retriever(similarity_top_k=2)):
        retriever = RankGateRetriever.from_defaults(
            given, scorer=FakeScorer(), policy=policies.raw, k=20
        )
        assert "seen with the first question" in str(retriever.describe())
        for outcome in (
            retriever.retrieve_outcome(QUERY),
            await retriever.aretrieve_outcome(QUERY),
        ):
            assert outcome.first_stage is FirstStageKind.DENSE and outcome.notes == ()
            assert len(outcome.passages) == 20
            for p in outcome.passages:
                assert p.candidate.dense == pytest.approx(truth(p.candidate.text), abs=1e-4)
        assert found in str(retriever.describe())
        assert retriever.retrieve(QUERY)[0].metadata["rankgate_dense"] > 0.5


async def test_distances_of_other_lengths_are_an_order_and_say_so(policies):
    """FAISS gives no vectors to LlamaIndex, so lengths cannot be taken out."""
    retriever = RankGateRetriever.from_defaults(
        of_store(in_faiss("L2"), Counts(unit=False)), scorer=FakeScorer(), policy=policies.raw, k=20
    )
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.ORDER
    assert outcome.notes[0].startswith("scores_unread: FaissVectorStore returns squared L2")
    assert all(p.candidate.dense is None for p in outcome.passages)


def test_an_unknown_scale_is_an_order_and_says_so(policies):
    retriever = RankGateRetriever.from_defaults(
        of_store(in_faiss("IP", Odd), Counts()), scorer=FakeScorer(), policy=policies.raw, k=20
    )
    for _ in range(4):
        outcome = retriever.retrieve_outcome(QUERY)
        assert outcome.first_stage is FirstStageKind.ORDER
        assert "what the scores of Odd are cannot be told" in outcome.notes[0]
    said = str(retriever.describe())
    assert "only their order is used" in said and "dense, served by the section 'order'" in said


def test_a_policy_for_a_bare_order_serves_over_faiss(policies):
    policy = replace(policies.refusing, sections={"order": policies.refusing.section("order")})
    retriever = RankGateRetriever.from_defaults(
        of_store(in_faiss("L2"), Counts()), scorer=FakeScorer(), policy=policy, k=20
    )
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.refused and outcome.notes[-1].startswith("section_serves: 'order'")
    assert "refuses a query below 0.999" in str(retriever.describe())


@pytest.mark.parametrize("mode", [VectorStoreQueryMode.MMR, VectorStoreQueryMode.DEFAULT])
def test_diversified_nodes_keep_their_order_and_have_cosines(mode, policies):
    child = of_store(None, Counts()).as_retriever(vector_store_query_mode=mode)
    retriever = RankGateRetriever.from_retriever(
        child, scorer=FakeScorer(), policy=policies.raw, k=10
    )
    outcome = retriever.retrieve_outcome(QUERY, force="skip")
    assert outcome.first_stage is FirstStageKind.DENSE
    for p in outcome.passages:
        assert p.candidate.dense == pytest.approx(truth(p.candidate.text), abs=1e-4)


def test_a_wrong_space_is_an_error_with_what_was_seen(index_in, policies):
    parts = {"scorer": FakeScorer(), "policy": policies.raw}
    wrong = RankGateRetriever.from_chroma(index_in("l2"), space="cosine", **parts)
    with pytest.raises(ConfigError, match=r"space='cosine' was given, but.*exp\(-squared L2\)"):
        wrong.retrieve(kit.QUERY)
    wrong = RankGateRetriever.from_retriever(of_store(None, Counts()), space="l2", **parts)
    with pytest.raises(ConfigError, match="space='l2' was given"):
        wrong.retrieve(QUERY)
    with pytest.raises(ConfigError, match="unknown vector space"):
        RankGateRetriever.from_retriever(of_store(None, Counts()), space="jaccard", **parts)


def test_a_retriever_that_names_no_embedder(policies):
    nodes = [NodeWithScore(node=TextNode(text=t), score=truth(t)) for t in PAGES]
    nodes.sort(key=lambda n: -n.score)
    parts = {"scorer": FakeScorer(), "policy": policies.raw}
    child = kit.Listed(nodes)
    order = RankGateRetriever.from_retriever(child, **parts).retrieve_outcome(QUERY)
    assert order.first_stage is FirstStageKind.ORDER
    named = RankGateRetriever.from_retriever(child, embed_model=Counts(), **parts)
    dense = named.retrieve_outcome(QUERY)
    assert dense.first_stage is FirstStageKind.DENSE
    assert dense.passages[0].candidate.dense is not None
    child.nodes = [NodeWithScore(node=n.node) for n in nodes]
    outcome = named.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.ORDER
    assert outcome.notes == ("scores_unread: Listed returned nodes without scores",)
    child.nodes = []
    assert named.retrieve(QUERY) == []


def test_the_postprocessor_reads_scores_by_the_embedder(policies):
    nodes = [NodeWithScore(node=TextNode(text=t), score=0.5 + truth(t) / 2.0) for t in PAGES]
    nodes.sort(key=lambda n: -n.score)
    seen = []
    parts = {"scorer": FakeScorer(), "policy": policies.fitted, "on_outcome": seen.append}
    rerank = RankGateRerank(50, embed_model=Counts(), **parts)
    found = rerank.postprocess_nodes(nodes, query_str=QUERY)
    assert seen[-1].first_stage is FirstStageKind.DENSE
    assert "halved cosine" in str(rerank.describe())
    for node in found:
        assert node.metadata["rankgate_dense"] == pytest.approx(truth(node.text), abs=1e-4)
    # A second pass reads the cosine that the first one kept, not the probability in its place.
    rerank.postprocess_nodes(found, query_str=QUERY)
    assert {p.candidate.dense for p in seen[-1].passages} == {
        n.metadata["rankgate_dense"] for n in found
    }
    RankGateRerank(**parts).postprocess_nodes(nodes, query_str=QUERY)
    assert seen[-1].first_stage is FirstStageKind.ORDER
    with pytest.raises(InputError, match="chroma_space and embed_model"):
        RankGateRerank(embed_model=Counts(), chroma_space="l2", **parts)
    again = pickle.loads(pickle.dumps(RankGateRerank(embed_model=Counts(), scorer=FakeScorer())))
    assert again.postprocess_nodes(nodes, query_str=QUERY)
