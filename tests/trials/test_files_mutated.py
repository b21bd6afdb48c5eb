"""Files that somebody spoilt: each is read, or refused with a reason, and takes nothing along.

The parsers run in their process, under limits of time and memory. Thousands of mutations of real
files go through it; every one has to come back as a document whose blocks point into its text, or
as an error with a short code. `make trial-files` makes 20,000 of them.
"""

import io
import random
import time
import zipfile

import fault_kit
import ingest_files as files
import pytest
import test_formats as formats
import test_office_files as office

from rag_app.errors import ParseError
from rag_app.ingest.document import Limits
from rag_app.ingest.formats import KINDS
from rag_app.ingest.parser_process import ParserProcess
from rag_app.ingest.walk import walk

LIMITS = Limits(max_bytes=4 * 2**20, max_pages=20, timeout_s=20, memory_mb=1024)
REASONS = {
    "unreadable", "empty", "too_large", "too_many_pages", "encrypted", "broken", "wrong_type",
    "not_text", "no_text", "unsupported", "timeout", "memory", "crashed",
}  # fmt: skip
# Of which none may come from a mutation: the sandbox ended, instead of its parser.
BAD = {"crashed"}


def seeds(folder):
    """Ending to the bytes of a real file; those that need OCR are left out."""
    html = "<html><head><title>T</title></head><body><h1>One</h1><p>Words <b>of</b> it.</p>" + (
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"
    )
    pdf = files.write_pdf(folder / "s.pdf", ["One page of words.", "More."], headings=["A", "B"])
    docx = files.write_docx(folder / "s.docx", [("Heading 1", "One"), (None, "Words of it.")])
    found = {
        ".md": files.GUIDE.encode(),
        ".txt": b"Plain words.\n\nMore of them.\n" * 5,
        ".html": html.encode(),
        ".csv": b"name,price\nTea,3\nJam,4\n",
        ".eml": office.MESSAGE.format(kind="text/html", body="<p>We agreed.</p>").encode(),
        ".json": b'[{"name": "Tea", "price": 3, "tags": ["a", {"b": 1}]}, {"name": "Jam"}]',
        ".rtf": formats.RTF.encode("latin1"),
        ".xlsx": formats.saved(formats.workbook()),
        ".pptx": formats.saved(formats.deck()),
        ".epub": formats.book({"one.xhtml": html}),
        ".pdf": (folder / "s.pdf").read_bytes() if pdf is None else pdf.read_bytes(),
        ".docx": (folder / "s.docx").read_bytes() if docx is None else docx.read_bytes(),
    }
    return {ending: data for ending, data in found.items() if ending in KINDS}


TOKENS = [
    b"<" * 400, b"<div>" * 3000, b"[" * 3000, b"{" * 3000, b"\x00" * 50, b"&lt;" * 500, b"\xff\xfe",
    b"]]>", b"<!ENTITY a 'b'>", b"```\n", b"|" * 900, b"%PDF-1.7", b"PK\x03\x04", b"/Kids [1 0 R]",
    b"\\'", b"{\\*" * 200, b"\"" * 99, b"=" * 5000, b"\r", b"\xed\xa0\x80", b"endobj", b"9" * 400,
    b"\xe2\x80\xae" * 50, b"> " * 2000, b"* " * 2000, b"(" * 2000, b"://", b"#" * 300, b" " * 9000,
]  # fmt: skip


