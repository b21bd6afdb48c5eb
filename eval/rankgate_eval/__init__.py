"""Measures whether a reranker helps, on the user's own data.

Names are loaded when they are first asked for: every `rankgate` command imports this package to
find its own commands, and most of them measure nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankgate_eval.check import CheckResult, compare_results
    from rankgate_eval.dataset import Dataset
    from rankgate_eval.errors import DatasetError, EvalError, SystemFailedError
    from rankgate_eval.evaluation import evaluate
    from rankgate_eval.experiment import Settings
    from rankgate_eval.index import MemoryIndex
    from rankgate_eval.loading import load_dataset
    from rankgate_eval.result import Result, result_schema
    from rankgate_eval.sweep import SweepResult, run_sweep
    from rankgate_eval.system import FirstStage, as_first_stage
    from rankgate_eval.verdict import Standards

__all__ = [
    "CheckResult",
    "Dataset",
    "DatasetError",
    "EvalError",
    "FirstStage",
    "MemoryIndex",
    "Result",
    "Settings",
    "Standards",
    "SweepResult",
    "SystemFailedError",
    "as_first_stage",
    "compare_results",
    "evaluate",
    "load_dataset",
    "result_schema",
    "run_sweep",
]

_HOMES = {
    "CheckResult": "check",
    "Dataset": "dataset",
    "DatasetError": "errors",
    "EvalError": "errors",
    "FirstStage": "system",
    "MemoryIndex": "index",
    "Result": "result",
    "Settings": "experiment",
    "Standards": "verdict",
    "SweepResult": "sweep",
    "SystemFailedError": "errors",
    "as_first_stage": "system",
    "compare_results": "check",
    "evaluate": "evaluation",
    "load_dataset": "loading",
    "result_schema": "result",
    "run_sweep": "sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
