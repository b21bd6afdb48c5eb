"""Paid calls to models over HTTP: bounded, kept, and never paid for twice."""

__all__: list[str] = []
