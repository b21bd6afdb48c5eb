"""The decision: signals, gate, relevance, floor, and the one function that orders a list.

Pure arithmetic on values that were read before: no clock, no I/O, no framework. Serving,
calibration and evaluation call it; it imports `rankgate.types` and scores, nothing above.
"""

__all__: list[str] = []
