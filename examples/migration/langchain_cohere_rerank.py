"""From langchain-cohere's CohereRerank to RankGateRerank over the same endpoint.

Run: python examples/migration/langchain_cohere_rerank.py (offline; a server on this machine
speaks Cohere's protocol, and langchain-cohere talks to it as it would to Cohere)
"""

import contextlib

import cohere
import httpx
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from scripted_cohere import serving

from langchain_rankgate import RankGateRerank
from rankgate import Policy
from rankgate.scorers import RemoteScorer

FOUND = [
    "The pool is closed on Mondays.",
    "Children under six swim for free.",
    "The sauna costs nine euros.",
]
QUESTION = "do children swim for free"
MODEL = "rerank-v3.5"


def before(retriever, client):
    return ContextualCompressionRetriever(
        base_compressor=CohereRerank(client=client, model=MODEL, top_n=2),
        base_retriever=retriever,
    )


def after(retriever, scorer):
    return ContextualCompressionRetriever(
        base_compressor=RankGateRerank(scorer=scorer, policy=Policy.unfitted(), top_n=2),
        base_retriever=retriever,
    )


def main():
    # Stands for any retriever of yours.
    retriever = RunnableLambda(lambda query: [Document(page_content=text) for text in FOUND])
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(contextlib.ExitStack())
        url, asked = server.enter_context(serving())
        http = closing.enter_context(httpx.Client())
        client = cohere.ClientV2("secret", base_url=url, httpx_client=http)
        scorer = closing.enter_context(
            RemoteScorer(url, dialect="cohere", model=MODEL, api_key="secret", max_retries=0)
        )
        old = before(retriever, client).invoke(QUESTION)
        new = after(retriever, scorer).invoke(QUESTION)
        for a, b in zip(old, new, strict=True):
            print(f"{a.page_content}  before: relevance_score {a.metadata['relevance_score']:.2f}")
            print(f"{b.page_content}  after: raw score {b.metadata['rankgate_raw_score']:.2f}")
        same = [d.page_content for d in old] == [d.page_content for d in new]
        print(f"the same documents in the same order: {same}; asked for {asked}")

        server.close()
        try:
            before(retriever, client).invoke(QUESTION)
        except httpx.ConnectError as exc:
            print(f"before, without the server: {type(exc).__name__}")
        found = after(retriever, scorer).invoke(QUESTION)
        outcome = found[0].metadata["rankgate_outcome"]
        print(f"after, without the server: {outcome}, {len(found)} found")


if __name__ == "__main__":
    main()
