"""What a small file may cost: it is read and cut behind one limit, in a process that ends."""

import time

import ingest_files as files
import pytest

from rag_app.errors import ParseError
from rag_app.ingest import markdown
from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits
from rag_app.ingest.ingestion import ingest
from rag_app.ingest.parser_process import ParserProcess

BOMBS = {
    "a blank line in a fence": "```\n" + " " * 400_000 + "x\n```\n",
    "a heading of a megabyte": "# " + "x " * 500_000 + "\n\n" + "## s\n\ntext\n\n" * 300,
    "comments that never end": "<!--\n" * 60_000,
    "comments in a line": "<!---->" * 60_000,
    "links that never end": "[a](" * 75_000,
    "headings of links": "# " + "[a](" * 70 + "\n\n",
    "front matter that never ends": "---\n" + "key: value\n" * 30_000,
    "paragraphs": "a\n\n" * 100_000,
}


def chunker(tokens=40):
    return Chunker(files.small_tokenizer(), chunk_tokens=tokens, overlap=8, max_length=256)


def limits(**changes):
    return Limits(
        **{"max_bytes": 9 << 20, "max_pages": 9, "timeout_s": 60, "memory_mb": 2048} | changes
    )


@pytest.mark.parametrize("name", BOMBS)
def test_reading_and_cutting_take_time_in_proportion(name):
    def cpu(text):
        begun = time.process_time()
        read = markdown.parse(text.encode(), stem="x", limits=limits())
        chunker(200).chunks(read, document_id="x", pipeline="p")
        return time.process_time() - begun

    # Twelve seconds and more where it was quadratic; under three, mostly tokens, where it is not.
    assert cpu(BOMBS[name]) < 8


def test_what_takes_too_long_to_cut_is_ended_and_the_next_file_is_read(tmp_path):
    (tmp_path / "long.txt").write_text("word " * 1_500_000)
    (tmp_path / "short.txt").write_text("A word.")
    with ParserProcess(limits(timeout_s=0.6)) as process:
        with pytest.raises(ParseError, match=r"longer than 0\.6 s"):
            process.cut(tmp_path / "long.txt", "txt", chunker(), document_id="l", pipeline="p")
        _, chunks = process.cut(
            tmp_path / "short.txt", "txt", chunker(), document_id="s", pipeline="p"
        )
    assert [c.text for c in chunks] == ["A word."]


def test_what_the_process_cuts_is_what_the_chunker_cuts(tmp_path):
    (tmp_path / "guide.md").write_text(files.GUIDE)
    cutter = chunker()
    with ParserProcess(limits()) as process:
        read, chunks = process.cut(
            tmp_path / "guide.md", "md", cutter, document_id="guide.md", pipeline="p"
        )
    assert chunks == cutter.chunks(read, document_id="guide.md", pipeline="p") != []


@pytest.mark.parametrize("text", ["Words of it. " * 2_000, "x" * 2_000_000])
def test_a_file_of_too_many_passages_is_named_with_the_setting(tmp_path, text):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "long.txt").write_text(text)
    (tmp_path / "docs" / "short.txt").write_text("A word.")
    settings = files.make_settings(tmp_path, max_passages=50)
    report = ingest([tmp_path / "docs"], settings, embedder=files.FakeEmbedder())
    (failed,) = report.failed
    assert failed.reason == "too_many_passages" and "max_passages" in failed.detail
    assert report.documents == 1
