"""What may be said of a share without more than one assumption: that conversations are independent.

Questions of one conversation may fail together, and nothing shows how much where few fail. So each
conversation gives one of its questions, drawn by lot before anything was seen, and what is bounded
is the share among such questions: then the number of failures is binomial, whatever goes on inside
a conversation, and the bound of Clopper and Pearson is exact. Where the questions are not quite
those that will be asked, the lot also decides who is heard (`shift`), so nothing is weighted.

Several settings are tested one after the other along a path that was laid down without looking, the
strictest first, and the testing ends where one fails: then the last that passed keeps all of its
claims with the stated confidence, the error spent once (fixed-sequence testing; Learn then Test,
arXiv 2110.01052). A setting with several claims passes where every one holds, which needs no
correction either (intersection-union test, Berger 1982, doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.bounds import share_below

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """Questions with their conversations, and who speaks for each.

    Attributes:
        order: (n,) positions, conversation by conversation, inside each in the order of the lot.
        groups: (n,) codes of the conversations, in that order.
        heard: (n,) by position, whether a question is heard where it is drawn.
    """

    order: npt.NDArray[np.intp]
    groups: npt.NDArray[np.intp]
    heard: BoolArray

    @classmethod
    def of(cls, groups: npt.ArrayLike, *, seed: int, chances: FloatArray | None = None) -> Drawing:
        """Draw the lot.

        Args:
            groups: (n,) conversations.
            chances: (n,) of each to be heard where it is drawn; None: all are.
        """
        codes = np.unique(np.asarray(groups), return_inverse=True)[1]
        rng = np.random.default_rng([seed, 17])
        order = np.lexsort((rng.random(codes.size), codes))
        return cls(
            order=order,
            groups=codes[order].astype(np.intp),
            heard=rng.random(codes.size) < (1.0 if chances is None else chances),
        )

    def speakers(self, among: BoolArray) -> npt.NDArray[np.intp]:
        """Positions of one question of each conversation, of those among which are asked.

        A conversation whose question is drawn and not heard is silent: were another asked in its
        place, long conversations would be heard more often than short ones.
        """
        left = among[self.order]
        at = np.flatnonzero(left)
        first = np.ones(at.size, dtype=np.bool_)
        first[1:] = self.groups[at][1:] != self.groups[at][:-1]
        drawn = self.order[at[first]]
        return drawn[self.heard[drawn]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """A share that shall be at most `allowed`.

    Attributes:
        name: in words: of what, among what.
        among: (n,) questions that it is about.
        failed: (n,) those of them that count against it.
        drawing: who speaks for each conversation.
    """

    name: str
    allowed: float
    among: BoolArray
    failed: BoolArray
    drawing: Drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What was seen of a claim.

    Attributes:
        n: conversations among them, one question each.
        upper: the share of all such questions is below it, at the confidence asked for.
    """

    name: str
    allowed: float
    questions: int
    n: int
    failures: int
    upper: float

    @property
    def share(self) -> float:
        """Of the n, how many failed; 0 where there are none."""
        return self.failures / self.n if self.n else 0.0

    @property
    def holds(self) -> bool:
        """Whether the claim is shown."""
        return self.upper <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a file."""
        return {
            "claim": self.name,
            "allowed": self.allowed,
            "questions": self.questions,
            "n": self.n,
            "failures": self.failures,
            "share": round(self.share, 5),
            "upper": round(self.upper, 5),
            "holds": self.holds,
        }


def bound_of(claim: Claim, *, confidence: float) -> Bound:
    """The one-sided bound of a claim's share."""
    at = claim.drawing.speakers(claim.among)
    failures = int(claim.failed[at].sum())
    return Bound(
        name=claim.name,
        allowed=claim.allowed,
        questions=int(claim.among.sum()),
        n=int(at.size),
        failures=failures,
        upper=share_below(failures, int(at.size), confidence=confidence),
    )


def last_that_holds(
    path: Iterable[Sequence[Claim]], *, confidence: float
) -> tuple[int | None, list[tuple[Bound, ...]]]:
    """Test settings one after the other, until one does not keep all of its claims.

    Args:
        path: the claims of each setting, strict to lax, laid down without these questions; read
            no further than it is tested.
        confidence: with which all claims of the last that holds are kept together.

    Returns:
        The place of the last that holds, None where already the first does not; and the bounds of
        each setting that was tested, the failing one included.
    """
    seen: list[tuple[Bound, ...]] = []
    for claims in path:
        seen.append(tuple(bound_of(claim, confidence=confidence) for claim in claims))
        if not all(bound.holds for bound in seen[-1]):
            return (len(seen) - 2 if len(seen) > 1 else None), seen
    return (len(seen) - 1 if seen else None), seen
