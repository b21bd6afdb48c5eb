"""Office formats, books, records and pictures: what a reader of the file sees is in the text."""

import datetime
import io
import json
import shutil
import zipfile

import ingest_files as files
import pytest

from rag_app.errors import ParseError
from rag_app.ingest.document import Limits, ParseFailure
from rag_app.ingest.formats import FORMATS, KINDS, NO_OCR
from rag_app.ingest.office import epub, records, rows, rtf, sheets, slides
from rag_app.ingest.paged import ocr, pdf
from rag_app.ingest.parser_process import ParserProcess
from rag_app.ingest.walk import walk

LIMITS = Limits(max_bytes=2**20, max_pages=10, timeout_s=30, memory_mb=1024)
OCR = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
RTF = (
    r"{\rtf1\ansi\ansicpg1252{\info{\title The plan}}{\fonttbl{\f0 Arial;}}"
    r"\b Plan\b0\par It costs 5\u8364? for Caf\'e9 M\'fcller.\par "
    r"\trowd Item\cell Price\cell\row\trowd Tea\cell 3\cell\row\pard The end.\par}"
)


def saved(made):
    whole = io.BytesIO()
    made.save(whole)
    return whole.getvalue()


def read(module, data, stem="file"):
    data = data.encode() if isinstance(data, str) else data
    return module.parse(data, stem=stem, limits=LIMITS)


def under(document, part):
    return next(b.heading for b in document.blocks if part in document.text[b.start : b.end])


def workbook():
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Prices"
    for row in (["Price list 2026"], [], ["", "Article", "Price", "Discount", "From"]):
        sheet.append(row)
    sheet.append([None, "Tea", 1250.5, 0.15, datetime.datetime(2026, 3, 1)])
    sheet.append([None, "Jam", 3, 0.075, None])
    sheet["C4"].number_format = '#,##0.00 "EUR"'
    sheet["C5"].number_format = "[$$-409]0.00"
    sheet["D4"].number_format, sheet["D5"].number_format = "0%", "0.0%"
    more = book.create_sheet("Offices")
    for row in (["City", "2024", "2025"], ["Oslo", 4, "=B2+1"]):
        more.append(row)
    book.create_sheet("Secret").sheet_state = "hidden"
    return book


def test_a_spreadsheet_has_rows_with_names_and_cells_as_they_are_shown():
    document = read(sheets, saved(workbook()), "prices")
    assert document.title == "prices"
    assert "- Article: Tea; Price: 1,250.50 EUR; Discount: 15%; From: 2026-03-01" in document.text
    assert "- Article: Jam; Price: $ 3.00; Discount: 7.5%" in document.text
    assert under(document, "Tea") == ("Prices", "Price list 2026")
    assert under(document, "Oslo") == ("Offices",) and "- City: Oslo; 2024: 4" in document.text
    assert document.notes == (
        "hidden sheet not read: Secret",
        "1 formulas have no result: open it once and save it",
    )


def test_a_sheet_that_claims_a_million_rows_is_read_at_once():
    plain = saved(workbook())
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(whole, "w") as new:
        for entry in old.infolist():
            body = old.read(entry).replace(b'ref="A1:E5"', b'ref="A1:XFD1048576"')
            new.writestr(entry, body)
    assert read(sheets, whole.getvalue()).text == read(sheets, plain).text


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("Region;2024;2025\nNorth;1;2\n", "- Region: North; 2024: 1; 2025: 2"),
        (";2024\nNorth;1\n", "- North; 2024: 1"),
        ("Ada;1815\nBo;1816\n", "- Ada; 1815\n- Bo; 1816"),
        ("Phone:;12 3\nMail:;a@b\n", "- Phone:; 12 3\n- Mail:; a@b"),
    ],
)
def test_a_first_row_names_the_columns_where_it_can(table, text):
    assert read(rows, table).text == text


