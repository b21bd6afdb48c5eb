"""The profile: for which scorer and first stage a policy section was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rankgate.scorers.protocol import WHOLE_WINDOWS, ScorerInfo

__all__ = ["Profile", "class_of_embedder", "embedder_of_class", "same_embedder"]

_PUBLISHER = "sentence-transformers/"
_CLASS = "class "
_OTHER = {
    "embedder": "another EMBEDDER",
    "space": "another vector space",
    "analyser": "another analyser",
    "chunking": "other chunks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What numbers in a policy section depend on. None means: not known, or any.

    Attributes:
        scorer, scale, revision, weights, dtype, max_length, window: as in `ScorerInfo`.
        embedder: name of the embedding model of the dense list, or `class NAME` where only the
            class of the object is known that embeds.
        space: vector space of the index: cosine, l2 or ip.
        analyser: how BM25 splits words.
        chunking: how documents were cut, such as `200/40`.
    """

    scorer: str | None = None
    scale: str | None = None
    revision: str | None = None
    weights: str | None = None
    dtype: str | None = None
    max_length: int | None = None
    window: str | None = None
    embedder: str | None = None
    space: str | None = None
    analyser: str | None = None
    chunking: str | None = None

    @classmethod
    def of_scorer(cls, info: ScorerInfo, **first_stage: Any) -> Profile:
        """The profile of a scorer and, where given, of the first stage below it."""
        return cls(
            scorer=info.id,
            scale=info.scale,
            revision=info.revision or None,
            weights=info.weights or None,
            dtype=info.dtype or None,
            max_length=info.max_length,
            window=info.window,  # "" is knowledge: texts are not cut
            **first_stage,
        )

    def mismatches(self, actual: Profile) -> tuple[str, ...]:
        """What differs, in words, where both sides know it."""
        return tuple(
            f"{name}: fitted for {getattr(self, name)!r}, in use is {getattr(actual, name)!r}"
            for name in self.differing(actual)
        )

    def differing(self, actual: Profile) -> tuple[str, ...]:
        """The fields that differ, where both sides know them."""
        found = []
        for f in fields(self):
            fitted, now = getattr(self, f.name), getattr(actual, f.name)
            if f.name == "window" and _cuts_only_beyond(fitted) and _cuts_only_beyond(now):
                continue  # what the scorer reads whole scores the same either way
            if fitted is None or now is None or fitted == now:
                continue
            if f.name == "embedder" and same_embedder(fitted, now):
                continue
            found.append(f.name)
        return tuple(found)

    def blame(self, actual: Profile) -> str:
        """What the policy was fitted for that is not in use, in a few words; "" where it fits.

        One word for it, because whoever changed the embedder looks in vain at the scorer.
        """
        names = dict.fromkeys(_OTHER.get(n, "another scorer") for n in self.differing(actual))
        return " and ".join(names)

    def to_dict(self) -> dict[str, Any]:
        """Without the fields that are None."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `to_dict`."""
        return cls(**data)


def class_of_embedder(name: str | None) -> str | None:
    """The class's name, where that is all that is known of an embedder; None: it is not."""
    return name.removeprefix(_CLASS) if name is not None and name.startswith(_CLASS) else None


def embedder_of_class(thing: object) -> str:
    """The name of an embedder of which only the class is known."""
    return f"{_CLASS}{type(thing).__name__}"


def same_embedder(one: str, other: str) -> bool:
    """Whether two names may be one model's: with its publisher or without, in either case.

    A class may hold any model, so it differs for certain from nothing.
    """
    known = class_of_embedder(one) is None and class_of_embedder(other) is None
    return not known or _short(one) == _short(other)


def _short(name: str) -> str:
    return name.strip().lower().removeprefix(_PUBLISHER)


def _cuts_only_beyond(window: str | None) -> bool:
    """Whether a text that the scorer reads whole is not cut."""
    return window is not None and (not window or window.startswith(WHOLE_WINDOWS))
