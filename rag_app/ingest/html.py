"""HTML: the page's content without its navigation, as text with Markdown's marks.

The tree is read as it stands: whatever a reader of the page sees is in the text, in its order,
and code is verbatim. Only what is plainly no content is left out: scripts, what is hidden, and
navigation, by its element, its role, its class or its links.
"""

from __future__ import annotations

import re
from typing import Any

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import (
    Limits,
    ParsedDocument,
    ParseFailure,
)
from rag_app.ingest.office.tables import are_names, named_rows, pipe_table
from rag_app.ingest.plain import Parts

_DECLARATION = re.compile(r"\s{0,9}<\?xml[^>]{0,200}\?>")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    "p div section article blockquote dl dt dd figure figcaption address main details summary "
    "fieldset form header footer aside hgroup center body table tr td th tbody thead tfoot ul ol "
    "pre menu hr".split()
) | frozenset(_HEADINGS)
_NEVER = frozenset(
    "script style noscript template head nav svg iframe button select option input textarea "
    "object embed canvas audio video map datalist".split()
)
_ROLES = frozenset("navigation search banner contentinfo menu menubar toolbar".split())
_CHROME = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navheader|navfooter|navigation|breadcrumbs?|toc|table-of-contents"
    r"|sidebar|sphinxsidebar|cookies?|cookie-banner|skip-link|headerlink|pagination|related"
    r"|longdesc-link|page-footer|site-footer|site-header)(?:$|[\s_-])",
    re.I,
)
_HIDDEN = re.compile(r"display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden", re.I)
_LINKS = 0.8  # share of a list's or a division's letters that are links, from which on it leads
_ANCHORS = ("", "\u00b6", "#", "\U0001f517", "\u00a7")  # a link to the place itself
_CUT = 800  # characters: about a chunk
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~\s]|$)")  # which Markdown would take for an escape
_TERM = 80  # characters of a term, or of what stands for it
_RAISED = re.compile(r"[-+\u2212]?\w{1,3}")


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a web page; the title is the page's, its first heading, or `stem`.

    Raises:
        ParseFailure: not_text, broken, no_text.
    """
    parts = Parts()
    title, notes = add_page(data, parts)
    if not parts.blocks:
        raise ParseFailure("no_text", "the page has no text of its own (built by a script?)")
    return parts.document(title, stem, notes)


def add_page(data: bytes, parts: Parts) -> tuple[str, tuple[str, ...]]:
    """Collect a page's content; its own title, and notes of its encoding.

    Raises:
        ParseFailure: not_text, broken.
    """
    decoded, notes = decode(data, html=True)
    before = len(parts.blocks)
    # The encoding is settled; lxml refuses a string that declares one.
    root = read_tree(_DECLARATION.sub("", clean(decoded), count=1))
    collect(_content(root), parts, leave_out=True)
    if len(parts.blocks) == before:
        # A page of nothing but links: better those than nothing.
        collect(root, parts, leave_out=False)
    return _words(root.findtext(".//title") or ""), notes


def read_tree(page: str) -> Any:
    """The page's tree.

    Raises:
        ParseFailure: broken: no HTML parser makes anything of it.
    """
    import lxml.etree
    import lxml.html

    try:
        root = lxml.html.document_fromstring(page)
    except (lxml.etree.LxmlError, ValueError) as exc:
        raise ParseFailure("broken", f"not readable as HTML: {exc}") from exc
    for kind in (lxml.etree.Comment, lxml.etree.ProcessingInstruction):
        lxml.etree.strip_elements(root, kind, with_tail=False)
    code = {inner for pre in root.iter("pre") for inner in pre.iter()} if "\\" in page else set()
    for element in root.iter() if "\\" in page else ():
        if element.text and element not in code:
            element.text = _ESCAPE.sub(r"\\\\", element.text)
        if element.tail and element.getparent() not in code:
            element.tail = _ESCAPE.sub(r"\\\\", element.tail)
    return root


def _words(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def _content(root: Any) -> Any:
    """The tree without what frames the content, if the page says which part that is."""
    whole = len(_words("".join(root.itertext())))
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = root.findall(path)
        # Several articles are a list of them, and between them stands what they are about.
        if len(found) == 1 and len(_words("".join(found[0].itertext()))) * 2 >= whole:
            around = [e for e in root.iter("header", "footer", "aside", "nav", "form")]
            inside = set(found[0].iter())
            for frame in around:
                if frame not in inside and found[0] not in frame.iter():
                    frame.drop_tree()
            break
    return root


def collect(element: Any, parts: Parts, *, leave_out: bool) -> None:
    """Paragraphs, headings, lists, tables and code of an element, in order."""
    inline: list[str] = [element.text or ""]

    def close() -> None:
        parts.add("text", _words("".join(inline)))
        inline.clear()

    for child in element:
        tag = _tag(child)
        if tag in _NEVER or _is_hidden(child) or (leave_out and _leads(child, tag)):
            pass
        elif tag in _HEADINGS:
            close()
            parts.add("heading", _words(_inline(child)), _HEADINGS[tag])
        elif tag == "pre":
            close()
            parts.add("code", _fenced(child))
        elif tag == "table" and not _is_layout(child):
            close()
            for caption in child.findall("caption"):
                parts.add("text", _words(_inline(caption)))
            parts.add("table", _table(child))
        elif tag in ("ul", "ol", "menu"):
            close()
            _list(child, parts, leave_out=leave_out)
        elif fields := _fields(child, tag):
            close()
            parts.add("table", fields)
        elif tag in _BLOCKS or _holds_blocks(child):
            close()
            collect(child, parts, leave_out=leave_out)
        elif tag == "br":
            inline.append("\n")
        else:
            inline.append(_inline_of(child, tag))
        inline.append(child.tail or "")
    close()


def _fields(element: Any, tag: str) -> str:
    """Terms with their short meanings, a line each; fields with their names, a line a record."""
    said = [_words(_inline(child)) for child in element]
    if tag == "dl":
        tags = [_tag(child) for child in element]
        short = all(0 < len(s) <= _TERM and s[-1] not in ".!?" for s in said)
        if short and said and tags == ["dt", "dd"] * (len(said) // 2):
            return "\n".join(
                f"- {a.rstrip(':')}: {b}" for a, b in zip(said[::2], said[1::2], strict=True)
            )
        return ""
    named = all(
        _tag(child) in ("div", "p")
        and not _holds_blocks(child)
        and (_tag(child[0]) if len(child) else "") in ("b", "strong")
        and not _words(child.text or "")
        and _words(_inline(child[0])).endswith(":")
        for child in element
        if _words(_inline(child))
    )
    return f"- {'; '.join(filter(None, said))}" if named and sum(map(bool, said)) > 1 else ""


def _list(element: Any, parts: Parts, *, leave_out: bool) -> None:
    """A list as lines, where its items are words; what an item holds beside them, after it."""
    lines: list[str] = []

    def close() -> None:
        parts.add("text", "\n".join(lines))
        lines.clear()

    def walk(items: Any, depth: int) -> None:
        for number, item in enumerate((c for c in items if _tag(c) == "li"), start=1):
            mark = f"{number}." if _tag(items) == "ol" else "-"
            own, rest = [item.text or ""], list[Any]()
            for child in item:
                tag = _tag(child)
                if tag in _NEVER or _is_hidden(child):
                    own.append(child.tail or "")
                elif rest or (tag in _BLOCKS and not (tag == "p" and not _words("".join(own)))):
                    rest.append(child)
                else:
                    own += [_inline_of(child, tag), child.tail or ""]
            said = _words("".join(own))
            if said or rest:
                lines.append(f"{'  ' * depth}{mark} {said}".rstrip())
            for child in rest:
                tail = _words(child.tail or "")
                if _tag(child) in ("ul", "ol", "menu"):
                    walk(child, depth + 1)
                elif lines and _holds_only_words(child):
                    lines[-1] = f"{lines[-1]} {_words(_inline(child))}".rstrip()
                else:
                    close()
                    holder = child.makeelement("div")
                    holder.append(_copied(child))
                    collect(holder, parts, leave_out=leave_out)
                if tail:
                    lines.append(f"{'  ' * (depth + 1)}{tail}" if lines else tail)

    walk(element, 0)
    close()


def _copied(element: Any) -> Any:
    import copy

    found = copy.deepcopy(element)
    found.tail = None
    return found


def _tag(element: Any) -> str:
    return element.tag if isinstance(element.tag, str) else ""


def _inline(element: Any) -> str:
    """All words of an element; nothing between its parts that the page has not."""
    found = [element.text or ""]
    for child in element:
        tag = _tag(child)
        if tag not in _NEVER and not _is_hidden(child):
            found.append(_inline_of(child, tag))
        found.append(child.tail or "")
    return "".join(found)


def _inline_of(child: Any, tag: str) -> str:
    if tag == "br":
        return "\n"
    inner = _inline(child)
    if tag == "a" and inner.strip() in _ANCHORS:
        return ""
    if tag == "sup" and _RAISED.fullmatch(inner.strip()):
        # 10 to the sixth is not 106; a note's number is not a power.
        return f"[{inner.strip()}]" if child.find(".//a") is not None else f"^{inner.strip()}"
    if tag == "q":
        return f"\u201c{inner}\u201d"
    if tag in _BLOCKS or tag == "li":
        return f"\n{inner}\n"
    return inner


def _is_hidden(element: Any) -> bool:
    return (
        element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or _HIDDEN.search(element.get("style") or "") is not None
    )


def _leads(element: Any, tag: str) -> bool:
    """Whether it leads elsewhere instead of saying something."""
    if tag not in _BLOCKS or tag in _HEADINGS or tag == "pre":
        return False
    if element.get("role") in _ROLES:
        return True
    marks = f"{element.get('class') or ''} {element.get('id') or ''}"
    if _CHROME.search(marks) and tag not in ("body", "main", "article"):
        return True
    if tag in ("ul", "ol", "div", "table", "dl", "header", "footer", "aside", "p"):
        links = [_words("".join(a.itertext())) for a in element.iter("a")]
        if len(links) >= 3:
            linked, said = sum(map(len, links)), len(_words("".join(element.itertext())))
            return linked >= _LINKS * said and linked < 40 * len(links)
    return False


def _holds_blocks(element: Any) -> bool:
    return any(_tag(c) in _BLOCKS for c in element.iter() if c is not element)


def _holds_only_words(element: Any) -> bool:
    return _tag(element) in ("p", "div", "span", "dl", "blockquote") and not _holds_blocks(element)


def _fenced(element: Any) -> str:
    code = _inline(element).strip("\n")
    if not code.strip():
        return ""
    marks = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, marks + 1)
    return f"{fence}\n{code}\n{fence}"


def _rows(table: Any) -> list[Any]:
    """Its own rows: those of a table inside a cell are the cell's."""
    return [
        row
        for part in table
        for row in ([part] if _tag(part) == "tr" else part)
        if _tag(row) == "tr" and _tag(part) in ("tr", "thead", "tbody", "tfoot")
    ]


