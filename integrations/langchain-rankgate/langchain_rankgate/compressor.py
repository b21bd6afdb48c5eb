"""The compressor: reranks documents that some other retriever has found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import Field, PrivateAttr, SkipValidation

from langchain_rankgate.finders import FoundDocuments, found_documents
from langchain_rankgate.settings import STRICT, Answers, session_of
from langchain_rankgate.trace import outputs_of
from rankgate import FirstStageKind, Outcome, Policy, Profile, Reranker
from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.as_scorer import ScorerLike
from rankgate.adapters.late import LateReranker, RerankerParts
from rankgate.adapters.token_cache import TokenCacheLike
from rankgate.describe import Description
from rankgate.live.question_log import QuestionLog

__all__ = ["RankGateRerank"]


class RankGateRerank(Answers, BaseDocumentCompressor):
    """A document compressor, for `ContextualCompressionRetriever` or by itself.

    Documents are taken in the order in which they come. The result are copies, best first,
    with `relevance_score` (a probability; absent where no relevance model applies) and
    `rankgate_*` keys in their metadata; a refused query gives none unless `when_refused` says
    otherwise. A scorer that fails gives the incoming order, marked `degraded`.

    With `callbacks` the call is traced as a chain run.

    Attributes:
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
        question_log: a file that gets each question with what became of it; likewise.
        top_n, force, when_refused, when_degraded, on_outcome: see `Answers`.
    """

    model_config = STRICT

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
    question_log: QuestionLog | str | Path | None = Field(
        default=None, frozen=True, exclude=True, repr=False
    )

    _engine: LateReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Build the engine; touches neither network nor model."""
        kind = FirstStageKind.ORDER if self.dense_key is None else FirstStageKind.DENSE
        own = {name: getattr(self, name) for name in RerankerSettings.__annotations__}
        self._engine = LateReranker(RerankerParts(kind=kind, **own))

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
            found = self._found(documents, None)
            return self.answer(self._engine, found, self._rerank(found, query))
        manager = CallbackManager.configure(inheritable_callbacks=callbacks)
        run = manager.on_chain_start(None, _inputs(documents, query), name="RankGateRerank")
        try:
            found = self._found(documents, run.metadata)
            outcome = self._rerank(found, query)
            result = self.answer(self._engine, found, outcome)
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
            found = self._found(documents, None)
            return self.answer(self._engine, found, await self._arerank(found, query))
        manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks)
        run = await manager.on_chain_start(None, _inputs(documents, query), name="RankGateRerank")
        try:
            found = self._found(documents, run.metadata)
            outcome = await self._arerank(found, query)
            result = self.answer(self._engine, found, outcome)
        except BaseException as exc:
            await run.on_chain_error(exc)
            raise
        await run.on_chain_end(_outputs(outcome, result))
        return result

    def _found(
        self, documents: Sequence[Document], metadata: Mapping[str, Any] | None
    ) -> FoundDocuments:
        found = found_documents(documents, dense_key=self.dense_key)
        return replace(found, session=session_of(metadata))

    def _rerank(self, found: FoundDocuments, query: str) -> Outcome:
        reranker = self._engine.get()
        return reranker.rerank(query, found.candidates, top_n=self.top_n, force=self.force)

    async def _arerank(self, found: FoundDocuments, query: str) -> Outcome:
        reranker = await self._engine.aget()
        return await reranker.arerank(query, found.candidates, top_n=self.top_n, force=self.force)


def _inputs(documents: Sequence[Document], query: str) -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


def _outputs(outcome: Outcome, documents: Sequence[Document]) -> dict[str, Any]:
    return {"documents": list(documents), **outputs_of(outcome)}
