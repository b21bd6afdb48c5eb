"""The HTTP server over the pipeline."""
