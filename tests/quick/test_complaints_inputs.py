"""Complaints of other projects' users about inputs, truncation, threads, limits and speed.

As in `test_complaints.py`: named after the issue, the naive implementation beside it where it is
short.
"""

import asyncio
import math
import threading

import pytest
from rerank_servers import serving
from reranker_kit import HeldScorer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from waiting import Clock, auntil

from rankgate import Action, Candidate, Policy, Reranker, Status
from rankgate.deadline import Deadline
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.errors import BadScoresError
from rankgate.retrieve.bm25 import BM25Index
from rankgate.retrieve.fusion import Fusion
from rankgate.retrieve.hybrid import fuse_candidates
from rankgate.scorers import Cascade, ScoreContext, ScorerInfo, Scores
from rankgate.scorers.wrappers import Batched, Windowed
from rankgate.scorers.wrappers.spans import TokenizerSpans
from rankgate.testing import FakeScorer, SlowScorer, candidates_of
from rankgate.types import FirstStageKind

LOGIT = ScorerInfo(id="model", scale="logit")


def platt():
    return RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=1.0),)), scale="logit"
    )


def policy(kind=FirstStageKind.ORDER, **changes):
    return Policy.unfitted().with_section(kind, **changes)


def logits(**scores):
    return FakeScorer(scores, info=LOGIT)


def ids(passages):
    return [p.candidate.id for p in passages]


# Inputs changed, ids lost, scores misaligned.


def frozen_metadata():
    return {"source": "a.md", "relevance_score": "the caller's own", "nested": {"page": 3}}


def test_langchain_nvidia_343_inputs_are_not_mutated():
    """Naive: writes `relevance_score` into the metadata of the documents it was given."""

    def naive(documents, scores):
        for d, s in zip(documents, scores, strict=True):
            d["metadata"]["relevance_score"] = s
        return documents

    mine = [{"metadata": {}}]
    naive(mine, [0.5])
    assert mine[0]["metadata"] != {}
    metadata = frozen_metadata()
    candidates = [
        Candidate(id="x", text="red", rank=1, metadata=metadata),
        Candidate(id="y", text="cat", rank=2),
    ]
    before = list(candidates)
    outcome = Reranker(logits(red=1.0), policy=policy(reranked=platt())).rerank("red", candidates)
    assert metadata == frozen_metadata() and candidates == before
    assert outcome.kept[0].candidate is candidates[0]


def test_flashrank_47_scores_of_an_earlier_query_do_not_stick():
    """Naive: scores are stored in the passages, and a second query sees the first one's."""
    candidates = candidates_of(["red", "cat"])
    reranker = Reranker(FakeScorer(), policy=Policy.unfitted())
    first = reranker.rerank("red", candidates)
    second = reranker.rerank("cat", candidates)
    again = reranker.rerank("red", candidates)
    assert ids(first.kept) == ids(again.kept) == ["c0", "c1"]
    assert ids(second.kept) == ["c1", "c0"]
    assert [p.raw_score for p in first.passages] == [p.raw_score for p in again.passages]


def test_langchain_19142_ids_and_metadata_survive():
    """Naive: results are rebuilt from their text, so ids and metadata are lost."""
    candidates = [
        Candidate(id=f"doc-{i}", text="same text", rank=i + 1, metadata={"page": i})
        for i in range(5)
    ]
    by_text = {c.text: c for c in candidates}
    assert len({by_text[c.text].id for c in candidates}) == 1  # the naive one
    outcome = Reranker(FakeScorer(), policy=Policy.unfitted(top_n=3)).rerank("q", candidates)
    assert ids(outcome.passages) == [f"doc-{i}" for i in range(5)]
    assert [p.candidate.metadata["page"] for p in outcome.passages] == list(range(5))


@pytest.mark.parametrize("change", ["short", "long", "nan", "infinite"])
def test_llama_index_10194_misaligned_scores_are_noticed(change):
    """Naive: `zip(nodes, scores)` silently pairs too few scores with the wrong nodes."""

    class Wrong(FakeScorer):
        def _one(self, job, context):
            values = [0.1, 0.2, 0.3]
            wrong = {
                "short": values[:2],
                "long": [*values, 0.4],
                "nan": [0.1, math.nan, 0.3],
                "infinite": [0.1, math.inf, 0.3],
            }
            return Scores.full(wrong[change], "fake")

    naive = dict(zip("abc", [0.1, 0.2], strict=False))
    assert "c" not in naive
    outcome = Reranker(Wrong(), policy=Policy.unfitted()).rerank("q", candidates_of(list("abc")))
    assert (outcome.status, outcome.reason) == (Status.DEGRADED, BadScoresError.reason)
    assert ids(outcome.kept) == ["c0", "c1", "c2"]


