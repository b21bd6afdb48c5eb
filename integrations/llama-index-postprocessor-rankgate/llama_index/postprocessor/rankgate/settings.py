"""Settings: what constructors of `RankGateRetriever` take, and the query as it is handed around."""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import QueryBundle

from rankgate import Outcome
from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.refusal import WhenDegraded, WhenRefused
from rankgate.errors import InputError
from rankgate.plan import as_query

__all__ = ["RetrieverSettings", "bundle_of"]


class RetrieverSettings(RerankerSettings, total=False):
    """What every constructor of `RankGateRetriever` takes, besides its first stage.

    Attributes:
        k: candidates to ask for; default: the policy's K.
        top_n: nodes to return; default: the policy's.
        when_refused: what a refused query gives; see `RankGateRetriever`.
        when_degraded: what a query gives whose scorer failed.
        on_outcome: called with each outcome before the nodes are returned.
        events_with_content: False keeps queries and nodes out of the reranking's events.
        callback_manager: LlamaIndex's.
    """

    k: int | None
    top_n: int | None
    when_refused: WhenRefused
    when_degraded: WhenDegraded
    on_outcome: Callable[[Outcome], None] | None
    events_with_content: bool
    callback_manager: CallbackManager | None


def bundle_of(query: str | QueryBundle) -> QueryBundle:
    """The query as LlamaIndex hands it around.

    Raises:
        InputError: neither words nor a bundle of some.
    """
    if not isinstance(query, QueryBundle | str):
        raise InputError(f"a query must be a string or a QueryBundle, got {type(query).__name__}")
    bundle = query if isinstance(query, QueryBundle) else QueryBundle(query)
    as_query(bundle.query_str)
    return bundle
