"""The retriever as a tool of a LangChain agent, which hears it when nothing relevant was found.

Run: python examples/langchain_agent.py (offline; needs the extras `minilm` and `dev`)
The model is a scripted server on this machine; give ChatOpenAI your own address instead.
"""

from chromadb import EphemeralClient
from langchain.agents import create_agent
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from langchain_openai import ChatOpenAI
from scripted_openai import serving, tool_call

from langchain_rankgate import RankGateRetriever, create_retriever_tool
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "The dishwasher's filter must be rinsed once a month under running water.",
    "To descale the coffee machine, run one tank of citric acid through it, then two of water.",
    "The warranty covers defects in material for two years from the date of purchase.",
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


def scripted(messages):
    """What the model says: first it asks for the tool, then it repeats what the tool found."""
    last = messages[-1]
    if last["role"] == "tool":
        return f"According to the manuals: {last['content']}"
    return tool_call("search_manuals", query=last["content"])


def main():
    store = Chroma(
        "manuals",
        MiniLM(),
        client=EphemeralClient(),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(PASSAGES)
    retriever = RankGateRetriever.from_vectorstore(store, top_n=1, embedder="all-MiniLM-L6-v2")

    # LangChain's own tool of this name gives an empty text where nothing was found, and a model
    # that reads nothing guesses.
    search_manuals = create_retriever_tool(
        retriever, "search_manuals", "Search the manuals of the household's machines."
    )

    with serving(scripted) as url:
        agent = create_agent(
            ChatOpenAI(model="scripted", base_url=url, api_key="none"), tools=[search_manuals]
        )
        for question in ("what does E24 mean?", "who won the football world cup in 1974?"):
            result = agent.invoke({"messages": [{"role": "user", "content": question}]})
            print(f"{question}\n  {result['messages'][-1].content}")


if __name__ == "__main__":
    main()
