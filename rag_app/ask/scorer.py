"""The second stage as the settings name it: scorer with its wrappers, and reranker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankgate import Policy, Reranker
from rankgate.scorers.build import ScorerName, Wrapping, load
from rankgate.scorers.protocol import Scorer
from rankgate.types import FirstStageKind

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings
    from rankgate.encoders.token_store import TokenStore

_MEGABYTE = 2**20


def scorer_for(
    settings: Settings, token_store: TokenStore | None = None, *, shared: bool = False
) -> Scorer:
    """The scorer of the setting `scorer`, inside the wrappers that every part of the house uses.

    Late interaction uses the encoder that embeds the question anyway, so it costs nothing to
    have it ready; any other model is loaded at the first query that the gate lets through.

    Args:
        settings: `scorer`, `scorer_api_key`, `scorer_cache_mb` and `embedder_path` are read.
        token_store: token vectors that ingestion has kept; only late interaction reads them.
        shared: several users ask at the same time, so that their queries may share a call.

    Raises:
        ConfigError: the late-interaction encoder, or question layers for it, cannot be loaded; a
            remote scorer lacks its URL, model or key.
    """
    parts = ScorerName.parse(settings.scorer)
    return load(
        settings.scorer,
        encoder=settings.embedder_path,
        token_store=token_store if parts.reads_tokens else None,
        api_key=settings.scorer_api_key if parts.remote else None,
        lazy=True,
        wrapping=Wrapping(batched=shared, cache_bytes=round(settings.scorer_cache_mb * _MEGABYTE)),
    )


def reranker_for(settings: Settings, store: Store, scorer: Scorer) -> Reranker:
    """The reranker of the settings; k and deadline overrule the policy's."""
    policy = None if settings.policy is None else Policy.load(settings.policy)

    def build(with_policy: Policy | None, notes: tuple[str, ...] = ()) -> Reranker:
        return Reranker(
            scorer,
            policy=with_policy,
            first_stage=FirstStageKind.HYBRID,
            profile=store.profile(),
            lexicon=store.bm25.lexicon,
            notes=notes,
        )

    reranker = build(policy)
    changes: dict[str, Any] = {}
    if settings.k is not None:
        changes["k"] = settings.k
    if settings.deadline_ms is not None:
        changes["deadline_ms"] = settings.deadline_ms
    if not changes:
        return reranker
    changed = reranker.policy.with_section(FirstStageKind.HYBRID, **changes)
    return build(changed, reranker.notes)  # why the default policy does not apply stays to be said
