"""The compressor: reranks documents that some other retriever has found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation

from langchain_rankgate.documents import candidates_from_documents, documents_from_outcome
from langchain_rankgate.settings import Force
from langchain_rankgate.trace import outputs_of
from rankgate import FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.adapters.as_scorer import ScorerLike
from rankgate.adapters.late import LateReranker, RerankerParts
from rankgate.adapters.refusal import WhenDegraded, WhenRefused
from rankgate.adapters.token_cache import TokenCacheLike
from rankgate.describe import Description

__all__ = ["RankGateRerank"]


class RankGateRerank(BaseDocumentCompressor):
    """A document compressor, for `ContextualCompressionRetriever` or by itself.

    Documents are taken in the order in which they come. The result are copies, best first,
    with `relevance_score` (a probability; absent where no relevance model applies) and
    `rankgate_*` keys in their metadata; a refused query gives none unless `when_refused` says
    otherwise. A scorer that fails gives the incoming order, marked `degraded`.

    With `callbacks` the call is traced as a chain run.

    Attributes:
        top_n: documents to return; None: the policy's.
        dense_key: metadata key that holds each document's cosine similarity in [-1, 1]; None:
            no score of the first stage is read, and the policy's section `order` applies.
        scorer: a scorer, or its name as for `rankgate.load`; None: the default one, loaded on
            first use.
        policy: a policy or the path of its file; None: the default policy where it fits.
        reranker: a finished one, instead of scorer and policy.
        profile: what is known of the first stage.
        embedder: name of the model that the cosines under `dense_key` come from.
        lexicon: words that the corpus contains.
        token_cache: where the default scorer keeps what it has read; see `RerankerSettings`.
        force: `rerank` or `skip` overrules the gate, for comparisons; None: the gate decides.
        when_refused: `empty`: no documents. `raise`: a `RefusedError`. `mark`: the documents
            that the floor refused, with `rankgate_outcome` set to `refused`. `say`: one document
            that says so in words, for a model to read.
        when_degraded: `keep`: the first stage's order, marked. `raise`: a `DegradedError`.
        on_outcome: called with each outcome before the documents are returned.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", validate_assignment=True
    )

    top_n: Annotated[int, Field(ge=1, strict=True)] | None = None
    force: Force | None = None
    when_refused: WhenRefused = "empty"
    when_degraded: WhenDegraded = "keep"
    # Frozen: the reranker is made of them once, and a later change would go unheard.
    dense_key: str | None = Field(default=None, frozen=True)
    scorer: SkipValidation[ScorerLike | None] = Field(
        default=None, frozen=True, exclude=True, repr=False
    )
    policy: Policy | str | Path | None = Field(default=None, frozen=True, exclude=True, repr=False)
    reranker: Reranker | None = Field(default=None, frozen=True, exclude=True, repr=False)
    profile: Profile | None = Field(default=None, frozen=True, exclude=True, repr=False)
    embedder: str | None = Field(default=None, frozen=True, exclude=True, repr=False)
    lexicon: Collection[str] | None = Field(default=None, frozen=True, exclude=True, repr=False)
    token_cache: TokenCacheLike = Field(default=True, frozen=True, exclude=True, repr=False)
    on_outcome: Callable[[Outcome], None] | None = Field(default=None, exclude=True, repr=False)

    _engine: LateReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Build the engine; touches neither network nor model."""
        kind = FirstStageKind.ORDER if self.dense_key is None else FirstStageKind.DENSE
        self._engine = LateReranker(
            RerankerParts(
                reranker=self.reranker,
                scorer=self.scorer,
                policy=self.policy,
                profile=self.profile,
                embedder=self.embedder,
                lexicon=self.lexicon,
                token_cache=self.token_cache,
                kind=kind,
            )
        )

    @classmethod
    def from_policy(
        cls, policy: Policy | str | Path, *, scorer: ScorerLike | None = None, **kwargs: Any
    ) -> RankGateRerank:
        """With the policy that `rankgate calibrate` wrote.

        Args:
            policy: a policy or the path of its file.
            scorer: the scorer that it was fitted for; None: the default one.
            **kwargs: the class's other fields.
        """
        return cls(policy=policy, scorer=scorer, **kwargs)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities), and what is off and why."""
        return self._engine.describe()

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> list[Document]:
        """The documents to keep, as copies, best first.

        Raises:
            InputError: query or documents cannot be used.
            RefusedError: the query was refused, and `when_refused` is `raise`.
        """
        if callbacks is None:
            return self._result(documents, self._rerank(documents, query))
        manager = CallbackManager.configure(inheritable_callbacks=callbacks)
        run = manager.on_chain_start(None, _inputs(documents, query), name="RankGateRerank")
        try:
            outcome = self._rerank(documents, query)
            result = self._result(documents, outcome)
        except BaseException as exc:
            run.on_chain_error(exc)
            raise
        run.on_chain_end(_outputs(outcome, result))
        return result

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> list[Document]:
        """`compress_documents` without blocking the event loop."""
        if callbacks is None:
            return self._result(documents, await self._arerank(documents, query))
        manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks)
        run = await manager.on_chain_start(None, _inputs(documents, query), name="RankGateRerank")
        try:
            outcome = await self._arerank(documents, query)
            result = self._result(documents, outcome)
        except BaseException as exc:
            await run.on_chain_error(exc)
            raise
        await run.on_chain_end(_outputs(outcome, result))
        return result

    def _rerank(self, documents: Sequence[Document], query: str) -> Outcome:
        candidates = candidates_from_documents(documents, dense_key=self.dense_key)
        outcome = self._engine.get().rerank(query, candidates, top_n=self.top_n, force=self.force)
        return self._engine.noted(outcome, None)

    async def _arerank(self, documents: Sequence[Document], query: str) -> Outcome:
        candidates = candidates_from_documents(documents, dense_key=self.dense_key)
        reranker = await self._engine.aget()
        outcome = await reranker.arerank(query, candidates, top_n=self.top_n, force=self.force)
        return self._engine.noted(outcome, None)

    def _result(self, documents: Sequence[Document], outcome: Outcome) -> list[Document]:
        if self.on_outcome is not None:
            self.on_outcome(outcome)
        return documents_from_outcome(
            outcome,
            documents,
            when_refused=self.when_refused,
            when_degraded=self.when_degraded,
        )


def _inputs(documents: Sequence[Document], query: str) -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


def _outputs(outcome: Outcome, documents: Sequence[Document]) -> dict[str, Any]:
    return {"documents": list(documents), **outputs_of(outcome)}
