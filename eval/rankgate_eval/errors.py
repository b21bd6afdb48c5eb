"""Every error that the evaluation raises, beside those of `rankgate.errors`.

RankgateError
└── EvalError
    ├── DatasetError (InputError)     a data set cannot be evaluated on; holds every finding
    └── SystemFailedError             the system under test failed on too many queries
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankgate.errors import InputError, RankgateError

if TYPE_CHECKING:
    from rankgate_eval.data.finding import Finding

__all__ = ["DatasetError", "EvalError", "SystemFailedError"]


class EvalError(RankgateError):
    """Base of what only the evaluation raises."""


class DatasetError(EvalError, InputError):
    """A data set has errors; they are reported together, not one a run.

    Args:
        name: of the data set.
        findings: the errors, at least one.
        shown: how many of them the message holds; the rest is counted.
    """

    def __init__(self, name: str, findings: Sequence[Finding], *, shown: int = 20) -> None:
        self.name = name
        self.findings = tuple(findings)
        count = len(self.findings)
        lines = [f"{name} cannot be used: {count} error{'' if count == 1 else 's'}"]
        lines += [f"  {finding}" for finding in self.findings[:shown]]
        if count > shown:
            lines.append(f"  ... and {count - shown} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[DatasetError], tuple[str, Sequence[Finding]]]:
        return (DatasetError, (self.name, self.findings))


class SystemFailedError(EvalError):
    """The system under test failed on more queries than is allowed, or on none rightly."""
