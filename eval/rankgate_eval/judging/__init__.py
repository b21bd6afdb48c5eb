"""Labels for little work: questions chosen, judged by people, the rest by a model, and rectified.

The terminal, the application's page and a script of yours use the same `Session`. Imports the data,
runs and statistics of the evaluation; knows no terminal, no server and no framework.
"""

from rankgate_eval.judging.export import judged_lines
from rankgate_eval.judging.plan import Question, Ways, drawn_questions
from rankgate_eval.judging.session import Kind, Session, Verdict
from rankgate_eval.judging.standing import Agreement, Standing, standing

__all__ = [
    "Agreement",
    "Kind",
    "Question",
    "Session",
    "Standing",
    "Verdict",
    "Ways",
    "drawn_questions",
    "judged_lines",
    "standing",
]
