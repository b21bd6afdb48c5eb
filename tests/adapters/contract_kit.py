"""A reranking component in no framework's terms, and how one is checked.

The checks stand in contract_checks.py, the components in contract_adapters.py. A check is a
plain function of an `Adapter`; it raises AssertionError. The tests run ours through all of
them, benchmarks/peers_contract.py runs the peers' classes through the same ones. What a
component does not offer at all (a floor, a fallback) is `not offered`, not failed.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

QUERY = "red green blue"


@dataclass(frozen=True)
class P:
    """A passage, in no framework's terms; `score` is what the first stage gave it."""

    id: str
    text: str
    score: float
    metadata: dict = field(default_factory=dict)


FOUR = (
    P("a", "red one", 0.9, {"page": 1}),
    P("b", "nothing two", 0.8, {"page": 2}),
    P("c", "red green blue three", 0.7, {"page": 3}),
    P("d", "red green four", 0.6, {"page": 4}),
)
BEST_FIRST = ["c", "d", "a", "b"]


@dataclass(frozen=True)
class Row:
    """A result, in no framework's terms; None where it shows no such thing."""

    id: str | None
    text: str
    metadata: dict
    score: float | None = None
    before: float | None = None


class Model:
    """The cross-encoder behind every adapter: word overlap unless told otherwise."""

    def __init__(self, scores: Callable[[str, str], float] | None = None):
        self.scores = overlap if scores is None else scores
        self.calls = 0
        self.texts: list[list[str]] = []

    def predict(self, pairs):
        self.calls += 1
        self.texts.append([text for _, text in pairs])
        return [float(self.scores(query, text)) for query, text in pairs]


def overlap(query: str, text: str) -> float:
    words = set(query.split())
    return len(words & set(text.split())) / len(words)


class Waiting(Model):
    """Answers only once the event loop has come round; gives up after a few seconds."""

    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()
        self.in_time = False

    def predict(self, pairs):
        self.begun.set()
        self.in_time = self.released.wait(5.0)
        return super().predict(pairs)


class Failing(Model):
    def predict(self, pairs):
        raise RuntimeError("no GPU")


class TooFew(Model):
    def predict(self, pairs):
        return super().predict(pairs)[:-1]


class Adapter:
    """One component under test.

    Attributes:
        name: of its class, with its package.
        offers: features it has an argument or a documented behaviour for; see `contract_checks`.
    """

    name = ""
    offers: frozenset[str] = frozenset()

    def inputs(self, passages) -> list:
        """The passages as its framework has them."""
        raise NotImplementedError

    def make(self, model: Model, **options: Any) -> Any:
        """The component; options are `top_n`, and those of the features it offers."""
        raise NotImplementedError

    def run(self, component: Any, inputs: list, query: str = QUERY) -> list:
        """Its results."""
        raise NotImplementedError

    async def arun(self, component: Any, inputs: list, query: str = QUERY) -> list:
        """Its results, by its async method."""
        raise NotImplementedError

    def row(self, result: Any) -> Row:
        """A result in no framework's terms."""
        raise NotImplementedError

    def rows(self, component, inputs):
        return [self.row(r) for r in self.run(component, inputs)]

    def order(self, passages=FOUR, model=None, **options):
        component = self.make(Model() if model is None else model, **options)
        by_text = {p.text: p.id for p in passages}
        # Whether ids survive is a check of its own; here only the order counts.
        return [
            by_text[r.text] if r.id is None else r.id
            for r in self.rows(component, self.inputs(passages))
        ]


@dataclass(frozen=True)
class Check:
    """A check, in a user's words; `needs` is the feature without which it is not offered."""

    run: Callable[[Adapter], None]
    says: str
    needs: str = ""


@dataclass(frozen=True)
class Result:
    """What came of one check: `passed`, `failed` with the reason, or `not offered`."""

    status: str
    reason: str = ""


def result_of(check: Check, adapter: Adapter) -> Result:
    """Run one check; whatever it raises is a failure with its first line."""
    if check.needs and check.needs not in adapter.offers:
        return Result("not offered")
    try:
        check.run(adapter)
    except AssertionError as exc:
        lines = str(exc).splitlines()
        return Result("failed", lines[0] if lines else "assertion without words")
    except Exception as exc:
        lines = str(exc).splitlines()
        return Result("failed", f"{type(exc).__name__}: {lines[0] if lines else ''}".strip())
    return Result("passed")
