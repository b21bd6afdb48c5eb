"""LangChain components for rankgate: reranking that knows when not to."""

from langchain_rankgate.compressor import RankGateRerank
from langchain_rankgate.retriever import RankGateRetriever
from langchain_rankgate.runnable import RankGateRunnable
from langchain_rankgate.tools import create_retriever_tool
from rankgate.adapters.refusal import DegradedError, RefusedError

__version__ = "0.1.0"

__all__ = [
    "DegradedError",
    "RankGateRerank",
    "RankGateRetriever",
    "RankGateRunnable",
    "RefusedError",
    "__version__",
    "create_retriever_tool",
]
