"""Parsers, in their process: what comes out of real files, and what broken ones are called."""

import codecs
import contextlib
import os
import sys
import time
import zipfile

import ingest_files as files
import psutil
import pytest

from rag_app.errors import ParseError
from rag_app.ingest.document import Limits, ParsedDocument
from rag_app.ingest.formats import FORMATS, KINDS
from rag_app.ingest.parser_process import ParserProcess

LIMITS = Limits(max_bytes=20 * 2**20, max_pages=5, timeout_s=30, memory_mb=1024)


@pytest.fixture(scope="module")
def parser():
    with ParserProcess(LIMITS) as process:
        yield process


def parse(parser, path):
    document = parser.parse(path, KINDS[path.suffix])
    for block in document.blocks:
        assert 0 <= block.start < block.end <= len(document.text)
        assert document.text[block.start : block.end].strip()
    ends = [0, *(b.end for b in document.blocks)]
    assert all(b.start >= end for b, end in zip(document.blocks, ends, strict=False))
    assert ParsedDocument.from_dict(document.to_dict()) == document
    return document


def refusal(parser, path):
    with pytest.raises(ParseError) as caught:
        parser.parse(path, KINDS[path.suffix])
    return caught.value


def under(document, part):
    """The heading path of the block that contains `part`."""
    return next(b.heading for b in document.blocks if part in document.text[b.start : b.end])


def test_markdown_stays_verbatim(parser, tmp_path):
    path = tmp_path / "guide.md"
    path.write_text(files.GUIDE, "utf-8")
    document = parse(parser, path)
    assert document.text == files.GUIDE
    assert document.title == "The Guide"
    assert under(document, "not a heading") == ("Guide", "Install")
    assert under(document, "how many candidates") == ("Guide", "Options")
    assert under(document, "東京") == ("Guide", "Setext title")
    kinds = [b.kind for b in document.blocks]
    assert kinds.count("code") == 1 and kinds.count("table") == 1
    assert kinds.count("heading") == 4


@pytest.mark.parametrize(
    ("data", "noted"),
    [
        ("Grüße, 東京".encode(), False),
        (codecs.BOM_UTF8 + "Grüße, 東京".encode(), False),
        (codecs.BOM_UTF16_LE + "Grüße, 東京".encode("utf-16-le"), False),
        (codecs.BOM_UTF16_BE + "Grüße, 東京".encode("utf-16-be"), False),
        ("Grüße, “T”".encode("cp1252"), True),
    ],
)
def test_encodings(parser, tmp_path, data, noted):
    path = tmp_path / "file.txt"
    path.write_bytes(data)
    document = parse(parser, path)
    assert document.text in ("Grüße, 東京", "Grüße, “T”")
    assert bool(document.notes) == noted


def test_text_is_cleaned_of_controls_and_line_ends(parser, tmp_path):
    path = tmp_path / "my notes.txt"
    path.write_bytes(b"one\r\ntwo\x00\x0c" + b"three words here " * 30 + b"\r\n\r\nfour\rfive")
    document = parse(parser, path)
    assert document.title == "my notes"
    assert document.text.startswith("one\ntwo\nthree words")
    assert document.text.endswith("\n\nfour\nfive")
    assert len(document.blocks) == 2


def test_html_keeps_headings_and_code_and_loses_navigation(parser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        "<html><head><title>My &amp; Title</title><script>var x=1</script></head><body>"
        "<nav><a href='/'>Home of navigation</a></nav><main><h1>Guide</h1><p>First paragraph "
        "with enough words to be the content of a page, as an extractor sees it.</p>"
        "<h2>Install</h2><p>Run this command on your own machine:</p>"
        "<pre><code>pip install x\n# not a heading</code></pre>"
        "<h2>Options</h2><table><tr><th>name</th><th>use</th></tr><tr><td>k</td><td>many</td></tr>"
        "</table></main></body></html>",
        "utf-8",
    )
    document = parse(parser, path)
    assert document.title == "My & Title"
    assert under(document, "pip install x\n# not a heading") == ("Guide", "Install")
    assert under(document, "many") == ("Guide", "Options")
    assert "navigation" not in document.text and "var x" not in document.text


