"""The commands of the evaluation: `rankgate eval` and what stands below it."""

from rankgate_eval.cli.group import register

__all__ = ["register"]