def test_llama_index_20597_a_score_belongs_to_its_text_whatever_the_order():
    """Naive: scores come back sorted, and are joined to texts in input order."""
    texts = [f"t{i}" for i in range(12)]
    wanted = {t: float((i * 5) % 12) for i, t in enumerate(texts)}
    naive = dict(zip(texts, sorted(wanted.values(), reverse=True), strict=True))
    assert naive != wanted
    cascade = Cascade(FakeScorer(wanted), FakeScorer(wanted), keep=12)
    for scorer in (FakeScorer(wanted), cascade, Windowed(FakeScorer(wanted))):
        outcome = Reranker(scorer, policy=Policy.unfitted(top_n=12)).rerank(
            "q", candidates_of(texts)
        )
        assert {p.candidate.text: p.raw_score for p in outcome.kept} == wanted
        by_value = sorted(range(12), key=lambda i: -wanted[f"t{i}"])
        assert [p.index for p in outcome.kept] == by_value


def test_dify_1661_duplicates_and_empty_lists_are_no_special_case():
    """Naive: an empty list is sent to the model, and doubled texts collapse into one."""
    reranker = Reranker(FakeScorer(), policy=Policy.unfitted())
    assert reranker.rerank("q", []).passages == ()
    doubled = candidates_of(["red", "red", "", "red"])
    assert ids(reranker.rerank("red", doubled).kept) == ["c0", "c1", "c3", "c2"]


# Silent truncation, threads, event loops, limits.


def test_flashrank_34_the_end_of_a_long_text_is_read():
    """Naive: the tokenizer truncates at 512 tokens, and the answer stood behind them."""

    def short_sighted(query, text):
        return float("answer" in text.split()[:512])

    text = "filler " * 600 + "answer"
    limit = ScorerInfo(id="m", scale="s", max_length=512)
    inner = FakeScorer(short_sighted, info=limit)
    assert inner.score("q", [text]).values.tolist() == [0.0]  # the naive one
    scores = Windowed.for_scorer(inner).score("q", [text])
    assert scores.values.tolist() == [1.0]
    assert scores.stats.windows > 1 and scores.stats.truncated == 0


def test_sentence_transformers_993_threads_may_share_a_tokenizer():
    """Naive: each call switches truncation of the shared tokenizer on and off.

    In its Rust core that is a mutable borrow: "RuntimeError: Already borrowed".
    """
    shared = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    shared.pre_tokenizer = Whitespace()
    shared.enable_truncation(16)
    spans = TokenizerSpans(shared)
    wrapper = Windowed(FakeScorer(), tokenizer=shared, window=20, overlap=5)
    text = "word " * 300 + "red"
    errors, lengths = [], set()

    def use():
        try:
            for _ in range(20):
                lengths.add(len(spans(text)))
                assert wrapper.score("red", [text]).values[0] == 1.0
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=use) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == [] and lengths == {301}
    assert shared.truncation["max_length"] == 16  # the caller's settings are not touched


async def _served(work, wait_s):
    """Whether the event loop comes round while the scorer that `work` is given reads."""
    reading, come_round, seen = threading.Event(), threading.Event(), []

    def read(_seconds):
        reading.set()
        seen.append(come_round.wait(wait_s))

    task = asyncio.create_task(work(SlowScorer(1, sleep=read)))
    await auntil(reading.is_set)
    come_round.set()
    await task
    return all(seen)


async def test_openwebui_19900_the_event_loop_is_not_frozen():
    """Naive: the model is called in the coroutine itself; every other request waits."""

    async def naive(scorer):
        scorer.score("red cat", ["red cat", "dog"])

    assert not await _served(naive, 0.1)
    for wrapped in (lambda scorer: scorer, Windowed, Batched):

        async def ours(scorer, wrapped=wrapped):
            made = wrapped(scorer)
            reranker = Reranker(made, policy=Policy.unfitted())
            outcome = await reranker.arerank("red cat", candidates_of(["red cat", "dog"]))
            assert outcome.status is Status.RERANKED
            if isinstance(made, Batched):
                made.close()

        assert await _served(ours, 20)


def test_text_embeddings_inference_378_more_texts_than_a_server_takes():
    """Naive: all 75 texts in one request; TEI answers 413, since its limit is 32."""
    import httpx

    from rankgate.scorers.remote.scorer import RemoteScorer

    texts = [f"paris {i}" for i in range(75)]
    with serving("tei") as server:
        naive = httpx.post(f"{server.url}/rerank", json={"query": "paris", "texts": texts})
        assert naive.status_code == 413
        with RemoteScorer(server.url, dialect="tei", model="m") as scorer:
            scores = scorer.score("paris", texts)
        assert scores.complete and scores.stats.calls == 3


