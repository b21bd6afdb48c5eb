"""The LlamaIndex postprocessor behind a retriever's nodes.

Run: python examples/llamaindex_rerank.py (offline; needs the extras `minilm` and `dev`)
"""

import math

from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.postprocessor.rankgate import RankGateRerank
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "The museum is closed on Mondays and on public holidays.",
    "Guided tours begin at eleven and at three.",
    "Tickets cost twelve euros; children under six are admitted free of charge.",
    "The cafe serves cake from the region.",
]


def retrieved(encoder, question):
    """Nodes as a ChromaVectorStore of the cosine space gives them: the score is exp(-distance).

    With an index of yours, pass `node_postprocessors=[RankGateRerank(...)]` to its query engine.
    """
    query, *passages = encoder.embed([question, *PASSAGES])
    nodes = [
        NodeWithScore(node=TextNode(text=text), score=math.exp(float(query @ vector) - 1.0))
        for text, vector in zip(PASSAGES, passages, strict=True)
    ]
    return sorted(nodes, key=lambda n: -n.score)


def main():
    encoder = TokenEncoder.load()
    rerank = RankGateRerank(top_n=2, chroma_space="cosine")
    for question in ("how much is a ticket for a child of four?", "boiling point of mercury"):
        kept = rerank.postprocess_nodes(retrieved(encoder, question), query_str=question)
        print(question)
        for node in kept:
            seen = node.metadata
            print(f"  {node.score:.3f}  {node.node.text}")
            print(f"         {seen['rankgate_outcome']}, cosine {seen['rankgate_dense']:.2f}")
        if not kept:
            print("  nothing relevant")


if __name__ == "__main__":
    main()
