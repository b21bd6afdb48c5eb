"""Arguments: those that a retriever is made with, and those of one call to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import QueryBundle

from rankgate import Action, Deadline, Outcome, Policy, Profile, Reranker
from rankgate.adapters.options import as_action, as_count, as_deadline
from rankgate.errors import InputError

__all__ = ["PARTS", "Call", "Settings", "bundle_of"]

# Those of `Settings` that the reranker is made of.
PARTS = ("scorer", "policy", "reranker", "profile", "lexicon")


class Settings(TypedDict, total=False):
    """What every constructor of `RankGateRetriever` takes, besides its first stage.

    Attributes:
        scorer: any rankgate scorer; default: the bundled one, loaded on first use.
        policy: a policy or the path of its file; default: the default policy where it fits.
        reranker: a finished one, instead of scorer and policy.
        profile: what is known of the first stage, compared with what the policy was fitted for.
        lexicon: words that the corpus contains.
        k: candidates to ask for; default: the policy's K.
        top_n: nodes to return; default: the policy's.
        on_outcome: called with each outcome before the nodes are returned.
        events_with_content: False keeps queries and nodes out of the reranking's events.
        callback_manager: LlamaIndex's.
    """

    scorer: Any
    policy: Policy | str | Path | None
    reranker: Reranker | None
    profile: Profile | None
    lexicon: Collection[str] | None
    k: int | None
    top_n: int | None
    on_outcome: Callable[[Outcome], None] | None
    events_with_content: bool
    callback_manager: CallbackManager | None


def bundle_of(query: str | QueryBundle) -> QueryBundle:
    """The query as LlamaIndex hands it around.

    Raises:
        InputError: neither words nor a bundle.
    """
    if isinstance(query, QueryBundle):
        return query
    if not isinstance(query, str):
        raise InputError(f"a query must be a string or a QueryBundle, got {type(query).__name__}")
    return QueryBundle(query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a caller may set for one call; None: the retriever's own, or the policy's.

    Attributes:
        top_n: nodes to return.
        force: `rerank` or `skip` overrules the gate.
        deadline: for the whole call.
    """

    top_n: int | None = None
    force: Action | str | None = None
    deadline: Deadline | None = None

    def __post_init__(self) -> None:
        as_count("top_n", self.top_n)
        as_action(self.force)
        as_deadline(self.deadline)