def test_tiny_html_and_legacy_charset(parser, tmp_path):
    path = tmp_path / "tiny.htm"
    path.write_bytes("<meta charset=iso-8859-15><p>10 € für alle.</p>".encode("iso-8859-15"))
    document = parse(parser, path)
    assert "10 € für alle." in document.text
    path.write_text("<html><body><script>render()</script></body></html>")
    assert refusal(parser, path).reason == "no_text"


def test_pdf_has_pages_title_and_headings(parser, tmp_path):
    path = files.write_pdf(
        tmp_path / "book.pdf",
        ["The gate decides before the second stage. " * 5, "The floor refuses. " * 5, ""],
        title="A Book",
        headings=["Chapter One", "Chapter Two"],
    )
    document = parse(parser, path)
    assert (document.title, document.pages) == ("A Book", 3)
    pages = {b.page for b in document.blocks}
    assert pages == {1, 2}
    assert under(document, "The gate decides") == ("Chapter One",)
    assert under(document, "The floor refuses") == ("Chapter Two",)
    assert "1 of 3 pages have no text" in document.notes[0]


def test_docx_has_headings_lists_and_tables(parser, tmp_path):
    path = files.write_docx(
        tmp_path / "report.docx",
        [
            ("Title", "The Report"),
            ("Heading 1", "Results"),
            ("Normal", "Reranking helped on four of five sets."),
            ("List Bullet", "first point"),
            ("table", [["set", "gain"], ["SciFact", "0.02"]]),
            ("Heading 2", "Details"),
            ("Normal", "More is said here."),
        ],
    )
    document = parse(parser, path)
    assert document.title == "The Report"
    assert under(document, "four of five") == ("Results",)
    assert under(document, "SciFact") == ("Results",)
    assert under(document, "More is said") == ("Results", "Details")
    assert "| set | gain |" in document.text


