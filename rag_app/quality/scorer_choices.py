"""The scorers that a running application can compare: its own, and what its encoder gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankgate import Scorer
from rankgate.encoders.bundled import bundled_query_encoder
from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.head import TokenHead
from rankgate.errors import InputError
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.scorers.wrappers.traits import innermost

if TYPE_CHECKING:
    from rag_app.ask.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerChoice:
    """A scorer by its own name.

    Attributes:
        id: as in `ScorerInfo`.
        scorer: ready, or loaded when it is first needed.
        configured: whether it is the one that answers.
    """

    id: str
    scorer: Scorer
    configured: bool = False


def scorer_choices(pipeline: Pipeline) -> tuple[ScorerChoice, ...]:
    """What can score a collection's passages without another model: the configured one first.

    Where the passages' token vectors come from an encoder for late interaction, that is among
    them as it comes (with the bundled query encoder, where that fits), plain, and with a head:
    the configured one's, else the best window alone, which has nothing that was trained.
    """
    own = pipeline.reranker.scorer
    found = [ScorerChoice(id=own.info.id, scorer=own, configured=True)]
    for scorer in _late(pipeline, own):
        if all(scorer.info.id != known.id for known in found):
            found.append(ScorerChoice(id=scorer.info.id, scorer=scorer))
    return tuple(found)


def choice_named(pipeline: Pipeline, name: str | None) -> ScorerChoice:
    """The choice of that id; None: the configured one.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    choices = scorer_choices(pipeline)
    for choice in choices:
        if name is None or choice.id == name:
            return choice
    known = ", ".join(choice.id for choice in choices)
    raise InputError(f"there is no scorer {name!r} to compare; this server has: {known}")


def _late(pipeline: Pipeline, own: Scorer) -> Sequence[LateInteractionScorer]:
    """Late interaction as it comes, plain, and with a head, where there is an encoder for it."""
    store, own = pipeline.store, innermost(own)
    if isinstance(own, LateInteractionScorer):
        encoder, tokens, head = own.encoder, own.token_store, own.head
    elif isinstance(store.embedder, TokenEncoder):
        encoder, tokens, head = store.embedder, store.token_store, None
    else:
        return ()
    window = TokenHead(encoder=encoder.sha256)
    bundled = bundled_query_encoder(encoder)
    return (
        *(
            LateInteractionScorer(encoder, token_store=tokens, head=window, query_encoder=query)
            for query in (bundled,)
            if query is not None
        ),
        LateInteractionScorer(encoder, token_store=tokens),
        LateInteractionScorer(encoder, token_store=tokens, head=window if head is None else head),
    )
