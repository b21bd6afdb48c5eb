"""The retriever: a first stage, then the gate, the scorer and the floor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

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
from pydantic import ConfigDict, Field

from langchain_rankgate.batch import abatch_of, batch_of
from langchain_rankgate.call import Call, Force
from langchain_rankgate.documents import documents_from_outcome
from langchain_rankgate.flow import Flow
from langchain_rankgate.fused import FusedSource, SameBy
from langchain_rankgate.refusal import WhenRefused
from langchain_rankgate.sources import CandidateSource, ChromaSource, Found, RetrieverSource, Source
from rankgate import Candidate, FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.adapters.options import Assembly, Parts
from rankgate.retrieve.spaces import Space, chroma_space, space_named

__all__ = ["RankGateRetriever"]

_Count = Annotated[int, Field(ge=1, strict=True)]


class RankGateRetriever(BaseRetriever):
    """Retrieves, reranks where that pays, and returns nothing rather than something irrelevant.

    Make one with `from_chroma`, `from_retriever`, `from_retrievers` or `from_first_stage`. A
    refused query gives no documents unless `when_refused` says otherwise; `retrieve` gives the
    whole `Outcome`, which says why. A scorer that fails gives first-stage order, marked
    `degraded` in each document's `rankgate_outcome`.

    `invoke(query, top_n=3)` overrules the settings for one call; `k`, `force` (`rerank` or
    `skip`) and `deadline` likewise. Other arguments go to the first stage, which rejects those
    it does not know. `batch` and `abatch` ask the scorer once for all queries.

    Attributes:
        source: the first stage.
        engine: the reranker, or what it will be made of on first use.
        k: candidates to fetch; None: the policy's K (for `from_retriever`: the child's own
            number). The second stage reads the policy's K of them.
        top_n: documents to return; None: the policy's.
        force: `rerank` or `skip` overrules the gate, for comparisons; None: the gate decides.
        when_refused: `empty`: no documents. `raise`: a `RefusedError`. `mark`: the documents
            that the floor refused, with `rankgate_outcome` set to `refused`.
        on_outcome: called with each outcome before the documents are returned; what it raises
            reaches the caller.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", validate_assignment=True
    )

    source: Any = Field(exclude=True, repr=False)
    engine: Assembly = Field(exclude=True, repr=False)
    k: _Count | None = None
    top_n: _Count | None = None
    force: Force | None = None
    when_refused: WhenRefused = "empty"
    on_outcome: Callable[[Outcome], None] | None = Field(default=None, exclude=True, repr=False)

    @classmethod
    def from_chroma(
        cls,
        vectorstore: VectorStore,
        *,
        scorer: Any = None,
        policy: Policy | str | Path | None = None,
        reranker: Reranker | None = None,
        k: int | None = None,
        top_n: int | None = None,
        space: Space | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        **kwargs: Any,
    ) -> RankGateRetriever:
        """Over a `langchain_chroma.Chroma`, with its scores as cosines.

        Args:
            vectorstore: its embeddings must be of unit length unless its space is cosine.
            scorer: any rankgate scorer; None: the default one, loaded on first use.
            policy: a policy or the path of its file; None: the default policy where it fits.
            reranker: a finished one, instead of scorer and policy.
            k: candidates to fetch.
            top_n: documents to return.
            space: of the collection; None: read from the collection.
            profile: what is known of the first stage.
            lexicon: words that the corpus contains.
            on_outcome: called with each outcome.
            **kwargs: the other fields: `force`, `when_refused`, LangChain's name, tags, metadata.

        Raises:
            ConfigError: the vector space cannot be told, or the policy does not fit.
            InputError: an argument cannot be used.
        """
        known = chroma_space(vectorstore) if space is None else space_named(space)
        parts = Parts(
            reranker=reranker,
            scorer=scorer,
            policy=policy,
            profile=profile,
            lexicon=lexicon,
            kind=FirstStageKind.DENSE,
        )
        source = ChromaSource(vectorstore, space=known)
        return cls(
            source=source, engine=Assembly(parts), k=k, top_n=top_n, on_outcome=on_outcome, **kwargs
        )

    @classmethod
    def from_retriever(
        cls,
        retriever: RetrieverLike,
        *,
        scorer: Any = None,
        policy: Policy | str | Path | None = None,
        reranker: Reranker | None = None,
        k: int | None = None,
        top_n: int | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        **kwargs: Any,
    ) -> RankGateRetriever:
        """Over any retriever; see `from_chroma` for the arguments.

        A retriever hands on no scores, so the gate sees no margins and says so
        (`signals_missing`), and the policy's section `order` applies.
        """
        parts = Parts(
            reranker=reranker,
            scorer=scorer,
            policy=policy,
            profile=profile,
            lexicon=lexicon,
            kind=FirstStageKind.ORDER,
        )
        source = RetrieverSource(retriever)
        return cls(
            source=source, engine=Assembly(parts), k=k, top_n=top_n, on_outcome=on_outcome, **kwargs
        )

    @classmethod
    def from_retrievers(
        cls,
        retrievers: Sequence[RetrieverLike] | Mapping[str, RetrieverLike],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
        same_by: SameBy = "id",
        id_key: str | None = None,
        scorer: Any = None,
        policy: Policy | str | Path | None = None,
        reranker: Reranker | None = None,
        k: int | None = None,
        top_n: int | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        **kwargs: Any,
    ) -> RankGateRetriever:
        """Over several retrievers, asked side by side and fused by reciprocal ranks.

        The policy's section `order` applies. A retriever that raises is left out; each
        document's `rankgate_failed_retrievers` and the outcome's notes say so.

        `retrievers` may be named by a mapping; `weights` (>= 0, None: all 1) come one each or by
        name. `same_by` (`id` or `content`) and `id_key` say what makes two documents the same
        passage, and each retriever's own number of results stands unless k is named: see
        `FusedSource`. For the rest see `from_chroma`.
        """
        parts = Parts(
            reranker=reranker,
            scorer=scorer,
            policy=policy,
            profile=profile,
            lexicon=lexicon,
            kind=FirstStageKind.ORDER,
        )
        source = FusedSource(
            retrievers, weights=weights, rrf_k=rrf_k, same_by=same_by, id_key=id_key
        )
        return cls(
            source=source, engine=Assembly(parts), k=k, top_n=top_n, on_outcome=on_outcome, **kwargs
        )

    @classmethod
    def from_first_stage(
        cls,
        first_stage: Any,
        *,
        kind: FirstStageKind | str | None = None,
        scorer: Any = None,
        policy: Policy | str | Path | None = None,
        reranker: Reranker | None = None,
        k: int | None = None,
        top_n: int | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        **kwargs: Any,
    ) -> RankGateRetriever:
        """Over something that gives `rankgate.Candidate`s.

        `first_stage` is an object with `candidates(query, k) -> list[Candidate]`, and perhaps
        `async acandidates`; or a callable, plain or async, of that signature. `kind` says which
        scores its candidates carry; None: seen from each query's. For the rest see
        `from_chroma`.
        """
        parts = Parts(
            reranker=reranker,
            scorer=scorer,
            policy=policy,
            profile=profile,
            lexicon=lexicon,
            kind=None if kind is None else FirstStageKind(kind),
        )
        source = CandidateSource(first_stage)
        return cls(
            source=source, engine=Assembly(parts), k=k, top_n=top_n, on_outcome=on_outcome, **kwargs
        )

    @classmethod
    def from_policy(
        cls, policy: Policy | str | Path, first_stage: Any, *, scorer: Any = None, **kwargs: Any
    ) -> RankGateRetriever:
        """With the policy that `rankgate calibrate` wrote, over whatever the first stage is.

        Args:
            policy: a policy or the path of its file.
            first_stage: a vector store (`from_chroma`), a retriever or other runnable
                (`from_retriever`), a list or mapping of them (`from_retrievers`), or something
                that gives candidates (`from_first_stage`).
            scorer: the scorer that the policy was fitted for; None: the default one.
            **kwargs: that constructor's other arguments.
        """
        make: Callable[..., RankGateRetriever] = cls.from_first_stage
        if isinstance(first_stage, VectorStore):
            make = cls.from_chroma
        elif isinstance(first_stage, Runnable):
            make = cls.from_retriever
        elif isinstance(first_stage, Sequence | Mapping):
            make = cls.from_retrievers
        return make(first_stage, policy=policy, scorer=scorer, **kwargs)

    def retrieve(self, query: str, *, callbacks: Callbacks = None, **kwargs: Any) -> Outcome:
        """The whole outcome: kept and dropped passages with every score, and why.

        Args:
            query: the user's words.
            callbacks: for a child retriever's run; `retrieve` itself opens none.
            **kwargs: as for `invoke`.

        Raises:
            InputError: an argument that nobody knows or can use.
        """
        flow = self.flow(kwargs)
        return self._told(flow.rerank(query, flow.find(query, callbacks)))

    async def aretrieve(self, query: str, *, callbacks: Callbacks = None, **kwargs: Any) -> Outcome:
        """`retrieve` without blocking the event loop."""
        flow = await self.aflow(kwargs)
        return self._told(await flow.arerank(query, await flow.afind(query, callbacks)))

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
        return batch_of(self, inputs, configs, kwargs, return_exceptions) if inputs else []

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
        return await abatch_of(self, inputs, configs, kwargs, return_exceptions) if inputs else []

    def flow(self, kwargs: Mapping[str, Any]) -> Flow:
        """First stage and reranker under one call's settings; loads what is not loaded yet.

        Raises:
            InputError: an argument that cannot be used.
        """
        return Flow(source=self.source, reranker=self.engine.get(), call=self._call(kwargs))

    async def aflow(self, kwargs: Mapping[str, Any]) -> Flow:
        """`flow` without blocking the event loop."""
        reranker = await self.engine.aget()
        return Flow(source=self.source, reranker=reranker, call=self._call(kwargs))

    def documents(self, found: Found, outcome: Outcome) -> list[Document]:
        """The outcome as documents, after `on_outcome` has been told.

        Raises:
            RefusedError: the query was refused, and `when_refused` is `raise`.
        """
        return documents_from_outcome(
            self._told(outcome),
            found.documents,
            extras=found.extras,
            when_refused=self.when_refused,
        )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        flow = self.flow(kwargs)
        found = flow.find(query, run_manager.get_child())
        return self.documents(found, flow.rerank(query, found))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        flow = await self.aflow(kwargs)
        found = await flow.afind(query, run_manager.get_child())
        return self.documents(found, await flow.arerank(query, found))

    def _call(self, kwargs: Mapping[str, Any]) -> Call:
        return Call.of(kwargs, k=self.k, top_n=self.top_n, force=self.force)

    def _told(self, outcome: Outcome) -> Outcome:
        if self.on_outcome is not None:
            self.on_outcome(outcome)
        return outcome

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_retriever_name"] = "rankgate"
        source: Source = self.source
        params.update(source.ls_params())  # type: ignore[typeddict-item]
        return params
