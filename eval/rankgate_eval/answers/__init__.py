"""Answers with and without the reranker: generated, judged, compared, decided."""

from rankgate_eval.answers.endpoint import Endpoint, Model
from rankgate_eval.answers.generator import ApiGenerator, LocalGenerator, choose_generator
from rankgate_eval.answers.handover import hand_over
from rankgate_eval.answers.judge import Judge, LocalEmbeddings
from rankgate_eval.answers.prices import Prices
from rankgate_eval.answers.questions import Question, questions_of, read_own_questions
from rankgate_eval.answers.result import EndToEnd
from rankgate_eval.answers.run import Limits, compare_answers, compare_systems, rehearse
from rankgate_eval.answers.sample import Handed
from rankgate_eval.answers.summary import Plan
from rankgate_eval.answers.systems import SystemAnswer, as_system

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
