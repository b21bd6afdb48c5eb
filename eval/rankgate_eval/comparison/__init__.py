"""Several rerankers in one table: each at several K, against what needs none and each other.

`points` (what comes out), `measure` (reads and times), `choice` (tests, corrected, and the rule by
which one is taken), `cost`, `tables` (Markdown, CSV). Imports the other rooms of the evaluation;
only the command line imports it.
"""