def _cells(row: Any) -> list[Any]:
    return [cell for cell in row if _tag(cell) in ("td", "th")]


def _is_layout(table: Any) -> bool:
    """Whether it only places what would stand alone: headings, tables, or one column."""
    rows = [_cells(row) for row in _rows(table)]
    filled = max((sum(bool(_words("".join(c.itertext()))) for c in row) for row in rows), default=0)
    if table.get("role") == "presentation" or filled < 2:
        return True
    inside = {_tag(e) for cells in rows for cell in cells for e in cell.iter()}
    return bool(inside & (_HEADINGS.keys() | {"table"})) and not table.findall(".//th")


def _table(table: Any) -> str:
    """Rows as lines; a cell that spans rows stands in each of them."""
    rows: list[list[str]] = []
    hanging: dict[int, tuple[int, str]] = {}
    own = _rows(table)
    for row in own:
        line: list[str] = []
        for cell in _cells(row):
            while len(line) in hanging:
                line.append(_hung(hanging, len(line)))
            said = _words(_inline(cell))
            for column in range(_span(cell, "colspan")):
                if _span(cell, "rowspan") > 1:
                    hanging[len(line)] = (_span(cell, "rowspan") - 1, said)
                line.append("" if column else said)
        while len(line) in hanging:
            line.append(_hung(hanging, len(line)))
        if any(line):
            rows.append(line)
    first = [] if not own else [c for c in _cells(own[0]) if _words("".join(c.itertext()))]
    named = bool(first) and (
        all(_tag(cell) == "th" for cell in first) or _tag(own[0].getparent()) == "thead"
    )
    if not named and (table.find(".//th") is not None or not rows or not are_names(rows[0])):
        return named_rows((), rows)
    whole = pipe_table(rows)
    # A longer one is cut, and its rows have to keep the names of their columns.
    return whole if len(whole) <= _CUT else named_rows(rows[0], rows[1:])


def _hung(hanging: dict[int, tuple[int, str]], column: int) -> str:
    left, said = hanging.pop(column)
    if left > 1:
        hanging[column] = (left - 1, said)
    return said


def _span(cell: Any, name: str) -> int:
    value = cell.get(name) or "1"
    return min(int(value), 50) if value.isascii() and value.isdigit() and int(value) else 1
