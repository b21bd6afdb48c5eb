"""Readers of pages as they look: PDF, and pictures by OCR; imported by the parser process alone."""
