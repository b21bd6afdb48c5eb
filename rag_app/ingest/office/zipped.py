"""What Word, Excel, PowerPoint and EPUB files share: a ZIP archive, its limits and its title."""

from __future__ import annotations

import contextlib
import html
import io
import re
import zipfile
from collections.abc import Iterator

from rag_app.ingest.decode import clean
from rag_app.ingest.document import ParseFailure

# Text of a real document inflates about tenfold; a bomb, a thousandfold.
_INFLATION = 20
_ALWAYS_FINE = 64 * 2**20
_TITLE = re.compile(r"<dc:title[^<>]*>([^<]*)</dc:title>", re.S)
# What writing libraries and programs put into every document that was given no title.
_NO_TITLE = ("", "Word Document", "PowerPoint Presentation", "Presentation")


@contextlib.contextmanager
def opened(data: bytes, kind: str, needed: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever its readers raise inside is a broken file.

    Args:
        needed: the entry without which it is another archive.

    Raises:
        ParseFailure: broken, wrong_type (another ZIP), too_large (a bomb).
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if needed not in archive.namelist():
                detail = f"named .{kind}, but it is a ZIP archive of something else"
                raise ParseFailure("wrong_type", detail)
            inflated = sum(entry.file_size for entry in archive.infolist())
            # zipfile reads no entry beyond the size it declares, so the declared sum is a bound.
            if inflated > max(_ALWAYS_FINE, _INFLATION * len(data)):
                raise ParseFailure(
                    "too_large",
                    f"it would inflate from {len(data):,} to {inflated:,} bytes, which no real "
                    "document does",
                )
            yield archive
    except (ParseFailure, MemoryError, RecursionError):
        raise
    except Exception as exc:  # zip, XML and each format's library have their own trees of errors
        detail = f"not a readable .{kind}: {type(exc).__name__}: {exc}"
        raise ParseFailure("broken", detail) from exc


def title_of(archive: zipfile.ZipFile, entry: str = "docProps/core.xml") -> str | None:
    """The title that stands in the properties; None where there is none."""
    if entry not in archive.namelist():
        return None
    found = _TITLE.search(archive.read(entry).decode("utf-8", "replace"))
    title = " ".join(clean(html.unescape(found[1])).split()) if found else ""
    return None if title in _NO_TITLE else title
