"""Chunks: exact slices, small enough, under their headings, nothing lost."""

import itertools
import re

import ingest_files as files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits
from rag_app.ingest.markdown import parse
from rag_app.ingest.units import TokenIndex, sentences
from rankgate.errors import ConfigError

TOKENIZER = files.small_tokenizer()
LIMITS = Limits(max_bytes=10**7, max_pages=10, timeout_s=10, memory_mb=512)


def document(text, stem="file"):
    return parse(text.encode(), stem=stem, limits=LIMITS)


def cut(text, *, chunk_tokens=40, overlap=8, max_length=256, document_id="d", pipeline="p"):
    chunker = Chunker(TOKENIZER, chunk_tokens=chunk_tokens, overlap=overlap, max_length=max_length)
    parsed = document(text)
    return parsed, chunker.chunks(parsed, document_id=document_id, pipeline=pipeline)


def count(text):
    return len(TOKENIZER.encode(text, add_special_tokens=False).ids)


def words(n, start=0, stop="."):
    """n words in sentences of ten, each word different."""
    found = [f"w{i}" for i in range(start, start + n)]
    lines = [found[i : i + 10] for i in range(0, n, 10)]
    return " ".join(f"{' '.join(line).capitalize()}{stop}" for line in lines)


def check(parsed, chunks, chunk_tokens, max_length=256):
    assert [c.position for c in chunks] == list(range(len(chunks)))
    assert len({c.id for c in chunks}) == len(chunks)
    for c in chunks:
        assert c.text == parsed.text[c.start : c.end]
        assert c.indexed_text == c.prefix + c.text
        assert c.text.strip()
        # A word that the tokenizer gives up on is cut by length, which changes its tokens.
        if not re.search(r"[^\s]{100}", parsed.text):
            assert count(c.text) <= chunk_tokens
        assert count(c.indexed_text) <= max_length - 2
    starts = [c.start for c in chunks]
    assert starts == sorted(starts)
    covered = set().union(*(range(c.start, c.end) for c in chunks)) if chunks else set()
    for block in parsed.blocks:
        if block.kind != "heading":
            lost = {
                i for i in range(block.start, block.end) if not parsed.text[i].isspace()
            } - covered
            assert not lost


def test_guide_is_cut_under_its_headings():
    parsed, chunks = cut(files.GUIDE)
    check(parsed, chunks, 40)
    assert parsed.title == "The Guide"
    by_heading = {c.heading for c in chunks}
    assert ("Guide", "Install") in by_heading
    install = next(c for c in chunks if c.heading == ("Guide", "Install"))
    assert install.prefix == "The Guide > Guide > Install\n\n"
    assert "```sh\npip install rankgate\n# not a heading\n```" in install.text
    assert not any("not a heading" in part for c in chunks for part in c.heading)
    assert not any("title: The Guide" in c.text for c in chunks)


def test_title_equal_to_first_heading_is_not_said_twice():
    _, chunks = cut("# Guide\n\nSome words here.\n")
    assert [c.prefix for c in chunks] == ["Guide\n\n"]
    assert chunks[0].text == "Some words here."


def test_long_prose_overlaps_by_whole_sentences():
    parsed, chunks = cut(words(300), chunk_tokens=40, overlap=12)
    check(parsed, chunks, 40)
    assert len(chunks) > 5
    for before, after in itertools.pairwise(chunks):
        shared = parsed.text[after.start : before.end]
        assert 0 < count(shared) <= 12
        assert shared.startswith("W") and shared.endswith(".")


def test_without_overlap_nothing_is_said_twice():
    parsed, chunks = cut(words(300), overlap=0)
    check(parsed, chunks, 40)
    assert all(a.end <= b.start for a, b in itertools.pairwise(chunks))


def test_overlap_within_a_long_sentence_begins_at_a_word():
    text = " ".join(f"w{i}" for i in range(200))
    parsed, chunks = cut(text, chunk_tokens=40, overlap=8)
    check(parsed, chunks, 40)
    for before, after in itertools.pairwise(chunks):
        assert 1 <= count(parsed.text[after.start : before.end]) <= 8
        assert after.start == 0 or parsed.text[after.start - 1] == " "


def test_chunks_end_with_paragraphs_where_that_leaves_them_full_enough():
    text = "\n\n".join(words(28, start=100 * i) for i in range(4))
    parsed, chunks = cut(text, overlap=0)
    paragraphs = text.split("\n\n")
    assert [c.text for c in chunks] == paragraphs
    check(parsed, chunks, 40)


def test_never_across_large_sections():
    text = f"# A\n\n{words(25)}\n\n# B\n\n{words(25, start=50)}\n"
    parsed, chunks = cut(text, chunk_tokens=100, overlap=8)
    check(parsed, chunks, 100)
    assert [c.heading for c in chunks] == [("A",), ("B",)]
    assert "w50" not in chunks[0].text and chunks[1].text.startswith("W50")


def test_tiny_sections_of_one_parent_are_joined_with_their_headings():
    parts = "\n\n".join(f"### Step {i}\n\nDo thing {i}." for i in range(3))
    text = f"# Doc\n\n## Steps\n\n{parts}\n\n## Other\n\n{words(30)}\n"
    parsed, chunks = cut(text, chunk_tokens=60)
    check(parsed, chunks, 60)
    joined = chunks[0]
    assert joined.heading == ("Doc", "Steps")
    assert joined.text == parts
    assert chunks[1].heading == ("Doc", "Other")


