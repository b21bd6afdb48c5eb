"""From LangChain's EmbeddingsFilter, a floor on cosines, to a floor on probabilities.

Run: python examples/migration/langchain_embeddings_filter.py (offline; needs the extras
`minilm` and `dev`)
"""

from chromadb import EphemeralClient
from langchain_chroma import Chroma
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
from langchain_core.embeddings import Embeddings

from langchain_rankgate import RankGateRetriever
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "The ferry leaves the mainland every two hours from six in the morning.",
    "Bicycles are carried on the ferry for three euros.",
    "The island's only hotel is open from April to October.",
    "Dogs must be kept on a lead in the nature reserve.",
]
QUESTIONS = ("what does a bicycle cost on the ferry?", "who wrote the opera Carmen?")


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2 from the installed package; counts the texts that it embeds."""

    def __init__(self):
        self.encoder = TokenEncoder.load()
        self.texts = 0

    def embed_documents(self, texts):
        self.texts += len(texts)
        return self.encoder.embed(texts).tolist()

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def before(store, embeddings):
    return ContextualCompressionRetriever(
        base_compressor=EmbeddingsFilter(embeddings=embeddings, similarity_threshold=0.3),
        base_retriever=store.as_retriever(search_kwargs={"k": 4}),
    )


def after(store):
    # The floor stands in the policy; this is the one that comes with rankgate.
    return RankGateRetriever.from_chroma(store, k=4, top_n=2, embedder="all-MiniLM-L6-v2")


def main():
    embeddings = MiniLM()
    store = Chroma(
        "island",
        embeddings,
        client=EphemeralClient(),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(PASSAGES)
    for name, retriever in (("before", before(store, embeddings)), ("after", after(store))):
        embeddings.texts = 0
        for question in QUESTIONS:
            found = retriever.invoke(question)
            print(f"{name}: {question} {[d.page_content for d in found]}")
        print(f"{name}: {embeddings.texts} texts embedded for {len(QUESTIONS)} questions")


if __name__ == "__main__":
    main()
