"""The policy: fusion, gate, relevance models and floor as one versioned JSON file."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.decide.sufficiency import Sufficiency
from rankgate.errors import PolicyError, ProfileMismatchError
from rankgate.profile import Profile
from rankgate.retrieve.depth import DEFAULT_K
from rankgate.retrieve.fusion import Fusion
from rankgate.texts import whole_file
from rankgate.types import FirstStageKind

__all__ = ["Policy", "how_to_fit", "policy_schema"]

VERSION = 1


def how_to_fit(kind: FirstStageKind | None = None) -> str:
    """The command that fits a policy, or a section of it, as every message has it."""
    wanted = "" if kind is None else f" --first-stage {kind.value}"
    return (
        f"rankgate calibrate DATA{wanted} --out policy.json, with --system and --scorer for your "
        "own; where nobody judged anything, --questions FILE, --from-log LOG or --documents FOLDER "
        "stands in the place of DATA"
    )


@functools.cache
def _schema_text() -> str:
    return resources.files("rankgate").joinpath("policy.schema.json").read_text("utf-8")


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(_schema_text()))


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file; a fresh copy."""
    schema: dict[str, Any] = json.loads(_schema_text())
    return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named set of sections, one for each kind of first stage it was fitted for."""

    name: str
    sections: Mapping[FirstStageKind, Section]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            sections = {FirstStageKind(kind): s for kind, s in self.sections.items()}
        except ValueError as exc:
            kinds = ", ".join(FirstStageKind)
            raise PolicyError(f"{exc} of first stage; known: {kinds}") from exc
        object.__setattr__(self, "sections", MappingProxyType(sections))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def serving(self, kind: FirstStageKind | str) -> FirstStageKind:
        """Whose section serves a kind of first stage: its own, else `order`.

        That one reads no score of a first stage, so it can serve all of them. No other stands in:
        a list fused of two is another list than the one that a section for dense scores has seen.

        Raises:
            PolicyError: there is neither; the message names the command that fits one.
        """
        wanted = FirstStageKind(kind)
        for found in (wanted, FirstStageKind.ORDER):
            if found in self.sections:
                return found
        have = ", ".join(sorted(self.sections)) or "none"
        raise PolicyError(
            f"policy {self.name!r} has no section for a {wanted.value!r} first stage (it has: "
            f"{have}). Fit one: {how_to_fit(wanted)}"
        )

    def section(self, kind: FirstStageKind | str) -> Section:
        """The section that serves a kind of first stage; see `serving`.

        Raises:
            PolicyError: there is none.
        """
        return self.sections[self.serving(kind)]

    def check_profile(self, kind: FirstStageKind | str, actual: Profile) -> Section:
        """The section, if it was fitted for `actual`.

        Raises:
            ProfileMismatchError: it was fitted for something else.
        """
        section = self.section(kind)
        differences = section.profile.mismatches(actual)
        if differences:
            raise ProfileMismatchError(
                f"policy {self.name!r} was fitted for {section.profile.blame(actual)}: "
                f"{'; '.join(differences)}. Its probabilities and thresholds mean nothing here. "
                f"Refit: {how_to_fit(FirstStageKind(kind))}. A function "
                "imported under another name is another scorer."
            )
        return section

    @property
    def sha256(self) -> str:
        """Of the policy's content, whatever its file looks like."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_section(self, kind: FirstStageKind | str, **changes: Any) -> Policy:
        """A copy in which one section has other values."""
        wanted = FirstStageKind(kind)
        section = replace(self.section(wanted), **changes)
        return replace(self, sections={**self.sections, wanted: section})

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not pickle; the plain form does, and workers need policies.
        sections, provenance = dict(self.sections), dict(self.provenance)
        again = functools.partial(
            type(self), name=self.name, sections=sections, provenance=provenance
        )
        return (again, ())

    @classmethod
    def unfitted(cls, *, k: int = DEFAULT_K, top_n: int = 5) -> Policy:
        """Always rerank, order by raw score, no floor: for a scorer nothing is fitted for."""
        section = Section(k=k, top_n=top_n)
        return cls(name="unfitted", sections=dict.fromkeys(FirstStageKind, section))

    @classmethod
    def default(cls) -> Policy:
        """The policy that ships with rankgate, fitted for the bundled scorer."""
        return _default()

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy file.

        Raises:
            PolicyError: not readable, not JSON, not of this schema, or of another version.
        """
        file = Path(path)
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise PolicyError(f"cannot read policy file {file}: {exc}") from exc
        return cls.from_json(text, source=str(file))

    @classmethod
    def from_json(cls, text: str, *, source: str = "policy") -> Policy:
        """Parse a policy; see `load`."""

        def refuse(constant: str) -> float:
            raise PolicyError(f"{source}: {constant} is not a number that a policy may hold")

        try:
            data = json.loads(text, parse_constant=refuse)
        except (json.JSONDecodeError, RecursionError) as exc:
            raise PolicyError(f"{source}: not JSON: {exc}") from exc
        return cls.from_dict(data, source=source)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "policy") -> Policy:
        """Build a policy from parsed JSON; see `load`."""
        version = data.get("version") if isinstance(data, Mapping) else None
        if isinstance(version, int) and version != VERSION:
            raise PolicyError(
                f"{source}: policy version {version}, this rankgate reads {VERSION}. "
                "Refit it with `rankgate calibrate`, or install the rankgate that wrote it."
            )
        from jsonschema.exceptions import best_match

        error = best_match(_validator().iter_errors(data))
        if error is not None:
            where = "/".join(str(p) for p in error.absolute_path) or "(top level)"
            raise PolicyError(f"{source}: at {where}: {error.message}")
        try:
            sections = {
                FirstStageKind(kind): _section_from(body) for kind, body in data["sections"].items()
            }
        except PolicyError as exc:
            raise PolicyError(f"{source}: {exc}") from exc
        return cls(
            name=data["name"],
            sections=sections,
            provenance=data.get("provenance", {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back to an equal policy."""
        return {
            "version": VERSION,
            "name": self.name,
            "provenance": dict(self.provenance),
            "sections": {
                kind.value: _section_to(section) for kind, section in self.sections.items()
            },
        }

    def save(self, path: str | Path) -> None:
        """Write the policy file, replacing an older one only when it is complete."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        with whole_file(Path(path)) as part:
            part.write_text(text, "utf-8")


@functools.cache
def _default() -> Policy:
    text = resources.files("rankgate").joinpath("policies/default.json").read_text("utf-8")
    return Policy.from_json(text, source="the default policy")


def _relevance_from(data: Mapping[str, Any] | None) -> RelevanceModel | None:
    if data is None:
        return None
    return RelevanceModel(
        model=Logistic.from_dict(data["model"]),
        scale=data.get("scale"),
        provenance=data.get("provenance", {}),
    )


def _relevance_to(model: RelevanceModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "model": model.model.to_dict(),
        "scale": model.scale,
        "provenance": dict(model.provenance),
    }


def _gate_from(data: Mapping[str, Any]) -> Gate:
    model = data.get("model")
    return Gate(
        rules=tuple(
            Rule(
                name=rule["name"],
                conditions=tuple(
                    Condition(signal=c["signal"], op=c["op"], value=float(c["value"]))
                    for c in rule["conditions"]
                ),
            )
            for rule in data.get("rules", ())
        ),
        veto=tuple(data.get("veto", ())),
        model=None if model is None else Logistic.from_dict(model),
        threshold=data.get("threshold"),
        min_remaining_ms=float(data.get("min_remaining_ms", 0.0)),
        provenance=data.get("provenance", {}),
    )


def _gate_to(gate: Gate) -> dict[str, Any]:
    return {
        "rules": [
            {
                "name": rule.name,
                "conditions": [
                    {"signal": c.signal, "op": c.op, "value": c.value} for c in rule.conditions
                ],
            }
            for rule in gate.rules
        ],
        "veto": list(gate.veto),
        "model": None if gate.model is None else gate.model.to_dict(),
        "threshold": gate.threshold,
        "min_remaining_ms": gate.min_remaining_ms,
        "provenance": dict(gate.provenance),
    }


def _floor_to(floor: Floor) -> dict[str, Any]:
    # Left out where it is not set, so that an older rankgate reads the file too.
    weak = {} if floor.weak_below is None else {"weak_below": floor.weak_below}
    return {"refuse_below": floor.refuse_below, "drop_below": floor.drop_below, **weak}


def _sufficiency_from(data: Mapping[str, Any] | None) -> Sufficiency | None:
    if data is None:
        return None
    read = data.get("read")
    plain = {k: data[k] for k in ("reader", "low", "high", "provenance") if k in data}
    return Sufficiency(
        evidence=Logistic.from_dict(data["evidence"]),
        read=None if read is None else Logistic.from_dict(read),
        floor=Floor(**data["floor"]),
        **plain,
    )


def _sufficiency_to(found: Sufficiency) -> dict[str, Any]:
    return {
        "evidence": found.evidence.to_dict(),
        "read": None if found.read is None else found.read.to_dict(),
        "reader": found.reader,
        "low": found.low,
        "high": found.high,
        "floor": _floor_to(found.floor),
        "provenance": dict(found.provenance),
    }


def _section_from(data: Mapping[str, Any]) -> Section:
    relevance = data.get("relevance", {})
    floor = data.get("floor", {})
    plain = {k: data[k] for k in ("k", "top_n", "deadline_ms", "reserve_ms") if k in data}
    return Section(
        profile=Profile.from_dict(data.get("profile", {})),
        fusion=Fusion(**data["fusion"]) if "fusion" in data else Fusion(),
        gate=_gate_from(data.get("gate", {})),
        reranked=_relevance_from(relevance.get("reranked")),
        first_stage=_relevance_from(relevance.get("first_stage")),
        floor=Floor(**floor),
        sufficiency=_sufficiency_from(data.get("sufficiency")),
        **plain,
    )


def _section_to(section: Section) -> dict[str, Any]:
    return {
        "profile": section.profile.to_dict(),
        "fusion": section.fusion.to_dict(),
        "gate": _gate_to(section.gate),
        "relevance": {
            "reranked": _relevance_to(section.reranked),
            "first_stage": _relevance_to(section.first_stage),
        },
        "floor": _floor_to(section.floor),
        # Left out where it is not set, so that an older rankgate reads the file too.
        **(
            {}
            if section.sufficiency is None
            else {"sufficiency": _sufficiency_to(section.sufficiency)}
        ),
        "k": section.k,
        "top_n": section.top_n,
        "deadline_ms": section.deadline_ms,
        "reserve_ms": section.reserve_ms,
    }