def test_code_and_tables_stay_whole_when_they_fit_and_break_at_lines_when_not():
    fence = "```\n" + "\n".join(f"line {i}" for i in range(10)) + "\n```"
    parsed, chunks = cut(f"{words(20)}\n\n{fence}\n\n{words(20, start=40)}", overlap=0)
    check(parsed, chunks, 40)
    assert any(fence in c.text for c in chunks)
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| x{i} | y{i} |" for i in range(40))
    parsed, chunks = cut(table, overlap=8)
    check(parsed, chunks, 40)
    assert len(chunks) > 3
    assert all(c.text.startswith("|") and c.text.endswith("|") for c in chunks)


def test_a_heading_without_text_is_kept_where_nothing_else_says_it():
    parsed, chunks = cut("# Only a heading\n")
    assert [c.text for c in chunks] == ["# Only a heading"]
    parsed, chunks = cut("# Top\n\n## Sub\n\nText here.\n")
    assert [(c.heading, c.text) for c in chunks] == [(("Top", "Sub"), "Text here.")]
    check(parsed, chunks, 40)


def test_long_titles_are_shortened_so_that_the_chunk_keeps_its_room():
    long = " ".join(f"t{i}" for i in range(400))
    parsed, chunks = cut(f"# {long}\n\n{words(300)}\n", chunk_tokens=200, overlap=40)
    check(parsed, chunks, 200)
    assert all(0 < count(c.prefix) <= 54 for c in chunks)
    deep = "\n\n".join(f"{'#' * n} {f'level{n} ' * 12}" for n in range(1, 7))
    parsed, chunks = cut(f"{deep}\n\n{words(50)}\n", chunk_tokens=200)
    check(parsed, chunks, 200)
    assert "level1" in chunks[0].prefix and "level6" in chunks[0].prefix
    assert "level3" not in chunks[0].prefix


@pytest.mark.parametrize("letter", ["x", "東", "😀", "a-"])
def test_text_without_blanks_is_cut_anyway(letter):
    parsed, chunks = cut(letter * 5000)
    check(parsed, chunks, 40)
    assert max(len(c.text) for c in chunks) <= 400


def test_ids_depend_on_document_pipeline_and_content_alone():
    text = f"{words(60)}\n\nSame words again.\n\n{words(60, start=500)}"
    _, first = cut(text)
    _, again = cut(text)
    assert [c.id for c in first] == [c.id for c in again]
    _, other_document = cut(text, document_id="e")
    _, other_pipeline = cut(text, pipeline="q")
    ids = [{c.id for c in part} for part in (first, other_document, other_pipeline)]
    assert not (ids[0] & ids[1] or ids[0] & ids[2])
    assert all(re.fullmatch(r"[0-9a-f]{32}", c.id) for c in first)


def test_repeated_text_gets_ids_of_its_own():
    text = "\n\n".join([words(30)] * 4)
    parsed, chunks = cut(text, overlap=0)
    check(parsed, chunks, 40)
    assert len({c.text for c in chunks}) < len(chunks)


def test_appending_changes_no_earlier_id():
    _, before = cut("\n\n".join(words(30, start=100 * i) for i in range(4)), overlap=0)
    _, after = cut("\n\n".join(words(30, start=100 * i) for i in range(6)), overlap=0)
    assert [c.id for c in after[:4]] == [c.id for c in before]


@pytest.mark.parametrize(
    ("chunk_tokens", "overlap", "says"),
    [(231, 40, "between 1 and 230"), (0, 0, "got 0"), (40, 40, "below chunk_tokens")],
)
def test_sizes_that_do_not_fit_are_refused(chunk_tokens, overlap, says):
    with pytest.raises(ConfigError, match=says):
        Chunker(TOKENIZER, chunk_tokens=chunk_tokens, overlap=overlap, max_length=256)


def test_empty_document_has_no_chunks():
    assert cut("")[1] == []
    assert cut("\n \n\t\n")[1] == []


def test_sentences_do_not_end_at_abbreviations_or_list_numbers():
    text = "See e.g. Smith et al. Next comes J. Doe. He left.\n1. First point\n2. Second."
    spans = sentences(text, 0, len(text))
    assert [text[a:b] for a, b in spans] == [
        "See e.g. Smith et al. Next comes J. Doe.",
        "He left.",
        "1. First point",
        "2. Second.",
    ]


BITS = st.sampled_from(
    [
        "# H\n",
        "## Sub\n",
        "word ",
        "Sentence here. ",
        "\n\n",
        "\n",
        "```\n",
        "| a | b |\n",
        "- item\n",
        *("東京", "é", "x" * 150, "\t", "1. ", "===\n", "---\n", " ", "😀 "),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BITS, max_size=120), st.integers(5, 60), st.integers(0, 30))
def test_any_markdown_is_covered_by_exact_small_slices(bits, chunk_tokens, overlap):
    text = "".join(bits)
    overlap = min(overlap, chunk_tokens - 1)
    parsed, chunks = cut(text, chunk_tokens=chunk_tokens, overlap=overlap)
    check(parsed, chunks, chunk_tokens)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=400))
def test_any_text_is_cut_into_exact_slices(text):
    parsed, chunks = cut(text)
    assert all(c.text == parsed.text[c.start : c.end] for c in chunks)
    assert (not chunks) == (not parsed.blocks)


def test_counting_slices_agrees_with_encoding_them():
    text = words(50) + " naïve café 東京, and-so (on) 3.14!"
    index = TokenIndex(text, TOKENIZER)
    for start in range(0, len(text), 37):
        start = text.find(" ", start)
        end = text.find(" ", start + 60)
        if 0 <= start < end:
            assert index.count(start, end) == count(text[start:end])
