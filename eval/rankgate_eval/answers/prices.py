"""What calls cost and may cost: tokens, prices, the budget."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankgate.errors import ConfigError, InputError
from rankgate_eval.errors import BudgetReached

__all__ = ["Budget", "Price", "Prices", "Usage", "most_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call.

    Attributes:
        input: tokens read.
        output: tokens written.
        counted: whether the server counted them; otherwise they are an upper bound of ours.
    """

    input: int = 0
    output: int = 0
    counted: bool = True

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            counted=self.counted and other.counted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a model, in the user's currency, for a million tokens."""

    input: float
    output: float = 0.0

    def of(self, usage: Usage) -> float:
        """What a call cost."""
        return (usage.input * self.input + usage.output * self.output) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices by model.

    Attributes:
        models: model name to price.
        currency: for display.
    """

    models: Mapping[str, Price] = field(default_factory=dict)
    currency: str = "USD"

    @classmethod
    def load(cls, file: str | Path) -> Prices:
        """Read a TOML or JSON file: `currency`, and a table `models` of model to prices.

        Example:
            ```toml
            currency = "EUR"
            [models."gpt-4o-mini"]
            input = 0.15   # a million tokens
            output = 0.60
            ```

        Raises:
            ConfigError: it cannot be read, or is of another shape.
        """
        path = Path(file)
        try:
            text = path.read_text("utf-8")
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as exc:
            raise ConfigError(f"cannot read the prices {path}: {exc}") from exc
        unknown = set(data) - {"models", "currency"} if isinstance(data, dict) else {"?"}
        if unknown or not isinstance(data.get("models"), dict):
            raise ConfigError(
                f"{path}: expected `currency` and a table `models` of model to input and output "
                f"price a million tokens; got {sorted(data) if isinstance(data, dict) else data!r}"
            )
        models = {name: _price(path, name, row) for name, row in data["models"].items()}
        return cls(models=models, currency=str(data.get("currency", "USD")))

    def of(self, model: str, usage: Usage) -> float | None:
        """What a call cost; None where the model has no price."""
        price = self.models.get(model)
        return None if price is None else price.of(usage)


def _price(path: Path, name: str, row: Any) -> Price:
    known = isinstance(row, dict) and set(row) <= {"input", "output"} and "input" in row
    values = list(row.values()) if known else []
    if not known or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v >= 0.0
        for v in values
    ):
        raise ConfigError(
            f"{path}: the price of {name!r} must be input and output, numbers not below 0, for a "
            f"million tokens; got {row!r}"
        )
    return Price(input=float(row["input"]), output=float(row.get("output", 0.0)))


class Budget:
    """Refuses a call that might cost more than is left.

    A call's worst case is set aside before it is sent and settled when its usage is known, so
    that the sum of what was paid never passes the limit, however many calls are on their way.

    Args:
        limit: in the currency of the prices; None: no limit.
        prices: of every model that is called, where there is a limit.
        spent: by earlier runs over the same ledger.

    Raises:
        InputError: the limit is not a positive number.
    """

    def __init__(
        self, limit: float | None = None, *, prices: Prices | None = None, spent: float = 0.0
    ) -> None:
        if limit is not None and not (math.isfinite(limit) and limit > 0.0):
            raise InputError(f"--max-cost must be a positive number, got {limit}")
        self.limit = limit
        self.prices = Prices() if prices is None else prices
        self.spent = spent
        self._reserved: list[float] = []

    @property
    def outstanding(self) -> bool:
        """Whether a priced call is on its way."""
        return bool(self._reserved)

    def check_models(self, models: Mapping[str, str]) -> None:
        """Raise where a limit is set and a model has no price; `models` maps role to model.

        Raises:
            ConfigError: a price is missing.
        """
        if self.limit is None:
            return
        for role, model in models.items():
            if model not in self.prices.models:
                raise ConfigError(
                    f"--max-cost needs the price of the {role}'s model {model!r}: name it in the "
                    "file given as --prices (a model of your own costs input = 0.0)"
                )

    def reserve(self, model: str, worst: Usage) -> float:
        """Set the worst case aside; returns it, for `settle`.

        Raises:
            BudgetReached: it does not fit.
        """
        cost = self.prices.of(model, worst)
        if cost is None or self.limit is None:
            return 0.0
        # A hair of room: a sum of costs that equals the limit on paper may pass it by rounding.
        if self.spent + math.fsum(self._reserved) + cost > self.limit * (1.0 + 1e-12):
            raise BudgetReached(
                f"{self.spent:.4f} {self.prices.currency} are spent of {self.limit:g}, and the "
                f"next call may cost {cost:.4f}"
            )
        self._reserved.append(cost)
        return cost

    def settle(self, model: str, reserved: float, usage: Usage | None) -> None:
        """Replace what was set aside by what it cost; None: the call gave nothing to pay for."""
        if reserved in self._reserved:
            self._reserved.remove(reserved)
        if usage is not None:
            cost = self.prices.of(model, usage)
            self.spent += 0.0 if cost is None else cost


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: no byte-level tokeniser makes more than one a byte."""
    return len(text.encode("utf-8", "surrogatepass")) + 16
