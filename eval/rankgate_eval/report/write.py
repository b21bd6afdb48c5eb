"""Writes the report's files beside the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankgate.errors import MissingExtraError
from rankgate.texts import whole_file
from rankgate_eval.report.markdown import render_markdown
from rankgate_eval.result.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where the report is."""

    html: Path
    markdown: Path
    queries: Path

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [self.html, self.markdown, self.queries]


def write_report(result: Result, folder: str | Path) -> Paths:
    """Write `report.html`, `report.md` and `queries.csv` into `folder`, made where it is missing.

    Each replaces an older one only when it is complete.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    try:
        from rankgate_eval.report.html import render_html
        from rankgate_eval.report.questions import queries_csv, question_rows
    except ImportError as exc:
        raise MissingExtraError("the HTML report", "eval") from exc
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    paths = Paths(
        html=into / "report.html", markdown=into / "report.md", queries=into / "queries.csv"
    )
    for path, text in (
        (paths.html, render_html(result)),
        (paths.markdown, render_markdown(result)),
        (paths.queries, queries_csv(question_rows(result))),
    ):
        with whole_file(path) as part:
            # A lone surrogate in somebody's data must not cost the report.
            part.write_bytes(text.encode("utf-8", "backslashreplace"))
    return paths
