"""Which policy is used where nobody gave one, and what is said where it cannot be used.

A section that reads cosines means something for the embedder that it was fitted with and for
no other: over another one the same file answers most foreign questions. The section `order`
reads the scorer's own score and ranks alone, so it stands in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rankgate.errors import warn_once
from rankgate.policy import Policy, how_to_fit
from rankgate.profile import Profile, class_of_embedder
from rankgate.scorers.protocol import Scorer, ScorerInfo
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.scorers.wrappers.traits import innermost
from rankgate.types import FirstStageKind

__all__ = [
    "Fit",
    "check_when_loaded",
    "default_policy_for",
    "depth_notes",
    "embedder_notes",
]

_NAME_IT = (
    "Name the model that made the vectors with embedder='NAME' (embedder='all-MiniLM-L6-v2' is "
    f"what the default policy was fitted with), or fit a policy: {how_to_fit()}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A policy to use, and what the reader of an outcome should know of it.

    Attributes:
        policy: `Policy.unfitted()` where the default one does not fit the scorer.
        notes: such as `embedder_unknown: ...`; none where it fits as it is.
    """

    policy: Policy
    notes: tuple[str, ...] = ()


def default_policy_for(
    actual: Profile, kinds: Iterable[FirstStageKind], *, trust_unknown: bool = False
) -> Fit:
    """The default policy, without its cosines where they are another embedder's, or nobody's.

    Args:
        actual: the scorer's and the first stage's profile.
        kinds: which sections will be used.
        trust_unknown: take an embedder that is not known for the one that it was fitted with,
            as where somebody hands over candidates with cosines of their own.
    """
    default = Policy.default()
    order = default.sections[FirstStageKind.ORDER]
    if order.profile.differing(actual):
        return _unfitted(order.profile, actual)
    sections, notes = dict(default.sections), []
    names_model = actual.embedder is not None and class_of_embedder(actual.embedder) is None
    for kind in kinds:
        section = default.section(kind)
        fitted = section.profile
        if fitted.embedder is not None and not names_model and not trust_unknown:
            why = f"embedder_unknown: the section {kind.value!r} was fitted for {fitted.embedder}"
        elif {"embedder", "space"} & set(fitted.differing(actual)):
            why = f"embedder_differs: {'; '.join(fitted.mismatches(actual))}"
        elif fitted.differing(actual):
            return _unfitted(fitted, actual)
        else:
            continue
        sections[kind] = replace(order, k=section.k, top_n=section.top_n, fusion=section.fusion)
        notes.append(f"{why}; the section 'order', which reads no cosine, is used instead")
    if not notes:
        return Fit(policy=default)
    warn_once(f"{notes[0]}. {_NAME_IT}")
    return Fit(policy=replace(default, sections=sections), notes=tuple(notes))


def _unfitted(fitted: Profile, actual: Profile) -> Fit:
    note = (
        "no_policy: every query is reranked, raw scores order, nothing is refused and there are "
        f"no probabilities, because the default policy is for {fitted.blame(actual)} "
        f"(in use: {actual.scorer}). Fit one: {how_to_fit()}"
    )
    warn_once(note)
    return Fit(policy=Policy.unfitted(), notes=(note,))


def embedder_notes(policy: Policy, kind: FirstStageKind | None, actual: Profile) -> tuple[str, ...]:
    """A note where somebody's own policy was fitted for an embedder that nothing confirms.

    Giving the policy is a decision for it, so it is used; but not in silence.
    """
    for name in policy.sections if kind is None else (kind,):
        fitted = policy.section(name).profile.embedder
        known = actual.embedder
        classes = {class_of_embedder(fitted), class_of_embedder(known)}
        if fitted is not None and (known is None or len(classes) > 1):
            says = "does not say which embedder it has" if known is None else f"has the {known}"
            note = (
                f"embedder_unconfirmed: policy {policy.name!r} was fitted for {fitted}, and this "
                f"first stage {says}"
            )
            warn_once(f"{note}. Name it with embedder='NAME', so that it can be checked.")
            return (note,)
    return ()


def depth_notes(policy: Policy, kind: FirstStageKind, k: int | None) -> tuple[str, ...]:
    """A note where another number of candidates is asked for than the policy was fitted for.

    Args:
        k: as the caller named it, or as many as came; None: the policy's own.
    """
    section = policy.sections.get(kind)
    fitted = section is not None and (section.reranked is not None or section.floor.active)
    if section is None or k is None or k == section.k or not fitted:
        return ()
    more = "; let the first stage give more" if k < section.k else ""
    return (f"k_differs: {k} candidates, and the policy was fitted for {section.k}{more}",)


def check_when_loaded(scorer: Scorer, policy: Policy, kinds: Iterable[FirstStageKind]) -> None:
    """Let a scorer that is loaded later compare itself with the policy then.

    Where it does not fit, it counts as a scorer that cannot be loaded: outcomes are degraded
    and say why, instead of meeting a floor that was fitted for another.
    """
    lazy = innermost(scorer)
    if not isinstance(lazy, Lazy):
        return
    sections = tuple(kinds)

    def check(info: ScorerInfo) -> None:
        for kind in sections:
            policy.check_profile(kind, Profile.of_scorer(info))

    lazy.expect(check)
