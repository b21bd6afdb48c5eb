"""Call: the arguments of one call, checked before anything is fetched or scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rankgate import Action, Candidate, Deadline, Request
from rankgate.adapters.options import as_action, as_count, as_deadline

__all__ = ["Call", "Force"]

Force = Literal["rerank", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call's settings.

    Attributes:
        k: candidates to fetch, where the caller or the component named a number.
        top_n: documents to return; None: the policy's.
        force: overrules the gate.
        deadline: for the scorer and what follows.
        rest: arguments that are the first stage's business.
    """

    k: int | None
    top_n: int | None
    force: Action | None
    deadline: Deadline | None
    rest: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        kwargs: Mapping[str, Any],
        *,
        k: int | None = None,
        top_n: int | None = None,
        force: Force | None = None,
    ) -> Call:
        """What `kwargs` say; the component's own setting where they are silent.

        Raises:
            InputError: an argument that cannot be used.
        """
        rest = dict(kwargs)
        rest.pop("verbose", None)  # LangChain's own, which it leaves among the arguments
        return cls(
            k=as_count("k", _given(rest, "k", k)),
            top_n=as_count("top_n", _given(rest, "top_n", top_n)),
            force=as_action(_given(rest, "force", force)),
            deadline=as_deadline(rest.pop("deadline", None)),
            rest=rest,
        )

    def request(self, query: str, candidates: list[Candidate]) -> Request:
        """What the engine is asked."""
        return Request(
            query=query,
            candidates=candidates,
            top_n=self.top_n,
            force=self.force,
            deadline=self.deadline,
        )


def _given(rest: dict[str, Any], name: str, own: Any) -> Any:
    value = rest.pop(name, None)
    return own if value is None else value
