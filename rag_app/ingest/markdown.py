"""Markdown, kept verbatim: its headings, paragraphs, fences and tables are found by offset."""

from __future__ import annotations

import re

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import MAX_HEADING, Block, BlockKind, Limits, ParsedDocument
from rag_app.ingest.plain import lines as line_spans

_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_DASHES = re.compile(r":?-*:?")
# One that never ends is passed over as a whole, not tried again at each bracket of it.
_LINK = re.compile(r"!?\[([^\]]*)(?:\](?:\([^)]*(?:(\))|\Z))?|\Z)")
_FRONT_KEY = re.compile(r"([\w.-]{1,60})[ \t]{0,9}[:=](?:[ \t]|$)")


def plain_heading(line: str) -> str:
    """A heading's words, without Markdown's marks."""
    line = _LINK.sub(lambda m: m[1] if m[2] else m[0], line)
    line = re.sub(r"(?<!\s)\s*\{#[\w:.-]+\}\s*$", "", line)
    line = re.sub(r"\*\*|__|`", "", line)
    return re.sub(r"\s+", " ", line.strip(" \t*_")).strip()


class _Scan:
    """Collects blocks line by line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.blocks: list[Block] = []
        self.path: list[tuple[int, str]] = []
        self.open: tuple[int, int, BlockKind] | None = None  # start, end, kind
        self.open_lines = 0

    @property
    def heading(self) -> tuple[str, ...]:
        return tuple(title for _, title in self.path)

    def close(self) -> None:
        if self.open is not None:
            start, end, kind = self.open
            self.add(kind, start, end)
        self.open, self.open_lines = None, 0

    def add(self, kind: BlockKind, start: int, end: int) -> None:
        body = self.text[start:end]
        lead = len(body) - len(body.lstrip("\n"))
        stripped = body.strip()
        if stripped:
            # The indentation of a first line belongs to it: code and lists mean something by it.
            end = start + len(body.rstrip())
            self.blocks.append(Block(kind=kind, start=start + lead, end=end, heading=self.heading))

    def extend(self, kind: BlockKind, start: int, end: int) -> None:
        if self.open is not None and self.open[2] != kind:
            self.close()
        first = start if self.open is None else self.open[0]
        self.open = (first, end, kind)
        self.open_lines += 1

    def head(self, level: int, title: str, start: int, end: int) -> None:
        self.close()
        if len(title) > MAX_HEADING:
            self.add("text", start, end)
            return
        title = plain_heading(title)
        if not title:
            return
        while self.path and self.path[-1][0] >= level:
            self.path.pop()
        self.path.append((level, title))
        self.add("heading", start, end)


def scan(text: str, start: int = 0) -> tuple[Block, ...]:
    """The blocks of a Markdown text from `start` on."""
    state = _Scan(text)
    lines = list(line_spans(text, start, len(text)))
    i = 0
    while i < len(lines):
        begin, end = lines[i]
        line = text[begin:end]
        fence = _FENCE.match(line)
        if fence and not ("`" in line[fence.end() :] and fence[1][0] == "`"):
            state.close()
            closing = re.compile(rf" {{0,3}}{re.escape(fence[1][0])}{{{len(fence[1])},}}[ \t]*$")
            last = i + 1
            while last < len(lines) and not closing.match(text[slice(*lines[last])]):
                last += 1
            last = min(last, len(lines) - 1)
            state.add("code", begin, lines[last][1])
            i = last + 1
            continue
        i += 1
        if not line.strip():
            state.close()
        elif atx := _ATX.match(line):
            title = line[atx.end() :].strip(" \t")
            bare = title.rstrip("#")
            title = bare if bare[-1:] in ("", " ", "\t") else title
            state.head(len(atx[1]), title.strip(" \t"), begin, end)
        elif (
            state.open is not None
            and state.open[2] == "text"
            and state.open_lines == 1
            and (setext := _SETEXT.match(line))
        ):
            first = state.open[0]
            title = text[first : state.open[1]]
            state.open, state.open_lines = None, 0
            state.head(1 if setext[1][0] == "=" else 2, title, first, end)
        elif "|" in line and (
            (state.open is not None and state.open[2] == "table")
            or line.lstrip().startswith("|")
            or (i < len(lines) and _is_delimiter(text[slice(*lines[i])]))
        ):
            state.extend("table", begin, end)
        else:
            state.extend("text", begin, end)
    state.close()
    return tuple(state.blocks)


def _is_delimiter(line: str) -> bool:
    """Whether it is the line of dashes below a table's header."""
    cells = line.strip().strip("|").split("|")
    return "|" in line and "-" in line and all(_DASHES.fullmatch(c.strip()) for c in cells)


def _front_matter(text: str) -> tuple[int, str | None]:
    """Where the text proper begins, and the title that stands before it.

    What lies between two lines of dashes (or, for TOML, plus signs) is front matter if it is
    written like one; a line of dashes is a rule otherwise, and loses nothing.
    """
    spans = line_spans(text, 0, len(text))
    rule = text[slice(*next(spans))].rstrip()
    if rule not in ("---", "+++"):
        return 0, None
    title = None
    for begin, end in spans:
        line = text[begin:end].rstrip()
        if line in (rule, "..."):
            return min(end + 1, len(text)), title
        key = _FRONT_KEY.match(line)
        if line and key is None and line[0] not in " \t#-[]":
            break
        if key is not None and key[1] == "title" and title is None:
            title = line[key.end() :].strip().strip("\"'") or None
    return 0, None


def _uncommented(text: str) -> str:
    """The text with blanks in place of HTML comments, which no reader of the page sees."""
    if "<!--" not in text:
        return text
    found: list[str] = []
    fence, at, counted, marks = "", 0, 0, 0
    for begin, end in line_spans(text, 0, len(text)):
        if begin < at:  # inside a comment
            continue
        line = text[begin:end]
        mark = _FENCE.match(line)
        if mark and (not fence or (mark[1][0] == fence[0] and len(mark[1]) >= len(fence))):
            fence = "" if fence else mark[1]
        start = -1 if fence else text.find("<!--", begin, end)
        while start >= 0:
            # From where the last count ended: a line may have any number of comments.
            marks = (marks if counted > begin else 0) + text.count("`", max(begin, counted), start)
            counted = start
            stop = text.find("-->", start + 4)
            if stop < 0:  # nor is there one for any that follows
                return "".join([*found, text[at:]])
            if marks % 2 == 1:
                break
            found += [text[at:start], re.sub(r"[^\n]", " ", text[start : stop + 3])]
            at = stop + 3
            start = text.find("<!--", at, end) if at < end else -1
    return "".join([*found, text[at:]])


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a Markdown file; the title is its front matter's, its first heading, or `stem`.

    Raises:
        ParseFailure: not_text, broken.
    """
    decoded, notes = decode(data)
    text = _uncommented(clean(decoded))
    begin, title = _front_matter(text)
    blocks = scan(text, begin)
    if title is None:
        title = next((b.heading[-1] for b in blocks if b.kind == "heading"), stem)
    return ParsedDocument(title=title, text=text, blocks=blocks, notes=notes)
