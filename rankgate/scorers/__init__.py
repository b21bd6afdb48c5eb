"""Scorers: one file an engine, behind one protocol."""

from rankgate.scorers.cascade import Cascade
from rankgate.scorers.cross_encoder import CrossEncoderScorer
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate.scorers.protocol import (
    Job,
    ScoreContext,
    Scorer,
    ScorerInfo,
    Scores,
    ScoreStats,
    check_scores,
)
from rankgate.scorers.remote.scorer import RemoteScorer

__all__ = [
    "Cascade",
    "CrossEncoderScorer",
    "Job",
    "LateInteractionScorer",
    "OnnxScorer",
    "RemoteScorer",
    "ScoreContext",
    "ScoreStats",
    "Scorer",
    "ScorerInfo",
    "Scores",
    "check_scores",
]
