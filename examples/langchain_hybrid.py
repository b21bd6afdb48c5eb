"""A first stage of your own, with BM25 scores, behind the LangChain retriever.

Run: python examples/langchain_hybrid.py (offline; no model is needed)
"""

import asyncio

from langchain_rankgate import RankGateRetriever
from rankgate import Candidate, Policy
from rankgate.retrieve import BM25Index
from rankgate.testing import FakeScorer

PASSAGES = {
    "net-1": "The router restarts after a firmware update and takes two minutes to come back.",
    "net-2": "Hold the reset button for ten seconds to restore the router's factory settings.",
    "tv-1": "The television updates its firmware at night.",
}


class ByWords:
    """Gives candidates with their BM25 scores; a cosine beside it would make it hybrid."""

    def __init__(self, passages):
        self.passages = passages
        self.index = BM25Index.build(passages.items())

    def candidates(self, query, k):
        found = self.index.search(query, k)
        return [
            Candidate(id=key, text=self.passages[key], rank=rank, bm25=score)
            for rank, (key, score) in enumerate(found.items(), start=1)
        ]


def main():
    # A fake scorer, so that the example needs no model; leave it out for the default one.
    retriever = RankGateRetriever.from_first_stage(
        ByWords(PASSAGES), scorer=FakeScorer(), policy=Policy.unfitted(), top_n=2
    )
    question = "how to restore factory settings of the router"
    for document in asyncio.run(retriever.ainvoke(question)):
        seen = document.metadata
        print(
            f"{document.id}: rank {seen['rankgate_rank_before']} -> {seen['rankgate_rank']}, "
            f"BM25 {seen['rankgate_bm25']:.2f}, scorer {seen['rankgate_raw_score']:.2f}"
        )
    untouched = retriever.retrieve_outcome(question, force="skip")
    print(f"without the second stage: {[p.candidate.id for p in untouched.kept]}")


if __name__ == "__main__":
    main()
