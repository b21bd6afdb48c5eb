"""One small driver for each adapter, so that one suite runs them all."""

import math
from dataclasses import dataclass, field

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rankgate import RankGateRerank, RankGateRetriever, RankGateRunnable
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from rankgate import Candidate

QUERY = "red green blue"


@dataclass(frozen=True)
class P:
    """A passage, in no framework's terms."""

    id: str
    text: str
    dense: float
    metadata: dict = field(default_factory=dict)


FOUR = (
    P("a", "red one", 0.9, {"page": 1, "source": "x.txt"}),
    P("b", "nothing two", 0.8, {"page": 2}),
    P("c", "red green blue three", 0.7, {"page": 3}),
    P("d", "red green four", 0.6, {"page": 4}),
)


def as_documents(passages):
    return [Document(id=p.id, page_content=p.text, metadata=dict(p.metadata)) for p in passages]


def as_nodes(passages):
    """With Chroma's scores in LlamaIndex: exp(-distance)."""
    return [
        NodeWithScore(
            node=TextNode(
                id_=p.id,
                text=p.text,
                metadata=dict(p.metadata),
                excluded_embed_metadata_keys=["page", "source"],
            ),
            score=math.exp(-(1.0 - p.dense)),
        )
        for p in passages
    ]


class Documents(BaseRetriever):
    rows: list

    def _get_relevant_documents(self, query, *, run_manager):
        return self.rows


class Driver:
    """Runs one adapter; `inputs` are what it was given, `results` [(id, text, metadata)]."""

    keeps_mutable_inputs = True
    kind = "order"

    def __init__(self, make_chroma):
        self.make_chroma = make_chroma
        self.inputs = None

    def build(self, passages, **settings):
        raise NotImplementedError

    def call(self, component):
        raise NotImplementedError

    async def acall(self, component):
        raise NotImplementedError


class OverRetriever(Driver):
    def build(self, passages, **settings):
        self.inputs = as_documents(passages)
        return RankGateRetriever.from_retriever(Documents(rows=self.inputs), **settings)

    def call(self, component):
        return self.rows(component.invoke(QUERY))

    async def acall(self, component):
        return self.rows(await component.ainvoke(QUERY))

    @staticmethod
    def rows(documents):
        return [(d.id, d.page_content, d.metadata) for d in documents]


class OverRetrievers(OverRetriever):
    """Two retrievers with the same list, which reciprocal ranks leave in its order."""

    def build(self, passages, **settings):
        self.inputs = as_documents(passages)
        children = [Documents(rows=self.inputs), Documents(rows=self.inputs)]
        return RankGateRetriever.from_retrievers(children, **settings)


class OverFirstStage(OverRetriever):
    kind = "dense"

    def build(self, passages, **settings):
        self.inputs = [
            Candidate(id=p.id, text=p.text, rank=i, metadata=dict(p.metadata), dense=p.dense)
            for i, p in enumerate(passages, start=1)
        ]
        return RankGateRetriever.from_first_stage(lambda query, k: self.inputs[:k], **settings)


class OverChroma(OverRetriever):
    keeps_mutable_inputs = False
    kind = "dense"

    def build(self, passages, **settings):
        store = self.make_chroma(
            [(p.text, p.dense) for p in passages],
            ids=[p.id for p in passages],
            # Chroma takes no empty mapping.
            metadatas=[p.metadata or {"page": 0} for p in passages],
        )
        return RankGateRetriever.from_chroma(store, **settings)


class WithCosines:
    """In front of a driver: the documents carry their cosines in the metadata."""

    kind = "dense"

    def build(self, passages, **settings):
        component = super().build(passages, dense_key="cosine", **settings)
        for document, p in zip(self.inputs, passages, strict=True):
            document.metadata["cosine"] = p.dense
        return component


class Compressor(OverRetriever):
    def build(self, passages, **settings):
        self.inputs = as_documents(passages)
        return RankGateRerank(**settings)

    def call(self, component):
        return self.rows(component.compress_documents(self.inputs, QUERY))

    async def acall(self, component):
        return self.rows(await component.acompress_documents(self.inputs, QUERY))


class CompressorWithCosines(WithCosines, Compressor):
    pass


class InAChain(OverRetriever):
    def build(self, passages, **settings):
        self.inputs = as_documents(passages)
        return RankGateRunnable(**settings)

    def call(self, component):
        return self.rows(component.invoke({"query": QUERY, "documents": self.inputs}))

    async def acall(self, component):
        return self.rows(await component.ainvoke({"query": QUERY, "documents": self.inputs}))


class InAChainWithCosines(WithCosines, InAChain):
    pass


class Llama(Driver):
    def build(self, passages, **settings):
        self.inputs = as_nodes(passages)
        return LlamaRerank(**settings)

    def call(self, component):
        return self.rows(component.postprocess_nodes(self.inputs, query_str=QUERY))

    async def acall(self, component):
        return self.rows(await component.apostprocess_nodes(self.inputs, query_str=QUERY))

    @staticmethod
    def rows(nodes):
        return [(n.node.node_id, n.node.text, n.node.metadata) for n in nodes]


class LlamaWithCosines(Llama):
    kind = "dense"

    def build(self, passages, **settings):
        return super().build(passages, chroma_space="cosine", **settings)


DRIVERS = (
    OverRetriever, OverRetrievers, OverFirstStage, OverChroma, Compressor, CompressorWithCosines,
    InAChain, InAChainWithCosines, Llama, LlamaWithCosines,
)  # fmt: skip


def ids(rows):
    return [row[0] for row in rows]
