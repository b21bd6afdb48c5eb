"""Settings of gate and floor from strict to lax, laid down on one half of the conversations.

What counts against a claim is allowed a number of failures that the questions at hand decide. The
path goes up in one scale for gate and floor together: the share of that number that the first half
leads one to expect. So neither is held back by the other's first failure more than by its own, and
the pair is tested as a pair.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankgate.bounds import share_below
from rankgate.decide.floor import Floor
from rankgate.errors import InputError
from rankgate_eval.calibrate.floor_fit import needed_for
from rankgate_eval.calibrate.unlabelled.claims import Claim, Drawing

__all__ = ["FidelityOptions", "Forecast", "Observed", "Setting", "claims_of", "lay_path", "needed"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

OWN = "asked"
"""The user's own questions; every other kind is a made negative."""

_LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 17))
_FLOOR_FROM = 0.3
_SPARE = 1.25  # skipped questions in the first half, of those that the second needs


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityOptions:
    """What a calibration without labels is asked for.

    Attributes:
        changed: share of the skipped questions for which skipping may change what is handed over.
        false_answers: share of each kind of negatives that may be answered.
        refusals: share of the user's questions that may be refused.
        confidence: with which all three are kept together.
        gate: whether a gate is wanted.
        floor: whether a floor is wanted.
    """

    changed: float = 0.05
    false_answers: float = 0.05
    refusals: float = 0.05
    confidence: float = 0.95
    gate: bool = True
    floor: bool = True

    def __post_init__(self) -> None:
        for name in ("changed", "false_answers", "refusals", "confidence"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise InputError(f"{name} must be above 0 and below 1, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One point of the path.

    Attributes:
        threshold: of the gate; None: it skips nothing.
        floor: in force with it.
        level: of the scale that the path goes up in.
    """

    threshold: float | None
    floor: Floor
    level: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Questions of the first half, as the path is laid down on them; all arrays are (n,).

    Attributes:
        kinds: `asked`, or the kind of negative.
        groups: conversations.
        harm: probability of change by skipping, of a model that has not seen the question.
        missed: whether skipping misses a passage with weight.
        reranked, skipped: probability of the best passage on either path; 1 where none applies.
    """

    kinds: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    harm: FloatArray
    missed: BoolArray
    reranked: FloatArray
    skipped: FloatArray

    def observe(self, setting: Setting) -> Observed:
        """What this setting does to them."""
        skips = np.zeros(self.harm.size, dtype=np.bool_)
        if setting.threshold is not None:
            skips = self.harm <= setting.threshold
        floor = setting.floor
        low = 0.0 if floor.refuse_below is None else floor.refuse_below
        strong = low if floor.weak_below is None else floor.weak_below
        over, under = self.reranked < low, self.skipped < low
        best = np.where(skips, self.skipped, self.reranked)
        return Observed(
            skips=skips,
            changed=(over != under) | (~over & ~under & self.missed),
            refused=best < low,
            weak=(best >= low) & (best < strong),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """What a setting did to (n,) questions each.

    Attributes:
        skips: whether the gate skips.
        changed: whether skipping changes, or would change, what is handed over.
        refused: whether the floor refuses.
        weak: whether it is answered as weak evidence.
    """

    skips: BoolArray
    changed: BoolArray
    refused: BoolArray
    weak: BoolArray


def claims_of(
    seen: Observed,
    setting: Setting,
    kinds: npt.NDArray[np.str_],
    drawing: Drawing,
    options: FidelityOptions,
) -> list[Claim]:
    """Everything that is claimed of a setting."""
    own = kinds == OWN
    claims = []
    if setting.threshold is not None:
        claims.append(
            Claim(
                name="skipped questions whose passages or refusal skipping changes",
                allowed=options.changed,
                among=own & seen.skips,
                failed=seen.changed,
                drawing=drawing,
            )
        )
    if options.floor:
        claims += [
            Claim(
                name=f"{kind} questions that are answered",
                allowed=options.false_answers,
                among=kinds == kind,
                failed=~seen.refused & ~seen.weak,
                drawing=drawing,
            )
            for kind in np.unique(kinds[~own]).tolist()
        ]
        claims.append(
            Claim(
                name="your questions that are refused",
                allowed=options.refusals,
                among=own,
                failed=seen.refused,
                drawing=drawing,
            )
        )
    return claims


@functools.cache
def needed(failures: int, *, share: float, confidence: float) -> int:
    """Independent questions with which so many failures still show at most `share`."""
    low, high = failures, max(failures + 1, needed_for(share, confidence=confidence))
    while share_below(failures, high, confidence=confidence) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if share_below(failures, middle, confidence=confidence) > share:
            low = middle
        else:
            high = middle
    return high


def _most(n: int, share: float, confidence: float) -> int:
    """Failures among n that still show at most `share`; -1 where not even none does."""
    most = -1
    while needed(most + 1, share=share, confidence=confidence) <= n:
        most += 1
    return most


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """The path, and why a part of it is missing.

    Attributes:
        settings: strict to lax.
        notes: part (`gate`, `floor`) to the reason why it is not on the path.
    """

    settings: tuple[Setting, ...]
    notes: dict[str, str] = field(default_factory=dict)


def lay_path(fitted: Forecast, options: FidelityOptions, *, base: Floor) -> Laid:
    """Settings to be tested on the other half.

    Args:
        fitted: the first half.
        options: what is asked for.
        base: the floor that stays where none is wanted or none can be shown.
    """
    notes: dict[str, str] = {}
    floors: Callable[[float, float | None], Floor] = lambda level, threshold: base  # noqa: E731
    few = _too_few(fitted, options) if options.floor else ""
    if few:
        notes["floor"] = few
    has_floor = options.floor and not few
    if has_floor:
        floors = functools.partial(_floor, fitted, options)
    settings = []
    if has_floor:
        floor = floors(_FLOOR_FROM, None)
        settings.append(Setting(threshold=None, floor=floor, level=0.0))
    least = _SPARE * needed(0, share=options.changed, confidence=options.confidence)
    lowest: float | None = None
    for level in _LEVELS:
        at = max(level, _FLOOR_FROM) if has_floor else level
        threshold = None
        if options.gate:
            threshold = _threshold(fitted, options, floors(at, None), level, least)
            if lowest is not None and threshold is not None:
                threshold = max(lowest, threshold)
            lowest = threshold if threshold is not None else lowest
        if threshold is None and not has_floor:
            continue
        setting = Setting(
            threshold=lowest, floor=floors(at, lowest), level=level
        )
        if not settings or (setting.threshold, setting.floor) != (
            settings[-1].threshold,
            settings[-1].floor,
        ):
            settings.append(setting)
    if options.gate and lowest is None:
        own = fitted.kinds == OWN
        notes["gate"] = (
            f"no threshold leaves {least:.0f} conversations to skip in, of the "
            f"{_conversations(fitted.groups[own])} at hand, with at most {options.changed:.1%} "
            "changed"
        )
    return Laid(settings=tuple(settings), notes=notes)


def _conversations(groups: npt.NDArray[np.str_]) -> int:
    return int(np.unique(groups).size)


def _too_few(fitted: Forecast, options: FidelityOptions) -> str:
    """Why no floor can be shown; "" where one may be."""
    for kind in (OWN, *np.unique(fitted.kinds[fitted.kinds != OWN]).tolist()):
        share = options.refusals if kind == OWN else options.false_answers
        least = needed_for(share, confidence=options.confidence)
        n = _conversations(fitted.groups[fitted.kinds == kind])
        if n < least:
            return (
                f"{n} independent {kind} questions in a half; {least} are needed to show that at "
                f"most {share:.1%} go wrong"
            )
    if not (fitted.kinds != OWN).any():
        return "no negatives: nothing says how good a question without an answer looks"
    return ""


def _expected(groups: npt.NDArray[np.str_], share: float, level: float, confidence: float) -> int:
    """Of these questions, how many may fail where `level` of what is allowed is used."""
    n = _conversations(groups)
    return int(level * max(0, _most(n, share, confidence)) * groups.size / n)


def _floor(
    fitted: Forecast, options: FidelityOptions, level: float, threshold: float | None
) -> Floor:
    """One threshold where it keeps both claims, else two with weak evidence between."""
    best = fitted.reranked
    if threshold is not None:
        best = np.where(fitted.harm <= threshold, fitted.skipped, best)
    strong = 0.0
    for kind in np.unique(fitted.kinds[fitted.kinds != OWN]).tolist():
        at = fitted.kinds == kind
        may = _expected(fitted.groups[at], options.false_answers, level, options.confidence)
        falling = np.sort(best[at])[::-1]
        strong = max(strong, float(np.nextafter(falling[may], 2.0)))
    own = fitted.kinds == OWN
    may = _expected(fitted.groups[own], options.refusals, level, options.confidence)
    low = float(np.sort(best[own])[may])
    strong = min(strong, 1.0)
    if low >= strong:
        return Floor(refuse_below=(low + strong) / 2.0)
    return Floor(refuse_below=low, weak_below=strong)


def _threshold(
    fitted: Forecast, options: FidelityOptions, floor: Floor, level: float, least: float
) -> float | None:
    """The highest threshold whose changes stay within `level` of what is allowed."""
    seen = fitted.observe(Setting(threshold=None, floor=floor, level=level))
    own = np.flatnonzero(fitted.kinds == OWN)
    order = own[np.argsort(fitted.harm[own], kind="stable")]
    harm = fitted.harm[order]
    changed = np.cumsum(seen.changed[order])
    new = np.zeros(order.size, dtype=np.intp)
    new[np.unique(fitted.groups[order], return_index=True)[1]] = 1
    conversations = np.cumsum(new)
    last = np.append(harm[1:] != harm[:-1], True)  # equal ones are skipped together
    for i in np.flatnonzero(last & (conversations >= least))[::-1].tolist():
        n = int(conversations[i])
        most = level * _most(n, options.changed, options.confidence)
        if changed[i] / (i + 1) * n <= most and harm[i] < 1.0:
            return float(harm[i])
    return None
