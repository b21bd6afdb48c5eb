"""What real files hold, read without loss: pages, Word documents, Markdown, text."""

import io
import re
import zipfile

import ingest_files as files
import pytest

from rag_app.errors import ParseError
from rag_app.ingest import html, markdown, plain
from rag_app.ingest.chunk import Chunker
from rag_app.ingest.decode import decode
from rag_app.ingest.document import MAX_HEADING, Limits, ParseFailure
from rag_app.ingest.office import docx
from rag_app.ingest.paged import pdf
from rag_app.ingest.parser_process import ParserProcess

LIMITS = Limits(max_bytes=20 * 2**20, max_pages=50, timeout_s=5, memory_mb=1024)


def read(module, data):
    data = data.encode() if isinstance(data, str) else data
    return module.parse(data, stem="file", limits=LIMITS)


def page(body, head="<title>T</title>"):
    return read(html, f"<html><head>{head}</head><body>{body}</body></html>")


def under(document, part):
    return next(b.heading for b in document.blocks if part in document.text[b.start : b.end])


def test_every_section_of_a_page_keeps_its_heading_and_table():
    sections = "".join(
        f"<section><h2>Part {i}</h2><p>Words of part {i}.</p>"
        f"<table><tr><th>k</th><th>v</th></tr><tr><td>a{i}</td><td>b{i}</td></tr></table></section>"
        for i in range(6)
    )
    document = page(f"<h1>Book</h1>{sections}")
    for i in range(6):
        assert under(document, f"Words of part {i}.") == ("Book", f"Part {i}")
        assert f"| a{i} | b{i} |" in document.text
        assert under(document, f"| a{i} |") == ("Book", f"Part {i}")


def test_code_is_verbatim_and_inside_words_nothing_is_added():
    document = page(
        "<p>Type <code>varchar(<em>n</em>)</code> and re<b>fill</b>able H<sub>2</sub>O, "
        "10<sup>6</sup> m, a note<sup><a href='#n1'>1</a></sup>.</p>"
        "<pre>if a:\n    b = `x`\n\n<b>c</b> = '''```'''</pre>"
    )
    assert "Type varchar(n) and refillable H2O, 10^6 m, a note[1]." in document.text
    (code,) = [b for b in document.blocks if b.kind == "code"]
    assert document.text[code.start : code.end] == (
        "````\nif a:\n    b = `x`\n\nc = '''```'''\n````"
    )


def test_marks_in_a_pages_words_are_words():
    document = page("<p># 1 in sales</p><p>--- not a rule ---</p><p>| a pipe</p>")
    assert [b.kind for b in document.blocks] == ["text"] * 3
    assert document.blocks[0].heading == ()


def test_lists_are_read_once_and_nested_as_they_are():
    document = page(
        "<ul><li>one<ul><li>two<ol><li>three</li></ol></li></ul> after</li>"
        "<li><p>four</p><pre>code()</pre><p>five</p></li></ul>"
    )
    for word in ("one", "two", "three", "after", "four", "code()", "five"):
        assert document.text.count(word) == 1, word
    assert "- one\n  - two\n    1. three\n  after\n- four" in document.text


def test_tables_in_tables_and_cells_over_several_rows():
    document = page(
        "<table><tr><th>year</th><th>what</th></tr>"
        "<tr><td rowspan=2>2022</td><td>cash <table><tr><td>in</td><td>out</td></tr></table></td>"
        "</tr><tr><td>debt</td></tr></table>"
    )
    assert document.text.count("in") == 1
    assert "| 2022 | debt |" in document.text
    layout = page("<table role=presentation><tr><td><h2>Left</h2><p>words</p></td></tr></table>")
    assert under(layout, "words") == ("Left",)


