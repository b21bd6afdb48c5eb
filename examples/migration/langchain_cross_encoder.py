"""From LangChain's CrossEncoderReranker to RankGateRerank, with the same model.

Run: python examples/migration/langchain_cross_encoder.py (offline; no model is needed)
A toy stands for the model, so that nothing is downloaded. With a real one, the scorer is
rankgate.scorers.CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L-6-v2").
"""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rankgate import RankGateRerank
from rankgate import Policy, ScorerInfo, Scores
from rankgate.testing import word_overlap

FOUND = [
    "The library opens at nine.",
    "Books are lent for four weeks.",
    "Lost books are to be paid for.",
]
QUESTION = "for how many weeks are books lent"


class Toy(BaseCrossEncoder):
    """Stands for langchain_community's HuggingFaceCrossEncoder."""

    down = False

    def score(self, text_pairs):
        if self.down:
            raise RuntimeError("out of memory")
        return [word_overlap(query, text) for query, text in text_pairs]


class FromLangChain:
    """Any BaseCrossEncoder as a rankgate scorer: all it takes is `info` and `score`."""

    def __init__(self, model, name):
        self.model = model
        self.info = ScorerInfo(id=name, scale=name)

    def score(self, query, texts, context=None):
        return Scores.full(self.model.score([(query, t) for t in texts]), self.info.scale)


def before(retriever, model):
    return ContextualCompressionRetriever(
        base_compressor=CrossEncoderReranker(model=model, top_n=2), base_retriever=retriever
    )


def after(retriever, model):
    # Policy.unfitted(): always rerank, raw order, no floor, as before. `rankgate calibrate`
    # writes a policy with a gate and a floor: RankGateRerank.from_policy("policy.json", ...).
    rerank = RankGateRerank(scorer=FromLangChain(model, "toy"), policy=Policy.unfitted(), top_n=2)
    return ContextualCompressionRetriever(base_compressor=rerank, base_retriever=retriever)


def main():
    # Stands for any retriever of yours.
    retriever = RunnableLambda(lambda query: [Document(page_content=text) for text in FOUND])
    model = Toy()
    old, new = before(retriever, model).invoke(QUESTION), after(retriever, model).invoke(QUESTION)
    for one, other in zip(old, new, strict=True):
        print(f"{one.page_content}  metadata before: {one.metadata}")
        print(f"{other.page_content}  raw score {other.metadata['rankgate_raw_score']:.2f}")
    same = [d.page_content for d in old] == [d.page_content for d in new]
    print(f"the same documents in the same order: {same}")

    model.down = True
    try:
        before(retriever, model).invoke(QUESTION)
    except RuntimeError as exc:
        print(f"before, when the model fails: {type(exc).__name__}: {exc}")
    first = after(retriever, model).invoke(QUESTION)[0]
    print(f"after, when the model fails: {first.metadata['rankgate_outcome']}", first.page_content)


if __name__ == "__main__":
    main()
