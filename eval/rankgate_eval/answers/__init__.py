"""Answers with and without the reranker: generated, judged, compared, decided.

Here lives the whole of `rankgate eval e2e`, which the command line calls, and nobody else in
`rankgate_eval` may import; of the report it uses the words and the Markdown, and what is paid for
stands in `rankgate_eval.paid`. From below: `generator`, `questions` (what is asked, and what became
of it in an arm); `keyless`, `judge`, `ragas_metrics` (what is said of an answer);
`handover`, `answering` (arms); `comparison`, `verdict`, `result` (what came of it); `rehearsal` and
`run`, which put it together.
"""

from rankgate_eval.answers.answering import SystemAnswer, as_system
from rankgate_eval.answers.generator import ApiGenerator, LocalGenerator, choose_generator
from rankgate_eval.answers.handover import hand_over
from rankgate_eval.answers.judge import Judge, LocalEmbeddings
from rankgate_eval.answers.questions import AskedQuestion, Handed, questions_of, read_own_questions
from rankgate_eval.answers.result import Comparison, EndToEnd
from rankgate_eval.answers.run import Spending, compare_answers, rehearse
from rankgate_eval.paid.endpoint import Endpoint, Model, Prices

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
    "hand_over",
    "questions_of",
    "read_own_questions",
    "rehearse",
]
