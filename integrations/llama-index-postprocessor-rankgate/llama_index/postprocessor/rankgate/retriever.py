"""The retriever: a first stage, then the gate, the scorer and the floor, and only then the cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.events import retrievals
from llama_index.postprocessor.rankgate.finders import CandidateFinder, Finder, finder_of
from llama_index.postprocessor.rankgate.flow import Flow, nodes_in
from llama_index.postprocessor.rankgate.fused import FusedFinder
from llama_index.postprocessor.rankgate.nodes import (
    FoundNodes,
    nodes_from_outcome,
    stored_nodes,
    text_of,
)
from llama_index.postprocessor.rankgate.settings import RetrieverSettings, bundle_of
from rankgate import Action, Candidate, Deadline, FirstStageKind, Outcome, Policy, Profile
from rankgate.adapters.arguments import CallSettings, FirstStageLike, as_count
from rankgate.adapters.embedders import is_chroma
from rankgate.adapters.late import LateReranker
from rankgate.adapters.refusal import WhenDegraded, WhenRefused, one_of
from rankgate.adapters.stores import stores_below
from rankgate.adapters.warming import Warming
from rankgate.describe import Description
from rankgate.errors import InputError
from rankgate.retrieve import Progress
from rankgate.retrieve.spaces import Space, chroma_space, space_named

__all__ = ["AnyFirstStage", "RankGateRetriever"]

AnyFirstStage = (
    BaseIndex[Any]
    | BaseRetriever
    | Sequence[BaseRetriever]
    | Mapping[str, BaseRetriever]
    | FirstStageLike
)
"""Whatever `from_defaults` takes."""


class RankGateRetriever(BaseRetriever):
    """Retrieves K nodes, reranks where that pays, cuts to top_n, or returns nothing at all.

    Make one with `from_defaults`, `from_policy`, `from_chroma`, `from_retriever`,
    `from_retrievers` or `from_first_stage`. It stands wherever LlamaIndex takes a
    retriever: query engines, chat engines, fusion, tools.
    The nodes are those of `RankGateRerank`. A refused query gives none; `retrieve_outcome`, the
    `RankGateOutcomeEvent` and `on_outcome` say why. A scorer that fails gives first-stage
    order, marked `degraded` in each node's `rankgate_outcome`. `top_n`, `when_refused`,
    `when_degraded` and `on_outcome` are those of `RankGateRerank`, too.

    Args:
        finder: the first stage; the constructors above make one.
        engine: the reranker, or what it will be made of on first use.
        k: candidates to ask for; None: the policy's K.
        events_with_content: False keeps queries and nodes out of the reranking's events. Those
            of `BaseRetriever` itself always carry them.
        callback_manager: LlamaIndex's.

    Raises:
        InputError: an argument cannot be used.
    """

    def __init__(
        self,
        *,
        finder: Finder,
        engine: LateReranker,
        k: int | None = None,
        top_n: int | None = None,
        when_refused: WhenRefused = "empty",
        when_degraded: WhenDegraded = "keep",
        on_outcome: Callable[[Outcome], None] | None = None,
        events_with_content: bool = True,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self.k = as_count("k", k)
        self.top_n = as_count("top_n", top_n)
        self.when_refused = one_of("when_refused", when_refused, WhenRefused)
        self.when_degraded = one_of("when_degraded", when_degraded, WhenDegraded)
        self.on_outcome = on_outcome
        self.events_with_content = events_with_content
        self.finder = finder
        self._engine = engine

    @classmethod
    def from_defaults(
        cls, first_stage: AnyFirstStage, **settings: Unpack[RetrieverSettings]
    ) -> RankGateRetriever:
        """Over whatever it is given, by the constructor that sees the most of it.

        An index or retriever: `from_retriever`, which reads the scores of any vector index. A
        list or mapping of retrievers: `from_retrievers`. Anything else: `from_first_stage`. An
        outcome's `first_stage` says which scores there are.
        """
        if isinstance(first_stage, Sequence | Mapping):
            return cls.from_retrievers(first_stage, **settings)
        if isinstance(first_stage, BaseIndex | BaseRetriever):
            return cls.from_retriever(first_stage, **settings)
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
    def from_chroma(
        cls,
        index: BaseIndex[Any] | BaseRetriever,
        *,
        space: Space | None = None,
        **settings: Unpack[RetrieverSettings],
    ) -> RankGateRetriever:
        """`from_retriever` for a `VectorStoreIndex` on a `ChromaVectorStore` and no other.

        Args:
            index: the index, or a retriever of it (`index.as_retriever(filters=...)`).
            space: of the collection; None: found by looking. A wrong one is an error.
            **settings: see `RetrieverSettings`.

        Raises:
            ConfigError: the vector space cannot be told, or the policy does not fit.
            InputError: an argument cannot be used.
        """
        finder = finder_of(index, space=space, chroma=True)
        store = getattr(finder.retriever, "_vector_store", None)
        if space is not None:
            space_named(space)
        elif store is None or not is_chroma(store):
            chroma_space(store)  # raises, and says what to give
        return cls._made(finder, finder.kind, settings)

    @classmethod
    def from_retriever(
        cls,
        retriever: BaseRetriever | BaseIndex[Any],
        *,
        embed_model: BaseEmbedding | None = None,
        space: Space | None = None,
        **settings: Unpack[RetrieverSettings],
    ) -> RankGateRetriever:
        """Over any retriever, or an index's own.

        What the scores of its nodes mean (direction and scale) is found with the first question,
        from the vectors of the store or the nodes' text embedded once more, and they become the
        cosines that the gate reads; `describe()` says what was found. Scores that fit no scale
        that is known, and those of a retriever that names no embedder, count as an order.

        Args:
            retriever: of a vector index, or any.
            embed_model: what made the vectors, where the retriever is not a vector index's own.
            space: `cosine`, `l2` or `ip`; None: found by looking. A wrong one is an error.
            **settings: see `RetrieverSettings`; the policy's section `dense` applies, or `order`
                where the scores are not read.
        """
        finder = finder_of(retriever, embed_model=embed_model, space=space)
        return cls._made(finder, finder.kind, settings)

    @classmethod
    def from_retrievers(
        cls,
        retrievers: Sequence[BaseRetriever] | Mapping[str, BaseRetriever],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
        **settings: Unpack[RetrieverSettings],
    ) -> RankGateRetriever:
        """Over several retrievers, fused by reciprocal ranks; each is asked for K nodes or more.

        Args:
            retrievers: a list, or a mapping from names to retrievers. One that raises is left
                out, and each node says so in `rankgate_failed_retrievers`.
            weights: one each, >= 0, as a list or by name; None: all 1.
            rrf_k: smoothing of the fusion; the fused list has at most K nodes.
            **settings: see `RetrieverSettings`; the policy's section `order` applies.
        """
        finder = FusedFinder(retrievers, weights=weights, rrf_k=rrf_k)
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
            **settings: see `RetrieverSettings`.
        """
        known = None if kind is None else FirstStageKind(kind)
        return cls._made(CandidateFinder(first_stage), known, settings)

    @classmethod
    def _made(
        cls,
        finder: Finder,
        kind: FirstStageKind | None,
        settings: RetrieverSettings,
    ) -> RankGateRetriever:
        found, scores = getattr(finder, "profile", None), getattr(finder, "scores", None)
        engine, rest = LateReranker.taking(settings, kind, found=found, scores=scores)
        return cls(finder=finder, engine=engine, **rest)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities) and what the scores are; what is off, why."""
        return self._engine.describe()

    @property
    def profile(self) -> Profile:
        """What is known of the first stage: its embedder and vector space."""
        return self._engine.profile

    def warm(
        self, nodes: Iterable[BaseNode] | None = None, *, progress: Progress | None = None
    ) -> Warming:
        """Read nodes in the background, so that no question has to wait for that.

        What is known already is skipped, so a run that was stopped goes on.

        Args:
            nodes: as they will be retrieved; None: all of the index, where it can be listed.
            progress: called from the thread with the number done and the total.

        Raises:
            ConfigError: the scorer keeps nothing of what it reads.
            InputError: the index cannot list its nodes.
        """
        given = stored_nodes(stores_below(self.finder)) if nodes is None else list(nodes)
        return self._engine.warm(lambda: map(text_of, given), progress)

    def retrieve_outcome(
        self,
        query: str | QueryBundle,
        *,
        top_n: int | None = None,
        force: Action | str | None = None,
        deadline: Deadline | None = None,
    ) -> Outcome:
        """The whole outcome: kept and dropped passages with every score, and why.

        `top_n`, `force` (`rerank` or `skip`) and `deadline` hold for this settings.
        """
        settings = CallSettings(top_n=top_n, force=force, deadline=deadline)
        return self._flow(settings).run([bundle_of(query)])[0][0]

    async def aretrieve_outcome(
        self,
        query: str | QueryBundle,
        *,
        top_n: int | None = None,
        force: Action | str | None = None,
        deadline: Deadline | None = None,
    ) -> Outcome:
        """`retrieve_outcome` without blocking the event loop."""
        settings = CallSettings(top_n=top_n, force=force, deadline=deadline)
        return (await self._flow(settings).arun([bundle_of(query)]))[0][0]

    def retrieve_many(
        self,
        queries: Sequence[str | QueryBundle],
        *,
        top_n: int | None = None,
        force: Action | str | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[NodeWithScore]]:
        """The nodes of each query; those that need the scorer share one call to it.

        The dispatcher gets the events of each query, the older callback manager one pair for
        the batch.

        `top_n`, `force` and `deadline` hold for the whole batch.
        """
        bundles = [bundle_of(q) for q in queries]
        settings = CallSettings(top_n=top_n, force=force, deadline=deadline)
        with retrievals(self.callback_manager, bundles) as end:
            nodes = self._flow(settings).run(bundles)[1]
            resolved = [
                self._handle_recursive_retrieval(q, found)
                for q, found in zip(bundles, nodes, strict=True)
            ]
            return end(resolved)

    async def aretrieve_many(
        self,
        queries: Sequence[str | QueryBundle],
        *,
        top_n: int | None = None,
        force: Action | str | None = None,
        deadline: Deadline | None = None,
        workers: int = 4,
    ) -> list[list[NodeWithScore]]:
        """`retrieve_many` without blocking the event loop; `workers` first stages at a time."""
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise InputError(f"workers must be a whole number of at least 1, got {workers!r}")
        bundles = [bundle_of(q) for q in queries]
        settings = CallSettings(top_n=top_n, force=force, deadline=deadline)
        with retrievals(self.callback_manager, bundles) as end:
            nodes = (await self._flow(settings).arun(bundles, workers=workers))[1]
            resolved = [
                await self._ahandle_recursive_retrieval(q, found)
                for q, found in zip(bundles, nodes, strict=True)
            ]
            return end(resolved)

    def candidates(self, query: str, k: int | None = None) -> list[Candidate]:
        """The first stage alone, as `rankgate calibrate` and the evaluation take it."""
        return self._flow(CallSettings(k=k)).find(bundle_of(query)).candidates

    async def acandidates(self, query: str, k: int | None = None) -> list[Candidate]:
        """`candidates` without blocking the event loop."""
        return (await self._flow(CallSettings(k=k)).afind(bundle_of(query))).candidates

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._flow(CallSettings()).run([bundle_of(query_bundle)])[1][0]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return (await self._flow(CallSettings()).arun([bundle_of(query_bundle)]))[1][0]

    def _flow(self, settings: CallSettings) -> Flow:
        k = self.k if settings.k is None else settings.k
        top_n = self.top_n if settings.top_n is None else settings.top_n
        return Flow(
            finder=self.finder,
            engine=self._engine,
            settings=replace(settings, k=k, top_n=top_n),
            answer=self._answer,
            manager=self.callback_manager,
            content=self.events_with_content,
        )

    def _answer(self, outcome: Outcome, found: FoundNodes) -> tuple[Outcome, list[NodeWithScore]]:
        told = self._engine.told(outcome, found, self.on_outcome)
        return told, nodes_from_outcome(
            told,
            nodes_in(found),
            extras=found.extras,
            when_refused=self.when_refused,
            when_degraded=self.when_degraded,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Its handlers are the process's own business, as with LlamaIndex's components.
        return {name: v for name, v in self.__dict__.items() if name != "callback_manager"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, callback_manager=CallbackManager())