def test_openwebui_8579_bm25_is_built_once(monkeypatch):
    """Naive: the index over the whole corpus is built anew at each query."""
    passages = [(f"p{i}", f"red cat number{i}") for i in range(50)]
    built = []
    real = BM25Index.build.__func__
    monkeypatch.setattr(
        BM25Index, "build", classmethod(lambda cls, p, **kw: built.append(1) or real(cls, p, **kw))
    )
    index = BM25Index.build(passages)
    for i in range(50):
        assert next(iter(index.search(f"number{i}", 3))) == f"p{i}"
        fuse_candidates(
            dense={"p1": 0.5},
            bm25=index.search(f"number{i}", 3),
            fusion=Fusion(),
            k=3,
            missing_dense=lambda asked: [0.1] * len(asked),
            missing_bm25=lambda asked, i=i: index.scores(f"number{i}", asked),
            fetch=lambda asked: [("text", {})] * len(asked),
        )
    assert built == [1]


def test_openwebui_6529_reranking_on_a_cpu_is_bounded_by_the_deadline():
    """Naive: 50 pairs are read to the end, minutes on a small machine."""
    clock = Clock()
    reranker = Reranker(SlowScorer(2, sleep=clock.advance), policy=Policy.unfitted())
    candidates = candidates_of([f"red {i}" for i in range(50)])
    begun = clock.now
    outcome = reranker.rerank("red", candidates, deadline=Deadline.after(15, clock=clock))
    assert clock.now - begun <= 16
    assert outcome.kept and outcome.status is Status.DEGRADED


def test_qmd_264_a_skip_can_be_asked_for_and_is_decided_for_you():
    """Naive: the reranker runs for every query, also where the first stage is sure."""
    sure = Rule(name="sure", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.2),))
    scorer = FakeScorer()
    reranker = Reranker(scorer, policy=policy(FirstStageKind.DENSE, gate=Gate(rules=(sure,))))
    clear = candidates_of(["a", "b"], dense=[0.9, 0.5])
    close = candidates_of(["a", "b"], dense=[0.9, 0.85])
    outcome = reranker.rerank("red", clear)
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "sure")
    assert scorer.calls == 0
    assert reranker.rerank("red", close).status is Status.RERANKED
    asked = reranker.rerank("red", close, force=Action.SKIP)
    assert (asked.status, asked.reason) == (Status.SKIPPED, "forced")
    assert scorer.calls == 1


def test_flashrag_114_one_can_say_why_a_result_got_worse():
    """Naive: only the new order comes back; what the first stage had said is gone."""
    texts, dense = ["right", "wrong"], [0.8, 0.7]
    reranker = Reranker(FakeScorer({"wrong": 9.0, "right": 1.0}), policy=Policy.unfitted())
    outcome = reranker.rerank("q", candidates_of(texts, dense=dense))
    first, second = outcome.kept
    assert (first.candidate.rank, first.candidate.dense, first.raw_score) == (2, 0.7, 9.0)
    assert (second.candidate.rank, second.candidate.dense, second.raw_score) == (1, 0.8, 1.0)
    assert outcome.decision.reason and outcome.signals.dense_margin_12 == pytest.approx(0.1)
    without = reranker.rerank("q", candidates_of(texts, dense=dense), force=Action.SKIP)
    assert ids(without.kept) == ["c0", "c1"]


async def test_a_cancelled_request_does_not_leave_a_thread_reading():
    """Naive: the worker thread reads all passages to the end although nobody waits."""
    scorer = HeldScorer()
    reranker = Reranker(scorer, policy=Policy.unfitted())
    task = asyncio.create_task(reranker.arerank("red", candidates_of(["x"] * 50)))
    await auntil(scorer.reading.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go.set()
    await auntil(scorer.ended.is_set)
    assert scorer.read == ["x"]


def test_one_context_serves_the_whole_request():
    """Naive: each stage has a timeout of its own, and together they exceed the caller's."""
    seen = []

    class Looks(FakeScorer):
        def score_many(self, jobs, context=None):
            seen.append(context)
            return super().score_many(jobs, context)

    context = ScoreContext(deadline=Deadline.after(5))
    Windowed(Cascade(Looks(), Looks(), keep=1)).score("q", ["a", "b"], context)
    assert seen == [context, context]
