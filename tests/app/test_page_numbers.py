"""Pages of a PDF: a quote's own, where its passage goes on over several."""

import ingest_files as files
import pytest

from rag_app.generate.answer import Quote, Source
from rag_app.generate.citations import locate
from rag_app.generate.context import SourceText
from rag_app.index.page_starts import page_at
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest
from rankgate.types import Candidate, Passage

PAGES = [
    "The keeper counts the ships at dawn.",
    "The lens is polished every Tuesday.",
    "",
    "The oil is kept in the cellar.",
]


@pytest.fixture
def store(tmp_path):
    settings = files.make_settings(tmp_path)
    pdf = files.write_pdf(tmp_path / "light.pdf", PAGES)
    embedder = files.FakeEmbedder()
    ingest([pdf], settings, embedder=embedder)
    with Store.open(settings, embedder=embedder) as opened:
        yield opened


def passage(store):
    ((text, metadata),) = store.fetch(store.manifest.chunk_ids("default"))
    candidate = Candidate(id=metadata["chunk_id"], text=text, rank=1, metadata=metadata)
    return Passage(candidate=candidate, index=0, rank=1, raw_score=None, logit=None)


def source_of(passage, claim):
    text = SourceText(number=1, passage=passage)
    return Source.of(text, number=1, quotes=(locate(claim, text),))


def test_a_quote_knows_its_page(store):
    found = passage(store)
    assert found.candidate.metadata["page"] == 1
    assert [page for _, page in found.candidate.metadata["page_turns"]] == [2, 4]
    for claim, page in (
        ("the keeper counts ships", 1),
        ("the lens is polished every Tuesday", 2),
        ("oil in the cellar", 4),
    ):
        source = source_of(found, claim)
        assert (source.page, source.quotes[0].page) == (page, page), claim
        assert source.quotes[0].text == PAGES[page - 1]
    text = SourceText(number=1, passage=found)
    assert Source.of(text, number=1, quotes=()).page == 1


def test_the_page_turns_at_its_first_letter(store):
    metadata = passage(store).candidate.metadata
    (turn, _), _ = metadata["page_turns"]
    assert store.manifest.text("default", metadata["document_id"])[turn:].startswith("The lens")
    assert (page_at(metadata, turn - 1), page_at(metadata, turn)) == (1, 2)
    assert page_at({"start": 0}, 5) is None
    assert page_at({"page": 7}, 10**6) == 7, "what was ingested earlier has its first page"


def test_what_was_ingested_before_falls_back_to_its_first_page(store):
    files.run_sql(store.manifest.path, "DELETE FROM page_start")
    found = passage(store)
    assert "page_turns" not in found.candidate.metadata
    assert source_of(found, "oil in the cellar").page == 1


def test_pages_go_with_their_document(store):
    rows = "SELECT count(*) FROM page_start"
    assert files.run_sql(store.manifest.path, rows) == [(3,)]
    store.remove([d.id for d in store.manifest.documents("default")])
    assert files.run_sql(store.manifest.path, rows) == [(0,)]


def test_a_document_without_pages_has_none(tmp_path):
    settings = files.make_settings(tmp_path)
    (tmp_path / "a.md").write_text("# A\n\nThe tide turns.\n")
    embedder = files.FakeEmbedder()
    ingest([tmp_path / "a.md"], settings, embedder=embedder)
    with Store.open(settings, embedder=embedder) as opened:
        source = source_of(passage(opened), "the tide turns")
    assert source.page is None and source.quotes[0].page is None
    assert Quote(text="a", start=0, end=1).page is None
