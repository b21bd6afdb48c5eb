"""`rankgate train` from end to end: data in, a model, its exports and its card out."""

from rankgate_eval.train.plan import TrainingPlan, make_plan
from rankgate_eval.train.run import Trained, TrainingJob, run_training
from rankgate_eval.train.sources import Source, load_source

__all__ = [
    "Source",
    "Trained",
    "TrainingJob",
    "TrainingPlan",
    "load_source",
    "make_plan",
    "run_training",
]
