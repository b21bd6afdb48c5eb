"""Ingestion: files become parsed documents, documents become chunks, chunks are stored.

Imports nothing here: the parser process imports this package too, and must not carry the engine
with it.
"""
