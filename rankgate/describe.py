"""Describe: what is active in a reranker, in words: gate, floor, probabilities, or off and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Gate
from rankgate.decide.section import Section
from rankgate.decide.sufficiency import Sufficiency
from rankgate.live.promise import Counted, promise_of
from rankgate.policy import Policy, how_to_fit
from rankgate.profile import Profile
from rankgate.scorers.protocol import ScorerInfo
from rankgate.types import FirstStageKind

__all__ = ["Description", "SectionDescription", "claim_words", "describe", "describe_section"]

_FIT = f"Fit one: {how_to_fit()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionDescription:
    """What happens to queries with one kind of first stage.

    Attributes:
        first_stage: which scores the candidates carry.
        section: of the policy, that serves them.
        guaranteed: what the calibration of the section showed, and of what.
        gate: when the second read is skipped.
        floor: when a query is refused and a passage dropped.
        fitted_for: the embedder, space and analyser that the numbers depend on.
        k, top_n: candidates that are read, and passages that are kept.
        deadline_ms: for one query; None: none.
    """

    first_stage: str
    section: str
    gate: str
    floor: str
    probabilities: str
    guaranteed: tuple[str, ...]
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
            by = "" if s.section == s.first_stage else f", served by the section {s.section!r}"
            lines += [
                f"{s.first_stage}{by}: reads {s.k}, keeps {s.top_n}; {s.fitted_for}",
                f"  gate: {s.gate}",
                f"  floor: {s.floor}",
                f"  probabilities: {s.probabilities}",
                *(f"  guaranteed: {words}" for words in s.guaranteed),
            ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def describe(
    policy: Policy,
    *,
    kind: FirstStageKind | None,
    profile: Profile,
    scorer: ScorerInfo,
    served: FirstStageKind | None = None,
    notes: Sequence[str] = (),
) -> Description:
    """What a policy does for a scorer over a first stage.

    Args:
        kind: of the first stage; None: any that the policy has a section for.
        served: whose section served the last query, which it is told of then; None: not seen yet.
        profile: what is known of scorer and first stage.
    """
    kinds = tuple(policy.sections) if kind is None else (kind,)
    if served is not None:
        kinds = (served,) if kind is None else (kind,)
    return Description(
        policy=policy.name,
        scorer=scorer.id,
        backend=scorer.backend,
        embedder=profile.embedder,
        fitted_on=_fitted_on(policy.provenance),
        sections=tuple(describe_section(policy, k, served=served) for k in kinds),
        notes=tuple(notes),
    )


def describe_section(
    policy: Policy, kind: FirstStageKind, *, served: FirstStageKind | None = None
) -> SectionDescription:
    """What becomes of candidates of a kind, whatever the scorer; `served` as in `describe`."""
    by = policy.serving(kind) if served is None else served
    section = policy.section(by)
    fitted = section.profile
    depends = {"embedder": fitted.embedder, "space": fitted.space, "analyser": fitted.analyser}
    known = [f"{name} {value}" for name, value in depends.items() if value is not None]
    return SectionDescription(
        first_stage=kind.value,
        section=by.value,
        gate=_gate(section.gate, section.may_skip, _why_not(policy, by)),
        floor=_floor(section),
        probabilities=_probabilities(section),
        guaranteed=_guaranteed(policy, by),
        fitted_for=f"fitted for {', '.join(known)}" if known else "for any embedder",
        k=section.k,
        top_n=section.top_n,
        deadline_ms=section.deadline_ms,
    )


def _why_not(policy: Policy, kind: FirstStageKind) -> str:
    """Why the calibration of a section without labels left its gate off; "" where it did not."""
    record = policy.provenance
    found = record.get("why_not") if record.get("section") == kind.value else None
    return str(found.get("gate", "")) if isinstance(found, Mapping) else ""


def _gate(gate: Gate, may_skip: bool, why_not: str) -> str:
    if gate.model is None and not gate.rules:
        if why_not:
            return f"off, every query is reranked: {why_not}"
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
    floor, judged = section.floor, section.sufficiency
    if judged is not None:
        likeness = ""
        if section.refuses_by is floor and floor.refuse_below is not None:
            likeness = f"refuses a query below {floor.refuse_below:g}; "
        return likeness + _sufficiency(judged)
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


def claim_words(claim: Mapping[str, Any]) -> str:
    """A claim of a calibration without labels, with what was seen of it."""
    return (
        f"{claim['claim']}: at most {claim['allowed']:.1%} (seen {claim['failures']} of "
        f"{claim['n']}, one of a conversation; below {claim['upper']:.1%})"
    )


def _guaranteed(policy: Policy, kind: FirstStageKind) -> tuple[str, ...]:
    """What the calibration of a section showed; that nothing is guaranteed, where that is so."""
    record = policy.provenance
    if record.get("section") != kind.value:
        return ("nothing for your questions: this section was not fitted on them",)
    promised = record.get("guarantees")
    if isinstance(promised, Mapping):  # of a calibration without labels
        told = promised["claims"] or promised["failed"]
        words = tuple(claim_words(claim) for claim in told)
        if not promised["claims"]:
            return ("nothing", *(f"not shown: {one}" for one in words))
        return (
            f"together at {promised['confidence']:.0%} confidence, for new conversations like "
            "those of the calibration; what is right no label says:",
            *words,
        )
    promise = promise_of(policy, kind)
    if promise is None:
        return ("nothing: the policy does not say what its calibration saw",)
    seen = {
        "answerable questions skipped": promise.skipped,
        "answerable questions refused": promise.refused,
        "unanswerable questions refused": promise.refused_unanswerable,
    }
    counts = (f"{name} {_of(c)}" for name, c in seen.items() if c is not None)
    parts = record.get("parts", {})
    return (
        *(f"{n}: {p['reason']}" for n, p in parts.items() if n in ("gate", "floor")),
        f"on the half that fitted nothing: {', '.join(counts)}",
    )


def _of(found: Counted) -> str:
    return f"{found.count} of {found.n}"


def _fitted_on(provenance: Mapping[str, Any]) -> str:
    data = provenance.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("name"), str):  # of one calibration
        split = data.get("split")
        labels = f", {data['asked']} questions without labels" if "asked" in data else ""
        return f"fitted on {data['name']}{'' if split is None else f', split {split}'}{labels}"
    if isinstance(data, Mapping):
        return f"fitted on {', '.join(map(str, data))}"
    return "" if data is None else f"fitted on {data}"
