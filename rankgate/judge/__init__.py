"""Reads what language models say; imported by application and evaluation, imports no framework."""

__all__: list[str] = []
