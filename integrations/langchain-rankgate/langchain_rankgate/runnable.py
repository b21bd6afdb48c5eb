"""The runnable: reranks documents that stand beside their query in a chain's dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    BaseRunManager,
    CallbackManagerForChainRun,
)
from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import Field

from langchain_rankgate.finders import FoundDocuments, found_documents, refuse_unknown
from langchain_rankgate.flow import arerank_each, rerank_each
from langchain_rankgate.settings import STRICT, Answers, Force, call_settings, session_of
from rankgate import FirstStageKind, Outcome, Policy, Request
from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.as_scorer import ScorerLike
from rankgate.adapters.late import LateReranker
from rankgate.adapters.refusal import WhenDegraded, WhenRefused
from rankgate.describe import Description
from rankgate.errors import InputError

__all__ = ["RankGateRunnable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One input, read: the request, and what it was made from."""

    request: Request
    found: FoundDocuments


class RankGateRunnable(Answers, RunnableSerializable[dict[str, Any], list[Document]]):
    """A step of a chain: `{"query": ..., "documents": [...]}` in, the documents to keep out.

    Documents are taken in the order in which they come. The result are copies, best first,
    with `relevance_score` and `rankgate_*` keys in their metadata. It stands behind a
    dictionary, `{"query": ..., "documents": retriever} | RankGateRunnable()`, or inside
    `RunnablePassthrough.assign(context=RankGateRunnable(...))`; other keys are ignored.

    `invoke(input, top_n=3)` overrules the settings for one call, `force` and `deadline`
    likewise. `batch` and `abatch` ask the scorer once for all inputs. Fields can be made
    configurable at run time: `configurable_fields(top_n=ConfigurableField(id="top_n"))`.

    Args:
        dense_key: metadata key that holds each document's cosine similarity in [-1, 1]; None:
            no score of the first stage is read, and the policy's section `order` applies.
        top_n, force, when_refused, when_degraded, on_outcome: see `Answers`.
        engine: what another component made of these parts, to share it.
        **settings: what the reranker is made of, see `RerankerSettings`.

    Raises:
        InputError: an argument cannot be used.
        PolicyError: the policy is unusable or does not fit.
    """

    model_config = STRICT

    query_key: str = "query"
    documents_key: str = "documents"
    # Frozen: the engine's section depends on it.
    dense_key: str | None = Field(default=None, frozen=True)
    engine: LateReranker = Field(exclude=True, repr=False)

    def __init__(
        self,
        *,
        query_key: str = "query",
        documents_key: str = "documents",
        dense_key: str | None = None,
        top_n: int | None = None,
        force: Force | None = None,
        when_refused: WhenRefused = "empty",
        when_degraded: WhenDegraded = "keep",
        engine: LateReranker | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        **settings: Unpack[RerankerSettings],
    ) -> None:
        rest: dict[str, Any] = dict(settings)
        if engine is None:
            kind = FirstStageKind.ORDER if dense_key is None else FirstStageKind.DENSE
            engine, rest = LateReranker.taking(settings, kind)
        elif not RerankerSettings.__annotations__.keys().isdisjoint(rest):
            raise InputError("engine= was given together with parts of one. Give one or the other.")
        super().__init__(
            **{
                "query_key": query_key,
                "documents_key": documents_key,
                "dense_key": dense_key,
                "top_n": top_n,
                "force": force,
                "when_refused": when_refused,
                "when_degraded": when_degraded,
                "engine": engine,
                "on_outcome": on_outcome,
                **rest,
            }
        )

    @classmethod
    def from_policy(
        cls, policy: Policy | str | Path, *, scorer: ScorerLike | None = None, **kwargs: Any
    ) -> RankGateRunnable:
        """With the policy that `rankgate calibrate` wrote.

        Args:
            policy: a policy or the path of its file.
            scorer: the scorer that it was fitted for; None: the default one.
            **kwargs: the class's other arguments.
        """
        return cls(policy=policy, scorer=scorer, **kwargs)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities), and what is off and why."""
        return self.engine.describe()

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """The documents to keep, as copies, best first.

        Raises:
            InputError: query, documents or an argument cannot be used.
            RefusedError: the query was refused, and `when_refused` is `raise`.
        """
        return self._call_with_config(self._one, input, config, **kwargs)

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """`invoke` without blocking the event loop."""
        return await self._acall_with_config(self._aone, input, config, **kwargs)

    def batch(
        self,
        inputs: list[dict[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """`invoke` for several inputs; those that need the scorer share one call to it.

        With `return_exceptions` an error of one input stands in its place; otherwise the first
        one is raised.
        """

        def work(
            inputs: list[dict[str, Any]], run_manager: list[CallbackManagerForChainRun]
        ) -> list[list[Document] | Exception]:
            reranker = self.engine.get()
            jobs = self._read_each(inputs, run_manager, kwargs, isolate=return_exceptions)
            requests = [job.request for job in jobs if isinstance(job, _Input)]
            outcomes = rerank_each(reranker, requests, isolate=return_exceptions)
            return self._each(jobs, outcomes, isolate=return_exceptions)

        return self._batch_with_config(work, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[dict[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """`batch` without blocking the event loop."""

        async def work(
            inputs: list[dict[str, Any]], run_manager: list[AsyncCallbackManagerForChainRun]
        ) -> list[list[Document] | Exception]:
            reranker = await self.engine.aget()
            jobs = self._read_each(inputs, run_manager, kwargs, isolate=return_exceptions)
            requests = [job.request for job in jobs if isinstance(job, _Input)]
            outcomes = await arerank_each(reranker, requests, isolate=return_exceptions)
            return self._each(jobs, outcomes, isolate=return_exceptions)

        return await self._abatch_with_config(
            work, inputs, config, return_exceptions=return_exceptions
        )

    def _one(
        self, given: dict[str, Any], run_manager: CallbackManagerForChainRun, **kwargs: Any
    ) -> list[Document]:
        job = self._read(given, run_manager.metadata, kwargs)
        outcome = self.engine.get().rerank_many([job.request])[0]
        return self.answer(self.engine, job.found, outcome)

    async def _aone(
        self, given: dict[str, Any], run_manager: AsyncCallbackManagerForChainRun, **kwargs: Any
    ) -> list[Document]:
        job = self._read(given, run_manager.metadata, kwargs)
        reranker = await self.engine.aget()
        outcome = (await reranker.arerank_many([job.request]))[0]
        return self.answer(self.engine, job.found, outcome)

    def _read(self, given: Any, metadata: Mapping[str, Any], kwargs: Mapping[str, Any]) -> _Input:
        settings, rest = call_settings(kwargs, top_n=self.top_n, force=self.force)
        if settings.k is not None:
            raise InputError("k is the retriever's: RankGateRunnable gets its documents as input")
        refuse_unknown(rest, (), "RankGateRunnable")
        if not isinstance(given, Mapping):
            raise InputError(
                f"the input must be a mapping with {self.query_key!r} and {self.documents_key!r}, "
                f"got {type(given).__name__}"
            )
        for key in (self.query_key, self.documents_key):
            if key not in given:
                raise InputError(
                    f"the input has no key {key!r}, only {sorted(map(str, given))}. Name yours "
                    "with query_key= and documents_key=."
                )
        documents = given[self.documents_key]
        if not isinstance(documents, Sequence) or isinstance(documents, str):
            raise InputError(
                f"{self.documents_key!r} must be a list of documents, got "
                f"{type(documents).__name__}"
            )
        found = found_documents(documents, dense_key=self.dense_key)
        request = settings.request(given[self.query_key], found.candidates)
        session = session_of(metadata)
        return _Input(request=request, found=replace(found, session=session))

    def _read_each(
        self,
        inputs: Sequence[Any],
        runs: Sequence[BaseRunManager],
        kwargs: Mapping[str, Any],
        *,
        isolate: bool,
    ) -> list[_Input | Exception]:
        jobs: list[_Input | Exception] = []
        for given, run in zip(inputs, runs, strict=True):
            try:
                jobs.append(self._read(given, run.metadata, kwargs))
            except InputError as exc:
                if not isolate:
                    raise
                jobs.append(exc)
        return jobs

    def _each(
        self,
        jobs: Sequence[_Input | Exception],
        outcomes: Sequence[Outcome | Exception],
        *,
        isolate: bool,
    ) -> list[list[Document] | Exception]:
        rest = iter(outcomes)
        results: list[list[Document] | Exception] = []
        for job in jobs:
            if isinstance(job, Exception):
                results.append(job)
                continue
            outcome = next(rest)
            if isinstance(outcome, Exception):
                results.append(outcome)
                continue
            try:
                results.append(self.answer(self.engine, job.found, outcome))
            except Exception as exc:
                if not isolate:
                    raise
                results.append(exc)
        return results
