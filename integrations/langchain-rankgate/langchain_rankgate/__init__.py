"""LangChain components for rankgate: reranking that knows when not to."""

from langchain_rankgate.compressor import RankGateRerank
from langchain_rankgate.refusal import RefusedError
from langchain_rankgate.retriever import RankGateRetriever
from langchain_rankgate.runnable import RankGateRunnable

__version__ = "0.1.0"

__all__ = ["RankGateRerank", "RankGateRetriever", "RankGateRunnable", "RefusedError", "__version__"]
