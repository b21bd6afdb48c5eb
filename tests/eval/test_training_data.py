"""Readers of training data: triples, documents without labels, fingerprints."""

import json

import pytest

from rankgate.errors import InputError
from rankgate_eval.train.mining import TrainingCorpus, TrainingQuery
from rankgate_eval.train.readers import (
    html_sections,
    markdown_sections,
    python_sections,
    read_documents,
    read_triples,
)


def corpus(**changed):
    return TrainingCorpus(
        **{
            "name": "c",
            "passages": {"a": "one", "b": "two"},
            "queries": (TrainingQuery(id="q", text="which", positives=("a",)),),
            **changed,
        }
    )


def test_the_fingerprint_depends_on_what_is_read_and_on_nothing_else():
    base = corpus().fingerprint
    assert corpus(passages={"b": "two", "a": "one"}, name="other").fingerprint == base
    assert corpus(passages={"a": "one", "b": "two!"}).fingerprint != base
    long = "a passage of many words"
    changed = {corpus(passages={"a": long + end, "b": "two"}).fingerprint for end in ("", "!", "s")}
    assert len(changed) == 3
    assert corpus(passages={"ao": "ne", "b": "two", "a": "one"}).fingerprint != base
    moved = (TrainingQuery(id="q", text="which", positives=("b",)),)
    assert corpus(queries=moved).fingerprint != base
    harder = (TrainingQuery(id="q", text="which", positives=("a",), negatives=("b",)),)
    assert corpus(queries=harder).fingerprint != base


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        ((TrainingQuery(id="q", text="t", positives=()),), "no positive"),
        ((TrainingQuery(id="q", text="t", positives=("x",)),), "'x'"),
        ((TrainingQuery(id="q", text="t", positives=("a",), negatives=("y",)),), "'y'"),
        ((TrainingQuery(id="q", text="t", positives=("a",)),) * 2, "twice"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(queries, said):
    with pytest.raises(InputError, match=said):
        corpus(queries=queries)


def test_triples_of_equal_texts_are_one_passage_and_of_equal_questions_one_query(tmp_path):
    file = tmp_path / "t.jsonl"
    rows = [
        {"query": "q1", "positive": "good", "negative": ["bad", "both"]},
        {"query": "q1", "positive": ["both"]},
        {"query": "q2", "positive": "good", "negative": "bad"},
    ]
    file.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n")
    found = read_triples(file)
    assert sorted(found.passages.values()) == ["bad", "both", "good"]
    one, two = found.queries
    assert [found.passages[p] for p in one.positives] == ["good", "both"]
    assert [found.passages[p] for p in one.negatives] == ["bad"], "both is positive elsewhere"
    assert one.group == two.group, "they share a passage"


def test_tsv_triples(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text("a question\ta passage\tnot this\tnor this\n\nanother\tpassage\n")
    found = read_triples(file)
    assert [(q.text, len(q.positives), len(q.negatives)) for q in found.queries] == [
        ("a question", 1, 2),
        ("another", 1, 0),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", '{"query": "q", "positive": "p"}\n{"query": 3}', r"t\.jsonl:2: 'query'"),
        ("t.jsonl", '{"query": "q"}', "'positive'"),
        ("t.jsonl", '{"query": "q", "positive": []}', "empty list"),
        ("t.jsonl", "[]", "expected an object"),
        ("t.jsonl", "", "holds no triples"),
        ("t.tsv", "alone", "got 1 column"),
        ("t.tsv", "\tpassage", "'query'"),
    ],
)
def test_bad_triples_are_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_triples(tmp_path / name)


def test_markdown_keeps_code_and_its_comments_in_the_body():
    text = "intro\n# A guide\nfirst\n## Install it\n```\n# no heading\n```\n## Run it ##\nlast\n"
    found = markdown_sections(text)
    assert [s.path for s in found] == [
        ("A guide",),
        ("A guide", "Install it"),
        ("A guide", "Run it"),
    ]
    assert "# no heading" in found[1].body


def test_html_leaves_out_navigation_and_numbers_of_headings():
    text = (
        "<head><title>x</title></head><nav><h2>Menu</h2>link</nav><h1>Chapter 5. Data Types</h1>"
        "<p>Types of&nbsp;data.</p><h2>5.2.1. Serial Types<a>\u00b6</a></h2><p>They count "
        "<b>up</b>.</p><script>var x</script><footer>next</footer>"
    )
    found = html_sections(text)
    assert [s.path for s in found] == [("Data Types",), ("Data Types", "Serial Types")]
    assert found[1].body == "They count up."


def test_python_sections_are_docstrings_with_a_body():
    text = '"""Only a line."""\ndef f():\n    """Adds\n    two numbers.\n\n    The rest.\n    """\n'
    (one,) = python_sections(text)
    assert one.path == ("Adds two numbers.",) and one.body == "The rest."
    assert python_sections("def (") == []


LONG = "Vacuuming gives back the space of rows that were deleted or changed. " + "word " * 30


def test_documents_give_pairs_of_telling_headings_and_of_first_sentences(tmp_path):
    (tmp_path / "a.md").write_text(
        f"# Routine vacuuming\n{LONG}\n## Notes\nOf notes. {LONG} a\n## Reserved words\nfew words\n"
        f"## Costs\nCosts. {LONG} c\n"
    )
    (tmp_path / "b.md").write_text(f"# Introduction\n{LONG} b\n")
    found = read_documents(tmp_path, licence="PostgreSQL")
    pairs = {q.text: found.passages[q.positives[0]] for q in found.queries}
    assert pairs["Routine vacuuming"].startswith("Vacuuming gives back")
    assert pairs["Routine vacuuming Costs"].startswith("Costs."), "one word alone is too little"
    assert not {"Routine vacuuming Notes", "Notes", "Introduction", "Reserved words"} & set(pairs)
    lead = "Vacuuming gives back the space of rows that were deleted or changed"
    assert lead in pairs and lead not in pairs[lead], "the sentence is not in its own answer"
    assert {q.group for q in found.queries} == {"a.md", "b.md"}


def test_a_heading_that_stands_twice_asks_for_nothing(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.md").write_text(f"# Backup strategies\n{name} {'word ' * 40}\n")
    (tmp_path / "c.md").write_text(f"# Table partitioning\nc {'word ' * 40}\n")
    assert [q.text for q in read_documents(tmp_path).queries] == ["Table partitioning"]


def test_a_folder_without_pairs_says_why(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        read_documents(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no \.md"):
        read_documents(tmp_path)
    (tmp_path / "a.md").write_text("# Title here\nshort\n")
    with pytest.raises(InputError, match="1 files, 1 sections, and no pair"):
        read_documents(tmp_path)
