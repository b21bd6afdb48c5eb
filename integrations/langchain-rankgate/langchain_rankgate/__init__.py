"""LangChain components for rankgate: reranking that knows when not to."""

from langchain_rankgate.compressor import RankGateRerank
from langchain_rankgate.retriever import RankGateRetriever

__version__ = "0.1.0"

__all__ = ["RankGateRerank", "RankGateRetriever", "__version__"]
