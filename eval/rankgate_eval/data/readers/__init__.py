"""Readers: files of several formats to a `RawDataset`, every row with its place."""

from rankgate_eval.data.readers.beir import read_beir
from rankgate_eval.data.readers.csv import read_csv
from rankgate_eval.data.readers.feedback import read_feedback
from rankgate_eval.data.readers.questions import read_questions
from rankgate_eval.data.readers.run import Run, read_run, write_run
from rankgate_eval.data.readers.trec import read_trec

__all__ = [
    "Run",
    "read_beir",
    "read_csv",
    "read_feedback",
    "read_questions",
    "read_run",
    "read_trec",
    "write_run",
]
