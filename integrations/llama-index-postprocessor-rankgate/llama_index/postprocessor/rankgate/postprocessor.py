"""The node postprocessor: gate, scorer and floor behind any LlamaIndex retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Unpack

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.events import End, announced, top_n_of
from llama_index.postprocessor.rankgate.finders import score_reader
from llama_index.postprocessor.rankgate.nodes import FoundNodes, found_nodes, nodes_from_outcome
from llama_index.postprocessor.rankgate.settings import bundle_of
from rankgate import FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.as_scorer import ScorerLike
from rankgate.adapters.embedders import embedder_name, known_profile
from rankgate.adapters.late import LateReranker
from rankgate.adapters.refusal import WhenDegraded, WhenRefused, one_of
from rankgate.describe import Description
from rankgate.errors import ConfigError, InputError
from rankgate.retrieve.spaces import Space, space_named

__all__ = ["RankGateRerank"]


class RankGateRerank(BaseNodePostprocessor):
    """Reranks nodes where that pays, and drops all of them rather than keep irrelevant ones.

    The result are new `NodeWithScore`s, best first, with `relevance_score` (a probability;
    absent where no relevance model applies) and `rankgate_*` keys in their metadata, kept out
    of prompts and embedded text. A node's score is that probability and nothing else; without
    one it is None. A refused query gives no nodes; a scorer that fails gives the incoming
    order, marked `degraded`.

    Args:
        top_n: nodes to return; None: the policy's.
        chroma_space: `cosine`, `l2` or `ip`: the nodes come from a `ChromaVectorStore` with
            that space, whose scores are `exp(-distance)`; the gate then sees cosines.
        embed_model: what made the index's vectors: what its scores mean is found with the first
            question, by embedding a few nodes once more, and the gate sees cosines. Without
            either, scores are not read, and the policy's section `order` applies.
        when_refused: `empty`: no nodes. `raise`: a `RefusedError`. `mark`: the nodes that the
            floor refused, with `rankgate_outcome` set to `refused`. `say`: one node that says so
            in words, for a query engine or a tool, whose model would guess from nothing.
        when_degraded: `keep`: the first stage's order, marked. `raise`: a `DegradedError`.
        on_outcome: called with each outcome before the nodes are returned.
        events_with_content: False keeps queries and nodes out of every event.
        callback_manager: LlamaIndex's.
        **settings: what the reranker is made of, see `RerankerSettings`. `embedder` names the
            model whose scores `chroma_space` reads.

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

    when_refused: WhenRefused = Field(default="empty", description="What a refused query gives.")
    when_degraded: WhenDegraded = Field(
        default="keep", description="What a query gives whose scorer failed."
    )
    events_with_content: bool = Field(
        default=True, description="Whether events carry the query and the nodes."
    )

    _engine: LateReranker = PrivateAttr()
    _on_outcome: Callable[[Outcome], None] | None = PrivateAttr(default=None)

    def __init__(
        self,
        top_n: int | None = None,
        *,
        chroma_space: Space | None = None,
        embed_model: BaseEmbedding | None = None,
        when_refused: WhenRefused = "empty",
        when_degraded: WhenDegraded = "keep",
        on_outcome: Callable[[Outcome], None] | None = None,
        events_with_content: bool = True,
        callback_manager: CallbackManager | None = None,
        **settings: Unpack[RerankerSettings],
    ) -> None:
        if chroma_space is not None:
            space_named(chroma_space)
            if embed_model is not None:
                raise InputError(
                    "chroma_space and embed_model both say what the scores are: give embed_model "
                    "alone, the space is found by looking"
                )
        scores = None if embed_model is None else score_reader("the retriever", embed_model)
        found = Profile(embedder=embedder_name(embed_model), space=chroma_space)
        unread = chroma_space is None and scores is None
        kind = FirstStageKind.ORDER if unread else FirstStageKind.DENSE
        engine, rest = LateReranker.taking(settings, kind, found=found, scores=scores)
        if callback_manager is not None:
            rest["callback_manager"] = callback_manager
        fields = {
            "top_n": top_n,
            "chroma_space": chroma_space,
            "when_refused": one_of("when_refused", when_refused, WhenRefused),
            "when_degraded": one_of("when_degraded", when_degraded, WhenDegraded),
            "events_with_content": events_with_content,
        }
        super().__init__(**{**fields, **rest})
        self._engine = engine
        self._on_outcome = on_outcome

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex serialises it."""
        return "RankGateRerank"

    @classmethod
    def from_policy(
        cls, policy: Policy | str | Path, *, scorer: ScorerLike | None = None, **kwargs: Any
    ) -> RankGateRerank:
        """With the policy that `rankgate calibrate` wrote.

        Args:
            policy: a policy or the path of its file.
            scorer: the scorer that it was fitted for; None: the default one.
            **kwargs: the class's other arguments.
        """
        return cls(policy=policy, scorer=scorer, **kwargs)

    @classmethod
    def from_defaults(cls, top_n: int | None = None, **kwargs: Any) -> RankGateRerank:
        """The same as the constructor, under the name that LlamaIndex's users look for."""
        return cls(top_n, **kwargs)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities) and what the scores are; what is off, why."""
        return self._engine.describe()

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        found = self._found(query, nodes)
        reranker = self._engine.get()
        with self._announced(nodes, query, reranker) as end:
            outcome = reranker.rerank(query.query_str, found.candidates, top_n=self.top_n)
            return self._result(nodes, outcome, found, end)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        scores = self._engine.parts.scores
        read = scores is None or scores.settled
        found = (
            self._found(query, nodes)
            if read
            else await asyncio.to_thread(self._found, query, nodes)
        )
        reranker = await self._engine.aget()
        with self._announced(nodes, query, reranker) as end:
            outcome = await reranker.arerank(query.query_str, found.candidates, top_n=self.top_n)
            return self._result(nodes, outcome, found, end)

    def _found(self, query: QueryBundle, nodes: list[NodeWithScore]) -> FoundNodes:
        scores = self._engine.parts.scores
        found = found_nodes(query.query_str, nodes, scores=scores, chroma_space=self.chroma_space)
        return replace(found, depth=len(nodes)) if nodes else found

    def _result(
        self, nodes: list[NodeWithScore], outcome: Outcome, found: FoundNodes, end: End
    ) -> list[NodeWithScore]:
        outcome = self._engine.told(outcome, found, self._on_outcome)
        kept = nodes_from_outcome(
            outcome, nodes, when_refused=self.when_refused, when_degraded=self.when_degraded
        )
        return end([outcome], [kept])[0]

    def _announced(
        self, nodes: list[NodeWithScore], query: QueryBundle, reranker: Reranker
    ) -> AbstractContextManager[End]:
        return announced(
            self.callback_manager,
            queries=[query],
            nodes=[nodes],
            top_n=top_n_of(reranker, self._engine.parts.kind) if self.top_n is None else self.top_n,
            model=reranker.scorer.info.id,
            content=self.events_with_content,
        )

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Plain data: the fields, the policy, and under `needs` what plain data cannot hold."""
        data: dict[str, Any] = super().to_dict(**kwargs)
        parts = self._engine.parts
        whole = parts.reranker
        policy = parts.loaded_policy() if whole is None else whole.policy
        scorer = parts.scorer if whole is None else whole.scorer
        lexicon = parts.lexicon if whole is None else whole.lexicon
        profile = known_profile(parts.profile, embedder=parts.embedder).to_dict()
        needs = {"scorer": scorer, "lexicon": lexicon, "embed_model": parts.scores}
        return {
            **data,
            "policy": None if policy is None else policy.to_dict(),
            "profile": profile if profile else None,
            "needs": [name for name, value in needs.items() if value is not None],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> RankGateRerank:
        """The inverse of `to_dict`.

        Args:
            data: of `to_dict`; not changed.
            **kwargs: what `needs` names, and whatever shall be different.

        Raises:
            ConfigError: something that `needs` names is missing. (The default in its place would
                be another component under the same name.)
        """
        rest = dict(data)
        given = {name for name, value in kwargs.items() if value is not None}
        if "reranker" in given:
            return super().from_dict(_without(rest, "needs", "policy", "profile"), **kwargs)
        missing = [name for name in rest.get("needs", ()) if name not in given]
        if missing:
            raise ConfigError(
                f"this {cls.class_name()} was made with its own {' and '.join(missing)}, which "
                f"plain data cannot hold. Pass {missing[0]}= to from_dict."
            )
        if rest.get("policy") is not None and "policy" not in given:
            kwargs["policy"] = Policy.from_dict(rest["policy"], source="the saved policy")
        if rest.get("profile") is not None and "profile" not in given:
            kwargs["profile"] = Profile.from_dict(rest["profile"])
        return super().from_dict(_without(rest, "needs", "policy", "profile"), **kwargs)

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
    return bundle_of(query_bundle)


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
