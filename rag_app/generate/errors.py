"""What goes wrong while an answer is written.

RankgateError
└── GeneratorError    the LLM gave no usable answer; the passages are still good
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankgate.errors import RankgateError

if TYPE_CHECKING:
    from rag_app.generate.answer import Answer

EXIT_GENERATOR = 5


class GeneratorError(RankgateError):
    """The LLM gave no usable answer: unreachable, refused, too slow, cut off, or garbage."""

    exit_code = EXIT_GENERATOR
    said: Answer | None = None
    """What was said before it broke off; None: nothing."""
