"""Stages: scorers over a shrinking list."""

from rankgate.stages.cascade import Cascade

__all__ = ["Cascade"]
