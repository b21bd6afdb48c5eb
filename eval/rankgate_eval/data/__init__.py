"""The data set: passages, queries, judgements, splits; readers and checks; no other room."""
