"""Settings: what constructors take, and what a call's arguments say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field

from langchain_rankgate.documents import documents_from_outcome
from rankgate import Outcome
from rankgate.adapters.arguments import CallSettings, RerankerSettings
from rankgate.adapters.found import Found
from rankgate.adapters.late import LateReranker
from rankgate.adapters.refusal import WhenDegraded, WhenRefused

__all__ = [
    "STRICT",
    "Answers",
    "Count",
    "Force",
    "RetrieverSettings",
    "call_settings",
    "session_of",
]

Force = Literal["rerank", "skip"]
Count = Annotated[int, Field(ge=1, strict=True)]

# Where a run's metadata names its conversation, as LangSmith reads them.
_SESSION = ("session_id", "thread_id", "conversation_id")


# Named by each class: of several bases the last one's settings count.
STRICT = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)


class Answers(BaseModel):
    """What every component of this package is told about its answers.

    Attributes:
        top_n: documents to return; None: the policy's.
        force: `rerank` or `skip` overrules the gate, for comparisons; None: the gate decides.
        when_refused: `empty`: no documents. `raise`: a `RefusedError`. `mark`: the documents
            that the floor refused, with `rankgate_outcome` set to `refused`. `say`: one document
            that says so in words, for a model to read.
        when_degraded: `keep`: the first stage's order, marked. `raise`: a `DegradedError`.
        on_outcome: called with each outcome before the documents are returned; what it raises
            reaches the caller.
    """

    model_config = STRICT

    top_n: Count | None = None
    force: Force | None = None
    when_refused: WhenRefused = "empty"
    when_degraded: WhenDegraded = "keep"
    on_outcome: Callable[[Outcome], None] | None = Field(default=None, exclude=True, repr=False)

    def answer(
        self, engine: LateReranker, found: Found[Document], outcome: Outcome
    ) -> list[Document]:
        """The outcome as documents, after log and `on_outcome` have been told.

        Raises:
            RefusedError: the query was refused, and `when_refused` is `raise`.
            DegradedError: the outcome is degraded, and `when_degraded` is `raise`.
        """
        return documents_from_outcome(
            engine.told(outcome, found, self.on_outcome),
            found.items,
            extras=found.extras,
            when_refused=self.when_refused,
            when_degraded=self.when_degraded,
        )


def session_of(metadata: Mapping[str, Any] | None) -> str | None:
    """The conversation that a run's metadata names; None: none."""
    found = (None if metadata is None else metadata.get(name) for name in _SESSION)
    return next((str(value) for value in found if value is not None), None)


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
