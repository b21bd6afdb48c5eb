"""The application around the engine: ingest, store, generate, command line."""
