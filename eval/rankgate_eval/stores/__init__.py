"""Stores of passages: what is in them, opened by name, and written as a corpus to be labelled.

Imports the engine and `rankgate_eval.data`; never the application, which is found through the
entry-point group `rankgate.collections`.
"""
