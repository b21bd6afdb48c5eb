"""What framework components build on: a `Reranker`, made early where it can be, late where not.

And what every call of theirs takes, checked in one way.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.deadline import Deadline
from rankgate.decide.gate import Action
from rankgate.errors import ConfigError, InputError
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.reranker import Reranker
from rankgate.scorers.protocol import Scorer
from rankgate.types import FirstStageKind

__all__ = [
    "Assembly",
    "Parts",
    "as_action",
    "as_count",
    "as_deadline",
    "candidates_wanted",
    "default_scorer",
]


@functools.cache
def _load_default_scorer() -> Scorer:
    # Heavy (torch): only where nobody brought a scorer.
    from rankgate.scorers import LateInteractionScorer

    return LateInteractionScorer.load()


_loading = threading.Lock()


def default_scorer() -> Scorer:
    """The scorer that is used where none is given; loaded once in a process, from local files.

    Raises:
        ModelNotFoundError: its weights are not installed.
    """
    with _loading:  # `functools.cache` alone lets two threads load it twice
        return _load_default_scorer()


def as_count(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None.

    Raises:
        InputError: neither.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def as_action(value: Any) -> Action | None:
    """`rerank` or `skip`, which overrule the gate, or None.

    Raises:
        InputError: neither.
    """
    if value is None:
        return None
    try:
        return Action(value)
    except ValueError as exc:
        raise InputError(f"force must be 'rerank' or 'skip', got {value!r}") from exc


def as_deadline(value: Any) -> Deadline | None:
    """A `Deadline`, or None.

    Raises:
        InputError: neither.
    """
    if value is None or isinstance(value, Deadline):
        return value
    raise InputError(
        f"deadline must be a rankgate.Deadline, got {type(value).__name__}. "
        "Make one with Deadline.after(seconds)."
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a caller handed over to make a `Reranker` from.

    Attributes:
        reranker: a finished one; nothing else may be given with it.
        scorer: any object with `info` and `score`; None: `default_scorer`, on first use.
        policy: a policy or the path of a policy file; None: what `Reranker` chooses.
        profile: what is known of the first stage, compared with what the policy was fitted for.
        lexicon: words that the corpus contains.
        kind: which first-stage scores the candidates carry; None: seen from each query's.
    """

    reranker: Reranker | None = None
    scorer: Any = None
    policy: Policy | str | Path | None = None
    profile: Profile | None = None
    lexicon: Collection[str] | None = None
    kind: FirstStageKind | None = None

    def check(self) -> None:
        """Raise where the parts do not fit together.

        Raises:
            InputError: a part is of the wrong type, or given beside `reranker`.
            ConfigError: `reranker` was made for another first stage.
        """
        if self.reranker is not None:
            if not isinstance(self.reranker, Reranker):
                raise InputError(
                    f"reranker must be a rankgate.Reranker, got {type(self.reranker).__name__}. "
                    "Pass an object with `score` as scorer= instead."
                )
            others = ("scorer", "policy", "profile", "lexicon")
            beside = [name for name in others if getattr(self, name) is not None]
            if beside:
                raise InputError(
                    f"reranker= was given together with {', '.join(beside)}: the reranker has its "
                    "own. Give one or the other."
                )
            made_for = self.reranker.first_stage
            if made_for is not None and self.kind is not None and made_for is not self.kind:
                raise ConfigError(
                    f"the reranker was made for a {made_for.value!r} first stage, this component "
                    f"gives {self.kind.value!r}. Make it with first_stage={self.kind.value!r}, or "
                    "without first_stage."
                )
        if self.scorer is not None and not callable(getattr(self.scorer, "score", None)):
            raise InputError(
                f"scorer must have `info` and `score(query, texts, context)`, got "
                f"{type(self.scorer).__name__}. See rankgate.scorers.Scorer."
            )
        if self.policy is not None and not isinstance(self.policy, Policy | str | Path):
            raise InputError(
                "policy must be a rankgate.Policy or the path of a policy file, got "
                f"{type(self.policy).__name__}"
            )

    def build(self) -> Reranker:
        """The reranker; loads the default scorer where none was given.

        Raises:
            PolicyError: the policy file is unusable or lacks the section.
            ProfileMismatchError: the policy was fitted for something else.
            ModelNotFoundError: the default scorer's weights are not installed.
        """
        if self.reranker is not None:
            return self.reranker
        return Reranker(
            default_scorer() if self.scorer is None else self.scorer,
            policy=self.loaded_policy(),
            first_stage=self.kind,
            profile=self.profile,
            lexicon=self.lexicon,
        )

    def loaded_policy(self) -> Policy | None:
        """The policy, read from its file where a path was given."""
        if self.policy is None or isinstance(self.policy, Policy):
            return self.policy
        return Policy.load(self.policy)


class Assembly:
    """Holds the parts and, once it is needed, the reranker made of them.

    With a scorer everything is built and checked at once, so that a policy that does not fit
    is an error at construction. Without one the default scorer is loaded on first use;
    nothing here ever touches the network. Thread-safe; pickles where its parts do.

    Raises:
        InputError, PolicyError: as `Parts.check` and `Parts.build`.
    """

    def __init__(self, parts: Parts) -> None:
        parts.check()
        self.parts = parts
        self._lock = threading.Lock()
        self._reranker: Reranker | None = None
        if parts.reranker is not None or parts.scorer is not None:
            self._reranker = parts.build()
        else:
            policy = parts.loaded_policy()
            if policy is not None and parts.kind is not None:
                policy.section(parts.kind)

    def get(self) -> Reranker:
        """The reranker; the first call may load the default scorer (seconds)."""
        with self._lock:
            if self._reranker is None:
                self._reranker = self.parts.build()
            return self._reranker

    async def aget(self) -> Reranker:
        """`get` without blocking the event loop."""
        built = self._reranker
        return await asyncio.to_thread(self.get) if built is None else built

    def __getstate__(self) -> Parts:
        return self.parts

    def __setstate__(self, parts: Parts) -> None:
        self.__init__(parts)  # type: ignore[misc]
