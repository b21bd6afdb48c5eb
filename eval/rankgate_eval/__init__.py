"""Measures whether a reranker helps, on the user's own data."""
