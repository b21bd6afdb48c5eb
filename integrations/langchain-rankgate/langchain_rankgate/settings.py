"""Settings: what constructors take, and what a call's arguments say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from rankgate import Outcome
from rankgate.adapters.arguments import CallSettings, RerankerSettings
from rankgate.adapters.refusal import WhenDegraded, WhenRefused

__all__ = ["Force", "RetrieverSettings", "call_settings"]

Force = Literal["rerank", "skip"]


class RetrieverSettings(RerankerSettings, total=False):
    """What every constructor of `RankGateRetriever` takes, besides its first stage.

    Attributes:
        k: candidates to fetch; default: the policy's K.
        top_n: documents to return; default: the policy's.
        force: `rerank` or `skip` overrules the gate.
        when_refused: what a refused query gives.
        when_degraded: what a query gives whose scorer failed.
        on_outcome: called with each outcome before the documents are returned.
        name, tags, metadata: LangChain's.
    """

    k: int | None
    top_n: int | None
    force: Force | None
    when_refused: WhenRefused
    when_degraded: WhenDegraded
    on_outcome: Callable[[Outcome], None] | None
    name: str | None
    tags: list[str] | None
    metadata: dict[str, Any] | None


def call_settings(
    arguments: Mapping[str, Any],
    *,
    k: int | None = None,
    top_n: int | None = None,
    force: Force | None = None,
) -> tuple[CallSettings, dict[str, Any]]:
    """What a call's arguments say, the component's own where they are silent; and the rest.

    The rest is the first stage's business.

    Raises:
        InputError: an argument that cannot be used.
    """
    rest = dict(arguments)
    rest.pop("verbose", None)  # LangChain's own, which it leaves among the arguments

    def given(name: str, own: Any) -> Any:
        value = rest.pop(name, None)
        return own if value is None else value

    settings = CallSettings(
        k=given("k", k),
        top_n=given("top_n", top_n),
        force=given("force", force),
        deadline=given("deadline", None),
    )
    return settings, rest
