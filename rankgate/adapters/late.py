"""Late: what components build on, a `Reranker` made at once where it can be, else on first use."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.as_scorer import ScorerLike, as_scorer
from rankgate.adapters.embedders import known_profile
from rankgate.adapters.found import Found
from rankgate.adapters.scores import ScoreReader
from rankgate.adapters.token_cache import TokenCacheLike, token_cache_folder
from rankgate.adapters.warming import Warming, kept_tokens, warm
from rankgate.describe import Description
from rankgate.encoders import SharedTokens, TokenEncoder
from rankgate.encoders.locate import find_minilm
from rankgate.errors import ConfigError, InputError, warn_once
from rankgate.fit import default_policy_for, depth_notes, embedder_notes
from rankgate.live.question_log import QuestionLog
from rankgate.outcome import Outcome
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.reranker import Reranker
from rankgate.retrieve import Progress
from rankgate.scorers.build import DEFAULT_SCORER, ScorerName, load
from rankgate.scorers.protocol import Scorer
from rankgate.types import FirstStageKind

__all__ = ["LateReranker", "RerankerParts", "default_scorer", "named_scorer"]


def named_scorer(name: str, folder: Path | None) -> Scorer:
    """The scorer of that name as for `rankgate.load`; late interaction keeps what it reads there.

    Raises:
        InputError, ConfigError, ModelNotFoundError: as `rankgate.load`.
    """
    if folder is None or not ScorerName.parse(name).reads_tokens:
        return load(name, lazy=True)
    return load(name, token_store=SharedTokens(folder, TokenEncoder.load()))


_loading = threading.Lock()
_loaded_once = functools.cache(partial(named_scorer, DEFAULT_SCORER))


def default_scorer(token_cache: TokenCacheLike = True) -> Scorer:
    """The scorer that is used where none is given; loaded once in a process for each folder.

    Args:
        token_cache: where the token vectors of what was read are kept; see `token_cache_folder`.

    Raises:
        ModelNotFoundError: its weights are not installed.
    """
    folder = token_cache_folder(token_cache)
    with _loading:  # `functools.cache` alone lets two threads load it twice
        return _loaded_once(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerParts:
    """What a caller handed over to make a `Reranker` from.

    Attributes:
        reranker: a finished one; nothing else may be given with it.
        scorer: whatever `as_scorer` takes; None: `default_scorer`, on first use.
        policy: a policy or the path of a policy file; None: the default policy where it fits.
        profile: what is known of the first stage, compared with what the policy was fitted for.
        embedder: name of the model that made the first stage's vectors.
        lexicon: words that the corpus contains.
        kind: which first-stage scores the candidates carry; None: seen from each query's.
        found: what the first stage itself says of its embedder and space.
        scores: reads what the scores of the first stage are; None: nothing does.
        question_log: keeps each question and what became of it, or the file to keep them in;
            None: nothing is kept.
        token_cache: where late interaction keeps the token vectors of the passages that it has
            read: a folder, True (the user's cache folder) or False.
    """

    reranker: Reranker | None = None
    scorer: ScorerLike | None = None
    policy: Policy | str | Path | None = None
    profile: Profile | None = None
    embedder: str | None = None
    lexicon: Collection[str] | None = None
    kind: FirstStageKind | None = None
    found: Profile | None = None
    scores: ScoreReader | None = None
    question_log: QuestionLog | str | Path | None = None
    token_cache: TokenCacheLike = True

    def check(self) -> None:
        """Raise where the parts do not fit together.

        Raises:
            InputError: a part is of the wrong type, or given beside `reranker`.
            ConfigError: `reranker` was made for another first stage.
        """
        if self.reranker is not None:
            self._check_alone(self.reranker)
        if self.policy is not None and not isinstance(self.policy, Policy | str | Path):
            raise InputError(
                "policy must be a rankgate.Policy or the path of a policy file, got "
                f"{type(self.policy).__name__}"
            )
        token_cache_folder(self.token_cache)
        if isinstance(self.token_cache, str | Path) and not isinstance(self.scorer, str | None):
            raise InputError(
                "token_cache= is for a scorer that is made here, by its name or by default; "
                f"{type(self.scorer).__name__} has its own. Give it SharedTokens as token_store="
            )
        if not isinstance(self.question_log, QuestionLog | str | Path | None):
            raise InputError(
                "question_log must be the path of a file or a QuestionLog, got "
                f"{type(self.question_log).__name__}"
            )
        if self.embedder is not None and (not isinstance(self.embedder, str) or not self.embedder):
            raise InputError(f"embedder must be the name of a model, got {self.embedder!r}")

    def _check_alone(self, reranker: Reranker) -> None:
        if not isinstance(reranker, Reranker):
            raise InputError(
                f"reranker must be a rankgate.Reranker, got {type(reranker).__name__}. "
                "Pass an object with `score` as scorer= instead."
            )
        others = ("scorer", "policy", "profile", "embedder", "lexicon")
        beside = [name for name in others if getattr(self, name) is not None]
        if beside:
            raise InputError(
                f"reranker= was given together with {', '.join(beside)}: the reranker has its "
                "own. Give one or the other."
            )
        made_for = reranker.first_stage
        if made_for is not None and self.kind is not None and made_for is not self.kind:
            raise ConfigError(
                f"the reranker was made for a {made_for.value!r} first stage, this component "
                f"gives {self.kind.value!r}. Make it with first_stage={self.kind.value!r}, or "
                "without first_stage."
            )

    def first_stage_profile(self) -> Profile:
        """What is known of the first stage: as the caller says, else as it says itself."""
        found = Profile() if self.found is None else self.found
        return known_profile(
            self.profile, embedder=self.embedder, found=found.embedder, space=found.space
        )

    def loaded_policy(self) -> Policy | None:
        """The policy, read from its file where a path was given."""
        if self.policy is None or isinstance(self.policy, Policy):
            return self.policy
        return Policy.load(self.policy)


class LateReranker:
    """Holds the parts and, once it is needed, the reranker made of them.

    With a scorer everything is built and checked at once. Without one the default scorer is
    loaded on first use, but weights that are not installed, and a policy that does not fit it,
    are errors at construction all the same; nothing here ever touches the network. Thread-safe;
    pickles where its parts do.

    Raises:
        InputError: as `RerankerParts.check`.
        ModelNotFoundError: no scorer is given, and the default one's weights are not installed.
        PolicyError: the policy file is unusable or lacks the section.
        ProfileMismatchError: the policy was fitted for something else.
    """

    def __init__(self, parts: RerankerParts) -> None:
        parts.check()
        self.parts = parts
        log = parts.question_log
        self.question_log = QuestionLog(file=Path(log)) if isinstance(log, str | Path) else log
        self._lock = threading.Lock()
        self._made: Reranker | None = None
        self._served: FirstStageKind | None = None
        if parts.reranker is not None or parts.scorer is not None:
            self._made = self._build()
            return
        find_minilm()  # what is not installed is said here, and not to the first question
        policy = parts.loaded_policy()
        if policy is not None:
            kinds = policy.sections if parts.kind is None else (parts.kind,)
            # The default policy is fitted for the default scorer, so its profile says which.
            usual = Policy.default().section(FirstStageKind.ORDER).profile
            actual = _of_both(parts.first_stage_profile(), usual)
            for kind in kinds:
                policy.check_profile(kind, actual)

    @classmethod
    def taking(
        cls,
        settings: Mapping[str, Any],
        kind: FirstStageKind | None,
        *,
        found: Profile | None = None,
        scores: ScoreReader | None = None,
    ) -> tuple[Self, dict[str, Any]]:
        """One of those of a constructor's arguments that it is made of, and the others."""
        rest = dict(settings)
        own = {name: rest.pop(name) for name in RerankerSettings.__annotations__ if name in rest}
        return cls(RerankerParts(kind=kind, found=found, scores=scores, **own)), rest

    def get(self) -> Reranker:
        """The reranker; the first call may load the default scorer (seconds)."""
        with self._lock:
            if self._made is None:
                self._made = self._build()
            return self._made

    async def aget(self) -> Reranker:
        """`get` without blocking the event loop."""
        made = self._made
        return await asyncio.to_thread(self.get) if made is None else made

    @property
    def notes(self) -> tuple[str, ...]:
        """What every outcome should say, such as why the default policy has no cosines."""
        return self.get().notes

    @property
    def profile(self) -> Profile:
        """What is known of the first stage; `rankgate calibrate --system` writes it down."""
        reranker, scores = self.parts.reranker, self.parts.scores
        known = self.parts.first_stage_profile() if reranker is None else reranker.profile
        space = known.space if scores is None or known.space is not None else scores.space
        return replace(known, space=space)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities) and what the scores are; what is off, why.

        Loads what is not loaded yet.
        """
        said, scores = self.get().describe(served=self._served), self.parts.scores
        return said if scores is None else replace(said, notes=(*said.notes, f"scores: {scores}"))

    def warm(
        self,
        source: Callable[[], Iterable[str]],
        progress: Progress | None = None,
    ) -> Warming:
        """Read texts in the background, ahead of any question; see `rankgate.adapters.warming`.

        Raises:
            ConfigError: the scorer keeps nothing of what it reads.
            InputError: the texts cannot be listed.
        """
        return warm(self.get().scorer, source, progress)

    def told(
        self,
        outcome: Outcome,
        found: Found[Any],
        on_outcome: Callable[[Outcome], None] | None,
    ) -> Outcome:
        """The outcome with its first stage's notes, once the log and the caller were told of it.

        Args:
            on_outcome: the caller's; what it raises reaches the caller.
        """
        kind = self._served = outcome.first_stage
        for note in found.notes:
            if note.startswith("scores_unread"):  # said of the store, and not of this question
                warn_once(note)
        notes = (*found.notes, *depth_notes(self.get().policy, kind, found.depth))
        noted = replace(outcome, notes=(*notes, *outcome.notes)) if notes else outcome
        if self.question_log is not None:
            self.question_log.add(noted, session=found.session)
        if on_outcome is not None:
            on_outcome(noted)
        return noted

    def _build(self) -> Reranker:
        parts = self.parts
        found = parts.first_stage_profile()
        if parts.reranker is not None:
            policy = parts.reranker.policy
            for kind in policy.sections if parts.kind is None else (parts.kind,):
                policy.check_profile(kind, found)
            return parts.reranker
        if parts.scorer is None:
            scorer = default_scorer(parts.token_cache)
        elif isinstance(parts.scorer, str):
            scorer = named_scorer(parts.scorer, token_cache_folder(parts.token_cache))
        else:
            scorer = as_scorer(parts.scorer)
        actual = _of_both(found, Profile.of_scorer(scorer.info))
        given = parts.loaded_policy()
        if given is None:
            kinds = Policy.default().sections if parts.kind is None else (parts.kind,)
            fit = default_policy_for(actual, kinds)
            policy, notes = fit.policy, fit.notes
        else:
            policy, notes = given, embedder_notes(given, parts.kind, actual)
        kept = kept_tokens(scorer)
        if kept is not None and kept.failure is not None:
            notes = (*notes, f"token vectors are not kept: {kept.failure}")
        return Reranker(
            scorer,
            policy=policy,
            first_stage=parts.kind,
            profile=found,
            lexicon=parts.lexicon,
            notes=notes,
        )

    def __getstate__(self) -> RerankerParts:
        return self.parts

    def __setstate__(self, parts: RerankerParts) -> None:
        self.__init__(parts)  # type: ignore[misc]


def _of_both(first_stage: Profile, scorer: Profile) -> Profile:
    own = ("embedder", "space", "analyser", "chunking")
    known = {name: v for name, v in scorer.to_dict().items() if name not in own}
    return replace(first_stage, **known)
