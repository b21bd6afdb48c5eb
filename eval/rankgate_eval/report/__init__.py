"""The report: one self-contained HTML file and one Markdown file, made of a result alone."""

from rankgate_eval.report.markdown import render_markdown, summarise
from rankgate_eval.report.write import Paths, write_report

__all__ = ["Paths", "render_markdown", "summarise", "write_report"]
