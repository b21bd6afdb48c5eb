"""Reads what is no data set: triples, and documents that nobody has labelled.

Triples are JSON lines, `{"query": ..., "positive": text or list, "negative": text or list
(optional)}`, or TSV: query, positive, then any number of negatives, without a header. Of documents,
Markdown, HTML, and Python files by their docstrings, the heading of a section asks, its text
answers; the first sentence of a section asks for the rest of it. Such pairs are poorer than real
questions, and they cost nothing.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate.retrieve import Analyser
from rankgate_eval.train.mining import TrainingCorpus, TrainingQuery

_HEADING = re.compile(r"^(#{1,6})\s+(.+)$")
_FENCE = re.compile(r"^(```|~~~)")
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"^(?:(?:chapter|appendix|part) )?[\dA-Z]{0,3}(?:\.\d+)*\.? (?=\S)", re.I)
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
        stack.append((level, heading[2].rstrip().rstrip("#").rstrip()))
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


_SENTENCE = re.compile(r"^(.{30,200}?[.:])\s+(?=\S)", re.DOTALL)
# Headings that stand in every manual and say nothing about their section.
_EMPTY = frozenset(
    "abstract introduction overview description notes examples example see also parameters "
    "summary arguments options usage synopsis compatibility references author authors outputs "
    "history bugs navigation files environment exit status return value returns "
    "raises contents index".split()
)
_MIN_BODY_WORDS = 25
_MAX_BODY_WORDS = 180


def read_documents(folder: str | Path, *, licence: str = "not stated") -> TrainingCorpus:
    """Pairs from every .md, .html and .py file below a folder.

    Raises:
        InputError: no folder, no such files, or not one usable pair in them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder of documents at {root}")
    files = sorted(f for f in root.rglob("*") if f.suffix.casefold() in READERS and f.is_file())
    if not files:
        raise InputError(f"{root} holds no {', '.join(READERS)} file")
    sections = [
        (str(file.relative_to(root)), section)
        for file in files
        for section in READERS[file.suffix.casefold()](file.read_text("utf-8", "replace"))
    ]
    corpus = documents_corpus(sections, name=root.name, licence=licence)
    if not corpus.queries:
        raise InputError(
            f"{root}: {len(files)} files, {len(sections)} sections, and no pair in them: a "
            f"heading needs two telling words and {_MIN_BODY_WORDS} words below it"
        )
    return corpus


def documents_corpus(
    sections: Iterable[tuple[str, Section]], *, name: str, licence: str = "not stated"
) -> TrainingCorpus:
    """Pairs of (document, section); all sections of a document form a group.

    Left out are headings that say nothing, headings that stand over several sections with no
    telling heading above them, and sections of a few words: their pairs would teach noise.
    """
    listed = [(doc, s) for doc, s in sections if len(s.body.split()) >= _MIN_BODY_WORDS]
    asked = Counter(_question(s.path) for _, s in listed)
    passages: dict[str, str] = {}
    queries: list[TrainingQuery] = []
    for document, section in listed:
        question = _question(section.path)
        body = " ".join(section.body.split()[:_MAX_BODY_WORDS])
        identifier = hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()[:16]
        if identifier in passages:
            continue
        passages[identifier] = body
        if question is not None and asked[question] == 1:
            queries.append(_query(f"h:{identifier}", question, identifier, document))
        lead = _SENTENCE.match(body)
        rest = "" if lead is None else body[lead.end() :]
        if lead is not None and _prose(lead[1]) and len(rest.split()) >= _MIN_BODY_WORDS:
            # The passage that answers is the rest: with the sentence in it, equal words do.
            below = f"{identifier}-rest"
            passages[below] = rest
            queries.append(_query(f"s:{identifier}", lead[1].rstrip(".:"), below, document))
    return TrainingCorpus(
        name=name, passages=passages, queries=tuple(queries), licence=licence, source="documents"
    )


def _query(identifier: str, text: str, passage: str, document: str) -> TrainingQuery:
    return TrainingQuery(id=identifier, text=text, positives=(passage,), group=document)


def _question(path: tuple[str, ...]) -> str | None:
    """The heading, with the one above it where one word alone would be too little."""
    telling = _telling(path[-1])
    if telling >= 2:
        return path[-1]
    joined = " ".join(path[-2:])
    return joined if telling == 1 and _telling(joined) >= 2 else None


def _prose(sentence: str) -> bool:
    """Whether this reads as a sentence, not as a table of contents, a signature or a prompt."""
    plain = sum(ch.isalpha() or ch in " ,'-" for ch in sentence)
    return sentence[0].isupper() and plain >= 0.9 * len(sentence)


def _telling(heading: str) -> int:
    """Words that are neither stop words nor headings of every manual."""
    return sum(term not in _EMPTY for term in Analyser().terms([heading])[0])


_Row = tuple[str, list[str], list[str]]


def read_triples(file: str | Path, *, licence: str = "not stated") -> TrainingCorpus:
    """A corpus made of the texts that stand in the rows; equal texts are one passage.

    Equal questions are one query with all of their passages; a passage that is positive in one
    row and negative in another counts as positive.

    Raises:
        InputError: the file is absent, empty, or a row cannot be read; it names the line.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"no file of triples at {path}")
    rows = _json_rows(path) if path.suffix.casefold() == ".jsonl" else _table_rows(path)
    passages: dict[str, str] = {}
    positives: dict[str, dict[str, None]] = {}
    negatives: dict[str, dict[str, None]] = {}
    for query, good, bad in rows:
        for texts, kept in ((good, positives), (bad, negatives)):
            for text in texts:
                identifier = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
                passages[identifier] = text
                kept.setdefault(query, {})[identifier] = None
    if not positives:
        raise InputError(f"{path} holds no triples")
    queries = tuple(
        TrainingQuery(
            id=str(i),
            text=query,
            positives=tuple(good),
            negatives=tuple(p for p in negatives.get(query, {}) if p not in good),
            group=next(iter(good)),
        )
        for i, (query, good) in enumerate(positives.items())
    )
    return TrainingCorpus(
        name=path.stem, passages=passages, queries=queries, licence=licence, source="triples"
    )


def _json_rows(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise InputError(f"{where}: not JSON: {exc}") from exc
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, got {type(row).__name__}")
        yield (
            _text(row.get("query"), where, "query"),
            _texts(row.get("positive"), where, "positive", needed=True),
            _texts(row.get("negative"), where, "negative", needed=False),
        )


def _table_rows(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        for number, cells in enumerate(csv.reader(stream, delimiter="\t"), 1):
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{number}"
            if len(cells) < 2:
                raise InputError(
                    f"{where}: expected query, positive and negatives between tabs, got "
                    f"{len(cells)} column"
                )
            query, positive, *bad = cells
            yield (
                _text(query, where, "query"),
                [_text(positive, where, "positive")],
                [cell for cell in bad if cell.strip()],
            )


def _text(value: Any, where: str, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} must be a text that is not empty, got {value!r}")
    return value


def _texts(value: Any, where: str, name: str, *, needed: bool) -> list[str]:
    if value is None and not needed:
        return []
    listed = value if isinstance(value, list) else [value]
    if needed and not listed:
        raise InputError(f"{where}: {name!r} is an empty list")
    return [_text(item, where, name) for item in listed]
