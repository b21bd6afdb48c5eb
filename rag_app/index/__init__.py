"""Where documents are kept: manifest, Chroma, BM25; imported by ask, ingest, cli and server."""
