"""Other people's words made fit to print: queries and passages are hostile until shown otherwise.

Escaping for HTML is Jinja's and markupsafe's; here is what escaping does not do: characters that
nobody sees but that turn a line around, end a file, or cannot be encoded, and sheer length.
"""

from __future__ import annotations

import re
import unicodedata

# Overrides and isolates turn what follows around, past the end of the text that holds them. The
# marks U+200E and U+200F stay: right-to-left writing needs them and they move nothing else.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SPACES = re.compile(r"\s+")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_MENTION = re.compile(r"(?<!\w)@")


def clean(text: str) -> str:
    """One line in which every invisible or unprintable character is named, as in `⟨U+202E⟩`."""
    return "".join(c if _printable(c) else f"⟨U+{ord(c):04X}⟩" for c in _SPACES.sub(" ", text))


def clip(text: str, most: int) -> str:
    """The beginning of `text`, cleaned, and how long it was where something is missing."""
    # What is cut off need not be cleaned; one passage may be a whole book.
    shown = clean(text[: most + 1]).strip()
    if len(text) <= most:
        return shown
    return f"{clean(text[:most]).strip()} … ({len(text):,} characters)"


def code(text: str, most: int = 200) -> str:
    """A Markdown code span: in it neither HTML, links, images nor @mentions mean anything."""
    shown = clip(text, most)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    if not shown:
        return "` `"
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    # Within a table a pipe ends the cell even in a code span.
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def prose(text: str) -> str:
    """Sentences for Markdown: escaped, but for balanced `code` spans."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return _escaped("`".join(parts))
    return "".join(_escaped(p) if i % 2 == 0 else code(p) for i, p in enumerate(parts))


def _escaped(text: str) -> str:
    return _MENTION.sub("&#64;", _SPECIAL.sub(r"\\\1", text))


def _printable(char: str) -> bool:
    return char not in _TURNING and unicodedata.category(char) not in ("Cc", "Cs", "Cn", "Zl", "Zp")
