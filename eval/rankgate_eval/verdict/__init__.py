"""From numbers to a verdict: analysis, diagnosis, and what may be shipped."""
