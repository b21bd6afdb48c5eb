"""Answers: extracted or generated, with citations that are checked; imported by ask."""
