"""rankgate: reranking that knows when not to."""

import logging

from rankgate.deadline import Deadline
from rankgate.decide.floor import Floor
from rankgate.decide.gate import Action, Decision, Gate
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.outcome import Outcome
from rankgate.plan import Request
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.reranker import Reranker
from rankgate.scorers.build import load
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScorerInfo, Scores, ScoreStats
from rankgate.types import Candidate, Dropped, FirstStageKind, Passage, Path, Status

__version__ = "0.1.0"

logging.getLogger("rankgate").addHandler(logging.NullHandler())

__all__ = [
    "Action",
    "Candidate",
    "Deadline",
    "Decision",
    "Dropped",
    "FirstStageKind",
    "Floor",
    "Gate",
    "Job",
    "Outcome",
    "Passage",
    "Path",
    "Policy",
    "Profile",
    "RelevanceModel",
    "Request",
    "Reranker",
    "ScoreContext",
    "ScoreStats",
    "Scorer",
    "ScorerInfo",
    "Scores",
    "Section",
    "Status",
    "__version__",
    "load",
]
