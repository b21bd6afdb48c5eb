"""The second stage as the settings name it: scorer with its wrappers, and reranker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rag_app.generate.openai import OPENAI_URL
from rankgate import Policy, Reranker
from rankgate.decide.sufficiency import OFF, ReaderName
from rankgate.errors import ConfigError
from rankgate.scorers.build import ScorerName, Wrapping, load
from rankgate.scorers.protocol import Scorer
from rankgate.types import FirstStageKind

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings
    from rankgate.encoders.token_store import TokenStore

_MEGABYTE = 2**20
_READING_S = 10.0  # of one request to an LLM that reads; the answer has to be written yet


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
        wrapping=_wrapping(settings, shared),
    )


def _wrapping(settings: Settings, shared: bool) -> Wrapping:
    return Wrapping(batched=shared, cache_bytes=round(settings.scorer_cache_mb * _MEGABYTE))


def reader_of(settings: Settings, *, shared: bool = False) -> Scorer | None:
    """Who reads question and passages where the policy is unsure; None: nobody.

    Args:
        settings: `sufficiency`, `policy` and, for an LLM, the generator's `openai_*` are read.
        shared: see `scorer_for`.

    Raises:
        ConfigError: the policy was fitted with another reader, with none, or with an LLM that the
            settings do not let it ask; or a setting of the LLM is lacking.
        ModelNotFoundError: the reader's file is not there.
    """
    policy = Policy.default() if settings.policy is None else Policy.load(settings.policy)
    part, wish = policy.section(FirstStageKind.HYBRID).sufficiency, settings.sufficiency
    # Of two policies that are compared one may have a reader and the other none.
    asks = OFF if part is None else part.reader
    if asks == OFF and (wish is None or settings.policy_b is not None):
        return None
    if wish is None and ReaderName.parse(asks).kind == "llm":
        raise ConfigError(
            f"policy {policy.name!r} was fitted with {asks}, which would be sent questions and "
            "passages: set sufficiency = 'llm', with openai_model as there, or 'off'"
        )
    if wish == "llm":
        url = settings.openai_base_url
        if settings.openai_model is None or (url is None and settings.openai_api_key is None):
            raise ConfigError(
                "sufficiency llm needs openai_model, and openai_base_url or, for OpenAI's own "
                "API, openai_api_key"
            )
        base = OPENAI_URL if url is None else url.rstrip("/")
        wish = f"llm:{settings.openai_model}@{base}/chat/completions"
    from rankgate.judge.reading import reader_for

    return reader_for(
        [part],
        wish,
        encoder=settings.embedder_path,
        api_key=settings.openai_api_key,
        timeout_s=min(_READING_S, settings.openai_timeout_s),
        wrapping=replace(_wrapping(settings, shared), windowed=False),
    )


def reranker_for(
    settings: Settings, store: Store, scorer: Scorer, reader: Scorer | None = None
) -> Reranker:
    """The reranker of the settings; k and deadline overrule the policy's.

    Args:
        reader: of `reader_of`, where it is there already.
    """
    policy = None if settings.policy is None else Policy.load(settings.policy)
    asked = reader_of(settings) if reader is None else reader

    def build(with_policy: Policy | None, notes: tuple[str, ...] = ()) -> Reranker:
        return Reranker(
            scorer,
            policy=with_policy,
            first_stage=FirstStageKind.HYBRID,
            profile=store.profile(),
            lexicon=store.bm25.lexicon,
            notes=notes,
            sufficiency=OFF if asked is None else asked,
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
