"""E-mail (.eml): who wrote to whom, when, about what, and the words; attachments are named."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import collect, read_tree
from rag_app.ingest.plain import Parts, paragraphs

_HEADERS = ("From", "To", "Cc", "Date")


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a message; the title is its subject, or `stem`.

    Raises:
        ParseFailure: wrong_type (no message), broken, no_text.
    """
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not isinstance(message, EmailMessage) or message["From"] is None:
        raise ParseFailure("wrong_type", "named .eml, but no sender stands at its beginning")
    parts = Parts()
    try:
        parts.add("heading", clean(message["Subject"] or ""), 1)
        parts.add("text", "\n".join(f"- {h}: {message[h]}" for h in _HEADERS if message[h]))
        body = message.get_body(("plain", "html"))
        said = "" if body is None else clean(body.get_content())
        files = [
            part.get_filename() or part.get_content_type() for part in message.iter_attachments()
        ]
    except (LookupError, ValueError, TypeError, AttributeError) as exc:
        # What a malformed header or an unknown charset makes the standard library raise.
        raise ParseFailure(
            "broken", f"not a readable message: {type(exc).__name__}: {exc}"
        ) from exc
    if body is not None and body.get_content_type() == "text/html":
        collect(read_tree(said or " "), parts, leave_out=False)
    else:
        for start, end in paragraphs(said):
            parts.add("text", said[start:end])
    notes = tuple(f"attachment not read: {name}" for name in files)
    subject = " ".join(clean(message["Subject"] or "").split())
    return parts.document(subject or stem, stem, notes)
