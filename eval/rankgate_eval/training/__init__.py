"""`rankgate train` from end to end: data in, a model, its exports and its card out."""

from rankgate_eval.training.plan import TrainingPlan, make_plan
from rankgate_eval.training.run import Trained, TrainingJob, run_training
from rankgate_eval.training.sources import Source, load_source

__all__ = [
    "Source",
    "Trained",
    "TrainingJob",
    "TrainingPlan",
    "load_source",
    "make_plan",
    "run_training",
]
