"""LlamaIndex components for rankgate: reranking that knows when not to."""

from llama_index.postprocessor.rankgate.events import RankGateOutcomeEvent
from llama_index.postprocessor.rankgate.postprocessor import RankGateRerank
from llama_index.postprocessor.rankgate.retriever import RankGateRetriever
from rankgate.adapters.refusal import DegradedError, RefusedError

__version__ = "0.1.0"

__all__ = [
    "DegradedError",
    "RankGateOutcomeEvent",
    "RankGateRerank",
    "RankGateRetriever",
    "RefusedError",
    "__version__",
]