def spoilt(data, chance, others):
    """One to four changes of bytes."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        way, at = chance.randrange(7), chance.randrange(len(data) + 1)
        span = chance.randint(1, max(1, len(data) // 4))
        if way == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            del data[at : at + span]
        elif way == 2:
            data[at:at] = data[at : at + span] * chance.randint(1, 4)
        elif way == 3:
            data[at:at] = chance.choice(TOKENS)
        elif way == 4:
            data[at : at + 8] = chance.randbytes(8)
        elif way == 5:
            other = chance.choice(others)
            data[at:at] = other[: chance.randint(1, len(other))]
        elif len(data) > 2:
            del data[chance.randrange(1, len(data)) :]
    return bytes(data)


def mutated(data, chance, others):
    """A mutation of a file, or of one member of a zipped one."""
    if data[:2] == b"PK" and chance.random() < 0.8:
        whole = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(whole, "w") as new:
            names = old.namelist()
            hit = chance.choice(names)
            for name in names:
                content = old.read(name)
                new.writestr(name, spoilt(content, chance, others) if name == hit else content)
        return whole.getvalue()
    return spoilt(data, chance, others)


def go_through(folder, count, seed):
    """What became of so many mutations: reasons by number, and the slowest."""
    found, bad, slowest = {}, [], (0.0, "")
    given = seeds(folder)
    others = list(given.values())
    with ParserProcess(LIMITS) as parser:
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            ending = sorted(given)[number % len(given)]
            path = folder / f"m{number}{ending}"
            path.write_bytes(mutated(given[ending], chance, others))
            begun = time.monotonic()
            try:
                document = parser.parse(path, KINDS[ending])
                outcome = "read"
                for block in document.blocks:
                    assert 0 <= block.start < block.end <= len(document.text)
            except ParseError as exc:
                outcome = exc.reason
                if exc.reason not in REASONS or exc.reason in BAD or not exc.detail:
                    bad.append((number, ending, str(exc)))
            except AssertionError:
                bad.append((number, ending, "a block beyond its text"))
            slowest = max(slowest, (time.monotonic() - begun, f"{number}{ending}"))
            found[outcome] = found.get(outcome, 0) + 1
            path.unlink()
        restarts = parser.restarts
    fault_kit.figure(
        "files", tried=count, seed=seed, outcomes=found, lost=len(bad), restarts=restarts,
        slowest=slowest, said=bad[:9],
    )  # fmt: skip
    return bad


def test_some_hundred(tmp_path):
    assert go_through(tmp_path, 240, seed=0) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 11))
def test_thousands(tmp_path, seed):
    assert go_through(tmp_path, 2000, seed=seed) == []


def zipped(members):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return whole.getvalue()


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 12))
    + b"]><w:document>&a11;</w:document>"
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><p>&x;</p>'
LOOP = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 9999" + (
    b"/Kids[2 0 R 2 0 R]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
)
BOMBS = {
    "zip.docx": zipped({"[Content_Types].xml": b"<T/>", "word/document.xml": b" " * 10**8}),
    "laughs.docx": zipped({"[Content_Types].xml": b"<T/>", "word/document.xml": LAUGHS}),
    "laughs.xlsx": zipped({"[Content_Types].xml": LAUGHS, "xl/workbook.xml": LAUGHS}),
    "laughs.epub": zipped({"mimetype": b"application/epub+zip", "META-INF/container.xml": LAUGHS}),
    "laughs.html": LAUGHS,
    "outside.html": OUTSIDE,
    "outside.docx": zipped({"[Content_Types].xml": b"<T/>", "word/document.xml": OUTSIDE}),
    "loop.pdf": LOOP,
    "deep.html": b"<div>" * 200_000 + b"words",
    "deep.json": b"[" * 200_000 + b"1" + b"]" * 200_000,
    "deep.md": b"> " * 100_000 + b"words",
    "deep.rtf": b"{\\rtf1 " + b"{" * 200_000 + b"words",
    "links.md": b"[a](" * 100_000,
    "quotes.csv": b'"' * 300_001,
    "parts.eml": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs(tmp_path, name):
    """A reason, or a text of bounded size; nothing of this machine's files in it."""
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    outcome, begun = "read", time.monotonic()
    with ParserProcess(LIMITS) as parser:
        try:
            document = parser.parse(path, KINDS[path.suffix])
            assert len(document.text) <= LIMITS.max_bytes and "root:" not in document.text
        except ParseError as exc:
            outcome = exc.reason
            assert exc.reason in REASONS - BAD, exc
        (tmp_path / "next.txt").write_text("The next file is read.")
        assert "next" in parser.parse(tmp_path / "next.txt", "txt").text
    fault_kit.figure(
        "bombs", name=name, outcome=outcome, seconds=round(time.monotonic() - begun, 1)
    )


def test_links_lead_nowhere(tmp_path):
    secret = tmp_path / "outside" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("not to be read")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "link.txt").symlink_to(secret)
    (docs / "folder").symlink_to(secret.parent)
    (docs / "loop").symlink_to(docs)
    (docs / "dangling.txt").symlink_to(tmp_path / "nothing")
    (docs / "own.txt").write_text("words")
    assert [f.path.name for f in walk([docs]).files] == ["own.txt"]
