"""Many questions at once: `batch` asks the scorer a single time, whatever the retriever is.

Run: python examples/langchain_batch.py (offline; no model is needed)
"""

import asyncio

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from langchain_rankgate import RankGateRetriever
from rankgate import Policy
from rankgate.testing import FakeScorer

PASSAGES = [
    "The router restarts after a firmware update and takes two minutes to come back.",
    "Hold the reset button for ten seconds to restore the router's factory settings.",
    "The television updates its firmware at night.",
]
QUESTIONS = ["what does the television do at night", "restore factory settings", "router restarts"]


class ByFirstWord(BaseRetriever):
    """Stands for a keyword search of yours."""

    def _get_relevant_documents(self, query, *, run_manager):
        word = query.split()[0]
        found = sorted(PASSAGES, key=lambda text: word not in text.lower())
        return [Document(page_content=text) for text in found]


class Everything(BaseRetriever):
    """Stands for a vector search of yours."""

    def _get_relevant_documents(self, query, *, run_manager):
        if "factory" in query:
            raise ConnectionError("the vector store is down")
        return [Document(page_content=text) for text in PASSAGES]


def main():
    # A fake scorer, so that the example needs no model; leave it out for the default one.
    scorer = FakeScorer()
    retriever = RankGateRetriever.from_retrievers(
        {"words": ByFirstWord(), "vectors": Everything()},
        weights={"words": 0.7, "vectors": 1.0},
        scorer=scorer,
        policy=Policy.unfitted(),
        top_n=1,
    )
    for question, documents in zip(QUESTIONS, retriever.batch(QUESTIONS), strict=True):
        seen = documents[0].metadata
        print(f"{question}: {documents[0].page_content}")
        print(f"  found by {seen['rankgate_found_by']}", end="")
        print(f", missing {list(seen.get('rankgate_failed_retrievers', {}))}")
    print(f"calls of the scorer for {len(QUESTIONS)} questions: {scorer.calls}")

    results = asyncio.run(
        retriever.abatch([*QUESTIONS[:1], 7], return_exceptions=True, config={"tags": ["night"]})
    )
    print(f"a question that is none: {type(results[1]).__name__}, the other one is answered")


if __name__ == "__main__":
    main()