def test_a_table_that_only_places_is_text_and_one_without_header_loses_no_row():
    note = "<table><tr><td rowspan=2><img></td><th>Tip</th></tr><tr><td>Be root.</td></tr></table>"
    assert page(note).text == "Tip\n\nBe root."
    flags = "<table><tr><td>i</td><td>-</td><td>is in</td></tr><tr><td>c</td><td>-</td><td>is out"
    assert page(flags).text == "- i; -; is in\n- c; -; is out"
    box = "<table><tr><th>Born</th><td>1815</td></tr><tr><th>Died</th><td>1852</td></tr></table>"
    assert page(box).text == "- Born; 1815\n- Died; 1852"
    bold = "<table><tr><td><b>Name</b></td><td><b>Age</b></td></tr><tr><td>Ada</td><td>36</td></tr>"
    assert page(bold).text == "| Name | Age |\n|---|---|\n| Ada | 36 |"


def test_rows_of_a_long_table_keep_the_names_of_their_columns():
    rows = "".join(f"<tr><td>Part {i}</td><td>{i} EUR</td></tr>" for i in range(80))
    document = page(f"<table><tr><th>Part</th><th>Price</th></tr>{rows}</table>")
    assert "- Part: Part 79; Price: 79 EUR" in document.text


def test_what_stands_outside_of_main_is_content_unless_it_frames_it():
    said = "<p>" + "Words of the page. " * 20 + "</p>"
    table = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    document = page(
        f"<header><p>Shop of tests</p></header><h1>Title</h1><main>{said}</main>"
        f"<h2>Figures</h2>{table}<footer><p>Imprint</p></footer>"
    )
    assert "Shop" not in document.text and "Imprint" not in document.text
    assert under(document, "Words of") == ("Title",)
    assert under(document, "| 1 | 2 |") == ("Title", "Figures")


def test_navigation_and_hidden_words_are_no_content_but_a_form_is():
    links = "".join(f"<li><a href='/{i}'>Chapter {i}</a></li>" for i in range(9))
    document = page(
        f"<div class='navheader'>up</div><ul>{links}</ul><form><p>The answer is 42.</p></form>"
        "<p hidden>secret</p><p style='display: none'>unseen</p><!-- remark --><p>Seen.</p>"
        "<footer role='contentinfo'>imprint</footer>"
    )
    assert document.text == "The answer is 42.\n\nSeen."
    assert "Chapter 3" in page(f"<ul>{links}</ul>").text  # better than nothing


@pytest.mark.parametrize(
    ("label", "codec", "words"),
    [
        ("iso-8859-1", "cp1252", "“quoted” \u2013 10 €"),
        ("gb2312", "gb18030", "镕基说你好"),
        ("shift_jis", "cp932", "①髙橋さん"),
        ("euc-kr", "cp949", "똠방각하"),
        ("windows-1251", "cp1251", "Привет"),
        ("x-sjis", "cp932", "①髙橋さん"),
        ("utf-16", "cp1252", "Grüße aus Köln ab"),
    ],
)
def test_a_label_means_what_browsers_read(label, codec, words):
    body = f"<meta charset={label}><p>{words}</p>".encode(codec)
    assert words in read(html, body).text
    declared = f'<?xml version="1.0" encoding="{label}"?><html><p>{words}</p></html>'
    assert words in read(html, declared.encode(codec)).text


def test_one_bad_byte_makes_no_mojibake():
    text, notes = decode("Grüße aus Köln, 東京 ".encode() * 20 + b"\xff")
    assert text.startswith("Grüße aus Köln, 東京") and text.endswith("\ufffd")
    assert "1 bytes are not UTF-8" in notes[0]
    assert decode("Grüße".encode("cp1252"))[0] == "Grüße"


def test_a_vertical_tab_ends_a_line():
    assert read(plain, "One sentence.\vAnother\u2028third").text == (
        "One sentence.\nAnother\nthird"
    )


