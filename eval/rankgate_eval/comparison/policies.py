"""Which policy goes with which scorer, and the one first stage that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rankgate.errors import InputError, ProfileMismatchError
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers import Scorer
from rankgate.types import FirstStageKind


def shared_first_stage(policies: Sequence[Policy]) -> Policy | None:
    """Any of the policies, as far as the first stage goes.

    Raises:
        InputError: they differ in it.
    """
    for kind in FirstStageKind:
        sections = [p.sections[kind] for p in policies if kind in p.sections]
        for name in ("fusion", "k", "top_n"):
            values = {str(getattr(s, name)) for s in sections}
            if len(values) > 1:
                raise InputError(
                    f"the policies differ in {name} ({' and '.join(sorted(values))}), so their "
                    "scorers cannot be compared over one first stage; calibrate them on the same "
                    "data, or compare them in several runs"
                )
    return policies[0] if policies else None


def assign(
    scorers: Mapping[str, Scorer],
    policies: Sequence[Policy],
    *,
    kind: FirstStageKind,
    profile: Profile,
    notes: list[str],
) -> dict[str, Policy | None]:
    """The policy of each scorer: the first that was fitted for it; None: none was, which is noted.

    Raises:
        InputError: a policy is for a scorer that has one already.
        ProfileMismatchError: a policy was fitted for none of the scorers.
    """
    found: dict[str, Policy | None] = {}
    refused: dict[str, ProfileMismatchError] = {}
    for name, scorer in scorers.items():
        found[name] = None
        actual = replace(profile, **Profile.of_scorer(scorer.info).to_dict())
        for policy in policies:
            try:
                policy.check_profile(kind, actual)
            except ProfileMismatchError as exc:
                refused[policy.name] = exc
                continue
            found[name] = policy
            break
        if policies and found[name] is None:
            notes.append(
                f"No --policy was fitted for {name}: it has the default policy if that fits, "
                "else it always reranks and orders by raw score"
            )
    idle = [p for p in policies if not any(p is taken for taken in found.values())]
    if idle:
        raise refused.get(
            idle[0].name,
            InputError(f"the policy {idle[0].name!r} is for a scorer that has one already"),
        )
    return found
