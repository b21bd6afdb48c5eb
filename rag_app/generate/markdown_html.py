"""Answers as HTML: Markdown rendered by a library, sanitised by another, citations as links.

Whatever a document or a language model wrote is data. Only a small set of elements survives, no
image, no foreign script, and links leave with `rel="noopener noreferrer nofollow"`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import Any

_TAGS = frozenset(
    "p br strong em code pre blockquote ul ol li table thead tbody tr th td h3 h4 h5 h6 hr a span "
    "del".split()
)
_CITATION = re.compile(r"\[(\d{1,3})\]")
# Letters that are not seen and can hide or reorder text: zero-width, bidirectional controls, tags.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def plain_text(text: str) -> str:
    """Text without characters that are not seen."""
    return _UNSEEN.sub("", text)


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    # Raw HTML stays text; images would fetch, and tell whoever hosts them who reads.
    # A definition `[1]: https://...` in a text would turn citations into links to elsewhere.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "reference"])


def passage_html(text: str, quotes: Iterable[tuple[int, int]]) -> str:
    """A part of a Markdown document as safe HTML; quotes stand between U+E000 and U+E001.

    Marks and not elements, as a quote may begin in one list item and end in the next.

    Args:
        quotes: offsets into the text, in order and apart.
    """
    text = text.translate({0xE000: 0xFFFD, 0xE001: 0xFFFD})
    for start, end in reversed(list(quotes)):
        quote = text[start:end]
        # After the mark of a list or cell, and before the end of a cell.
        first = len(quote) - len(quote.lstrip("|>*+-#0123456789.) \t\n"))
        last = len(quote.rstrip("| \t\n"))
        if first < last:
            marked = f"{quote[:first]}\ue000{quote[first:last]}\ue001{quote[last:]}"
            text = text[:start] + marked + text[end:]
    return answer_html(text)


def answer_html(text: str, *, cited: Collection[int] = ()) -> str:
    """An answer as safe HTML.

    Args:
        text: Markdown, with `[n]` for source n.
        cited: numbers of sources that there are; only these become links, to `#source-n`.
    """
    import nh3

    # What stands on a page of ours has no title of its own; as plain text it would run on.
    rendered = re.sub(r"<(/?)h[12]>", r"<\1h3>", _parser().render(plain_text(text)))
    clean = nh3.clean(
        rendered,
        tags=set(_TAGS),
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    known = set(cited)

    def link(match: re.Match[str]) -> str:
        number = int(match[1])
        if number not in known:
            return match[0]
        return f'<a class="cite" href="#source-{number}" data-source="{number}">{number}</a>'

    parts: list[str] = []
    code, anchor = 0, -1
    for part in re.split(r"(<[^<>]*>)", clean):
        if part.startswith("<"):
            code += part.startswith(("<code", "<pre")) - part.startswith(("</code", "</pre"))
            if part.startswith("<a"):
                anchor = len(parts)
            elif part.startswith("</a") and anchor >= 0:
                # A link to elsewhere whose words are a number would pass for a citation.
                words = "".join(p for p in parts[anchor:] if not p.startswith("<"))
                if not any(map(str.isalpha, words)):
                    parts[anchor] = part = ""
                anchor = -1
            parts.append(part)
        else:
            parts.append(part if code or anchor >= 0 else _CITATION.sub(link, part))
    return "".join(parts)
