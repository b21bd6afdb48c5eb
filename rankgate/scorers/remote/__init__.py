"""Remote rerankers: one client, explicit dialects, retries within the deadline."""

from rankgate.scorers.remote.scorer import RemoteScorer

__all__ = ["RemoteScorer"]
