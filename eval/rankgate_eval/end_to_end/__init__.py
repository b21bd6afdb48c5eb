"""Answers with and without the reranker: generated, judged, compared, decided."""

from rankgate_eval.end_to_end.context import Handed
from rankgate_eval.end_to_end.endpoint import Endpoint, Model
from rankgate_eval.end_to_end.generator import ApiGenerator, LocalGenerator, choose_generator
from rankgate_eval.end_to_end.handover import hand_over
from rankgate_eval.end_to_end.judge import Judge, LocalEmbeddings
from rankgate_eval.end_to_end.limits import Prices
from rankgate_eval.end_to_end.questions import Question, questions_of, read_own_questions
from rankgate_eval.end_to_end.result import EndToEnd
from rankgate_eval.end_to_end.run import Limits, compare_answers, compare_systems, rehearse
from rankgate_eval.end_to_end.summary import Plan
from rankgate_eval.end_to_end.systems import SystemAnswer, as_system

__all__ = [
    "ApiGenerator",
    "EndToEnd",
    "Endpoint",
    "Handed",
    "Judge",
    "Limits",
    "LocalEmbeddings",
    "LocalGenerator",
    "Model",
    "Plan",
    "Prices",
    "Question",
    "SystemAnswer",
    "as_system",
    "choose_generator",
    "compare_answers",
    "compare_systems",
    "hand_over",
    "questions_of",
    "read_own_questions",
    "rehearse",
]