def test_a_rule_at_the_top_is_no_front_matter():
    document = read(markdown, "---\n\nFirst words.\n\n---\n\nSecond words.\n")
    assert "First words." in [document.text[b.start : b.end] for b in document.blocks]
    titled = read(markdown, "---\ntitle: 'A'\ntags:\n  - x\n# note\n---\nWords.\n")
    assert titled.title == "A" and len(titled.blocks) == 1
    toml = read(markdown, '+++\ntitle = "B: c"\n[extra]\nk = 1\n+++\nWords.\n')
    assert toml.title == "B: c" and len(toml.blocks) == 1


def test_comments_in_markdown_are_not_answered_from():
    document = read(
        markdown,
        "Seen <!-- not this --> too.\n\n<!--\nnor\n\nthis\n-->\n\n"
        "`<!-- quoted -->` stays.\n\n```\n<!-- code -->\n```\n\n<!-- open\n",
    )
    indexed = " ".join(document.text[b.start : b.end] for b in document.blocks)
    assert "not this" not in indexed and "nor" not in indexed
    for kept in ("Seen", "too.", "<!-- quoted -->", "<!-- code -->", "<!-- open"):
        assert kept in indexed


# Each is a mile of what a pattern can trip over; all have to be through in the parser's seconds.
LONG = {
    "delimiter.md": "- " + "|    " * 40_000 + "x\n|",
    "blank line in a fence.md": "```\na\n" + " " * 400_000 + "\nb\n```\n",
    "heading of blanks.md": "# a" + " " * 400_000 + "b\n",
    "brackets.md": "# " + "[" * 400_000 + "\n",
    "long heading.md": "# " + "word " * 200_000 + "\n\n" + "## s\n\ntext\n\n" * 300,
    "comments.md": "<!-- " * 100_000,
    "blanks.txt": "x" + (" " * 2000 + "\n") * 200,
    "scripts.html": "<script>" * 50_000,
    "titles.html": "<title>" * 50_000 + "<p>x",
}


@pytest.mark.parametrize("name", LONG)
def test_no_pattern_trips_over_a_long_line(name, tmp_path):
    path = tmp_path / name
    path.write_text(LONG[name])
    chunker = Chunker(files.small_tokenizer(), chunk_tokens=40, overlap=8, max_length=256)
    with ParserProcess(LIMITS) as process:
        try:
            document = process.parse(path, path.suffix[1:])
        except ParseError as exc:
            assert exc.reason == "no_text", exc
            return
    assert all(len(h) <= MAX_HEADING for b in document.blocks for h in b.heading)
    chunks = chunker.chunks(document, document_id="d", pipeline="p")
    assert sum(len(c.prefix) for c in chunks) < 100 * len(chunks)


def test_more_paragraphs_than_any_document_has_are_refused():
    with pytest.raises(ParseFailure, match="paragraphs"):
        read(plain, "a\n\n" * 300_000)


def test_terms_and_fields_are_lines_and_a_backslash_stays():
    document = page(
        "<p>Search with \\, or \\(.</p><pre>a \\( b</pre>"
        "<dl><dt>Czech</dt><dd>Miroslav</dd><dt>Dutch</dt><dd><p>Luk</p></dd></dl>"
        "<div><div><b>Option: </b><code>a-b</code></div><div><b>Default:</b> no</div></div>"
        "<dl><dt>-v</dt><dd>Says more.</dd></dl>"
    )
    assert document.text.split("\n\n") == [
        "Search with \\\\, or \\\\(.",
        "```\na \\( b\n```",
        "- Czech: Miroslav\n- Dutch: Luk",
        "- Option: a-b; Default: no",
        "-v",
        "Says more.",
    ]


def test_hyphens_are_those_of_the_keyboard_and_quotations_are_marked():
    assert page("<p>an e\u2011mail says <q>no</q></p>").text == "an e-mail says \u201cno\u201d"


def word(body, others=()):
    """A Word document with this body, as Word writes one."""
    whole = io.BytesIO()
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types xmlns='x'/>")
        archive.writestr(
            "word/document.xml",
            f"<w:document xmlns:w='{space}' xmlns:r='{relations}'><w:body>{body}</w:body>"
            "</w:document>",
        )
        for name, text in others:
            archive.writestr(name, text)
    return read(docx, whole.getvalue())


