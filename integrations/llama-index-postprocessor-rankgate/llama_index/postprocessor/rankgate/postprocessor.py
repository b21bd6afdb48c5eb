"""The node postprocessor: gate, scorer and floor behind any LlamaIndex retriever."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.nodes import candidates_from_nodes, nodes_from_outcome
from rankgate import FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.assembly import Assembly, Parts
from rankgate.errors import InputError
from rankgate.firststage.spaces import Space, space_named

__all__ = ["RankGateRerank"]

_dispatcher = get_dispatcher(__name__)


class RankGateRerank(BaseNodePostprocessor):
    """Reranks nodes where that pays, and drops all of them rather than keep irrelevant ones.

    The result are new `NodeWithScore`s, best first, with `relevance_score` (a probability;
    absent where no relevance model applies) and `rankgate_*` keys in their metadata, kept out
    of prompts and embedded text. A node's score is that probability, else the scorer's raw
    score, else the score it came with. A refused query gives no nodes; a scorer that fails
    gives the incoming order, marked `degraded`.

    Args:
        top_n: nodes to return; None: the policy's.
        scorer: any rankgate scorer; None: the default one, loaded on first use.
        policy: a policy or the path of its file; None: the default policy where it fits.
        reranker: a finished one, instead of scorer and policy.
        chroma_space: `cosine`, `l2` or `ip`: the nodes come from a `ChromaVectorStore` with
            that space, whose scores are `exp(-distance)`; the gate then sees cosines. None:
            scores of the retriever are not read, and the policy's section `order` applies.
        profile: what is known of the first stage.
        lexicon: words that the corpus contains.
        on_outcome: called with each outcome before the nodes are returned.
        callback_manager: LlamaIndex's.

    Raises:
        InputError: an argument cannot be used.
        PolicyError: the policy is unusable or does not fit.
    """

    # An unknown argument is an error, not a setting that silently does nothing.
    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", validate_assignment=True
    )

    top_n: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, description="Nodes to return; the policy's number if None."
    )
    chroma_space: Space | None = Field(
        default=None,
        frozen=True,
        description="Vector space of the Chroma collection that gave the scores.",
    )

    _engine: Assembly = PrivateAttr()
    _on_outcome: Callable[[Outcome], None] | None = PrivateAttr(default=None)

    def __init__(
        self,
        top_n: int | None = None,
        *,
        scorer: Any = None,
        policy: Policy | str | Path | None = None,
        reranker: Reranker | None = None,
        chroma_space: Space | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        callback_manager: CallbackManager | None = None,
        **kwargs: Any,
    ) -> None:
        if chroma_space is not None:
            space_named(chroma_space)
        if callback_manager is not None:
            kwargs["callback_manager"] = callback_manager
        super().__init__(**{"top_n": top_n, "chroma_space": chroma_space, **kwargs})
        self._engine = Assembly(
            Parts(
                reranker=reranker,
                scorer=scorer,
                policy=policy,
                profile=profile,
                lexicon=lexicon,
                kind=self._kind,
            )
        )
        self._on_outcome = on_outcome

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex serialises it."""
        return "RankGateRerank"

    @classmethod
    def from_policy(
        cls, policy: Policy | str | Path, *, scorer: Any = None, **kwargs: Any
    ) -> RankGateRerank:
        """With the policy that `rankgate calibrate` wrote.

        Args:
            policy: a policy or the path of its file.
            scorer: the scorer that it was fitted for; None: the default one.
            **kwargs: the class's other arguments.
        """
        return cls(policy=policy, scorer=scorer, **kwargs)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        candidates = candidates_from_nodes(nodes, chroma_space=self.chroma_space)
        reranker = self._engine.get()
        with self._announced(nodes, query, reranker) as end:
            outcome = reranker.rerank(query.query_str, candidates, top_n=self.top_n)
            return end(self._result(nodes, outcome))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        candidates = candidates_from_nodes(nodes, chroma_space=self.chroma_space)
        reranker = await self._engine.aget()
        with self._announced(nodes, query, reranker) as end:
            outcome = await reranker.arerank(query.query_str, candidates, top_n=self.top_n)
            return end(self._result(nodes, outcome))

    @property
    def _kind(self) -> FirstStageKind:
        return FirstStageKind.ORDER if self.chroma_space is None else FirstStageKind.DENSE

    def _result(self, nodes: list[NodeWithScore], outcome: Outcome) -> list[NodeWithScore]:
        if self._on_outcome is not None:
            self._on_outcome(outcome)
        return nodes_from_outcome(outcome, nodes)

    @contextmanager
    def _announced(
        self, nodes: list[NodeWithScore], query: QueryBundle, reranker: Reranker
    ) -> Iterator[Callable[[list[NodeWithScore]], list[NodeWithScore]]]:
        """Tells both of LlamaIndex's event systems of the start, and of the result it is given."""
        top_n = self.top_n
        if top_n is None:
            top_n = reranker.policy.section(self._kind).top_n
        model = reranker.scorer.info.id
        _dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model))
        with self.callback_manager.event(
            CBEventType.RERANKING,
            payload={
                EventPayload.NODES: nodes,
                EventPayload.MODEL_NAME: model,
                EventPayload.QUERY_STR: query.query_str,
                EventPayload.TOP_K: top_n,
            },
        ) as event:

            def end(result: list[NodeWithScore]) -> list[NodeWithScore]:
                event.on_end(payload={EventPayload.NODES: result})
                _dispatcher.event(ReRankEndEvent(nodes=result))
                return result

            yield end

    # The framework's own pair drops what cannot be pickled and calls `__init__` without the
    # private attributes: another scorer than the one that was pickled would come back.
    def __getstate__(self) -> dict[str, Any]:
        state = BaseModel.__getstate__(self)
        fields = {k: v for k, v in state["__dict__"].items() if k != "callback_manager"}
        return {**state, "__dict__": fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)
        self.__dict__["callback_manager"] = CallbackManager()


def _query_of(query_bundle: QueryBundle | None) -> QueryBundle:
    if query_bundle is None:
        raise InputError(
            "Missing query bundle in extra info: reranking needs the query. Call "
            "postprocess_nodes(nodes, query_str=...) or pass a QueryBundle."
        )
    return query_bundle
