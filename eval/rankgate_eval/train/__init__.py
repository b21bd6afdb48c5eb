"""`rankgate train`: fits a reranker to one's own data, and keeps it only if it is better.

Mining, lists and looks serve both methods; `query` and `trainer` fit the layers that read
questions, `full` a cross-encoder. It may import the engine, `data`, `run`, `stats` and `verdict`;
only the command imports it. Importing it is light: torch is loaded by what needs it.
"""
