"""Judging sessions of a server: questions run both ways in the background, verdicts kept.

What is drawn, kept and estimated is the evaluation's own; it is reached through the entry-point
group `rankgate.judging`, since the application does not import the evaluation.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rag_app.ask.pipeline import Pipeline
from rag_app.names import check_name
from rankgate.decide.gate import Action
from rankgate.errors import InputError, MissingExtraError
from rankgate.feedback import FEEDBACK_FILE, read_feedback
from rankgate.scorers import ScoreContext
from rankgate.types import FirstStageKind

logger = logging.getLogger("rankgate.server")

GROUP = "rankgate.judging"
_FOLDER = "judging"


class UnknownSessionError(InputError):
    """There is no session of this name in the collection."""


@dataclass(slots=True, kw_only=True)
class _Begun:
    """A session whose questions are being run."""

    done: int
    total: int
    error: str | None = None


class Judging:
    """The sessions of a data folder. Thread-safe.

    Args:
        core: the evaluation's judging; None: what the entry point gives, once it is needed.
    """

    def __init__(self, data_dir: Path, *, core: Any = None) -> None:
        self.data_dir = data_dir
        self._given = core
        self._begun: dict[tuple[str, str], _Begun] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rankgate-judging")

    @cached_property
    def core(self) -> Any:
        """The evaluation's judging.

        Raises:
            MissingExtraError: it is not installed.
        """
        if self._given is not None:
            return self._given
        try:
            (plugin,) = importlib.metadata.entry_points(group=GROUP)
            return plugin.load()
        except (ImportError, ValueError) as exc:
            raise MissingExtraError("judging passages", "eval") from exc

    def close(self) -> None:
        """Stop what is being run; its questions are lost, no verdict is."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _file(self, collection: str, name: str) -> Path:
        return self.data_dir / _FOLDER / check_name(collection) / f"{check_name(name)}.jsonl"

    def asked(self, collection: str) -> list[str]:
        """Questions of the feedback log that were asked of a collection, each once."""
        file = self.data_dir / FEEDBACK_FILE
        if not file.is_file():
            return []
        rows = read_feedback(file).judgements
        return list(dict.fromkeys(j.query for j in rows if j.collection in (None, collection)))

    def sessions(self, collection: str) -> list[dict[str, Any]]:
        """Every session of a collection: how far it is, or how far its questions are run."""
        with self._lock:
            begun = {n: b for (c, n), b in self._begun.items() if c == collection}
        found = [
            {"name": n, "state": "failed" if b.error else "reading", "error": b.error}
            | {"done": b.done, "questions": b.total}
            for n, b in begun.items()
        ]
        folder = self.data_dir / _FOLDER / check_name(collection)
        for file in sorted(folder.glob("*.jsonl")):
            session = self.core.Session.open(file)
            found.append(
                {"name": file.stem, "state": "ready", "error": None}
                | {"done": session.settled, "questions": len(session.questions)}
            )
        return found

    def open(self, collection: str, name: str) -> Any:
        """A session whose questions are run.

        Raises:
            UnknownSessionError: there is none.
        """
        file = self._file(collection, name)
        if not file.is_file():
            raise UnknownSessionError(f"there is no judging session {name!r} in {collection!r}")
        return self.core.Session.open(file)

    def begin(self, pipeline: Pipeline, name: str, questions: Sequence[str]) -> None:
        """Run questions in the background; the session is there when all are.

        Raises:
            InputError: no question, not a name, or there is a session of this name.
        """
        collection = pipeline.settings.collection
        file = self._file(collection, name)
        asked = list(dict.fromkeys(q.strip() for q in questions if q.strip()))
        if not asked:
            raise InputError("there is no question to judge")
        self.core  # noqa: B018 - missing, it is told now and not in the background
        with self._lock:
            running = self._begun.get((collection, name))
            if file.exists() or (running is not None and running.error is None):
                raise InputError(f"there is a judging session {name!r} already")
            self._begun[collection, name] = _Begun(done=0, total=len(asked))
        self._pool.submit(self._run, pipeline, name, file, asked)

    def _run(self, pipeline: Pipeline, name: str, file: Path, asked: list[str]) -> None:
        key = (pipeline.settings.collection, name)
        try:
            ways = {}
            for number, question in enumerate(asked, start=1):
                if self._closing.is_set():
                    return
                ways[f"q{number}"] = self._ways(pipeline, question)
                self._begun[key].done = number
            top_n = next(iter(ways.values())).without.top_n
            drawn, texts = self.core.drawn_questions(ways, top_n=top_n)
            made = {
                "collection": key[0],
                "scorer": pipeline.reranker.scorer.info.id,
                "policy": pipeline.reranker.policy.name,
                "k": pipeline.k,
            }
            self.core.Session.create(file, drawn, texts, top_n=top_n, made=made)
            with self._lock:
                del self._begun[key]
        except Exception as exc:  # nobody waits for this thread; the page shows what was wrong
            logger.exception("the judging session %s could not be begun", name)
            self._begun[key].error = f"{type(exc).__name__}: {exc}"

    def _ways(self, pipeline: Pipeline, question: str) -> Any:
        """One question with and without reranking, on the candidates that a chat would have."""
        limits = ScoreContext()
        searched = pipeline.searched_for(question, writer=pipeline.writer(), limits=limits)
        candidates = pipeline.candidates(searched, pipeline.k, limits=limits)
        reranker, wanted = pipeline.reranker, pipeline.settings.top_n

        def outcome(force: Action | None) -> Any:
            return reranker.rerank(searched.scored, candidates, wanted, force=force)

        section = reranker.policy.section(FirstStageKind.HYBRID)
        return self.core.Ways(
            text=question,
            without=outcome(Action.SKIP),
            reranked=outcome(Action.RERANK),
            decided=outcome(None),
            threshold=section.gate.threshold,
            floor=section.floor,
        )