def para(*runs):
    return f"<w:p>{''.join(f'<w:r>{run}</w:r>' for run in runs)}</w:p>"


def test_word_runs_are_joined_as_they_are_seen():
    document = word(
        para("<w:t>un</w:t>", "<w:rPr><w:b/></w:rPr><w:t>limit</w:t>", "<w:t>ed H</w:t>",
             "<w:rPr><w:vertAlign w:val='subscript'/></w:rPr><w:t>2</w:t>", "<w:t>O</w:t>")
        + para("<w:t>first</w:t><w:br/><w:t>second</w:t>")
    )  # fmt: skip
    assert document.text == "unlimited H2O\n\nfirst second"


@pytest.mark.parametrize(
    "dangling",
    [
        "<w:r><w:footnoteReference w:id='9'/></w:r>",
        "<w:hyperlink r:id='rId99'><w:r><w:t>the link</w:t></w:r></w:hyperlink>",
        "<w:r><w:endnoteReference w:id='3'/></w:r>",
        "<w:r><w:drawing><a:blip xmlns:a='http://schemas.openxmlformats.org/drawingml/2006/main' "
        "r:embed='rId5'/></w:drawing></w:r>",
    ],
)
def test_a_reference_to_nothing_loses_no_document(dangling):
    broken = f"<w:p>{dangling}<w:r><w:t> and</w:t></w:r></w:p>"
    document = word(para("<w:t>Kept words.</w:t>") + broken)
    assert "Kept words." in document.text and "and" in document.text
    assert ("the link" in document.text) == ("the link" in dangling)


def test_headers_footers_and_text_boxes_are_read_once():
    space = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"
    box = "<w:r><w:drawing><w:txbxContent><w:p><w:r><w:t>In the box.</w:t></w:r></w:p>"
    document = word(
        para("<w:t>Body words.</w:t>") + f"<w:p>{box}</w:txbxContent></w:drawing></w:r></w:p>",
        [
            ("word/header1.xml", f"<w:hdr {space}>{para('<w:t>Form 17, version 3</w:t>')}</w:hdr>"),
            ("word/header2.xml", f"<w:hdr {space}>{para('<w:t>Form 17, version 3</w:t>')}</w:hdr>"),
            ("word/footer1.xml", f"<w:ftr {space}>{para('<w:t>1</w:t>')}</w:ftr>"),
        ],
    )
    assert document.text == "Body words.\n\nIn the box.\n\nForm 17, version 3"


