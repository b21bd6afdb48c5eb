"""Sessions over a planted world, answered as its judgements have it."""

import tempfile
from dataclasses import replace
from pathlib import Path

from rankgate_eval.judging import Kind, Session, Verdict, drawn_questions
from rankgate_eval.judging.ways import read_ways

__all__ = ["answer", "drawn", "emptied", "memory", "on_threshold", "truth", "ways"]


def ways(data, scorer, *, stage=None):
    import eval_world as w

    return read_ways(data, w.stage_of(data) if stage is None else stage, scorer, top_n=5, k=20).ways


def drawn(data, scorer, *, seed=0):
    return drawn_questions(ways(data, scorer), top_n=5, seed=seed)


def memory(questions, passages):
    """A session in a folder of its own."""
    file = Path(tempfile.mkdtemp()) / "session.jsonl"
    return Session.create(file, questions, passages, top_n=5)


def truth(data, question):
    return {p: data.qrels.get(question.id, {}).get(p, 0) for p in question.shown}


def answer(session, data, *, count, judge="ann"):
    for _ in range(count):
        q = session.next(judge)
        grades = truth(data, q)
        session.add(Verdict(question=q.id, judge=judge, kind=Kind.GRADED, grades=grades))


def on_threshold(way):
    decided = replace(way.decided, decision=replace(way.decided.decision, harm=0.21))
    return replace(way, decided=decided, threshold=0.2)


def emptied(way):
    none = {"kept": (), "dropped": ()}
    return replace(
        way, without=replace(way.without, **none), reranked=replace(way.reranked, **none)
    )
