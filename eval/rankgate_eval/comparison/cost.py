"""What scoring costs: by a given price, by the scorer's own, or by processor time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rankgate.errors import InputError
from rankgate_eval.comparison.points import Cost
from rankgate_eval.run.pool import Pooled

UNITS: Mapping[str, int] = {"searches": 1000, "documents": 1000, "tokens": 1_000_000}
"""What is billed, and how many of it the price is for."""
_QUERIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A price of a scorer.

    Attributes:
        usd: for `UNITS[unit]` of them.
        unit: searches (queries that are scored), documents (passages read) or tokens (as the
            scorer counts them).
    """

    usd: float
    unit: str = "searches"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd) and self.usd >= 0.0):
            raise InputError(f"a price must be a number of USD not below 0, got {self.usd}")
        if self.unit not in UNITS:
            raise InputError(f"a price is for {', '.join(UNITS)}, got {self.unit!r}")

    @property
    def words(self) -> str:
        """Such as `2 USD for 1,000 searches`."""
        return f"{self.usd:g} USD for {UNITS[self.unit]:,} {self.unit}"


def parse_tariffs(given: Sequence[str], known: Collection[str]) -> dict[str, Tariff]:
    """Prices by scorer, each written `NAME=USD` or `NAME=USD/UNIT`.

    Raises:
        InputError: another form, an unknown scorer, or two prices for one.
    """
    found: dict[str, Tariff] = {}
    for text in given:
        name, equals, price = text.rpartition("=")
        usd, slash, unit = price.partition("/")
        try:
            tariff = Tariff(usd=float(usd), unit=unit if slash else "searches")
        except (ValueError, InputError) as exc:
            raise InputError(
                f"--price takes NAME=USD for 1,000 searches, NAME=USD/documents for 1,000 "
                f"passages or NAME=USD/tokens for 1,000,000 tokens; got {text!r} ({exc})"
            ) from exc
        if not equals or name not in known:
            raise InputError(
                f"--price {text!r} names no scorer of this comparison: {', '.join(known)}"
            )
        if name in found:
            raise InputError(f"--price gives {name!r} two prices")
        found[name] = tariff
    return found


def cost_of(
    timed: Sequence[Pooled],
    *,
    scored: float,
    tariff: Tariff | None,
    cpu_hour_usd: float | None,
    remote: bool,
) -> Cost:
    """What scoring 1,000 queries costs.

    Args:
        timed: queries that the scorer read at this K.
        scored: share of all queries that it reads, the others being skipped.
        tariff: its price; None: the cost that the scorer itself counts, else processor time.
        cpu_hour_usd: of an hour of one processor; None: processor time has no price.
        remote: whether it computes elsewhere.
    """
    read = [p for p in timed if p.candidates]
    many = scored * _QUERIES / max(1, len(read))  # what one read query stands for
    cpu_s = None if remote else many * math.fsum(p.scorer_cpu_ms for p in read) / 1000.0
    counted = {
        "searches": float(len(read)),
        "documents": float(sum(p.scores.stats.pairs for p in read)),
        "tokens": float(sum(p.scores.stats.tokens for p in read)),
    }
    own = math.fsum(p.scores.stats.cost for p in read)
    if tariff is not None and (counted[tariff.unit] > 0.0 or not read):
        usd = many * counted[tariff.unit] * tariff.usd / UNITS[tariff.unit]
        return Cost(usd=usd, basis=tariff.words, cpu_s=cpu_s)
    if tariff is not None:
        return Cost(usd=None, basis=f"unknown: it counts no {tariff.unit}", cpu_s=cpu_s)
    if own > 0.0:
        return Cost(usd=many * own, basis="as the scorer counts it", cpu_s=cpu_s)
    if cpu_s is not None and cpu_hour_usd is not None:
        basis = f"{cpu_hour_usd:g} USD for an hour of one processor"
        return Cost(usd=cpu_s / 3600.0 * cpu_hour_usd, basis=basis, cpu_s=cpu_s)
    return Cost(usd=None, basis="", cpu_s=cpu_s)
