"""Tools: a retriever for an agent, which reads text and must read a refusal too."""

from __future__ import annotations

from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import StructuredTool
from langchain_core.tools import create_retriever_tool as langchains_own

__all__ = ["create_retriever_tool"]


def create_retriever_tool(
    retriever: BaseRetriever, name: str, description: str, **options: Any
) -> StructuredTool:
    """LangChain's `create_retriever_tool`, whose tool says a refusal in words.

    LangChain's own joins the documents' texts, so that none gives an empty text, and a model
    that reads nothing guesses.

    Args:
        retriever: a `RankGateRetriever`; one that has `when_refused` other than `empty`, and any
            other retriever, is taken as it is.
        name: of the tool, for the model.
        description: what it finds, for the model.
        **options: as LangChain's: document_prompt, document_separator, response_format.
    """
    if getattr(retriever, "when_refused", None) == "empty":
        retriever = retriever.model_copy(update={"when_refused": "say"})
    return langchains_own(retriever, name, description, **options)
