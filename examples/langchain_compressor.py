"""The document compressor in a ContextualCompressionRetriever, over any retriever.

Run: python examples/langchain_compressor.py (offline; needs the extras `minilm` and `dev`)
"""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rankgate import RankGateRerank

FOUND = [
    "Our shops are open from nine to six.",
    "Returns are accepted within thirty days if the goods are unused.",
    "Shipping to islands takes up to ten days.",
]


def main():
    # Stands for any retriever of yours.
    retriever = RunnableLambda(lambda query: [Document(page_content=text) for text in FOUND])
    compressed = ContextualCompressionRetriever(
        base_compressor=RankGateRerank(top_n=1), base_retriever=retriever
    )
    for question in ("are returns accepted after three weeks?", "capital of Mongolia"):
        documents = compressed.invoke(question)
        print(question)
        for document in documents:
            print(f"  {document.metadata['relevance_score']:.3f}  {document.page_content}")
        if not documents:
            print("  nothing relevant")


if __name__ == "__main__":
    main()
