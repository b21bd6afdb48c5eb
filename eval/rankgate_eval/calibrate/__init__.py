"""Fits a policy on a data set: relevance models, gate and floor, each checked on held-out data."""

from rankgate_eval.calibrate.calibration import Calibration, calibrate
from rankgate_eval.calibrate.material import LEAST_JUDGED
from rankgate_eval.negatives.unanswerable import Question, foreign_questions, read_questions

__all__ = [
    "LEAST_JUDGED",
    "Calibration",
    "Question",
    "calibrate",
    "foreign_questions",
    "read_questions",
]
