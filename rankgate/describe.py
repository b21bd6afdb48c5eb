"""Describe: what is active in a reranker, in words: gate, floor, probabilities, or off and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Gate
from rankgate.decide.section import Section
from rankgate.decide.sufficiency import Sufficiency
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers.protocol import ScorerInfo
from rankgate.types import FirstStageKind

__all__ = ["Description", "SectionDescription", "describe", "describe_section"]

_FIT = "Fit one on your data: rankgate calibrate DATA --out policy.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionDescription:
    """What happens to queries with one kind of first stage.

    Attributes:
        gate: when the second read is skipped.
        floor: when a query is refused and a passage dropped.
        fitted_for: the embedder, space and analyser that the numbers depend on.
        k, top_n: candidates that are read, and passages that are kept.
        deadline_ms: for one query; None: none.
    """

    first_stage: str
    gate: str
    floor: str
    probabilities: str
    fitted_for: str
    k: int
    top_n: int
    deadline_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is active; `str()` of it is what `rankgate doctor` prints.

    Attributes:
        backend: what runs it, such as onnxruntime; "": not said.
        embedder: what made the vectors of the first stage; None: not known.
        fitted_on: the policy's own word on its data; "" without any.
        sections: one for each kind of first stage that can come.
        notes: why something is off, and how to mend it.
    """

    policy: str
    scorer: str
    embedder: str | None
    fitted_on: str
    sections: tuple[SectionDescription, ...]
    notes: tuple[str, ...] = ()
    backend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"policy {self.policy}{self.fitted_on and f' ({self.fitted_on})'}",
            f"scorer {self.scorer}{self.backend and f', on {self.backend}'}",
            f"embedder {'not known' if self.embedder is None else self.embedder}",
        ]
        for s in self.sections:
            lines += [
                f"{s.first_stage}: reads {s.k}, keeps {s.top_n}; {s.fitted_for}",
                f"  gate: {s.gate}",
                f"  floor: {s.floor}",
                f"  probabilities: {s.probabilities}",
            ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def describe(
    policy: Policy,
    *,
    kind: FirstStageKind | None,
    profile: Profile,
    scorer: ScorerInfo,
    notes: Sequence[str] = (),
) -> Description:
    """What a policy does for a scorer over a first stage.

    Args:
        kind: of the first stage; None: any that the policy has a section for.
        profile: what is known of scorer and first stage.
    """
    kinds = tuple(policy.sections) if kind is None else (kind,)
    return Description(
        policy=policy.name,
        scorer=scorer.id,
        backend=scorer.backend,
        embedder=profile.embedder,
        fitted_on=_fitted_on(policy.provenance),
        sections=tuple(describe_section(k, policy.section(k)) for k in kinds),
        notes=tuple(notes),
    )


def describe_section(kind: FirstStageKind, section: Section) -> SectionDescription:
    """What a section does, whatever the scorer."""
    fitted = section.profile
    depends = {"embedder": fitted.embedder, "space": fitted.space, "analyser": fitted.analyser}
    known = [f"{name} {value}" for name, value in depends.items() if value is not None]
    return SectionDescription(
        first_stage=kind.value,
        gate=_gate(section.gate, section.may_skip),
        floor=_floor(section),
        probabilities=_probabilities(section),
        fitted_for=f"fitted for {', '.join(known)}" if known else "for any embedder",
        k=section.k,
        top_n=section.top_n,
        deadline_ms=section.deadline_ms,
    )


def _gate(gate: Gate, may_skip: bool) -> str:
    if gate.model is None and not gate.rules:
        return f"off, every query is reranked. {_FIT}"
    if not may_skip:
        return (
            "off: a refusal floor needs a probability on the skipped path too, and none is fitted"
        )
    if gate.model is not None:
        return f"fitted, skips where the probability of harm is at most {gate.threshold:g}"
    rules = (
        f"{rule.name} ({' and '.join(str(c) for c in rule.conditions)})" for rule in gate.rules
    )
    return f"skips where {' or '.join(rules)}"


def _floor(section: Section) -> str:
    if section.sufficiency is not None:
        return _sufficiency(section.sufficiency)
    floor = section.floor
    if not floor.active:
        return f"off, no query is refused and no passage dropped. {_FIT}"
    words = _thresholds(floor)
    if floor.drop_below is not None:
        words.append(f"drops a passage below {floor.drop_below:g}")
    return ", ".join(words)


def _thresholds(floor: Floor) -> list[str]:
    words = []
    if floor.refuse_below is not None:
        words.append(f"refuses a query below {floor.refuse_below:g}")
    if floor.weak_below is not None:
        words.append(f"calls what is below {floor.weak_below:g} weak evidence")
    return words


def _sufficiency(found: Sufficiency) -> str:
    words = ", ".join(_thresholds(found.floor)) or "refuses nothing"
    read = ""
    if found.read is not None:
        read = f"; {found.reader} reads between {found.low:g} and {found.high:g}"
    return f"by the probability that the best passages hold the answer: {words}{read}"


def _probabilities(section: Section) -> str:
    found = [
        f"{path} from {', '.join(model.model.names)}"
        for path, model in (("reranked", section.reranked), ("skipped", section.first_stage))
        if model is not None
    ]
    if not found:
        return f"off, raw scores order. {_FIT}"
    two = "two models and " if len(found) == 2 else ""
    return f"{'; '.join(found)} ({two}no similarities; cut by the floor's drop_below)"


def _fitted_on(provenance: Mapping[str, Any]) -> str:
    data = provenance.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("name"), str):  # of one calibration
        split = data.get("split")
        labels = f", {data['asked']} questions without labels" if "asked" in data else ""
        return f"fitted on {data['name']}{'' if split is None else f', split {split}'}{labels}"
    if isinstance(data, Mapping):
        return f"fitted on {', '.join(map(str, data))}"
    return "" if data is None else f"fitted on {data}"
