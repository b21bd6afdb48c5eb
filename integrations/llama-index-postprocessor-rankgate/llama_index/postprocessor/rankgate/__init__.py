"""LlamaIndex component for rankgate: reranking that knows when not to."""

from llama_index.postprocessor.rankgate.postprocessor import RankGateRerank

__version__ = "0.1.0"

__all__ = ["RankGateRerank", "__version__"]
