"""The components that the contract kit is run over: ours, and the peers' own classes."""

import math
import warnings
from dataclasses import replace

import contract_kit as kit
import numpy as np
from langchain_classic.retrievers.document_compressors import (
    CrossEncoderReranker,
    EmbeddingsFilter,
)
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from llama_index.core.base.base_retriever import BaseRetriever as LlamaRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.llama_debug import LlamaDebugHandler
from llama_index.core.postprocessor import SentenceTransformerRerank, SimilarityPostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

import langchain_rankgate
import llama_index.postprocessor.rankgate as llama_rankgate
from rankgate import Floor, Gate, Policy, RelevanceModel, ScorerInfo, Scores, Section
from rankgate.decide.gate import Condition, Rule
from rankgate.decide.logistic import Feature, Logistic, sigmoid

Adapter, Row, QUERY = kit.Adapter, kit.Row, kit.QUERY


class ModelScorer:
    """The kit's model as a rankgate scorer."""

    info = ScorerInfo(id="kit", scale="kit")

    def __init__(self, model):
        self.model = model

    def score(self, query, texts, context=None):
        values = self.model.predict([(query, text) for text in texts])
        return Scores.full(np.array(values, dtype=np.float32), "kit")


def policy_of(floor=None, skip=False, calibrated=False, refuse=None):
    """Ours puts a floor on a probability: here the sigmoid of the raw score."""
    section = {}
    if floor is not None or calibrated or refuse is not None:
        identity = Logistic(intercept=0.0, features=(Feature(name="raw", weight=1.0),))
        section["reranked"] = RelevanceModel(model=identity, scale="kit")
        by_rank = Logistic(intercept=1.0, features=())
        section["first_stage"] = RelevanceModel(model=by_rank)
    if floor is not None:
        section["floor"] = Floor(drop_below=sigmoid(floor))
    if refuse is not None:
        section["floor"] = Floor(refuse_below=refuse)
    if skip:
        always = Condition(signal="candidates", op=">=", value=0.0)
        section["gate"] = Gate(rules=(Rule(name="always", conditions=(always,)),))
    kinds = ("order", "dense", "hybrid", "bm25")
    return Policy(name="kit", sections=dict.fromkeys(kinds, Section(**section)))


OURS = frozenset(
    {"reranking", "score", "retrieval score", "tracing", "floor", "refusal reason", "fallback",
     "gate", "calibration"}
)  # fmt: skip


def ours(model, *, top_n=None, keep=False, on_outcome=None, topn=None, **how):
    """The arguments that all of ours take; `keep` is what they do anyway, `topn` is a mistake."""
    further = {} if topn is None else {"topn": topn}
    return {
        "scorer": ModelScorer(model),
        "policy": policy_of(**how),
        "top_n": top_n,
        "on_outcome": on_outcome,
        **further,
    }


class Documents(Adapter):
    """What is common to components over LangChain's documents."""

    def inputs(self, passages):
        return [
            Document(id=p.id, page_content=p.text, metadata={**p.metadata, "cosine": p.score})
            for p in passages
        ]

    def run(self, component, inputs, query=QUERY):
        return list(component.compress_documents(inputs, query))

    async def arun(self, component, inputs, query=QUERY):
        return list(await component.acompress_documents(inputs, query))

    def row(self, result):
        return Row(
            id=result.id,
            text=result.page_content,
            metadata=result.metadata,
            score=result.metadata.get("rankgate_raw_score"),
            before=result.metadata.get("rankgate_dense"),
        )


class Runs(BaseCallbackHandler):
    """Counts the runs that a component opens."""

    def __init__(self):
        self.seen = 0

    def on_chain_start(self, *args, **kwargs):
        self.seen += 1

    def on_retriever_start(self, *args, **kwargs):
        self.seen += 1


class OursOverDocuments(Documents):
    name = "langchain_rankgate.RankGateRerank"
    offers = OURS

    def make(self, model, **options):
        return langchain_rankgate.RankGateRerank(dense_key="cosine", **ours(model, **options))

    def refused(self, model, inputs):
        told = []
        component = self.make(model, refuse=0.9, on_outcome=told.append)
        return self.run(component, inputs), told[0].reason

    def announced(self, model):
        runs = Runs()
        self.make(model).compress_documents(self.inputs(kit.FOUR), QUERY, callbacks=[runs])
        return runs.seen


class GivenDocuments(LangChainRetriever):
    rows: list

    def _get_relevant_documents(self, query, *, run_manager):
        return self.rows


class OursAsRetriever(OursOverDocuments):
    name = "langchain_rankgate.RankGateRetriever"
    offers = OURS - {"retrieval score"}  # from_retriever: there is none

    def make(self, model, **options):
        return langchain_rankgate.RankGateRetriever.from_retriever(
            GivenDocuments(rows=[]), **ours(model, **options)
        )

    def run(self, component, inputs, query=QUERY):
        component.finder.retriever.rows = inputs
        return component.invoke(query)

    async def arun(self, component, inputs, query=QUERY):
        component.finder.retriever.rows = inputs
        return await component.ainvoke(query)

    def announced(self, model):
        runs = Runs()
        self.make(model).invoke(QUERY, config={"callbacks": [runs]})
        return runs.seen


