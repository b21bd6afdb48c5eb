"""Reads statements: their sentences and words, what models say, whether passages support it.

Imported by application and evaluation; imports no framework.
"""

__all__: list[str] = []
