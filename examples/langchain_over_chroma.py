"""A LangChain retriever over Chroma that reranks where it pays and refuses where nothing fits.

Run: python examples/langchain_over_chroma.py (offline; needs the extras `minilm` and `dev`)
"""

from chromadb import EphemeralClient
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings

from langchain_rankgate import RankGateRetriever
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "The dishwasher's filter must be rinsed once a month under running water.",
    "To descale the coffee machine, run one tank of citric acid through it, then two of water.",
    "The warranty covers defects in material for two years from the date of purchase.",
    "A washing machine that vibrates usually stands on an uneven floor.",
    "Filters of the coffee machine are available in the shop under number 4711.",
    "Error E24 means that the water cannot drain: check the hose for kinks.",
]


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2 from the installed package; no hub, no download."""

    def __init__(self):
        self.encoder = TokenEncoder.load()

    def embed_documents(self, texts):
        return self.encoder.embed(texts).tolist()

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def main():
    store = Chroma(
        "manuals",
        MiniLM(),
        client=EphemeralClient(),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(PASSAGES)
    # An `Embeddings` of one's own does not say which model it is, and the default policy is bound
    # to one; LangChain's own classes are asked.
    retriever = RankGateRetriever.from_chroma(store, top_n=2, embedder="all-MiniLM-L6-v2")

    for question in (
        "how do I descale the coffee machine?",
        "what does E24 mean",
        "who won the football world cup in 1974?",
    ):
        outcome = retriever.retrieve_outcome(question)
        print(f"\n{question}\n  {outcome.status} ({outcome.reason}: {outcome.detail})")
        for document in retriever.invoke(question):
            print(f"  {document.metadata['relevance_score']:.3f}  {document.page_content}")


if __name__ == "__main__":
    main()
