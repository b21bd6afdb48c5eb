"""Calibration without labels: a gate that agrees with the reranker, a floor with two sides.

What is guaranteed stands on conversations that fitted nothing. The calibration's own room and the
commands import it; it imports the rest of `rankgate_eval.calibrate`.
"""

from rankgate_eval.calibrate.unlabelled.calibration import Unlabelled, calibrate_unlabelled
from rankgate_eval.calibrate.unlabelled.path import FidelityOptions
from rankgate_eval.calibrate.unlabelled.sources import Asked, foreign_bank, joined, read_asked
from rankgate_eval.calibrate.unlabelled.table import table_lines
from rankgate_eval.calibrate.unlabelled.trust import Trust, trust_of

__all__ = [
    "Asked",
    "FidelityOptions",
    "Trust",
    "Unlabelled",
    "calibrate_unlabelled",
    "foreign_bank",
    "joined",
    "read_asked",
    "table_lines",
    "trust_of",
]
