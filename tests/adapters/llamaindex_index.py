"""A real LlamaIndex index in a real Chroma collection, at known cosines to every query."""

import math
import uuid

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

QUERY = "red green"
COSINES = {"red apple": 0.9, "whale": 0.5, "red green fish": 0.1}
THREE = tuple(COSINES.items())


class AtCosines(BaseEmbedding):
    """Unit vectors at known cosines to (1, 0), which every query is embedded as."""

    def _get_text_embedding(self, text):
        cosine = next(c for t, c in COSINES.items() if t in text)
        return [cosine, math.sqrt(1.0 - cosine * cosine)]

    def _get_query_embedding(self, query):
        return [1.0, 0.0]

    async def _aget_query_embedding(self, query):
        return [1.0, 0.0]


def nodes_of(*rows, **kwargs):
    return [
        NodeWithScore(node=TextNode(id_=f"n{i}", text=t, **kwargs), score=s)
        for i, (t, s) in enumerate(rows)
    ]


class Listed(BaseRetriever):
    """Gives its nodes; knows no number."""

    def __init__(self, nodes, *, error=None):
        super().__init__()
        self.nodes = nodes
        self.error = error
        self.queries = []

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle)
        if self.error is not None:
            raise self.error
        return self.nodes


class Sized(Listed):
    """Gives its best `similarity_top_k` nodes, as LlamaIndex's own do."""

    def __init__(self, nodes, similarity_top_k=2):
        super().__init__(nodes)
        self.similarity_top_k = similarity_top_k

    def _retrieve(self, query_bundle):
        return super()._retrieve(query_bundle)[: self.similarity_top_k]


def ids(nodes):
    return [n.node_id for n in nodes]


@pytest.fixture
def index_in():
    """Makes an index whose collection records its space as `how` says."""
    import chromadb

    client = chromadb.EphemeralClient()
    made = []

    def make(space, *, how="metadata"):
        name = f"c{uuid.uuid4().hex}"
        said = {
            "metadata": {"metadata": {"hnsw:space": space}},
            "configuration": {"configuration": {"hnsw": {"space": space}}},
            "silent": {},
        }[how]
        collection = client.create_collection(name, embedding_function=None, **said)
        made.append(name)
        store = ChromaVectorStore(chroma_collection=collection)
        nodes = [TextNode(id_=f"n{i}", text=t, metadata={"page": i}) for i, t in enumerate(COSINES)]
        return VectorStoreIndex(
            nodes,
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=AtCosines(),
        )

    yield make
    for name in made:
        client.delete_collection(name)


class Collector(BaseEventHandler):
    seen: list = []  # noqa: RUF012 -- pydantic copies it for each instance

    @classmethod
    def class_name(cls):
        return "Collector"

    def handle(self, event, **kwargs):
        self.seen.append(event)


@pytest.fixture
def events():
    """Every event of the test, by LlamaIndex's root dispatcher."""
    root = get_dispatcher("root")
    collector = Collector()
    before = list(root.event_handlers)
    root.add_event_handler(collector)
    yield collector.seen
    root.event_handlers[:] = before
