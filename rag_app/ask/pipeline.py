"""The only door: a question goes in, an answer with sources and a trace comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rag_app.ask.condense import Exchange, Writer, condense
from rag_app.ask.first_stage import HybridFirstStage
from rag_app.ask.interleaved import Interleaved, Rival, rival_for
from rag_app.ask.result import AnswerResult
from rag_app.ask.rewrite import Spelling, rewrite
from rag_app.ask.scorer import reranker_for, scorer_for
from rag_app.ask.searched import Searched
from rag_app.ask.traced import Events, told_found, traced
from rag_app.errors import RequestOverError
from rag_app.generate.answer import Answer, Generator, refusal
from rag_app.generate.checked import Checker
from rag_app.generate.closeness import TokenReader
from rag_app.generate.context import build_context
from rag_app.generate.errors import GeneratorError
from rag_app.generate.extractive import ExtractiveGenerator
from rankgate import Scorer
from rankgate.decide.gate import Action
from rankgate.errors import ConfigError, InputError
from rankgate.live.tracing import span
from rankgate.outcome import Outcome
from rankgate.plan import as_query
from rankgate.scorers import ScoreContext
from rankgate.scorers.wrappers.cached import Cached
from rankgate.scorers.wrappers.traits import close
from rankgate.types import Candidate, FirstStageKind

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings


class EmptyIndexError(ConfigError):
    """There is nothing to answer from yet."""


class Pipeline:
    """An opened index with everything that answers from it; parts are made when first needed.

    Args:
        store: the opened index; whoever opened it closes it.
        scorer: instead of the one that the settings name.
        reader: of `reader_of`, where whoever opened the index keeps it.
        generator: instead of the one that the settings name.

    Raises:
        EmptyIndexError: the index holds no passage.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        scorer: Scorer | None = None,
        reader: Scorer | None = None,
        generator: Generator | None = None,
    ) -> None:
        if store.count() == 0:
            raise _empty(settings)
        self.settings = settings
        self.store = store
        used = scorer_for(settings, store.token_store) if scorer is None else scorer
        own = [used] if scorer is None else []
        if settings.policy_b is not None:
            used = Cached(used)  # what two policies both want is read once
        self.reranker = reranker_for(settings, store, used, reader)
        section = self.reranker.policy.section(FirstStageKind.HYBRID)
        self.k = section.k if settings.k is None else settings.k
        self.first_stage = HybridFirstStage(store, section.fusion)
        self.rival = rival_for(settings, store, used, section)
        readers = [] if reader is not None else [self.reranker.reader]
        readers += [] if self.rival is None else [self.rival.reranker.reader]
        self._own = [*own, *(r for r in readers if r is not None)]
        self._generators: dict[str, Generator] = {}
        if generator is not None:
            self._generators[settings.generator] = generator

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Pipeline]:
        """Open the index that the settings name; it is closed at the end of the block.

        Raises:
            EmptyIndexError: nothing has been ingested.
            ConfigError: the index cannot be opened, or the policy does not fit it.
        """
        # Opening would make the folder, and a question should leave no trace on the disk.
        if not settings.data_dir.is_dir():
            raise _empty(settings)
        from rag_app.index.store import Store

        with Store.open(settings) as store, closing(cls(settings, store)) as opened:
            yield opened

    def close(self) -> None:
        """Close scorer and reader, if they were not given; twice does nothing."""
        for scorer in self._own:
            close(scorer)

    def search(
        self,
        question: str,
        *,
        top_n: int | None = None,
        force: Action | None = None,
        limits: ScoreContext | None = None,
    ) -> AnswerResult:
        """Retrieve and rerank, without an answer.

        Raises:
            InputError: the question is empty.
            RequestOverError: as `stream`.
        """
        begun = time.perf_counter()
        limits = ScoreContext() if limits is None else limits
        searched = self.searched_for(question, limits=limits)
        outcome, timings = self._outcome(searched, top_n, force, limits)
        timings["total"] = _since(begun)
        return AnswerResult(searched=searched, outcome=outcome, timings_ms=timings)

    def answer(self, question: str, **options: Any) -> AnswerResult:
        """Answer one question; options and errors as those of `stream`."""
        *_, result = self.stream(question, **options)
        if isinstance(result, str):
            raise InputError("the pipeline ended without a result")  # not reached
        return result

    @traced
    def stream(
        self,
        question: str,
        *,
        history: Sequence[Exchange] = (),
        top_n: int | None = None,
        force: Action | None = None,
        generator: str | None = None,
        pieces: bool = False,
        limits: ScoreContext | None = None,
    ) -> Events:
        """Answer one question; the last item is the result.

        Args:
            history: earlier questions and answers of the conversation, oldest first.
            top_n: passages to keep; None: the settings', else the policy's.
            generator: `extractive` or `openai`; None: the settings'.
            pieces: give the text as it is written, too. Pieces that come before a failure stand
                in no result: its `answer` is None.
            limits: the request's one deadline, for everything that is done for it, and whether
                anybody still waits; None: neither ends it.

        Raises:
            InputError: the question is empty.
            ConfigError: the generator lacks a setting.
            RequestOverError: the deadline has passed, or nobody waits any more.
        """
        begun = time.perf_counter()
        limits = ScoreContext() if limits is None else limits
        writer = self.writer(generator)  # a missing setting is told before anything is searched
        searched = self.searched_for(question, history, writer=writer, limits=limits)
        worded = {} if searched.by == "as_asked" else {"wording": _since(begun)}
        outcome, timings = self._outcome(searched, top_n, force, limits)
        together = None
        if self.rival is not None and force is None:
            together = self._together(self.rival, searched, outcome, limits)
            outcome = together.outcome
            timings["rerank"] = outcome.timings_ms["total"]
        yield from self.write(
            searched,
            outcome,
            together=together,
            generator=generator,
            pieces=pieces,
            begun=begun,
            timings_ms=worded | timings,
            limits=limits,
        )

    def write(
        self,
        searched: Searched,
        outcome: Outcome,
        *,
        together: Interleaved | None = None,
        generator: str | None = None,
        pieces: bool = False,
        begun: float | None = None,
        timings_ms: Mapping[str, float] | None = None,
        limits: ScoreContext | None = None,
    ) -> Iterator[str | AnswerResult]:
        """The answer from what was retrieved and reranked before; as `stream`.

        Args:
            searched: the question, and what was searched for.
            outcome: of the reranker, whose kept passages are read.
            together: how two policies came to it; None: there was one.
            generator: `extractive` or `openai`; None: the settings'.
            pieces: give the text as it is written, too.
            begun: `time.perf_counter()` when the question came; None: now.
            limits: as `stream`.
        """
        started = time.perf_counter() if begun is None else begun
        timings = {} if timings_ms is None else dict(timings_ms)
        limits = ScoreContext() if limits is None else limits
        writer = self._generator(generator)
        written: Answer | None = None
        error, exit_code = "", 0
        if outcome.kept:
            _go_on(limits)
            context = build_context(
                outcome.kept,
                budget=self.settings.context_tokens,
                count_tokens=self.count_tokens,
                limits=limits,
            )
            asked = time.perf_counter()
            check = self._checker if isinstance(writer, Writer) else None
            whole = check is not None and check.drop  # what was given cannot be taken back
            try:
                if pieces and not whole:
                    for event in writer.stream(searched.told, context):
                        if isinstance(event, Answer):
                            written = event
                        else:
                            yield event
                            _go_on(limits)
                else:
                    written = writer.answer(searched.told, context)
            except GeneratorError as exc:
                error, exit_code, written = str(exc), exc.exit_code, exc.said
            timings["generate"] = _since(asked)
            if written is not None and check is not None:
                written = check(written, context)
                timings["check"] = _since(asked) - timings["generate"]
                if pieces and whole:
                    yield written.text
        else:
            written = refusal(writer.mode)
            if pieces:
                yield written.text
        timings["total"] = _since(started)
        yield AnswerResult(
            searched=searched,
            outcome=outcome,
            answer=written,
            error=error,
            exit_code=exit_code,
            timings_ms=timings,
            together=together,
        )

    def searched_for(
        self,
        question: str,
        history: Sequence[Exchange] = (),
        *,
        writer: Writer | None = None,
        limits: ScoreContext | None = None,
    ) -> Searched:
        """What is searched for: the question, what it means after the turns before, its spelling.

        Args:
            history: earlier questions and answers, oldest first.
            writer: an LLM for both, as far as the settings let it; None: rules alone.
            limits: as `stream`.

        Raises:
            InputError: the question is empty.
        """
        as_query(question)
        settings = self.settings
        limits = ScoreContext() if limits is None else limits
        searched = Searched.plain(question)
        if history and settings.condense != "off":
            by = writer if settings.condense == "auto" else None
            searched = condense(question, history, writer=by, limits=limits)
        if settings.rewrite != "off":
            by = writer if settings.rewrite == "auto" else None
            searched = rewrite(searched, lambda: self._spelling, writer=by, limits=limits)
        return searched

    def candidates(
        self, searched: Searched, k: int | None = None, *, limits: ScoreContext | None = None
    ) -> list[Candidate]:
        """The first stage's candidates, best first.

        Args:
            searched: what to search for; see `searched_for`.
            k: at most so many; None: the settings', else the policy's.
            limits: as `stream`.
        """
        if limits is not None:
            _go_on(limits)
        return self.first_stage.candidates(
            searched.scored, self.k if k is None else k, searched.also
        )

    def writer(self, generator: str | None = None) -> Writer | None:
        """The LLM, where the answer is written by one: only then a question leaves the machine."""
        found = self._generator(generator)
        return found if isinstance(found, Writer) else None

    @cached_property
    def _checker(self) -> Checker | None:
        how, store = self.settings.unsupported, self.store
        if how == "off":
            return None
        return Checker.over(store.embedder, store.token_store, drop=how == "drop")

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of(self.store.bm25, self.store.embedder)

    def _outcome(
        self, searched: Searched, top_n: int | None, force: Action | None, limits: ScoreContext
    ) -> tuple[Outcome, dict[str, float]]:
        """Retrieved and reranked, with the milliseconds of both."""
        begun = time.perf_counter()
        with span("rankgate.retrieve", "RETRIEVER") as opened:
            candidates = self.candidates(searched, limits=limits)
            told_found(opened, searched.scored, candidates)
        retrieve = _since(begun)
        _go_on(limits)
        outcome = self.reranker.rerank(
            searched.scored,
            candidates,
            self.settings.top_n if top_n is None else top_n,
            deadline=limits.deadline,
            cancelled=limits.cancelled,
            force=force,
        )
        return outcome, {"retrieve": retrieve, "rerank": outcome.timings_ms["total"]}

    def _together(
        self, rival: Rival, searched: Searched, first: Outcome, limits: ScoreContext
    ) -> Interleaved:
        """What both policies make of it; the rival reads the candidates that are there already."""
        candidates = sorted((p.candidate for p in first.passages), key=lambda c: c.rank)
        if rival.first_stage is None and rival.k > self.k:
            candidates = self.candidates(searched, rival.k, limits=limits)
        return rival.against(first, candidates, searched.also, limits)

    def _generator(self, name: str | None) -> Generator:
        mode = self.settings.generator if name is None else name
        if mode not in self._generators:
            self._generators[mode] = self._new_generator(mode)
        return self._generators[mode]

    def _new_generator(self, mode: str) -> Generator:
        if mode == "extractive":
            embedder = self.store.embedder
            return ExtractiveGenerator(
                # An embedder of whole texts alone has no token vectors to compare.
                embedder if isinstance(embedder, TokenReader) else None,
                token_store=self.store.token_store,
            )
        if mode == "openai":
            from rag_app.generate.openai import OpenAIGenerator

            return OpenAIGenerator.of(self.settings)
        raise ConfigError(f"generator must be extractive or openai, got {mode!r}")

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, as the embedder counts them."""
        count = getattr(self.store.embedder, "count_tokens", None)
        # English has about four characters a token; only for encoders that cannot count.
        return len(text) // 4 + 1 if count is None else int(count(text))


def answer(
    question: str, *, settings: Settings | None = None, force: Action | None = None
) -> AnswerResult:
    """Open the index, answer one question, close it; for more than one use `Pipeline`.

    Raises:
        EmptyIndexError: nothing has been ingested.
        ConfigError: a setting is wrong.
    """
    if settings is None:
        from rag_app.settings import Settings as Loaded

        settings = Loaded.load()
    with Pipeline.open(settings) as pipeline:
        return pipeline.answer(question, force=force)


def _empty(settings: Settings) -> EmptyIndexError:
    return EmptyIndexError(
        f"nothing is ingested in collection {settings.collection!r} of {settings.data_dir}. "
        "Run first: rankgate ingest FOLDER"
    )


def _go_on(limits: ScoreContext) -> None:
    """Between two steps of a request: begin the next one only where somebody waits for it.

    Raises:
        RequestOverError: nobody does, or the time is over.
    """
    if limits.cancelled.is_set():
        raise RequestOverError("nobody waits for the answer any more")
    if limits.should_stop:
        raise RequestOverError("the time for this request is over; allow it more, or ask again")


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000.0
