"""The LlamaIndex postprocessor behind a retriever's nodes.

Run: python examples/llamaindex_rerank.py (offline; needs the extras `minilm` and `dev`)
"""

from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.postprocessor.rankgate import RankGateRerank

# As a ChromaVectorStore gives them: the score is exp(-distance). In an engine, pass
# `node_postprocessors=[RankGateRerank(...)]`.
FOUND = [
    ("The museum is closed on Mondays and on public holidays.", 0.55),
    ("Guided tours begin at eleven and at three.", 0.52),
    ("Tickets cost twelve euros; children under six are admitted free of charge.", 0.50),
    ("The cafe serves cake from the region.", 0.45),
]


def main():
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=f"n{i}"), score=score)
        for i, (text, score) in enumerate(FOUND)
    ]
    rerank = RankGateRerank(top_n=2, chroma_space="cosine")
    for question in ("how much is a ticket for a child of four?", "boiling point of mercury"):
        kept = rerank.postprocess_nodes(nodes, query_str=question)
        print(question)
        for node in kept:
            before = node.node.metadata["rankgate_rank_before"]
            print(f"  {node.score:.3f} (was {before})  {node.node.text}")
        if not kept:
            print("  nothing relevant")


if __name__ == "__main__":
    main()