def deck():
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Why we\vmove"
    body = slide.placeholders[1].text_frame
    body.text = "The rent rose"
    point = body.add_paragraph()
    point.text, point.level = "by a third", 1
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    other = made.slides.add_slide(made.slide_layouts[6])
    table = other.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(4), Inches(1)).table
    for at, said in enumerate(("City", "Rent", "Oslo", "40 | 50")):
        table.cell(at // 2, at % 2).text = said
    box = other.shapes.add_group_shape().shapes.add_textbox(0, 0, Inches(1), Inches(1))
    box.text_frame.text = "Grouped words"
    data = CategoryChartData()
    data.categories = ["Q1", "Q2"]
    data.add_series("Visitors", (120, 150.5))
    kind = XL_CHART_TYPE.COLUMN_CLUSTERED
    other.shapes.add_chart(kind, Inches(1), Inches(6), Inches(4), Inches(1), data)
    return made


def test_slides_have_their_points_tables_charts_and_notes():
    document = read(slides, saved(deck()))
    assert document.title == "Why we move"
    assert "- The rent rose\n  - by a third\n\nNotes: Say it slowly." in document.text
    assert under(document, "rent rose") == ("Why we move",)
    assert under(document, "Grouped words") == ("Slide 2",)
    assert "| City | Rent |\n|---|---|\n| Oslo | 40 \\| 50 |" in document.text
    assert "- Q1; Visitors: 120\n- Q2; Visitors: 150.5" in document.text
    where = [document.text.index(w) for w in ("Grouped", "City", "Visitors")]
    assert where == sorted(where)


def test_rich_text_has_its_letters_and_its_rows():
    document = read(rtf, RTF)
    assert document.title == "The plan"
    assert "It costs 5\u20ac for Caf\u00e9 M\u00fcller." in document.text
    assert "- Item: Tea; Price: 3" in document.text and document.text.endswith("The end.")
    with pytest.raises(ParseFailure, match="does not begin"):
        read(rtf, "Just words.")


def book(pages, *, spine=None, extra=()):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles>"
            "<rootfile full-path='OPS/book.opf'/></rootfiles></container>",
        )
        items = "".join(f"<item id='p{i}' href='{n}'/>" for i, n in enumerate(pages))
        order = "".join(f"<itemref idref='p{i}'/>" for i in spine or range(len(pages)))
        archive.writestr(
            "OPS/book.opf",
            "<package xmlns='http://www.idpf.org/2007/opf'><metadata "
            "xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>The Book</dc:title></metadata>"
            f"<manifest>{items}</manifest><spine>{order}</spine></package>",
        )
        for name, body in pages.items():
            if body is not None:
                archive.writestr(f"OPS/{name}".replace("%20", " "), body)
        for name in extra:
            archive.writestr(name, "<x/>")
    return whole.getvalue()


def test_a_book_is_read_in_its_order_and_no_chapter_stands_under_another():
    pages = {
        "b.xhtml": "<html><body><h2>Second</h2><p>It rains.</p></body></html>",
        "a%20a.xhtml": "<?xml version='1.0' encoding='utf-8'?><html><body><h1>First</h1>"
        "<p>It is dry \u2013 so far.</p></body></html>",
        "gone.xhtml": None,
    }
    document = read(epub, book(pages, spine=[1, 0, 2]))
    assert document.title == "The Book"
    assert document.text.index("dry \u2013 so far") < document.text.index("rains")
    assert under(document, "rains") == ("Second",)
    assert document.notes == ("page that is not in the book: OPS/gone.xhtml",)
    with pytest.raises(ParseFailure, match="DRM"):
        read(epub, book(pages, extra=["META-INF/rights.xml"]))


def test_records_are_lines_with_the_names_of_their_fields():
    value = {
        "company": "Acme",
        "open": None,
        "offices": [
            {"city": "Oslo", "at": {"street": "Kirkeveien 1"}, "langs": ["no", "en"]},
            {"city": "Bergen"},
        ],
        "contact": {"mail": "a@b.no", "hours": {"Monday": "9 to 5"}},
    }
    document = read(records, json.dumps(value), "acme")
    assert document.title == "acme" and "- company: Acme\n\n" in document.text
    assert "- city: Oslo; at.street: Kirkeveien 1; langs: no, en\n- city: Bergen" in document.text
    assert under(document, "9 to 5") == ("contact", "hours")
    lines = '{"q": "one\\ntwo", "n": 1}\n\n{"q": "three", "n": 2}\n'
    assert read(records, lines).text == "- q: one two; n: 1\n- q: three; n: 2"
    with pytest.raises(ParseFailure, match="not readable as JSON"):
        read(records, '{"a": 1,')
    with pytest.raises(ParseFailure, match="no field"):
        read(records, '{"a": {"b": []}}')


