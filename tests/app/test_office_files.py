"""Tables and e-mail: every row with the names of its columns, every message with who and when."""

import pytest

from rag_app.ingest.document import Limits, ParseFailure
from rag_app.ingest.office import mail, rows

LIMITS = Limits(max_bytes=10**6, max_pages=10, timeout_s=10, memory_mb=500)
MESSAGE = """From: Ada Byron <ada@example.org>
To: board@example.org
Date: Mon, 3 Mar 2025 09:30:00 +0000
Subject: =?utf-8?q?Budget_f=C3=BCr_2026?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: {kind}; charset=utf-8

{body}
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="plan.pdf"

x
--b--
"""


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_each_row_has_the_names_of_its_columns(mark):
    table = f'Region{mark}Revenue{mark}Note\nNorth{mark}12{mark}"a\nb"\n\nSouth{mark}7{mark}\n'
    read = rows.parse(table.encode(), stem="sales", limits=LIMITS)
    want = "- Region: North; Revenue: 12; Note: a b\n- Region: South; Revenue: 7"
    assert (read.title, read.text) == ("sales", want)
    assert [b.kind for b in read.blocks] == ["table"]


def test_a_table_without_names_a_single_column_and_a_huge_cell():
    assert rows.parse(b"1,2\n3,4\n", stem="t", limits=LIMITS).text == "- 1; 2\n- 3; 4"
    assert rows.parse(b"name\nAda\nBo\n", stem="t", limits=LIMITS).text == "- name: Ada\n- name: Bo"
    huge = b"name,text\nAda," + b"x" * 200_000 + b"\n"
    assert len(rows.parse(huge, stem="t", limits=LIMITS).text) > 200_000
    with pytest.raises(ParseFailure, match="no cell"):
        rows.parse(b",,\n,,\n", stem="t", limits=LIMITS)


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain", "We agreed.\n\nIt is 40."), ("text/html", "<p>We agreed.</p><p>It is 40.</p>")],
)
def test_a_message_says_who_when_and_what(kind, body):
    data = MESSAGE.format(kind=kind, body=body).encode()
    read = mail.parse(data, stem="m", limits=LIMITS)
    assert read.title == "Budget f\u00fcr 2026"
    assert read.text.startswith(
        "# Budget f\u00fcr 2026\n\n"
        "- From: Ada Byron <ada@example.org>\n- To: board@example.org\n- Date: Mon"
    )
    assert read.text.endswith("\n\nWe agreed.\n\nIt is 40.")
    assert read.notes == ("attachment not read: plan.pdf",)


def test_what_is_no_message_is_named():
    with pytest.raises(ParseFailure, match="no sender"):
        mail.parse(b"just words\n", stem="m", limits=LIMITS)
