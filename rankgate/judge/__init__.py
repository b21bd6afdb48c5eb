"""Reads statements: their sentences and words, what models say, whether passages support it.

Imported by application and evaluation; imports no framework.
"""

from rankgate.judge.grounding import (
    Grounding,
    GroundingJudge,
    Span,
    Statement,
    grounded,
    statements_of,
)

__all__ = ["Grounding", "GroundingJudge", "Span", "Statement", "grounded", "statements_of"]
