"""Cuts a document into headed sections: Markdown, HTML, and Python files by their docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser

__all__ = ["READERS", "Section", "html_sections", "markdown_sections", "python_sections"]

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^(```|~~~)")
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"^(?:(?:chapter|appendix|part)\s+)?[\dA-Z]{0,3}(?:\.\d+)*\.?\s+(?=\S)", re.I)
_SKIPPED = frozenset({"script", "style", "nav", "footer", "head", "button", "form"})
_BLOCKS = frozenset({"p", "li", "dt", "dd", "div", "tr", "pre", "section", "br", "td", "th"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of text under a heading.

    Attributes:
        path: the headings above it, outermost first, its own last.
        body: the text, without the heading.
    """

    path: tuple[str, ...]
    body: str


def markdown_sections(text: str) -> list[Section]:
    """Sections of a Markdown document; code fences stay in the body, `#` in them is no heading."""
    found: list[Section] = []
    stack: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False

    def close() -> None:
        body = "\n".join(lines).strip()
        if stack and body:
            found.append(Section(path=tuple(h for _, h in stack), body=body))
        lines.clear()

    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        close()
        level = len(heading[1])
        while stack and stack[-1][0] >= level:
            stack.pop()
        stack.append((level, heading[2]))
    close()
    return found


class _Reader(HTMLParser):
    """Collects text under h1 to h6; what stands in navigation and scripts is left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Section] = []
        self._stack: list[tuple[int, str]] = []
        self._body: list[str] = []
        self._heading: list[str] | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._hidden += 1
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456" and not self._hidden:
            self._close()
            self._heading = []
        elif tag in _BLOCKS:
            self.handle_data("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._hidden = max(0, self._hidden - 1)
        elif self._heading is not None and len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            level, title = int(tag[1]), _tidy_heading("".join(self._heading))
            self._heading = None
            while self._stack and self._stack[-1][0] >= level:
                self._stack.pop()
            if title:
                self._stack.append((level, title))

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        (self._body if self._heading is None else self._heading).append(data)

    def close(self) -> None:
        super().close()
        self._close()

    def _close(self) -> None:
        lines = (_SPACES.sub(" ", line).strip() for line in "".join(self._body).splitlines())
        body = "\n".join(line for line in lines if line)
        if self._stack and body:
            self.found.append(Section(path=tuple(h for _, h in self._stack), body=body))
        self._body = []


def _tidy_heading(text: str) -> str:
    """Without section numbers, permalink marks and runs of spaces."""
    title = _SPACES.sub(" ", text.replace("\u00b6", " ").replace("#", " ")).strip()
    return _NUMBER.sub("", title).strip()


def html_sections(text: str) -> list[Section]:
    """Sections of an HTML page by its headings."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.found


def python_sections(text: str) -> list[Section]:
    """Docstrings: the first line is the heading, the rest the body; nothing where it has one line.

    A file that does not parse has no sections.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            head, _, body = (ast.get_docstring(node) or "").partition("\n\n")
            if head.strip() and body.strip():
                title = _SPACES.sub(" ", head).strip()
                found.append(Section(path=(title,), body=body.strip()))
    return found


READERS: Mapping[str, Callable[[str], list[Section]]] = {
    ".md": markdown_sections,
    ".markdown": markdown_sections,
    ".html": html_sections,
    ".htm": html_sections,
    ".py": python_sections,
}
"""File suffix to reader."""
