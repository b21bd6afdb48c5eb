"""Passages of any store as a corpus file, and an ingested collection under test."""

import gzip
import importlib
import json
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from rankgate.adapters.stores import listed
from rankgate.cli import build_app
from rankgate.errors import InputError, MissingExtraError
from rankgate.types import Candidate
from rankgate_eval import Result
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.stores.collections import open_collection
from rankgate_eval.stores.listing import document_keys, write_corpus

RUNNER = CliRunner()


def passage(i, text="a text", **metadata):
    return Candidate(id=f"c{i}", text=text, rank=i, metadata=metadata)


class Node:
    def __init__(self, node_id, text):
        self.node_id, self.text, self.metadata, self.ref_doc_id = node_id, text, {"page": 1}, "doc"

    def get_content(self):
        return self.text


class Index:
    """As LlamaIndex's indexes keep their nodes."""

    def __init__(self):
        self.docstore = SimpleNamespace(docs={"n1": Node("n1", "one"), "n2": Node("n2", "two")})


class Store:
    def passages(self):
        return iter([passage(1), passage(2)])


def test_stores_that_list_themselves():
    assert [c.id for c in listed(Store())] == ["c1", "c2"]
    assert [(c.id, c.text) for c in listed({"a": "x"})] == [("a", "x")]
    nodes = list(listed(Index()))
    assert [(c.id, c.text, document_keys(c)) for c in nodes] == [
        ("n1", "one", ["doc"]),
        ("n2", "two", ["doc"]),
    ]


def test_a_chroma_store_is_listed_by_pages(tmp_path):
    import chromadb
    from langchain_chroma import Chroma

    from rankgate_eval.stores.listing import chroma_folder

    client = chromadb.PersistentClient(
        str(tmp_path / "db"), chromadb.config.Settings(anonymized_telemetry=False)
    )
    kept = client.create_collection("mine")
    n = 1203  # more than a page
    kept.add(
        ids=[f"i{i}" for i in range(n)],
        documents=[f"text {i}" for i in range(n)],
        metadatas=[{"key": f"k{i}", "source": f"dir/f{i % 7}.md"} for i in range(n)],
        embeddings=[[1.0, float(i)] for i in range(n)],
    )
    ways = (Chroma("mine", client=client), kept, chroma_folder(tmp_path / "db"))
    for way in ways:
        rows = list(listed(way))
        assert sorted(c.id for c in rows) == sorted(f"i{i}" for i in range(n))
        assert rows[5].text == f"text {rows[5].id[1:]}"
    assert next(listed(kept, id_key="key")).id.startswith("k")
    with pytest.raises(InputError, match="no metadata 'ghost'; its keys: key, source"):
        list(listed(kept, id_key="ghost"))
    with pytest.raises(InputError, match=r"no collection 'other'.*it has: mine"):
        chroma_folder(tmp_path / "db", "other")
    with pytest.raises(InputError, match="no folder of Chroma's"):
        chroma_folder(tmp_path)


@pytest.mark.parametrize("store", [object(), lambda query, k: [], [1, 2]])
def test_a_store_that_cannot_list_itself_says_what_could(store):
    with pytest.raises(InputError, match="cannot list its passages: give a Chroma"):
        next(listed(store))


def test_what_is_written_is_a_corpus(tmp_path):
    rows = [
        passage(1, "Intro text", source="d/a.md", heading="A"),
        passage(2, "Setup text", source="d/a.md", heading="A > Setup > Linux"),
        passage(3, "Other", source="d/b.pdf", page=4),
        passage(4, " "),
    ]
    file = tmp_path / "new" / "corpus.jsonl.gz"
    assert write_corpus(file, rows) == (3, 2, 1)
    first = file.read_bytes()
    write_corpus(file, rows)
    assert file.read_bytes() == first
    read = [json.loads(line) for line in gzip.decompress(first).decode().splitlines()]
    assert [r["document"] for r in read] == ["d/a.md: (top)", "d/a.md: Setup", "d/b.pdf"]
    assert read[2]["metadata"] == {"page": 4, "source": "d/b.pdf"}
    (tmp_path / "q.jsonl").write_text('{"question": "Where?", "spans": ["setup TEXT"]}\n')
    data, _ = load_dataset(tmp_path / "q.jsonl", corpus=file)
    assert data.relevant(next(iter(data.queries))) == ("c2",) and len(data.corpus) == 3


def test_a_corpus_that_cannot_be_written_leaves_the_old_one(tmp_path):
    file = tmp_path / "corpus.jsonl"
    file.write_text("old\n")
    for rows, said in (([passage(1), passage(1)], "twice"), ([passage(1, "")], "no passage")):
        with pytest.raises(InputError, match=said):
            write_corpus(file, rows)
    assert file.read_text() == "old\n" and [f.name for f in tmp_path.iterdir()] == [file.name]
    with pytest.raises(InputError, match="cannot be written"):
        write_corpus(tmp_path / "corpus.jsonl" / "x.jsonl", [passage(1)])


def test_documents_are_known_by_path_name_and_stem():
    keys = document_keys(passage(1, document_id="docs/a.b.md", source="/x/docs/a.b.md"))
    assert keys == ["docs/a.b.md", "/x/docs/a.b.md", "a.b.md", "a.b"]
    assert document_keys(passage(1)) == []


