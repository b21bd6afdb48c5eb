"""What traffic says of a policy: promises, reliability, drift, interleaving.

Pure arithmetic on what was recorded: no clock, no I/O. The application and the evaluation call it,
so that a number on the Quality page and in a report is the same function's; it imports
`rankgate.bounds`, `rankgate.policy` and `rankgate.types`.
"""

__all__: list[str] = []
