"""What goes wrong while an answer is written.

RankgateError
└── GeneratorError    the LLM gave no usable answer; the passages are still good
"""

from __future__ import annotations

from rankgate.errors import RankgateError

__all__ = ["EXIT_GENERATOR", "GeneratorError"]

EXIT_GENERATOR = 5


class GeneratorError(RankgateError):
    """The LLM gave no usable answer: unreachable, refused, too slow, cut off, or garbage."""

    exit_code = EXIT_GENERATOR
