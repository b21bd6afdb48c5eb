"""What the LangChain and LlamaIndex packages share; imported by them alone."""

__all__: list[str] = []
