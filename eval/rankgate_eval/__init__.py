"""Measures whether a reranker helps, on the user's own data.

Names are loaded when they are first asked for: every `rankgate` command imports this package to
find its own commands, and most of them measure nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankgate.retrieve import MemoryIndex
    from rankgate_eval.answers.ragas_metrics import LocalFaithfulness
    from rankgate_eval.comparison.measure import compare_scorers
    from rankgate_eval.comparison.points import Comparison
    from rankgate_eval.data.dataset import Dataset
    from rankgate_eval.data.loading import load_dataset
    from rankgate_eval.errors import DatasetError, EvalError, SystemFailedError
    from rankgate_eval.evaluation import evaluate
    from rankgate_eval.result.result import Result, result_schema
    from rankgate_eval.run.experiment import EvalSettings
    from rankgate_eval.run.standards import Standards
    from rankgate_eval.run.system import FirstStage, as_first_stage
    from rankgate_eval.verdict.check import CheckResult, compare_results

__all__ = [
    "CheckResult",
    "Comparison",
    "Dataset",
    "DatasetError",
    "EvalError",
    "EvalSettings",
    "FirstStage",
    "LocalFaithfulness",
    "MemoryIndex",
    "Result",
    "Standards",
    "SystemFailedError",
    "as_first_stage",
    "check",
    "compare_results",
    "compare_scorers",
    "evaluate",
    "load_dataset",
    "result_schema",
]

_HOMES = {
    "CheckResult": "rankgate_eval.verdict.check",
    "Comparison": "rankgate_eval.comparison.points",
    "Dataset": "rankgate_eval.data.dataset",
    "DatasetError": "rankgate_eval.errors",
    "EvalError": "rankgate_eval.errors",
    "LocalFaithfulness": "rankgate_eval.answers.ragas_metrics",
    "MemoryIndex": "rankgate.retrieve",
    "FirstStage": "rankgate_eval.run.system",
    "Result": "rankgate_eval.result.result",
    "EvalSettings": "rankgate_eval.run.experiment",
    "Standards": "rankgate_eval.verdict.verdict",
    "SystemFailedError": "rankgate_eval.errors",
    "as_first_stage": "rankgate_eval.run.system",
    "check": "rankgate_eval.regression",
    "compare_results": "rankgate_eval.verdict.check",
    "compare_scorers": "rankgate_eval.comparison.measure",
    "evaluate": "rankgate_eval.evaluation",
    "load_dataset": "rankgate_eval.data.loading",
    "result_schema": "rankgate_eval.result.result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
