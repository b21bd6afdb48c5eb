"""Citations: only of sources that exist, numbered from 1, supported by words at a known place."""

import fake_index
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_app.generate.citations import CitationNumbering, cite, locate
from rag_app.generate.context import build_context

INDEX = fake_index.FakeIndex()
SOURCES = build_context(
    fake_index.passages_of(INDEX, ["gate-0", "gate-1", "floor-0"]),
    budget=10_000,
    count_tokens=len,
).sources


def test_sources_are_renumbered_in_the_order_of_first_use():
    cited = cite("The floor refuses. [3] The gate skips reranking. [1] Again. [3]", SOURCES)
    assert cited.text == "The floor refuses. [1] The gate skips reranking. [2] Again. [1]"
    assert [s.number for s in cited.sources] == [1, 2]
    assert [s.chunk_id for s in cited.sources] == ["floor-0", "gate-0"]
    assert cited.removed == 0


@pytest.mark.parametrize(
    ("text", "expected", "removed"),
    [
        ("The gate skips [9].", "The gate skips.", 1),
        ("The gate skips [0].", "The gate skips.", 1),
        ("The gate skips [2][9].", "The gate skips [1].", 1),
        ("The gate skips [9] always [1].", "The gate skips always [1].", 1),
        ("[9] The gate skips.", "The gate skips.", 1),
        ("The gate [1][2] skips.", "The gate [1][2] skips.", 0),
        ("The gate [2, 1] skips.", "The gate [1][2] skips.", 0),
        ("The gate [1-3] skips.", "The gate [1][2][3] skips.", 0),
        ("The gate [Source 2] skips.", "The gate [1] skips.", 0),
        ("The gate \u30102\u3011 skips.", "The gate [1] skips.", 0),
        ("The gate [1, 1] skips.", "The gate [1] skips.", 0),
        ("Since [2024] it skips [1].", "Since [2024] it skips [1].", 0),
        ("Use `a[1]` there [2].", "Use `a[1]` there [1].", 0),
        ("```\nx = a[1]\n```\nso [3].", "```\nx = a[1]\n```\nso [1].", 0),
        ("A [link] stays, so does a [", "A [link] stays, so does a [", 0),
        ("", "", 0),
    ],
)
def test_numbers(text, expected, removed):
    cited = cite(text, SOURCES)
    assert cited.text == expected
    assert cited.removed == removed


def test_quotes_are_verbatim_at_their_offsets():
    cited = cite("Its threshold is a probability. [2] A floor of 0.0 lets all pass [3].", SOURCES)
    for source in cited.sources:
        document = INDEX.document_text(source.document_id)
        for quote in source.quotes:
            assert document[quote.start : quote.end] == quote.text
    quoted = [q.text for s in cited.sources for q in s.quotes]
    assert quoted == [
        "Its threshold is a probability of harm.",
        "A floor of 0.0 lets everything pass.",
    ]


def test_a_source_cited_for_two_claims_has_both_quotes():
    cited = cite("The gate decides before [1]. It skips when the first is right [1].", SOURCES)
    assert [q.text for q in cited.sources[0].quotes] == [
        "The gate decides before the second stage.",
        "It skips reranking when the first stage is already right.",
    ]


def test_two_citations_in_one_sentence_stand_for_their_own_clause():
    cited = cite(
        "Probabilities are compared [3], and calibrate fits it on labelled queries [2].", SOURCES
    )
    by_chunk = {s.chunk_id: s.quotes[0].text for s in cited.sources}
    assert by_chunk["floor-0"] == "It compares [probabilities](prob.md), never raw scores."
    assert by_chunk["gate-1"].startswith("A *gate* is fitted on labelled queries")


def test_a_citation_without_a_word_in_common_is_counted_as_weak():
    cited = cite("Bananas ripen in bowls [1].", SOURCES)
    assert cited.weak == 1
    assert cited.sources[0].quotes[0].overlap == 0.0
    assert cite("The gate decides [1].", SOURCES).weak == 0


def test_a_claim_that_only_a_table_supports_finds_its_row():
    documents = {
        "codes": ("Codes", [("Codes", "Exit codes follow.\n\n| 5 | generator failed |\n")])
    }
    index = fake_index.FakeIndex(documents)
    sources = build_context(
        fake_index.passages_of(index, ["codes-0"]), budget=100, count_tokens=len
    ).sources
    quote = locate("5 means the generator failed", sources[0])
    assert quote.text == "| 5 | generator failed |"
    assert index.document_text("codes")[quote.start : quote.end] == quote.text


@given(
    st.lists(
        st.sampled_from(
            ["The gate", " ", "[1]", "[", "2", "]", "[9]", "[1, 3]", "`", "```", "\n", ".", "x"]
        ),
        max_size=25,
    ),
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_pieces_give_the_same_as_the_whole(parts, steps):
    text = "".join(parts)
    whole = CitationNumbering(3)
    at_once = whole.feed(text)
    at_once += whole.finish()
    bit_by_bit = CitationNumbering(3)
    out, position, turn = "", 0, 0
    while position < len(text):
        step = steps[turn % len(steps)]
        out += bit_by_bit.feed(text[position : position + step])
        position, turn = position + step, turn + 1
    out += bit_by_bit.finish()
    assert out.rstrip() == at_once.rstrip()
    assert (bit_by_bit.order, bit_by_bit.removed) == (whole.order, whole.removed)


def test_context_takes_the_best_first_and_counts_the_rest():
    passages = fake_index.passages_of(INDEX, ["gate-0", "gate-1", "floor-0", "floor-1"])
    sizes = [INDEX.embedder.count_tokens(p.candidate.text) for p in passages]
    context = build_context(
        passages, budget=sizes[0] + sizes[1], count_tokens=INDEX.embedder.count_tokens
    )
    assert [s.passage.candidate.id for s in context.sources] == ["gate-0", "gate-1"]
    assert (context.left_out, context.tokens) == (2, sizes[0] + sizes[1])


def test_context_takes_the_best_passage_even_over_budget():
    passages = fake_index.passages_of(INDEX, ["gate-0", "floor-1"])
    context = build_context(passages, budget=1, count_tokens=INDEX.embedder.count_tokens)
    assert [s.number for s in context.sources] == [1]
    assert context.left_out == 1
