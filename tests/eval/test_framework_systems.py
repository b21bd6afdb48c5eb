"""`--system` names what people have: stores, retrievers and indexes of both frameworks."""

import json

import pytest
from command_kit import invoke

from rankgate.policy import Policy

STACK = """
import hashlib
import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from langchain_rankgate import RankGateRetriever

TEXTS = [f"thing {n} stands in hall {n % 7} beside item {n}" for n in range(40)]

def vector(text):
    found = np.full(64, 0.01)
    for word in text.lower().split():
        found[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1.0
    return (found / np.linalg.norm(found)).tolist()

class Ours(Embeddings):
    def embed_query(self, text):
        return vector(text)
    def embed_documents(self, texts):
        return [vector(t) for t in texts]

class Llamas(BaseEmbedding):
    def _get_text_embedding(self, text):
        return vector(text)
    _get_query_embedding = _get_text_embedding
    async def _aget_query_embedding(self, query):
        return vector(query)

def overlap(query, texts):
    asked = set(query.split())
    return [float(len(asked & set(t.split()))) for t in texts]

def store():
    found = InMemoryVectorStore(Ours())
    found.add_texts(TEXTS, ids=[f"n{i}" for i in range(40)])
    return found

def retriever():
    return store().as_retriever(search_kwargs={"k": 2})

def ours():
    return RankGateRetriever.from_vectorstore(store(), scorer=overlap)

def _index(context=None):
    nodes = [TextNode(id_=f"n{i}", text=t) for i, t in enumerate(TEXTS)]
    return VectorStoreIndex(nodes, storage_context=context, embed_model=Llamas())

def index():
    return _index()

def index_retriever():
    return _index().as_retriever(similarity_top_k=2)

def in_faiss():
    import faiss
    from llama_index.vector_stores.faiss import FaissVectorStore
    kept = FaissVectorStore(faiss_index=faiss.IndexFlatIP(64))
    return _index(StorageContext.from_defaults(vector_store=kept))

class Nothing:
    pass
"""
KINDS = {
    "store": "class Ours",
    "retriever": "class Ours",
    "ours": "class Ours",
    "index": "class Llamas",
    "index_retriever": "class Llamas",
    "in_faiss": "class Llamas",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "stack.py").write_text(STACK, "utf-8")
    questions = "".join(f"where is thing {n} in hall {n % 7}\n" for n in range(40))
    (tmp_path / "questions.txt").write_text(questions, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "stack", raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_each_can_be_calibrated_evaluated_and_listed(here, kind):
    if kind == "in_faiss":
        pytest.importorskip("llama_index.vector_stores.faiss")
    system = ("--system", f"stack:{kind}")
    done = invoke("export-corpus", *system, "--out", "corpus.jsonl")
    assert done.exit_code == 0 and "40 passages" in done.output, done.output
    rows = [json.loads(line) for line in (here / "corpus.jsonl").read_text().splitlines()]
    assert {row["_id"] for row in rows} == {f"n{i}" for i in range(40)}

    lax = ("--false-refusals", ".3", "--false-answers", ".3", "--max-changed", ".3")
    done = invoke(
        *("calibrate", "--questions", "questions.txt", *system, "--scorer", "stack:overlap"),
        *("--trust-reranker", "--k", "10", "--out", "policy.json", *lax),
    )
    assert done.exit_code == 0, done.output
    policy = Policy.load("policy.json")
    assert list(policy.sections) == ["dense"], "the store's scores are seen, not its order alone"
    assert policy.section("dense").profile.embedder == KINDS[kind]
    named = KINDS[kind].removeprefix("class ")
    assert (
        f"only the class is known, {named}" in " ".join(done.output.split())
        and "--embedder" in done.output
    )

    gold = [{"question": f"where is thing {n}", "passage_ids": [f"n{n}"]} for n in range(5)]
    (here / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    done = invoke(
        *("eval", "gold.jsonl", "--corpus", "corpus.jsonl", *system, "--scorer", "stack:overlap"),
        *("--out", "report", "--k", "10"),
    )
    assert done.exit_code in (0, 3), done.output
    assert (here / "report" / "result.json").is_file()


def test_the_error_names_every_kind_that_is_taken():
    done = invoke(
        *("calibrate", "--questions", "questions.txt", "--system", "stack:Nothing"),
        *("--scorer", "stack:overlap", "--out", "policy.json"),
    )
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    for words in ("candidates(query, k)", "function of query and k", "LangChain", "LlamaIndex"):
        assert words in told, told