class Nodes(Adapter):
    """What is common to components over LlamaIndex's nodes."""

    before = "retrieval_score"  # where the first stage's score is kept

    def inputs(self, passages):
        return [
            NodeWithScore(
                node=TextNode(
                    id_=p.id,
                    text=p.text,
                    metadata=dict(p.metadata),
                    excluded_embed_metadata_keys=["page"],
                ),
                score=self.first_stage_score(p.score),
            )
            for p in passages
        ]

    def first_stage_score(self, score):
        return score

    def run(self, component, inputs, query=QUERY):
        return component.postprocess_nodes(inputs, query_str=query)

    async def arun(self, component, inputs, query=QUERY):
        return await component.apostprocess_nodes(inputs, query_str=query)

    def row(self, result):
        return Row(
            id=result.node_id,
            text=result.node.text,
            metadata=result.node.metadata,
            score=result.score,
            before=result.node.metadata.get(self.before),
        )

    def prompt(self, result):
        return result.node.get_content(metadata_mode=MetadataMode.LLM)

    def announced(self, model):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        component = self.make(model)
        component.callback_manager = CallbackManager([handler])
        self.run(component, self.inputs(kit.FOUR))
        return handler.get_event_pairs(CBEventType.RERANKING)


class OursOverNodes(Nodes):
    name = "llama_index.postprocessor.rankgate.RankGateRerank"
    offers = OURS | {"prompts"}
    before = "rankgate_dense"

    def first_stage_score(self, score):
        return math.exp(score - 1.0)  # as ChromaVectorStore gives a cosine

    def make(self, model, **options):
        return llama_rankgate.RankGateRerank(chroma_space="cosine", **ours(model, **options))

    refused = OursOverDocuments.refused

    def row(self, result):
        # A node's own score is a probability or nothing; the kit's policy may have none.
        raw = result.node.metadata.get("rankgate_raw_score")
        return replace(super().row(result), score=raw)


class GivenNodes(LlamaRetriever):
    def __init__(self):
        super().__init__()
        self.nodes = []

    def _retrieve(self, query_bundle):
        return self.nodes


class OursAsNodeRetriever(OursOverNodes):
    name = "llama_index.postprocessor.rankgate.RankGateRetriever"

    def make(self, model, **options):
        self.given = GivenNodes()
        return llama_rankgate.RankGateRetriever.from_chroma(
            self.given, space="cosine", **ours(model, **options)
        )

    def run(self, component, inputs, query=QUERY):
        self.given.nodes = inputs
        return component.retrieve(query)

    async def arun(self, component, inputs, query=QUERY):
        self.given.nodes = inputs
        return await component.aretrieve(query)


class FakeCrossEncoder(BaseCrossEncoder):
    """The kit's model, as LangChain wants one."""

    def __init__(self, model):
        self.model = model

    def score(self, text_pairs):
        return self.model.predict(text_pairs)


class LangChainCrossEncoder(Documents):
    """`CrossEncoderReranker` on a fake `BaseCrossEncoder`."""

    name = "langchain_classic CrossEncoderReranker"
    offers = frozenset({"reranking"})

    def make(self, model, *, top_n=4, keep=False, **unknown):
        return CrossEncoderReranker(model=FakeCrossEncoder(model), top_n=top_n, **unknown)


class LangChainEmbeddingsFilter(Documents):
    """`EmbeddingsFilter`: embeds anew, so here its cosine is the kit's score."""

    name = "langchain_classic EmbeddingsFilter"
    offers = frozenset({"floor", "raw floor"})

    def make(self, model, *, floor=None, top_n=20, **unknown):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # langchain-community announces its end
            return EmbeddingsFilter(
                embeddings=AtScores(model), similarity_threshold=floor, k=top_n, **unknown
            )

    def run(self, component, inputs, query=QUERY):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(component.compress_documents(inputs, query))

    async def arun(self, component, inputs, query=QUERY):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(await component.acompress_documents(inputs, query))


class AtScores(Embeddings):
    """Unit vectors whose cosine to the query's is the model's score."""

    def __init__(self, model):
        self.model = model

    def embed_documents(self, texts):
        scores = self.model.predict([(QUERY, text) for text in texts])
        return [[s, math.sqrt(1.0 - s * s)] for s in scores]

    def embed_query(self, text):
        return [1.0, 0.0]


class LlamaSentenceTransformer(Nodes):
    """`SentenceTransformerRerank` on a fake `CrossEncoder`."""

    name = "llama_index SentenceTransformerRerank"
    offers = frozenset({"reranking", "score", "retrieval score", "prompts", "tracing"})

    def make(self, model, *, top_n=4, keep=False, **unknown):
        import sentence_transformers

        real = sentence_transformers.CrossEncoder
        # It makes its own from a name, and there is none to download.
        sentence_transformers.CrossEncoder = lambda *_args, **_kwargs: model
        try:
            return SentenceTransformerRerank(
                top_n=top_n, model="fake", device="cpu", keep_retrieval_score=keep, **unknown
            )
        finally:
            sentence_transformers.CrossEncoder = real


class LlamaSentenceTransformerAndCutoff(LlamaSentenceTransformer):
    """The pair that LlamaIndex's users put together: rerank, then `SimilarityPostprocessor`."""

    name = "llama_index SentenceTransformerRerank + SimilarityPostprocessor"
    offers = LlamaSentenceTransformer.offers | {"floor", "raw floor"}

    def make(self, model, *, floor=None, **options):
        first = super().make(model, **options)
        return (
            first
            if floor is None
            else Both(first, SimilarityPostprocessor(similarity_cutoff=floor))
        )


class Both:
    """Two postprocessors, one after the other."""

    def __init__(self, *postprocessors):
        self.postprocessors = postprocessors

    def postprocess_nodes(self, nodes, query_str):
        for postprocessor in self.postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_str=query_str)
        return nodes


OUR_ADAPTERS = (OursOverDocuments, OursAsRetriever, OursOverNodes, OursAsNodeRetriever)
PEER_ADAPTERS = (
    LangChainCrossEncoder, LangChainEmbeddingsFilter, LlamaSentenceTransformer,
    LlamaSentenceTransformerAndCutoff,
)  # fmt: skip
