"""The adapters' own decisions in a file that `rankgate calibrate --from-log` reads; opt-in."""

import asyncio
import importlib
import json
import pickle
import stat
from contextvars import ContextVar

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rankgate import RankGateRerank, RankGateRetriever, RankGateRunnable
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from llama_index.postprocessor.rankgate import RankGateRetriever as LlamaRetriever
from rankgate import Candidate, Policy
from rankgate.errors import InputError
from rankgate.live.question_log import QuestionLog
from rankgate.testing import FakeScorer
from rankgate_eval.calibrate.unlabelled.sources import read_asked

TEXTS = ["Salt melts ice.", "Ice floats on water.", "Water boils at 100 degrees."]
QUESTIONS = ["what melts ice", "what floats on water", "when does water boil"]


def first_stage(query, k):
    return [Candidate(id=str(i), text=t, rank=i + 1) for i, t in enumerate(TEXTS)]


def parts(file):
    return {"scorer": FakeScorer(), "policy": Policy.unfitted(), "question_log": file}


def rows(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def langchain_retriever(file, conversation):
    retriever = RankGateRetriever.from_first_stage(first_stage, **parts(file))
    return lambda q: retriever.invoke(q, {"metadata": {"thread_id": conversation}})


def langchain_batch(file, conversation):
    retriever = RankGateRetriever.from_first_stage(first_stage, **parts(file))
    return lambda q: retriever.batch([q], {"metadata": {"session_id": conversation}})


def langchain_async(file, conversation):
    retriever = RankGateRetriever.from_first_stage(first_stage, **parts(file))
    config = {"metadata": {"conversation_id": conversation}}
    return lambda q: asyncio.run(retriever.ainvoke(q, config))


def langchain_runnable(file, conversation):
    runnable = RankGateRunnable(**parts(file))
    documents = [Document(page_content=t) for t in TEXTS]
    config = {"metadata": {"session_id": conversation}}
    return lambda q: runnable.invoke({"query": q, "documents": documents}, config)


def langchain_compressor(file, conversation):
    rerank = RankGateRerank(**parts(QuestionLog(file=file, session=lambda: conversation)))
    documents = [Document(page_content=t) for t in TEXTS]
    return lambda q: rerank.compress_documents(documents, q)


def llama_retriever(file, conversation):
    log = QuestionLog(file=file, session=lambda: conversation)
    retriever = LlamaRetriever.from_first_stage(first_stage, **parts(log))
    return retriever.retrieve


def llama_postprocessor(file, conversation):
    rerank = LlamaRerank(**parts(QuestionLog(file=file, session=lambda: conversation)))
    nodes = [NodeWithScore(node=TextNode(text=t)) for t in TEXTS]
    return lambda q: rerank.postprocess_nodes(nodes, query_str=q)


COMPONENTS = (
    langchain_retriever, langchain_batch, langchain_async, langchain_runnable,
    langchain_compressor, llama_retriever, llama_postprocessor,
)  # fmt: skip


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_question_is_one_row_with_its_conversation_and_no_passage(component, tmp_path):
    file = tmp_path / "log.jsonl"
    ask = component(file, "talk-7")
    for question in QUESTIONS:
        ask(question)
    found = rows(file)
    assert [row["query"] for row in found] == QUESTIONS
    assert {row["session"] for row in found} == {"talk-7"}
    assert {row["status"] for row in found} == {"reranked"}
    assert not any("band" in row for row in found), "without a policy no floor has judged"
    assert not any(text in file.read_text("utf-8") for text in TEXTS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_outcomes_are_logged_too_and_a_pickled_component_goes_on(tmp_path):
    file = tmp_path / "log.jsonl"
    documents = [Document(page_content=t) for t in TEXTS]
    rerank = pickle.loads(pickle.dumps(RankGateRerank(**parts(file))))
    rerank.compress_documents(documents, QUESTIONS[0])
    RankGateRetriever.from_first_stage(first_stage, **parts(file)).retrieve_outcome(QUESTIONS[1])
    assert [(row["query"], "session" in row) for row in rows(file)] == [
        (QUESTIONS[0], False), (QUESTIONS[1], False),
    ]  # fmt: skip


def test_what_a_floor_says_is_logged(tmp_path, policies):
    file = tmp_path / "log.jsonl"
    for policy in (policies.weak, policies.refusing, policies.fitted):
        RankGateRetriever.from_first_stage(
            first_stage, **{**parts(file), "policy": policy}
        ).retrieve_outcome(QUESTIONS[0])
    assert [row["band"] for row in rows(file)] == ["weak", "refuse", "answer"]


def test_nothing_is_kept_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {name: value for name, value in parts(None).items() if name != "question_log"}
    RankGateRetriever.from_first_stage(first_stage, **own).invoke(QUESTIONS[0])
    assert list(tmp_path.iterdir()) == []


def test_texts_stand_there_where_somebody_asks_for_them(tmp_path):
    log = QuestionLog(file=tmp_path / "log.jsonl", texts=True)
    RankGateRetriever.from_first_stage(first_stage, top_n=1, **parts(log)).invoke(QUESTIONS[0])
    assert rows(log.file)[0]["passages"] == [{"id": "0", "text": TEXTS[0]}]


def test_the_conversation_can_come_from_a_context_variable(tmp_path):
    current = ContextVar("current", default=None)
    log = QuestionLog(file=tmp_path / "log.jsonl", session=current.get)
    retriever = LlamaRetriever.from_first_stage(first_stage, **parts(log))
    retriever.retrieve(QUESTIONS[0])
    current.set("later")
    retriever.retrieve(QUESTIONS[1])
    assert [row.get("session") for row in rows(log.file)] == [None, "later"]


def test_the_older_half_goes_where_the_file_grows_beyond_its_bound(tmp_path):
    log = QuestionLog(file=tmp_path / "log.jsonl", max_bytes=4000)
    retriever = RankGateRetriever.from_first_stage(first_stage, **parts(log))
    for i in range(100):
        retriever.invoke(f"question {i}")
        assert log.file.stat().st_size <= 4000
    left = [row["query"] for row in rows(log.file)]
    assert left == [f"question {i}" for i in range(100 - len(left), 100)]
    assert len(left) >= 7
    assert stat.S_IMODE(log.file.stat().st_mode) == 0o600
    assert [f.name for f in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_question_longer_than_the_bound_leaves_the_file_within_it(tmp_path):
    log = QuestionLog(file=tmp_path / "log.jsonl", max_bytes=1000)
    RankGateRetriever.from_first_stage(first_stage, **parts(log)).invoke("ice " * 500)
    assert log.file.stat().st_size <= 1000


def test_a_log_that_cannot_be_is_an_error_at_once_and_a_full_disk_is_none(tmp_path, caplog):
    for given, message in (
        (tmp_path / "none" / "log.jsonl", "must be a file in a folder that exists"),
        (tmp_path, "must be a file"),
        (7, "must be the path of a file or a QuestionLog, got int"),
    ):
        with pytest.raises(InputError, match=message):
            LlamaRerank(**parts(given))
    log = QuestionLog(file=tmp_path / "log.jsonl")
    log.file.mkdir()
    retriever = RankGateRetriever.from_first_stage(first_stage, **parts(log))
    assert retriever.invoke(QUESTIONS[0])
    assert "could not be logged" in caplog.text


SYSTEM = """
from langchain_rankgate import RankGateRetriever
from rankgate import Candidate
from rankgate.testing import FakeScorer

scorer = FakeScorer()


def search(query, k):
    texts = [f"The {thing} of number {i} is made of iron." for i in range(4) for thing in "abc"]
    return [Candidate(id=str(i), text=t, rank=i + 1) for i, t in enumerate(texts)][:k]
"""


def test_calibrate_reads_it(tmp_path, monkeypatch):
    """From a retriever's log to a policy that the retriever takes: conversations stay together."""
    pytest.importorskip("pandas")  # of the evaluation, which the oldest environment lacks
    from command_kit import invoke

    (tmp_path / "my_logged.py").write_text(SYSTEM, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    my = importlib.import_module("my_logged")
    file, out = tmp_path / "log.jsonl", tmp_path / "policy.json"
    retriever = RankGateRetriever.from_first_stage(my.search, **parts(file))
    for i in range(260):
        config = {"metadata": {"session_id": f"talk-{i // 2}"}}
        retriever.invoke(f"what is the {'abc'[i % 3]} of number {i} made of", config)
    asked = read_asked(file, source="log")
    assert len(asked.questions) == 260 and len(set(asked.groups.values())) == 130
    done = invoke(
        "calibrate", "--from-log", file, "--system", "my_logged:search",
        "--scorer", "my_logged:scorer", "--trust-reranker", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "260 questions" in done.output, done.output
    taken = RankGateRetriever.from_policy(out, my.search, scorer=FakeScorer())
    assert taken.describe()
