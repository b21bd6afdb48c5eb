"""Call: the arguments of one call, checked before anything is fetched or scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rankgate import Action, Candidate, Deadline, Request, Reranker
from rankgate.errors import InputError

__all__ = ["Call", "Force", "candidates_wanted"]

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
        deadline = rest.pop("deadline", None)
        if deadline is not None and not isinstance(deadline, Deadline):
            raise InputError(
                f"deadline must be a rankgate.Deadline, got {type(deadline).__name__}. "
                "Make one with Deadline.after(seconds)."
            )
        return cls(
            k=_count("k", rest.pop("k", None), k),
            top_n=_count("top_n", rest.pop("top_n", None), top_n),
            force=_action(rest.pop("force", None), force),
            deadline=deadline,
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


def candidates_wanted(reranker: Reranker, k: int | None) -> int:
    """k, or else the policy's K: the largest where the candidates decide the section."""
    if k is not None:
        return k
    if reranker.first_stage is not None:
        return reranker.policy.section(reranker.first_stage).k
    return max(section.k for section in reranker.policy.sections.values())


def _count(name: str, given: Any, own: int | None) -> int | None:
    value = own if given is None else given
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
    return value


def _action(given: Any, own: Force | None) -> Action | None:
    value = own if given is None else given
    if value is None:
        return None
    try:
        return Action(value)
    except ValueError as exc:
        raise InputError(f"force must be 'rerank' or 'skip', got {value!r}") from exc