def test_encrypted_and_cut_off_and_long_pdfs_are_refused(parser, tmp_path):
    secret = files.write_pdf(tmp_path / "secret.pdf", ["hidden words"], password="pw")
    assert refusal(parser, secret).reason == "encrypted"
    whole = files.write_pdf(tmp_path / "whole.pdf", ["some words"] * 3).read_bytes()
    for share in (0.3, 0.6, 0.95):
        cut = tmp_path / "cut.pdf"
        cut.write_bytes(whole[: int(len(whole) * share)])
        assert refusal(parser, cut).reason == "broken"
    mangled = tmp_path / "mangled.pdf"
    mangled.write_bytes(whole[:20] + os.urandom(len(whole) // 2) + b"\n%%EOF\n")
    assert refusal(parser, mangled).reason == "broken"
    many = files.write_pdf(tmp_path / "many.pdf", ["words"] * 6)
    error = refusal(parser, many)
    assert error.reason == "too_many_pages" and "max_pages" in error.detail
    scan = files.write_pdf(tmp_path / "scan.pdf", ["", ""])
    assert refusal(parser, scan).reason == "no_text"


def test_names_that_lie_are_found_out(parser, tmp_path):
    pdf = files.write_pdf(tmp_path / "a.pdf", ["words"]).read_bytes()
    cases = {
        "really.txt": (pdf, "wrong_type"),
        "really.md": (b"PK\x03\x04" + bytes(50), "wrong_type"),
        "really.pdf": (b"just words", "wrong_type"),
        "really.docx": (b"just words", "wrong_type"),
        "rubbish.txt": (bytes(range(256)) * 40, "not_text"),
        "utf16.txt": ("no mark here".encode("utf-16-le"), "not_text"),
        "empty.md": (b"", "empty"),
        "blank.txt": (b" \n\t\n", "empty"),
        "front.md": (b"---\ntitle: x\n---\n", "no_text"),
        "old.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted"),
    }
    for name, (data, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert (name, refusal(parser, path).reason) == (name, reason)
    with zipfile.ZipFile(tmp_path / "archive.docx", "w") as archive:
        archive.writestr("hello.txt", "words")
    assert refusal(parser, tmp_path / "archive.docx").reason == "wrong_type"
    with zipfile.ZipFile(tmp_path / "torn.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w:document")
    assert refusal(parser, tmp_path / "torn.docx").reason == "broken"


def test_a_bomb_is_refused_before_it_inflates(parser, tmp_path):
    bomb = files.write_bomb(tmp_path / "bomb.docx")
    assert bomb.stat().st_size < 200_000
    began = time.monotonic()
    error = refusal(parser, bomb)
    assert error.reason == "too_large" and "inflate" in error.detail
    assert time.monotonic() - began < 10


def test_a_file_that_grows_beyond_the_limit_is_not_read(parser, tmp_path):
    path = tmp_path / "grown.txt"
    with path.open("wb") as stream:
        stream.truncate(LIMITS.max_bytes + 1)
    assert refusal(parser, path).reason == "too_large"


def test_absent_file(parser, tmp_path):
    assert refusal(parser, tmp_path / "absent.txt").reason == "unreadable"


def test_a_parser_that_takes_too_long_is_killed_and_the_next_file_read(tmp_path):
    slow = tmp_path / "slow.html"
    slow.write_text("<p>some words <b>and</b> more</p>" * 200_000)
    good = tmp_path / "good.md"
    good.write_text("# Good\n\nWords.")
    limits = Limits(max_bytes=50 * 2**20, max_pages=5, timeout_s=0.5, memory_mb=4096)
    with ParserProcess(limits) as parser:
        error = refusal(parser, slow)
        assert error.reason == "timeout" and "parse_timeout_s" in error.detail
        assert parser.restarts == 1
        assert parse(parser, good).title == "Good"


def test_a_parser_that_eats_memory_is_stopped_and_the_next_file_read(tmp_path):
    greedy = tmp_path / "greedy.html"
    greedy.write_text("<p>some words <b>and</b> more</p>" * 500_000)
    good = tmp_path / "good.md"
    good.write_text("# Good\n\nWords.")
    limits = Limits(max_bytes=50 * 2**20, max_pages=5, timeout_s=60, memory_mb=160)
    with ParserProcess(limits) as parser:
        error = refusal(parser, greedy)
        assert error.reason == "memory" and "parse_memory_mb" in error.detail
        assert parse(parser, good).title == "Good"


def workers():
    """Processes that parse for this one."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found |= {child} if "rag_app.ingest.worker" in child.cmdline() else set()
    return found


def test_a_crashed_process_is_reported_and_replaced(tmp_path):
    before = workers()
    good = tmp_path / "good.md"
    good.write_text("# Good\n\nWords.")
    with ParserProcess(LIMITS) as parser:
        parse(parser, good)
        (first,) = workers() - before
        first.kill()
        psutil.wait_procs([first], timeout=10)
        assert parse(parser, good).title == "Good"
        (second,) = workers() - before
        assert second != first
    assert not workers() - before


def test_the_parser_process_is_light(tmp_path):
    import subprocess

    modules = (f"rag_app.ingest.{form.parser}" for form in FORMATS.values())
    code = (
        f"import sys, rag_app.ingest.worker, {', '.join(modules)};"
        "print([m for m in ('numpy', 'torch', 'chromadb', 'rankgate', 'tokenizers')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_parser_knows_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-documents")
    path = (tmp_path / "a.txt").resolve()
    path.write_text("Some words.")
    before = set(psutil.Process().children())
    with ParserProcess(LIMITS) as parser:
        parser.parse(path, "txt")
        (child,) = set(psutil.Process().children()) - before
        found = child.environ()
    assert "PYTHONPATH" in found and "OPENAI_API_KEY" not in found
