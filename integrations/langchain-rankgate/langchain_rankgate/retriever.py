"""The retriever: a first stage, then the gate, the scorer and the floor."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    Callbacks,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from langchain_rankgate.documents import documents_from_outcome
from langchain_rankgate.sources import CandidateSource, ChromaSource, Found, RetrieverSource, Source
from langchain_rankgate.spaces import chroma_space
from rankgate import Action, Deadline, FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.assembly import Assembly, Parts
from rankgate.errors import InputError
from rankgate.firststage.spaces import Space, space_named

__all__ = ["RankGateRetriever"]

_Count = Annotated[int, Field(ge=1, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call's settings, the retriever's own where the caller gave none."""

    k: int
    asked: bool
    options: dict[str, Any]
    callbacks: Callbacks
    rest: dict[str, Any]


class RankGateRetriever(BaseRetriever):
    """Retrieves, reranks where that pays, and returns nothing rather than something irrelevant.

    Make one with `from_chroma`, `from_retriever` or `from_first_stage`. A refused query gives
    no documents; `retrieve` gives the whole `Outcome`, which says why. A scorer that fails
    gives first-stage order, marked `degraded` in each document's `rankgate_outcome`.

    `invoke(query, top_n=3)` overrules the settings for one call; `k`, `force` (`rerank` or
    `skip`) and `deadline` likewise. Other arguments go to the first stage, which rejects those
    it does not know.

    Attributes:
        source: the first stage.
        engine: the reranker, or what it will be made of on first use.
        k: candidates to fetch; None: the policy's K (for `from_retriever`: the child's own
            number). The second stage reads the policy's K of them.
        top_n: documents to return; None: the policy's.
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
            **kwargs: LangChain's own: name, tags, metadata.

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

    def retrieve(self, query: str, *, callbacks: Callbacks = None, **kwargs: Any) -> Outcome:
        """The whole outcome: kept and dropped passages with every score, and why.

        Args:
            query: the user's words.
            callbacks: for a child retriever's run; `retrieve` itself opens none.
            **kwargs: as for `invoke`.

        Raises:
            InputError: an argument that nobody knows or can use.
        """
        return self._retrieve(query, callbacks, kwargs)[1]

    async def aretrieve(self, query: str, *, callbacks: Callbacks = None, **kwargs: Any) -> Outcome:
        """`retrieve` without blocking the event loop."""
        return (await self._aretrieve(query, callbacks, kwargs))[1]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found, outcome = self._retrieve(query, run_manager.get_child(), kwargs)
        return documents_from_outcome(outcome, found.documents)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found, outcome = await self._aretrieve(query, run_manager.get_child(), kwargs)
        return documents_from_outcome(outcome, found.documents)

    def _retrieve(
        self, query: str, callbacks: Callbacks, kwargs: dict[str, Any]
    ) -> tuple[Found, Outcome]:
        reranker = self.engine.get()
        call = self._call(reranker, callbacks, kwargs)
        source: Source = self.source
        found = source.find(
            query, call.k, asked=call.asked, callbacks=call.callbacks, kwargs=call.rest
        )
        outcome = reranker.rerank(query, found.candidates, **call.options)
        return found, self._told(outcome)

    async def _aretrieve(
        self, query: str, callbacks: Callbacks, kwargs: dict[str, Any]
    ) -> tuple[Found, Outcome]:
        reranker = await self.engine.aget()
        call = self._call(reranker, callbacks, kwargs)
        source: Source = self.source
        found = await source.afind(
            query, call.k, asked=call.asked, callbacks=call.callbacks, kwargs=call.rest
        )
        outcome = await reranker.arerank(query, found.candidates, **call.options)
        return found, self._told(outcome)

    def _told(self, outcome: Outcome) -> Outcome:
        if self.on_outcome is not None:
            self.on_outcome(outcome)
        return outcome

    def _call(self, reranker: Reranker, callbacks: Callbacks, kwargs: dict[str, Any]) -> _Call:
        rest = dict(kwargs)
        rest.pop("verbose", None)  # LangChain's own, which it leaves among the arguments
        k = rest.pop("k", None)
        k = self.k if k is None else k
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise InputError(f"k must be a whole number of at least 1, got {k!r}")
        top_n = rest.pop("top_n", None)
        force = rest.pop("force", None)
        if force is not None:
            try:
                force = Action(force)
            except ValueError as exc:
                raise InputError(f"force must be 'rerank' or 'skip', got {force!r}") from exc
        deadline = rest.pop("deadline", None)
        if deadline is not None and not isinstance(deadline, Deadline):
            raise InputError(
                f"deadline must be a rankgate.Deadline, got {type(deadline).__name__}. "
                "Make one with Deadline.after(seconds)."
            )
        return _Call(
            k=_policy_k(reranker) if k is None else k,
            asked=k is not None,
            options={
                "top_n": self.top_n if top_n is None else top_n,
                "force": force,
                "deadline": deadline,
            },
            callbacks=callbacks,
            rest=rest,
        )

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_retriever_name"] = "rankgate"
        source: Source = self.source
        params.update(source.ls_params())  # type: ignore[typeddict-item]
        return params


def _policy_k(reranker: Reranker) -> int:
    """K of the section in use; the largest of all where the candidates decide the section."""
    if reranker.first_stage is not None:
        return reranker.policy.section(reranker.first_stage).k
    return max(section.k for section in reranker.policy.sections.values())
