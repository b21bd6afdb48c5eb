"""Arguments: what constructors and single calls take in both frameworks, checked in one way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

from rankgate.adapters.as_scorer import ScorerLike
from rankgate.adapters.token_cache import TokenCacheLike
from rankgate.deadline import Deadline
from rankgate.decide.gate import Action
from rankgate.errors import InputError
from rankgate.live.question_log import QuestionLog
from rankgate.plan import Request
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.reranker import Reranker
from rankgate.types import Candidate, FirstStageKind

__all__ = [
    "CallSettings",
    "FirstStage",
    "FirstStageLike",
    "RerankerSettings",
    "as_count",
    "candidates_wanted",
]


class FirstStage(Protocol):
    """Something that finds candidates, with every score it has.

    A coroutine method `acandidates` of the same signature is used where there is one.
    """

    def candidates(self, query: str, k: int) -> Sequence[Candidate]:
        """At most k, best first."""


FirstStageLike = (
    FirstStage
    | Callable[[str, int], Sequence[Candidate]]
    | Callable[[str, int], Awaitable[Sequence[Candidate]]]
)
"""A `FirstStage`, or a function of query and k, plain or async."""


class RerankerSettings(TypedDict, total=False):
    """What every component takes for its reranker.

    Attributes:
        scorer: a scorer, its name as for `rankgate.load`, or whatever else `as_scorer` takes: a
            cross-encoder of sentence-transformers or LangChain, a `rerankers` object, a function
            of query and texts; default: the bundled one, loaded on first use.
        policy: a policy or the path of its file; default: the default policy where it fits.
        reranker: a finished one, instead of scorer and policy.
        profile: what is known of the first stage, compared with what the policy was fitted for.
        embedder: name of the model that made the first stage's vectors; default: as the store
            says, where it can be asked.
        lexicon: words that the corpus contains.
        token_cache: where the default scorer keeps what it has read of passages: a folder; True,
            the default: `rankgate` in the user's cache folder, or as RANKGATE_TOKEN_CACHE says;
            False: nowhere.
        question_log: a file that gets each question with what became of it, for `rankgate
            calibrate --from-log`; or a `QuestionLog`. It holds the questions' words, so the
            default is none.
    """

    scorer: ScorerLike | None
    policy: Policy | str | Path | None
    reranker: Reranker | None
    profile: Profile | None
    embedder: str | None
    lexicon: Collection[str] | None
    token_cache: TokenCacheLike
    question_log: QuestionLog | str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What a caller may set for one call; None: the component's own, or the policy's.

    Attributes:
        force: `rerank` or `skip` overrules the gate.
        deadline: for the scorer and what follows.

    Raises:
        InputError: a setting that cannot be used.
    """

    k: int | None = None
    top_n: int | None = None
    force: Action | str | None = None
    deadline: Deadline | None = None

    def __post_init__(self) -> None:
        as_count("k", self.k)
        as_count("top_n", self.top_n)
        try:
            object.__setattr__(self, "force", None if self.force is None else Action(self.force))
        except ValueError as exc:
            raise InputError(f"force must be 'rerank' or 'skip', got {self.force!r}") from exc
        if self.deadline is not None and not isinstance(self.deadline, Deadline):
            raise InputError(
                f"deadline must be a rankgate.Deadline, got {type(self.deadline).__name__}. "
                "Make one with Deadline.after(seconds)."
            )

    def request(self, query: str, candidates: Sequence[Candidate]) -> Request:
        """What the engine is asked."""
        return Request(
            query=query,
            candidates=candidates,
            top_n=self.top_n,
            force=self.force,
            deadline=self.deadline,
        )


def as_count(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None.

    Raises:
        InputError: neither.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def candidates_wanted(
    reranker: Reranker, k: int | None, *, kind: FirstStageKind | None = None
) -> int:
    """How many candidates to ask a first stage for.

    Args:
        reranker: whose policy has a K.
        k: as the caller or the component says; None: the policy's K.
        kind: which scores the candidates will carry; None: as the reranker was made for, and
            where that too is open until they are seen, the largest K of the policy's sections.
    """
    if k is not None:
        return k
    known = reranker.first_stage if kind is None else kind
    if known is not None:
        return reranker.policy.section(known).k
    return max(section.k for section in reranker.policy.sections.values())
