"""Every error that the evaluation raises, beside those of `rankgate.errors`.

RankgateError
└── EvalError
    ├── DatasetError (InputError)     a data set cannot be evaluated on; holds every finding
    ├── SystemFailedError             the system under test failed on too many queries
    ├── CallFailed                    one call gave nothing usable; its sample is counted as missing
    │   └── BudgetReached             the next call might cost more than is left
    └── EndpointError                 nothing can work at this address, with this key or this model
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankgate.errors import InputError, RankgateError

if TYPE_CHECKING:
    from rankgate_eval.finding import Finding


class EvalError(RankgateError):
    """Base of what only the evaluation raises."""


class DatasetError(EvalError, InputError):
    """A data set has errors; they are reported together, not one a run.

    Args:
        findings: the errors, at least one.
        shown: how many of them the message holds, a quarter of one kind at most where there are
            several; the rest is counted.
    """

    def __init__(self, name: str, findings: Sequence[Finding], *, shown: int = 20) -> None:
        self.name = name
        self.findings = tuple(findings)
        count = len(self.findings)
        lines = [f"{name} cannot be used: {count} error{'' if count == 1 else 's'}"]
        lines += [f"  {finding}" for finding in self._first(shown)]
        if count > len(lines) - 1:
            lines.append(f"  ... and {count - len(lines) + 1} more (rankgate --debug shows all)")
        super().__init__("\n".join(lines))

    def _first(self, shown: int) -> list[Finding]:
        """In order, as many of each kind as leave room for the other kinds."""
        kinds = {finding.code for finding in self.findings}
        most = shown if len(self.findings) <= shown or len(kinds) == 1 else max(1, shown // 4)
        seen: Counter[str] = Counter()
        chosen = []
        for finding in self.findings:
            seen[finding.code] += 1
            if seen[finding.code] <= most:
                chosen.append(finding)
        return chosen[:shown]

    def __reduce__(self) -> tuple[type[DatasetError], tuple[str, Sequence[Finding]]]:
        return (DatasetError, (self.name, self.findings))


class SystemFailedError(EvalError):
    """The system under test failed on more queries than is allowed, or on none rightly."""


class CallFailed(EvalError):
    """A call failed for good; `reason` is the code under which its sample is counted.

    Args:
        reason: such as `timeout`, `http_500`, `truncated`, `refused`, `invalid`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type[CallFailed], tuple[str, str]]:
        return (CallFailed, (self.reason, self.detail))


class BudgetReached(CallFailed):
    """The next call might have cost more than `--max-cost` left."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("budget", detail)

    def __reduce__(self) -> tuple[type[BudgetReached], tuple[str]]:  # type: ignore[override]
        return (BudgetReached, (self.detail,))


class EndpointError(EvalError):
    """The address, the key or the model is wrong: no call can succeed, so the run stops."""

    exit_code = 2
