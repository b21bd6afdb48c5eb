"""What the LangChain and LlamaIndex packages share; the evaluation takes scorers by it too."""

__all__: list[str] = []