def test_word_lists_and_tables_are_read_once(tmp_path):
    import docx as library

    made = library.Document()
    for depth in ("", " 2", " 3"):
        made.add_paragraph(f"point{depth or ' 1'}", style=f"List Bullet{depth}")
    outer = made.add_table(rows=1, cols=2)
    outer.cell(0, 0).text = "outer left"
    inner = outer.cell(0, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "inner left", "inner right"
    made.save(tmp_path / "lists.docx")
    text = read(docx, (tmp_path / "lists.docx").read_bytes()).text
    for said in ("point 1", "point 2", "point 3", "outer left", "inner left", "inner right"):
        assert len(re.findall(said, text)) == 1, (said, text)


def pdf_of(build, tail=b""):
    """What is read of a PDF that `build(pdf)` sets, and the parsed document."""
    from fpdf import FPDF

    made = FPDF()
    made.set_auto_page_break(False)
    build(made)
    return pdf.parse(bytes(made.output()) + tail, stem="file", limits=LIMITS)


def line(made, words, *, y, size=11, style="", x=20):
    made.set_font("Helvetica", style=style, size=size)
    made.text(x, y, words)


def test_a_paper_without_outline_has_headings_and_no_running_heads():
    def build(made):
        for number in range(1, 5):
            made.add_page()
            line(made, f"Journal of Tests {number}", y=10, size=8)
            line(made, str(number), y=290, size=8)
            if number == 1:
                line(made, "A Study of Floors", y=30, size=20)
            line(made, f"{number} Section {number}", y=50, size=14)
            for i in range(12):
                line(made, f"Line {i} of section {number} has some words.", y=60 + 6 * i)
            line(made, "A paragraph of its own after a gap.", y=160)

    document = pdf_of(build)
    assert document.title == "A Study of Floors" and document.pages == 4
    assert "Journal" not in document.text and "290" not in document.text
    for number in range(1, 5):
        heading = under(document, f"Line 3 of section {number}")
        assert heading[-1] == f"{number} Section {number}"
    texts = [document.text[b.start : b.end] for b in document.blocks]
    assert texts.count("A paragraph of its own after a gap.") == 4


def test_words_that_were_broken_are_whole_and_hyphens_of_authors_stay():
    def build(made):
        made.add_page()
        for at, words in enumerate(
            ["A domain is specific. No domain is too specific here. This is informa-",
             "tion about domain-", "specific data."]
        ):  # fmt: skip
            line(made, words, y=50 + 6 * at)

    text = " ".join(pdf_of(build).text.split())
    assert text.endswith("This is information about domain-specific data.")


def test_rows_of_a_table_have_the_names_of_their_columns():
    def build(made):
        made.add_page()
        for at, row in enumerate([("Year", "Revenue"), ("2021", "36.7"), ("2022", "41.3")]):
            for column, cell in enumerate(row):
                line(made, cell, y=50 + 6 * at, x=20 + 60 * column)

    document = pdf_of(build)
    assert document.text == "- Year: 2021; Revenue: 36.7\n- Year: 2022; Revenue: 41.3"
    assert [b.kind for b in document.blocks] == ["table"]


def test_contents_and_references_are_no_passages():
    def build(made):
        made.add_page()
        for i in range(12):
            line(made, f"Chapter {'ABCDEFGHIJKL'[i]} ........ {3 + 2 * i}", y=40 + 6 * i)
        made.add_page()
        line(made, "Results", y=40, size=16)
        line(made, "The floor holds.", y=50)
        line(made, "References", y=70, size=16)
        line(made, "[1] A. Author. The floor in theory. 2020.", y=80)

    document = pdf_of(build)
    indexed = " ".join(document.text[b.start : b.end] for b in document.blocks)
    assert "The floor holds." in indexed
    assert "Chapter" not in indexed and "in theory" not in indexed
    assert "references" in document.notes[0]


def test_what_follows_the_end_of_a_pdf_is_no_damage():
    def build(made):
        made.add_page()
        line(made, "Words.", y=50)

    assert "Words." in pdf_of(build, tail=b"\0" * 100_000).text
    with pytest.raises(ParseFailure, match="cut off"):
        pdf_of(build, tail=b"\n9 0 obj\n<<")


def test_a_table_whose_first_row_looks_different_has_names_and_its_cells_go_on():
    def build(made):
        made.add_page()
        line(made, "Words of the page fill this line from its left edge to its right edge.", y=40)
        rows = [("Folder", "Meaning"), ("bin", "programs"), ("lib", "shared"), ("", "libraries")]
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                if cell:
                    style = "B" if at == 0 else ""
                    line(made, cell, y=50 + 6 * at, x=20 + 60 * column, style=style)

    document = pdf_of(build)
    assert document.text.endswith(
        "- Folder: bin; Meaning: programs\n- Folder: lib; Meaning: shared libraries"
    )


def test_a_heading_over_two_lines_is_one():
    def build(made):
        for number in range(2):
            made.add_page()
            made.set_font("Helvetica", size=16)
            made.start_section(f"{number + 1} The longest of all headings of this manual")
            line(made, f"{number + 1} The longest of all headings", y=40, size=16)
            line(made, "of this manual", y=50, size=16)
            line(made, f"Words of section {number}.", y=60)

    document = pdf_of(build)
    heading = "1 The longest of all headings of this manual"
    assert under(document, "Words of section 0.") == (heading,)
