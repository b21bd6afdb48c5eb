"""Parsers of what offices write: Word, tables, e-mail; imported by the parser process alone."""