SUBJECTS = ("copper", "silver", "zinc", "nickel", "cobalt", "chromium")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """Six pages, ingested as a user ingests them, and the plugin that opens collections."""
    folder = tmp_path_factory.mktemp("ingested")
    plugin = folder / "plugins" / "rankgate_collections-0.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rankgate-collections\nVersion: 0\n"
    )
    (plugin / "entry_points.txt").write_text(
        "[rankgate.collections]\napp = rag_app.ask.collection:open_collection\n"
    )
    (folder / "pages").mkdir()
    for metal in SUBJECTS:
        (folder / "pages" / f"{metal}.md").write_text(
            f"# {metal}\n\nThe mine of {metal} lies deep.\n\n"
            f"## Price\n\nA ton of {metal} is dear.\n"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = RUNNER.invoke(build_app(), ["ingest", "pages", "--collection", "metals"])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def here(ingested, monkeypatch):
    monkeypatch.chdir(ingested)
    monkeypatch.setattr(sys, "path", [str(ingested / "plugins"), str(ingested), *sys.path])
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "ours", raising=False)  # that of another test
    (ingested / "ours.py").write_text(
        "from rankgate.testing import FakeScorer\nscorer = FakeScorer(lambda q, t: float(len(t)))\n"
    )
    return ingested


def call(*arguments):
    return RUNNER.invoke(build_app(), [*map(str, arguments)])


def test_an_ingested_collection_is_exported_and_evaluated(here):
    done = call("export-corpus", "--collection", "metals", "--out", "corpus.jsonl")
    assert done.exit_code == 0 and "passages of 6 documents in corpus.jsonl" in done.stdout
    assert "rankgate eval questions.jsonl --collection metals --out report" in done.stdout
    lines = [
        {"question": f"Where is the mine of {m}?", "spans": [f"mine of {m} lies"]} for m in SUBJECTS
    ]
    (here / "questions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    common = ("--scorer", "ours:scorer", "--top-n", 2, "--json")
    done = call("eval", "questions.jsonl", "--collection", "metals", "--out", "r", *common)
    assert done.exit_code == 3, done.output
    result = Result.load(here / "r" / "result.json")
    assert result.n == 6 and result.clusters == 6 and result.made.kind == "hybrid"
    assert result.made.first_stage.startswith("collection metals of")
    assert result.arms["first_stage"].metrics["recall@5"].mean == 1.0
    # The corpus that was exported, and its index through --system of nobody: the same chunks.
    again = call(
        *("eval", "questions.jsonl", "--corpus", "corpus.jsonl", "--collection", "metals"),
        *("--out", "s", *common),
    )
    assert again.exit_code == 3
    other = Result.load(here / "s" / "result.json")
    assert other.arms["first_stage"].metrics == result.arms["first_stage"].metrics


def test_judgements_of_documents_are_met_by_their_chunks(here):
    folder = here / "beir"
    folder.mkdir(exist_ok=True)
    ids = (*SUBJECTS, "ghost")
    rows = {
        "corpus.jsonl": [{"_id": m, "text": m} for m in ids],
        "queries.jsonl": [{"_id": f"q-{m}", "text": f"What is a ton of {m}?"} for m in ids],
    }
    for name, found in rows.items():
        (folder / name).write_text("".join(json.dumps(r) + "\n" for r in found))
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q-{m}\t{m}\t1\n" for m in ids)
    )
    done = call(
        *("eval", "beir", "--collection", "metals", "--scorer", "ours:scorer"),
        *("--top-n", 2, "--out", "r"),
    )
    assert done.exit_code == 3, done.output
    result = Result.load(here / "r" / "result.json")
    assert result.arms["first_stage"].metrics["recall@10"].mean == pytest.approx(6 / 7)
    said = " ".join(result.warnings)
    assert "Judgements are of documents" in said
    assert "1 of 7 relevant passages, such as 'ghost', are not in collection metals" in said
    run = (here / "r" / "runs" / "first_stage.trec").read_text().split("\n")
    of_first = [line.split()[2] for line in run if line.startswith("q-copper ")]
    assert len(set(of_first)) == len(of_first) and set(of_first) <= set(SUBJECTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--collection", "ghost"), "nothing is ingested in collection 'ghost'"),
        (("--collection", "metals", "--data-dir", "nowhere"), "there is no index in nowhere"),
        (("--collection", "metals", "--system", "ours:x"), "--system and --collection are two"),
        (("--data-dir", "nowhere"), "--data-dir is the folder of a --collection"),
        (("--collection", "metals"), "nothing in collection metals of .rankgate is in the corpus"),
    ],
)
def test_wrong_collections_are_a_sentence_and_leave_no_trace(here, arguments, said):
    folder = here / "strange"
    folder.mkdir(exist_ok=True)
    (folder / "corpus.jsonl").write_text('{"_id": "x", "text": "x"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tx\t1\n")
    done = call("eval", "strange", "--scorer", "ours:scorer", "--out", "r", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output and not (here / "nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a store"),
        (("--collection", "ghost"), "it has: metals"),
        (("--system", "json:loads"), "function cannot list its passages"),
        (("--system", "a:b", "--collection", "metals"), "--system is a store of its own"),
        (("--chroma", "pages"), "no folder of Chroma's"),
        (("--chroma", ".rankgate/chroma", "--collection", "metals"), "has no text in the store"),
    ],
)
def test_export_says_what_is_wrong(here, arguments, said):
    done = call("export-corpus", "--out", "x.jsonl", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output and not (here / "x.jsonl").exists()


def test_without_the_application_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    with pytest.raises(MissingExtraError, match="'app'"):
        open_collection("docs")
