"""Errors of the end-to-end evaluation.

EvalError
├── CallFailed         one call gave nothing usable; its sample is counted as missing
├── BudgetReached      the next call might cost more than is left
└── EndpointError      nothing can work at this address, with this key or this model
"""

from __future__ import annotations

from rankgate_eval.errors import EvalError

__all__ = ["BudgetReached", "CallFailed", "EndpointError"]


class CallFailed(EvalError):
    """A call failed for good; `reason` is the code under which its sample is counted.

    Args:
        reason: such as `timeout`, `http_500`, `truncated`, `refused`, `invalid`.
        detail: in words.
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
