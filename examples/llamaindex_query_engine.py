"""A LlamaIndex query engine over Chroma: gate before the cut, floor instead of a wrong answer.

Run: python examples/llamaindex_query_engine.py (offline; needs the extras `minilm` and `dev`)
"""

from chromadb import EphemeralClient
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.postprocessor.rankgate import RankGateRetriever
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "The museum is closed on Mondays and on public holidays.",
    "Guided tours begin at eleven and at three, and last an hour.",
    "Tickets cost twelve euros; children under six are admitted free of charge.",
    "The cafe serves cake from the region.",
    "Coats and bags are left at the cloakroom beside the entrance.",
    "Photographs are allowed without flash.",
]


class MiniLM(BaseEmbedding):
    """all-MiniLM-L6-v2 from the installed package; no hub, no download."""

    _encoder: TokenEncoder = PrivateAttr(default_factory=TokenEncoder.load)

    def _get_text_embedding(self, text):
        return self._encoder.embed([text])[0].tolist()

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


def make_index():
    collection = EphemeralClient().create_collection(
        "museum", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    store = ChromaVectorStore(chroma_collection=collection)
    return VectorStoreIndex(
        [TextNode(text=text) for text in PASSAGES],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=MiniLM(),
    )


def main():
    # It asks the index for K = 50 nodes itself: `similarity_top_k` cannot be forgotten.
    retriever = RankGateRetriever.from_defaults(make_index(), top_n=2)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(max_tokens=8))
    for question in (
        "when do the guided tours begin?",
        "how much is a ticket for a child of four?",
        "boiling point of mercury",
    ):
        response = engine.query(question)
        print(question)
        for node in response.source_nodes:
            seen = node.metadata
            print(f"  {node.score:.3f} {seen['rankgate_outcome']}: {node.node.text}")
        if not response.source_nodes:
            why = retriever.retrieve_outcome(question)
            print(f"  {response} ({why.status}, {why.reason}: {why.detail})")

    # Several questions at once: one call to the scorer for all that need it.
    found = retriever.retrieve_many(["are photographs allowed?", "where are coats left?"])
    print(*(nodes[0].node.text for nodes in found), sep="\n")


if __name__ == "__main__":
    main()
