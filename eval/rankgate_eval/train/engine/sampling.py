"""Which question is learned from when: corpora drawn by temperature, each question in turn.

Every choice is a function of seed, epoch and place, never of what was drawn before, so a
training that is resumed goes on as if it had not been stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankgate.errors import InputError

__all__ = ["corpus_shares", "epoch_plan"]


def corpus_shares(sizes: Mapping[str, int], *, temperature: float) -> dict[str, float]:
    """Share of each corpus in an epoch: size to the power 1/temperature, normalised.

    1 draws in proportion to size; the higher, the more equal. (mT5: Xue et al., arXiv
    2010.11934, section 3.2, writes alpha = 1/temperature and uses 0.3.)

    Raises:
        InputError: a temperature below 1, or no questions.
    """
    if temperature < 1.0:
        raise InputError(f"the temperature must be 1 or more, got {temperature}")
    if not any(sizes.values()):
        raise InputError("no corpus has a question to learn from")
    weights = {name: float(n) ** (1.0 / temperature) if n else 0.0 for name, n in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def epoch_plan(
    questions: Mapping[str, Sequence[str]],
    *,
    lists: int,
    temperature: float,
    seed: int,
    epoch: int,
) -> list[tuple[str, str]]:
    """(corpus, question id) of each list of an epoch, shuffled.

    Within a corpus questions come without replacement; one comes again only when all have been.
    The part of a large corpus that an epoch has no room for comes first in the next one.
    """
    shares = corpus_shares(
        {name: len(ids) for name, ids in questions.items()}, temperature=temperature
    )
    plan: list[tuple[str, str]] = []
    for number, (name, count) in enumerate(_counts(shares, lists).items()):
        ids = questions[name]
        for place in range(epoch * count, (epoch + 1) * count):
            turn, index = divmod(place, len(ids))
            order = np.random.default_rng([seed, 11, number, turn]).permutation(len(ids))
            plan.append((name, ids[int(order[index])]))
    shuffled = np.random.default_rng([seed, 13, epoch]).permutation(len(plan))
    return [plan[int(i)] for i in shuffled]


def _counts(shares: Mapping[str, float], lists: int) -> dict[str, int]:
    """Whole numbers that add up to `lists`, by largest remainder."""
    exact = {name: share * lists for name, share in shares.items() if share > 0.0}
    counts = {name: int(value) for name, value in exact.items()}
    rest = lists - sum(counts.values())
    by_rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_rest[:rest]:
        counts[name] += 1
    return {name: count for name, count in counts.items() if count}
