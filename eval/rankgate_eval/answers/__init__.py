"""Answers with and without the reranker: generated, judged, compared, decided.

Here lives the whole of `rankgate eval e2e`, which the command line calls, and nobody else in
`rankgate_eval` may import; of the report it uses the words and the Markdown. From below:
`questions`, `sample` (one question in one arm); `prices`, `endpoint`, `calls` (everything that is
paid for); `generator`, `systems`, `judge`, `ragas_metrics` (what calls are made of); `handover`,
`answering` (arms); `comparison`, `movements`, `verdict`, `summary`, `result` (what came of it).
"""

from rankgate_eval.answers.endpoint import Endpoint, Model
from rankgate_eval.answers.generator import ApiGenerator, LocalGenerator, choose_generator
from rankgate_eval.answers.handover import hand_over
from rankgate_eval.answers.judge import Judge, LocalEmbeddings
from rankgate_eval.answers.prices import Prices
from rankgate_eval.answers.questions import AskedQuestion, questions_of, read_own_questions
from rankgate_eval.answers.result import EndToEnd
from rankgate_eval.answers.run import Spending, compare_answers, compare_systems, rehearse
from rankgate_eval.answers.sample import Handed
from rankgate_eval.answers.summary import Comparison
from rankgate_eval.answers.systems import SystemAnswer, as_system

__all__ = [
    "ApiGenerator",
    "AskedQuestion",
    "Comparison",
    "EndToEnd",
    "Endpoint",
    "Handed",
    "Judge",
    "LocalEmbeddings",
    "LocalGenerator",
    "Model",
    "Prices",
    "Spending",
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
