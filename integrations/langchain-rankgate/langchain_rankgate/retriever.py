"""The retriever: a first stage, then the gate, the scorer and the floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    Callbacks,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.vectorstores import VectorStore
from pydantic import Field, SkipValidation

from langchain_rankgate.batch import abatch_of, batch_of
from langchain_rankgate.documents import check_documents
from langchain_rankgate.finders import CandidateFinder, Finder, RetrieverFinder
from langchain_rankgate.flow import Flow
from langchain_rankgate.fused import FusedFinder, SameBy
from langchain_rankgate.hybrid import HybridFinder
from langchain_rankgate.settings import STRICT, Answers, Count, RetrieverSettings, call_settings
from langchain_rankgate.stores import StoreFinder, StoreSearch, StoreSettings, finder_of
from langchain_rankgate.trace import atrace, trace
from rankgate import Candidate, FirstStageKind, Outcome, Policy, Profile
from rankgate.adapters.arguments import FirstStageLike
from rankgate.adapters.late import LateReranker
from rankgate.adapters.stores import listed, stores_below
from rankgate.adapters.warming import Warming
from rankgate.describe import Description
from rankgate.errors import InputError
from rankgate.retrieve import Analyser, Progress
from rankgate.retrieve.spaces import chroma_space

__all__ = ["AnyFirstStage", "RankGateRetriever"]

AnyFirstStage = (
    VectorStore
    | RetrieverLike
    | Sequence[RetrieverLike]
    | Mapping[str, RetrieverLike]
    | FirstStageLike
)
"""Whatever `from_defaults` takes."""


class RankGateRetriever(Answers, BaseRetriever):
    """Retrieves, reranks where that pays, and returns nothing rather than something irrelevant.

    Make one with `from_defaults`, `from_policy`, `from_vectorstore`, `from_chroma`,
    `from_retriever`, `from_retrievers` or `from_first_stage`. A refused query gives no documents
    unless `when_refused` says otherwise; `retrieve_outcome` gives the whole `Outcome`, with why.
    A scorer that fails gives first-stage order, marked `degraded` in each document's
    `rankgate_outcome`.

    `invoke(query, top_n=3)` overrules the settings for one call; `k`, `force` (`rerank` or
    `skip`) and `deadline` likewise. Other arguments go to the first stage, which rejects those
    it does not know. `batch` and `abatch` ask the scorer once for all queries.

    Attributes:
        finder: the first stage.
        engine: the reranker, or what it will be made of on first use.
        k: candidates to fetch; None: the policy's K (for `from_retriever`: the child's own
            number). The second stage reads the policy's K of them.
        top_n, force, when_refused, when_degraded, on_outcome: see `Answers`.
    """

    model_config = STRICT

    finder: SkipValidation[Finder] = Field(exclude=True, repr=False)
    engine: LateReranker = Field(exclude=True, repr=False)
    k: Count | None = None

    @classmethod
    def from_defaults(
        cls, first_stage: AnyFirstStage, **settings: Unpack[RetrieverSettings]
    ) -> RankGateRetriever:
        """Over whatever it is given, by the constructor that sees the most of it.

        A vector store: `from_vectorstore`. A retriever or other runnable: `from_retriever`. A
        list or mapping of them: `from_retrievers`. Anything else: `from_first_stage`.
        """
        if isinstance(first_stage, VectorStore):
            return cls.from_vectorstore(first_stage, **settings)
        if isinstance(first_stage, Runnable):
            return cls.from_retriever(first_stage, **settings)
        if isinstance(first_stage, Sequence | Mapping):
            return cls.from_retrievers(first_stage, **settings)
        return cls.from_first_stage(first_stage, **settings)

    @classmethod
    def from_policy(
        cls,
        policy: Policy | str | Path,
        first_stage: AnyFirstStage,
        **settings: Any,
    ) -> RankGateRetriever:
        """`from_defaults` with the policy that `rankgate calibrate` wrote, or its file."""
        return cls.from_defaults(first_stage, **{**settings, "policy": policy})

    @classmethod
    def from_vectorstore(
        cls,
        vectorstore: VectorStore,
        *,
        hybrid: bool = False,
        **settings: Unpack[StoreSettings],
    ) -> RankGateRetriever:
        """Over any vector store, with its scores.

        What they mean (cosine, distance, relevance; which way is better) is found by looking
        when the first question is asked: the cosines of a few of its passages are computed from
        the store's vectors, or by embedding them once more. Scores that fit nothing known are
        an order, and the policy's section `order` applies; the outcome's notes say so, and
        `describe` says what was found.

        Args:
            vectorstore: a model of the embeddings is read from it; where it does not say which
                it is, name it with `embedder=`.
            hybrid: BM25 over the store's passages beside its own search, fused as the policy
                says, for a store that can list them (Chroma, FAISS, Qdrant, in memory). They
                are read into memory with the first question.
            **settings: see `StoreSearch` and `RetrieverSettings`.

        Raises:
            ConfigError: a space that is not understood, or a policy that does not fit.
            InputError: an argument cannot be used.
        """
        rest: dict[str, Any] = dict(settings)
        search = {name: rest.pop(name) for name in StoreSearch.__annotations__ if name in rest}
        dense = StoreFinder(vectorstore, **search)
        if not hybrid:
            return cls._made(dense, FirstStageKind.DENSE, rest, dense.profile)  # type: ignore[arg-type]
        found = replace(dense.profile, analyser=Analyser().name)
        made = cls._made(dense, FirstStageKind.HYBRID, rest, found)  # type: ignore[arg-type]
        made.finder = HybridFinder(dense, made.engine)
        return made

    @classmethod
    def from_chroma(
        cls,
        vectorstore: VectorStore,
        *,
        space: str | None = None,
        **settings: Any,
    ) -> RankGateRetriever:
        """`from_vectorstore` over a `langchain_chroma.Chroma`, whose collection says its space.

        Raises:
            ConfigError: the vector space cannot be told, or the policy does not fit.
            InputError: an argument cannot be used.
        """
        if space is None:
            chroma_space(vectorstore)
        return cls.from_vectorstore(vectorstore, space=space, **settings)

    @classmethod
    def from_retriever(
        cls, retriever: RetrieverLike, **settings: Unpack[RetrieverSettings]
    ) -> RankGateRetriever:
        """Over any retriever.

        One that a vector store made (`as_retriever`) is looked into: its store is asked as it
        would ask (search type, filter, k), with the scores that it throws away. Where its
        `search_kwargs` name no k, the policy's K is fetched.

        Another retriever hands on no scores, so the gate sees no margins and says so
        (`signals_missing`), and the policy's section `order` applies.
        """
        finder = finder_of(retriever)
        if isinstance(finder, RetrieverFinder) or not isinstance(retriever, BaseRetriever):
            return cls._made(finder, FirstStageKind.ORDER, settings)
        own: Any = {"tags": retriever.tags, "metadata": retriever.metadata, **settings}
        return cls._made(finder, FirstStageKind.DENSE, own, finder.profile)

    @classmethod
    def from_retrievers(
        cls,
        retrievers: Sequence[RetrieverLike] | Mapping[str, RetrieverLike],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
        same_by: SameBy = "id",
        id_key: str | None = None,
        **settings: Unpack[RetrieverSettings],
    ) -> RankGateRetriever:
        """Over several retrievers, asked side by side and fused by reciprocal ranks.

        The policy's section `order` applies. A retriever that raises is left out; each
        document's `rankgate_failed_retrievers` and the outcome's notes say so.

        `retrievers` may be named by a mapping; `weights` (>= 0, None: all 1) come one each or by
        name. `same_by` (`id` or `content`) and `id_key` say what makes two documents the same
        passage, and each retriever's own number of results stands unless k is named: see
        `FusedFinder`.
        """
        finder = FusedFinder(
            retrievers, weights=weights, rrf_k=rrf_k, same_by=same_by, id_key=id_key
        )
        return cls._made(finder, FirstStageKind.ORDER, settings)

    @classmethod
    def from_first_stage(
        cls,
        first_stage: FirstStageLike,
        *,
        kind: FirstStageKind | str | None = None,
        **settings: Unpack[RetrieverSettings],
    ) -> RankGateRetriever:
        """Over something that gives `rankgate.Candidate`s, with every score it has.

        Args:
            first_stage: an object with `candidates(query, k) -> list[Candidate]`, and perhaps
                `async acandidates`; or a callable, plain or async, of that signature.
            kind: which scores its candidates carry; None: seen from each query's.
            **settings: see `RetrieverSettings`. Where the candidates carry cosines, name the
                model that made the vectors with `embedder=`.
        """
        known = None if kind is None else FirstStageKind(kind)
        return cls._made(CandidateFinder(first_stage), known, settings)

    @classmethod
    def _made(
        cls,
        finder: Finder,
        kind: FirstStageKind | None,
        settings: RetrieverSettings,
        found: Profile | None = None,
    ) -> RankGateRetriever:
        scores = getattr(finder, "scores", None)
        engine, rest = LateReranker.taking(settings, kind, found=found, scores=scores)
        return cls(finder=finder, engine=engine, **rest)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities) and what the scores are; what is off, why."""
        return self.engine.describe()

    @property
    def profile(self) -> Profile:
        """What is known of the first stage: its embedder and vector space."""
        return self.engine.profile

    def refresh(self) -> None:
        """Read the store's passages again for BM25, after some were deleted.

        Raises:
            InputError: there is no BM25 list beside the store.
        """
        if not isinstance(self.finder, HybridFinder):
            raise InputError("there is nothing to refresh without from_vectorstore(hybrid=True)")
        self.finder.refresh()

    def warm(
        self, documents: Iterable[Document] | None = None, *, progress: Progress | None = None
    ) -> Warming:
        """Read passages in the background, so that no question has to wait for that.

        What is known already is skipped, so a run that was stopped goes on.

        Args:
            documents: as they will be retrieved; None: all of the store, where it can be listed.
            progress: called from the thread with the number done and the total.

        Raises:
            ConfigError: the scorer keeps nothing of what it reads.
            InputError: the store cannot list its passages, or what was given is no document.
        """
        if documents is None:
            stores = stores_below(self.finder)
            return self.engine.warm(lambda: (c.text for s in stores for c in listed(s)), progress)
        given = list(documents)
        check_documents(given)
        return self.engine.warm(lambda: (d.page_content for d in given), progress)

    def retrieve_outcome(
        self, query: str, *, callbacks: Callbacks = None, **kwargs: Any
    ) -> Outcome:
        """The whole outcome: kept and dropped passages with every score, and why.

        Args:
            callbacks: for a child retriever's run; `retrieve_outcome` itself opens none.
            **kwargs: as for `invoke`.

        Raises:
            InputError: an argument that nobody knows or can use.
        """
        flow = self.flow(kwargs)
        found = flow.find(query, callbacks)
        return self.engine.told(flow.rerank(query, found), found, self.on_outcome)

    async def aretrieve_outcome(
        self, query: str, *, callbacks: Callbacks = None, **kwargs: Any
    ) -> Outcome:
        """`retrieve_outcome` without blocking the event loop."""
        flow = await self.aflow(kwargs)
        found = await flow.afind(query, callbacks)
        return self.engine.told(await flow.arerank(query, found), found, self.on_outcome)

    def candidates(self, query: str, k: int | None = None) -> list[Candidate]:
        """The first stage alone, as the evaluation and `rankgate calibrate` take one.

        `k` None: as many as a retrieval would fetch.
        """
        return self.flow({} if k is None else {"k": k}).find(query, None).candidates

    async def acandidates(self, query: str, k: int | None = None) -> list[Candidate]:
        """`candidates` without blocking the event loop."""
        flow = await self.aflow({} if k is None else {"k": k})
        return (await flow.afind(query, None)).candidates

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """`invoke` for several queries; those that need the scorer share one call to it.

        Each query has a run of its own. The first stage runs in threads, `max_concurrency` of
        the first config at a time. With `return_exceptions` an error of one query stands in its
        place; otherwise the first one is raised.
        """
        configs = get_config_list(config, len(inputs))
        if not inputs:
            return []
        made = (self, self.flow, partial(self.answer, self.engine))
        return batch_of(*made, inputs, configs, kwargs, return_exceptions)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """`batch` without blocking the event loop."""
        configs = get_config_list(config, len(inputs))
        if not inputs:
            return []
        made = (self, self.aflow, partial(self.answer, self.engine))
        return await abatch_of(*made, inputs, configs, kwargs, return_exceptions)

    def flow(self, kwargs: Mapping[str, Any]) -> Flow:
        """First stage and reranker under one call's settings; loads what is not loaded yet.

        Raises:
            InputError: an argument that cannot be used.
        """
        self.engine.get()
        return self._flow(kwargs)

    async def aflow(self, kwargs: Mapping[str, Any]) -> Flow:
        """`flow` without blocking the event loop."""
        await self.engine.aget()
        return self._flow(kwargs)

    def _flow(self, kwargs: Mapping[str, Any]) -> Flow:
        settings, rest = call_settings(kwargs, k=self.k, top_n=self.top_n, force=self.force)
        return Flow(finder=self.finder, engine=self.engine, settings=settings, rest=rest)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        flow = self.flow(kwargs)
        found = flow.find(query, run_manager.get_child())
        outcome = flow.rerank(query, found)
        trace(run_manager, outcome)
        return self.answer(self.engine, found, outcome)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        flow = await self.aflow(kwargs)
        found = await flow.afind(query, run_manager.get_child())
        outcome = await flow.arerank(query, found)
        await atrace(run_manager, outcome)
        return self.answer(self.engine, found, outcome)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_retriever_name"] = "rankgate"
        params.update(self.finder.ls_params())  # type: ignore[typeddict-item]
        return params
