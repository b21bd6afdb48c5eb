"""Trace: each outcome stands below its retriever's run, whose own outputs are documents alone."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)

from rankgate import Outcome

__all__ = ["atrace", "outputs_of", "trace"]

_NAME = "rankgate_outcome"


def trace(run: CallbackManagerForRetrieverRun, outcome: Outcome) -> None:
    """Open and end a chain run that says what happened, and why."""
    inputs = _inputs(outcome)
    run.get_child().on_chain_start(None, inputs, name=_NAME).on_chain_end(outputs_of(outcome))


async def atrace(run: AsyncCallbackManagerForRetrieverRun, outcome: Outcome) -> None:
    """`trace` for an asynchronous run."""
    child = await run.get_child().on_chain_start(None, _inputs(outcome), name=_NAME)
    await child.on_chain_end(outputs_of(outcome))


def outputs_of(outcome: Outcome) -> dict[str, Any]:
    """What a trace says of an outcome, in plain words and numbers."""
    return {
        "outcome": outcome.status.value,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }


def _inputs(outcome: Outcome) -> dict[str, Any]:
    return {
        "query": outcome.query,
        "first_stage": outcome.first_stage.value,
        "candidates": len(outcome.passages),
    }
