"""What is recorded of traffic, and what that says of a policy: promises, reliability, drift.

But for the recorders (`question_log`, `tracing`) pure arithmetic: no clock, no I/O. The
application and the evaluation call it, so that a number on the Quality page and in a report is
the same function's; it imports `rankgate.bounds`, `rankgate.policy`, `rankgate.outcome` and
`rankgate.types`.
"""

__all__: list[str] = []