def picture(words, size=(1000, 300)):
    from PIL import Image, ImageDraw, ImageFont

    made = Image.new("L", size, 255)
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(made).text((40, 40), words, font=font, fill=0)
    return made


def as_bytes(image, form):
    whole = io.BytesIO()
    image.save(whole, form)
    return whole.getvalue()


def scan(*pages):
    from fpdf import FPDF

    made = FPDF()
    for page in pages:
        made.add_page()
        if page is not None:
            made.image(page, x=10, y=10, w=180)
    return bytes(made.output())


@OCR
def test_pictures_and_scanned_pages_are_read():
    words = "The meeting is on Tuesday.\nBring the red folder."
    document = read(ocr, as_bytes(picture(words), "PNG"), "note")
    assert document.text == words and document.notes == ("read by OCR",)
    paper = read(pdf, scan(picture(words), None))
    assert words.replace("\n", " ") in " ".join(paper.text.split())
    assert [b.page for b in paper.blocks] == [1] * len(paper.blocks)
    assert not any(b.kind == "heading" for b in paper.blocks)
    assert paper.notes == (
        "1 of 2 pages were read by OCR",
        "1 of 2 pages have no text: blank, or no words recognised",
    )


def test_without_ocr_pictures_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    data = as_bytes(picture("words"), "PNG")
    with pytest.raises(ParseFailure, match=NO_OCR):
        read(ocr, data)
    with pytest.raises(ParseFailure, match=f"1 of 1 pages have no text: scanned, and {NO_OCR}"):
        read(pdf, scan(picture("words")))
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.txt").write_text("words")
    found = walk([tmp_path])
    assert [f.name for f in found.files] == ["b.txt"]
    names = found.skipped["picture, and no tesseract is installed"]
    assert names == [(tmp_path / "a.png").as_posix()]
    assert [f.name for f in walk([tmp_path / "a.png"]).files] == ["a.png"]


@pytest.mark.parametrize("ending", [".xlsx", ".pptx", ".epub", ".docx"])
def test_bombs_torn_and_locked_files_are_told_apart(ending, tmp_path):
    needed = {
        ".xlsx": "xl/workbook.xml",
        ".pptx": "ppt/presentation.xml",
        ".epub": "META-INF/container.xml",
        ".docx": "word/document.xml",
    }[ending]
    cases = {}
    for reason, name, body in (
        ("too_large", needed, b" " * (100 * 2**20)),
        ("broken", needed, b"<torn"),
        ("wrong_type", "hello.txt", b"words"),
    ):
        path = tmp_path / f"{reason}{ending}"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, body)
        cases[path] = reason
    (tmp_path / f"locked{ending}").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    cases[tmp_path / f"locked{ending}"] = "encrypted"
    (tmp_path / f"text{ending}").write_bytes(b"just words")
    cases[tmp_path / f"text{ending}"] = "wrong_type"
    with ParserProcess(LIMITS) as process:
        for path, reason in cases.items():
            with pytest.raises(ParseError) as caught:
                process.parse(path.resolve(), KINDS[ending])
            assert (path.name, caught.value.reason) == (path.name, reason), caught.value


def test_every_format_goes_through_the_parser_process(tmp_path):
    written = {
        "md": b"# Words", "txt": b"Words", "html": b"<p>Words</p>", "rtf": RTF.encode(),
        "csv": b"a,b\nWords,2\n", "json": b'{"a": "Words"}', "xlsx": saved(workbook()),
        "eml": b"From: a@b\nSubject: Words\n\nWords\n", "pptx": saved(deck()),
        "epub": book({"a.xhtml": "<p>Words</p>"}),
        "picture": as_bytes(picture("Words"), "PNG"),
    }  # fmt: skip
    written["pdf"] = files.write_pdf(tmp_path / "x.pdf", ["Words"]).read_bytes()
    parts = [("Normal", "Words")]
    written["docx"] = files.write_docx(tmp_path / "x.docx", parts).read_bytes()
    assert written.keys() == FORMATS.keys()
    if shutil.which("tesseract") is None:
        del written["picture"]
    with ParserProcess(LIMITS) as process:
        for kind, data in written.items():
            path = (tmp_path / f"file{FORMATS[kind].endings[0]}").resolve()
            path.write_bytes(data)
            assert process.parse(path, kind).blocks, kind
        assert process.restarts == 0
