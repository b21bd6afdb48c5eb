"""Settings of gate and floor from strict to lax, laid down on one half of the conversations.

What counts against a claim is allowed a number of failures that the questions at hand decide. The
path goes up in one scale for gate and floor together: the share of that number that the first half
leads one to expect. So neither is held back by the other's first failure more than by its own, and
the pair is tested as a pair.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankgate.bounds import share_below
from rankgate.decide.floor import Floor
from rankgate.decide.logistic import sigmoid
from rankgate.errors import InputError
from rankgate_eval.calibrate.floor_fit import needed_for
from rankgate_eval.calibrate.unlabelled.claims import Claim, Drawing

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

OWN = "asked"
"""The user's own questions; every other kind is a made negative."""

_LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 17))
_ALONE = 0.4  # level up to which the floor goes before a gate is tested with it
_MEDIAN = 0.7  # so many more expected failures than are allowed pass every other time
_SPARE = 1.25  # skipped questions in the first half, of those that the second needs


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityOptions:
    """What a calibration without labels is asked for.

    Attributes:
        changed: share of the skipped questions for which skipping may change what is handed over.
        false_answers: share of each kind of negatives that may be answered.
        refusals: share of the user's questions that may be refused.
        confidence: with which all three are kept together.
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
        harm: probability of change by skipping, of a model that has not seen the question.
        missed: whether skipping misses a passage with weight.
        reranked, skipped: probability of the best passage on either path; 1 where none applies.
    """

    kinds: npt.NDArray[np.str_]
    groups: npt.NDArray[np.intp]
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
                name=f"{kind} questions that are answered without the words weak evidence",
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
    if has_floor:  # so that a gate that fails does not take the floor with it
        settings += [
            Setting(threshold=None, floor=floors(level, None), level=level)
            for level in (_LEVELS[0], _ALONE)
        ]
    least = _SPARE * needed(0, share=options.changed, confidence=options.confidence)
    lowest: float | None = None
    for level in _LEVELS:
        at = max(level, _ALONE)
        if options.gate:
            found = _threshold(fitted, options, floors(at, None), level, least)
            if found is not None:
                lowest = found if lowest is None else max(lowest, found)
        setting = Setting(threshold=lowest, floor=floors(at, lowest), level=level)
        before = settings[-1] if settings else Setting(threshold=None, floor=base, level=0.0)
        if (setting.threshold, setting.floor) != (before.threshold, before.floor):
            settings.append(setting)
    if options.gate and lowest is None:
        there = _conversations(fitted.groups[fitted.kinds == OWN])
        why = (
            "too few conversations"
            if there < least
            else "the scorer changes more than that of what the first stage would hand over"
        )
        notes["gate"] = (
            f"no threshold skips in at least {least:.0f} conversations, of the {there} that it was "
            f"fitted on, with at most {options.changed:.1%} changed: {why}"
        )
    return Laid(settings=tuple(settings), notes=notes)


def _conversations(groups: npt.NDArray[np.intp]) -> int:
    return int(np.unique(groups).size)


def _too_few(fitted: Forecast, options: FidelityOptions) -> str:
    """Why no floor can be shown; "" where one may be."""
    for kind in (OWN, *np.unique(fitted.kinds[fitted.kinds != OWN]).tolist()):
        share = options.refusals if kind == OWN else options.false_answers
        least = needed_for(share, confidence=options.confidence)
        n = _conversations(fitted.groups[fitted.kinds == kind])
        if n < least:
            return (
                f"too few conversations: {n} with {kind} questions in a half; {least} are needed "
                f"to show that at most {share:.1%} go wrong"
            )
    if not (fitted.kinds != OWN).any():
        return "no negatives: nothing says how good a question without an answer looks"
    return ""


def _allowance(
    groups: npt.NDArray[np.intp], share: float, level: float, confidence: float
) -> float:
    """Of these questions, how many may fail where `level` of what is allowed is used."""
    n = _conversations(groups)
    # Where not one may fail, half a one is what the path is laid down for.
    return level * max(0.5, _most(n, share, confidence)) * groups.size / n


def _beaten_by(logits: FloatArray, count: float) -> float:
    """What `count` of these are expected to lie above: below one, by an exponential tail.

    The tail of a distribution is exponential beyond what was seen (Pickands 1975,
    doi:10.1214/aos/1176343003, of shape 0); its scale is the mean excess of the highest tenth.
    """
    falling = np.sort(logits)[::-1]
    if count >= 1.0:
        return float(falling[min(int(count), falling.size - 1)])
    tenth = max(1, falling.size // 10)
    scale = float((falling[:tenth] - falling[tenth]).mean()) if falling.size > tenth else 1.0
    return float(falling[0]) - scale * float(np.log(count))


def _floor(
    fitted: Forecast, options: FidelityOptions, level: float, threshold: float | None
) -> Floor:
    """One threshold where it keeps both claims, else two with weak evidence between."""
    best = fitted.reranked
    if threshold is not None:
        best = np.where(fitted.harm <= threshold, fitted.skipped, best)
    edge = 1e-9
    logits = np.log(np.clip(best, edge, 1 - edge)) - np.log1p(-np.clip(best, edge, 1 - edge))

    def allowance(at: BoolArray, share: float) -> float:
        return _allowance(fitted.groups[at], share, level, options.confidence)

    strong = max(
        _beaten_by(logits[at], allowance(at, options.false_answers))
        for kind in np.unique(fitted.kinds[fitted.kinds != OWN]).tolist()
        for at in (fitted.kinds == kind,)
    )
    own = fitted.kinds == OWN
    low = -_beaten_by(-logits[own], allowance(own, options.refusals))
    if low >= strong:
        return Floor(refuse_below=sigmoid((low + strong) / 2.0))
    # Just above the negative that it stands on, which would be answered otherwise.
    above = float(np.nextafter(sigmoid(strong), 1.0))
    return Floor(refuse_below=sigmoid(low), weak_below=above)


def _threshold(
    fitted: Forecast, options: FidelityOptions, floor: Floor, level: float, least: float
) -> float | None:
    """The highest threshold whose changes stay within `level` of what is allowed.

    Half a change more is expected than was seen: where none was, more skipped questions are a
    surer bet than few, since they may hold more changes.
    """
    seen = fitted.observe(Setting(threshold=None, floor=floor, level=level))
    own = np.flatnonzero(fitted.kinds == OWN)
    order = own[np.argsort(fitted.harm[own], kind="stable")]
    harm = fitted.harm[order]
    new = np.zeros(order.size, dtype=np.intp)
    new[np.unique(fitted.groups[order], return_index=True)[1]] = 1
    conversations = np.cumsum(new)
    expected = np.cumsum(seen.changed[order]) / np.arange(1, order.size + 1) * conversations + 0.5
    last = np.append(harm[1:] != harm[:-1], True)  # equal ones are skipped together
    for i in np.flatnonzero(last & (conversations >= least) & (harm < 1.0))[::-1].tolist():
        most = _most(int(conversations[i]), options.changed, options.confidence)
        if expected[i] <= level * (most + _MEDIAN):
            return float(harm[i])
    return None
