"""Lists to learn from: one passage that answers, mined ones that do not, and a random one.

Every choice is a function of seed, epoch and place, never of what was drawn before, so a
training that is resumed goes on as if it had not been stopped. Some questions are spoiled as
keyboards and speech recognisers do; passages come from documents, which are spelled right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.train.course import TrainingSettings
from rankgate_eval.train.looks import JudgedList, fit_order, list_features
from rankgate_eval.train.mining import Mined, TrainingCorpus

_WORD = re.compile(r"[A-Za-z]+")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# What sounds alike, both ways: the errors that a recogniser makes with ordinary words.
_ALIKE = (
    ("their", "there"), ("to", "two"), ("for", "four"), ("by", "buy"), ("write", "right"),
    ("know", "no"), ("hour", "our"), ("week", "weak"), ("whether", "weather"), ("than", "then"),
    ("its", "it's"), ("would", "wood"), ("one", "won"), ("new", "knew"), ("be", "bee"),
    ("see", "sea"), ("are", "our"), ("in", "and"), ("an", "and"), ("is", "as"), ("of", "off"),
    ("site", "sight"), ("cell", "sell"), ("made", "maid"), ("peace", "piece"), ("role", "roll"),
    ("were", "where"), ("which", "witch"), ("accept", "except"), ("affect", "effect"),
)  # fmt: skip
# Spellings of one sound, for words that a recogniser does not know.
_SOUNDS = (
    ("ph", "f"), ("ck", "k"), ("ough", "o"), ("tion", "shun"), ("kn", "n"), ("ea", "ee"),
    ("ie", "y"), ("qu", "kw"), ("x", "ks"), ("c", "k"), ("y", "i"),
)  # fmt: skip
_NUMBERS = dict(
    zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True)
)


def _neighbours() -> dict[str, str]:
    """Keys that lie beside each letter, on a keyboard whose rows are half a key apart."""
    found: dict[str, str] = {}
    for r, row in enumerate(_ROWS):
        for c, letter in enumerate(row):
            near = [row[i] for i in (c - 1, c + 1) if 0 <= i < len(row)]
            if r > 0:
                near += [_ROWS[r - 1][i] for i in (c, c + 1) if i < len(_ROWS[r - 1])]
            if r + 1 < len(_ROWS):
                near += [_ROWS[r + 1][i] for i in (c - 1, c) if 0 <= i < len(_ROWS[r + 1])]
            found[letter] = "".join(near)
    return found


_NEAR = _neighbours()
_HOMOPHONES: dict[str, tuple[str, ...]] = {}
for _a, _b in _ALIKE:
    _HOMOPHONES[_a] = (*_HOMOPHONES.get(_a, ()), _b)
    _HOMOPHONES[_b] = (*_HOMOPHONES.get(_b, ()), _a)


def with_typos(text: str, rng: np.random.Generator, *, rate: float = 0.15) -> str:
    """One slip in each word of four letters or more with probability `rate`, at least one in all.

    A neighbouring key, a letter left out, doubled, or changed for the next one; the first letter
    stays more often than not, as people notice it.
    """
    words = [m for m in _WORD.finditer(text) if len(m[0]) >= 4]
    if not words:
        return text
    hit = rng.random(len(words)) < rate
    if not hit.any():
        hit[int(rng.integers(len(words)))] = True
    for match in [m for m, chosen in zip(words, hit, strict=True) if chosen][::-1]:
        text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
    return text


def _slip(word: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, len(word))) if rng.random() < 0.9 else 0
    kind = int(rng.integers(4))
    letter = word[at]
    if kind == 0:
        near = _NEAR[letter.lower()]
        other = near[int(rng.integers(len(near)))]
        return word[:at] + (other.upper() if letter.isupper() else other) + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[: at + 1] + letter + word[at + 1 :]
    at = min(at, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def with_speech_errors(text: str, rng: np.random.Generator, *, rate: float = 0.15) -> str:
    """As a recogniser writes: no case, no punctuation, digits as words, sounds mistaken.

    Words with a homophone are changed with three times `rate`, longer ones are respelled by
    sound or broken in two with `rate`; a short word is dropped with a tenth of it.
    """
    spoken = re.sub(r"\d", lambda m: f" {_NUMBERS[str(int(m[0]))]} ", text.lower())
    found: list[str] = []
    for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", spoken):
        draw = float(rng.random())
        alike = _HOMOPHONES.get(word)
        if alike is not None and draw < 3.0 * rate:
            found.append(alike[int(rng.integers(len(alike)))])
        elif len(word) >= 5 and draw < rate:
            found.append(_misheard(word, rng))
        elif not (len(word) <= 3 and draw > 1.0 - rate / 10.0):
            found.append(word)
    return " ".join(found) if found else text


def _misheard(word: str, rng: np.random.Generator) -> str:
    possible = [(a, b) for a, b in _SOUNDS if a in word]
    if possible and rng.random() < 0.6:
        sound, other = possible[int(rng.integers(len(possible)))]
        return word.replace(sound, other, 1)
    at = int(rng.integers(2, len(word) - 1))
    return f"{word[:at]} {word[at:]}"


_WAYS: tuple[Callable[[str, np.random.Generator], str], ...] = (with_typos, with_speech_errors)


def spoil(text: str, rng: np.random.Generator, *, share: float) -> str:
    """With probability `share` the text with typos or as misheard, either as often; else itself."""
    if rng.random() >= share:
        return text
    return _WAYS[int(rng.integers(len(_WAYS)))](text, rng)


_LEAST_SLOPE = 0.1
_HELD_OUT_LISTS = 64
# Far beyond any epoch, so that the draws are no training list's.
_FAR = 1_000_000


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStagePrior:
    """The policy's order without the scorer's part: what the first stage knows already.

    A scorer that is trained alone learns mostly what dense and BM25 say anyway; with their part
    of the order added to its scores in the loss, what is left to learn is where they are wrong.

    Attributes:
        weights: of the first stage's features, by name.
        slope: what a unit of the scorer's own score weighs beside them, at least 0.1.
    """

    weights: Mapping[str, float]
    slope: float

    @classmethod
    def fitted(
        cls, judged: Sequence[JudgedList], raw: Sequence[npt.NDArray[np.float32]]
    ) -> FirstStagePrior:
        """From an order that is fitted together with a scorer's values.

        Args:
            judged: training questions that no list is made of.
            raw: the scorer's values of each.

        Raises:
            InputError: no question with a relevant candidate.
        """
        weights = dict(fit_order(judged, raw).weights)
        gap, z = weights.pop("raw_gap", 0.0), weights.pop("raw_z", 0.0)
        deviations = [max(float(np.std(values)), 1e-3) for values in raw if len(values)]
        slope = gap + z * float(np.mean([1.0 / d for d in deviations]))
        return cls(weights=weights, slope=max(slope, _LEAST_SLOPE))

    def logits(self, mined: Mined, ids: Sequence[str]) -> tuple[float, ...]:
        """One value a passage; what the first stage did not find gets the least of what it did."""
        columns = list_features(mined.candidates)
        total = np.zeros(len(mined.candidates))
        for name, weight in self.weights.items():
            total += weight * columns[name]
        known = {c.id: float(v) for c, v in zip(mined.candidates, total, strict=True)}
        least = min(known.values(), default=0.0)
        return tuple(known.get(i, least) for i in ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList:
    """One question and the passages to choose from.

    Attributes:
        query: its text, possibly spoiled.
        passage_ids: the positive first, then the negatives, all different.
        prior: what is added to each one's score in the loss; None: nothing.
        open: how many passages behind the positive the model chooses its negatives from; 0: all
            passages are taken as they are.
    """

    corpus: str
    query_id: str
    query: str
    passage_ids: tuple[str, ...]
    texts: tuple[str, ...]
    prior: tuple[float, ...] | None = None
    open: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBuilder:
    """Makes lists; what it draws depends on seed, epoch and place alone.

    Attributes:
        corpora: by name.
        mined: corpus name to question id to what was mined for it.
        settings: how many passages a list has, which questions are spoiled, the seed.
        prior: gives the lists' priors; None: they have none.
    """

    corpora: Mapping[str, TrainingCorpus]
    mined: Mapping[str, Mapping[str, Mined]]
    settings: TrainingSettings
    prior: FirstStagePrior | None = None

    def build(
        self, corpus: str, query_id: str, *, epoch: int, place: int, pool: int | None = None
    ) -> TrainingList:
        """The list at one place of an epoch.

        A question with too few mined passages gets random ones in their place; a corpus with
        too few passages gives a shorter list.

        Args:
            epoch: from 0.
            place: in the epoch's plan.
            pool: mined passages from which the model is to choose; None: it is not asked.
        """
        mined, whole = self.mined[corpus][query_id], self.corpora[corpus]
        s = self.settings
        rng = np.random.default_rng([s.seed, 17, epoch, place])
        positives = mined.query.positives
        positive = positives[int(rng.integers(len(positives)))]
        drawn = self._drawn(mined, rng, s.negatives if pool is None else pool)
        chosen = [positive, *drawn]
        taken = {*chosen, *positives, *mined.excluded}
        lacking = max(0, s.negatives - len(drawn))
        chosen += _randoms(whole, rng, lacking + s.randoms, taken)
        return TrainingList(
            corpus=corpus,
            query_id=query_id,
            query=spoil(mined.query.text, rng, share=s.spoiled),
            passage_ids=tuple(chosen),
            texts=tuple(whole.passages[p] for p in chosen),
            prior=None if self.prior is None else self.prior.logits(mined, chosen),
            open=len(drawn) if len(drawn) > s.negatives else 0,
        )

    def _drawn(self, mined: Mined, rng: np.random.Generator, count: int) -> list[str]:
        """`count` of the `depth` hardest negatives, or all of them where they are fewer."""
        pool = mined.negatives[: self.settings.depth]
        if not pool:
            return []
        picked = rng.choice(len(pool), min(count, len(pool)), replace=False)
        return [pool[int(i)] for i in picked]


def _randoms(
    corpus: TrainingCorpus, rng: np.random.Generator, count: int, taken: set[str]
) -> list[str]:
    ids = list(corpus.passages)
    if len(ids) <= count + len(taken):  # too few to draw until enough are free
        free = [i for i in ids if i not in taken]
        return [free[int(i)] for i in rng.permutation(len(free))[:count]]
    found: list[str] = []
    while len(found) < count:
        one = ids[int(rng.integers(len(ids)))]
        if one not in taken:
            found.append(one)
            taken = taken | {one}
    return found


def all_lists(builder: ListBuilder, questions: Mapping[str, Sequence[str]]) -> list[TrainingList]:
    """The lists of all epochs in their order, open ones where the model is to choose.

    One row after the other, so that a training that is resumed goes on with the next.
    """
    s = builder.settings
    found = []
    for epoch in range(s.epochs):
        plan = epoch_plan(
            questions, lists=s.lists, temperature=s.temperature, seed=s.seed, epoch=epoch
        )
        pool = s.mine_pool if s.mine_again is not None and epoch >= s.mine_again else None
        found += [
            builder.build(corpus, query, epoch=epoch, place=place, pool=pool)
            for place, (corpus, query) in enumerate(plan)
        ]
    return found


def held_out_lists(
    builder: ListBuilder, held_out: Mapping[str, Sequence[str]]
) -> list[TrainingList]:
    """At most 64 lists of questions that are not learned from, for the held-out loss."""
    listed = [(c, q) for c, ids in sorted(held_out.items()) for q in ids]
    rng = np.random.default_rng([builder.settings.seed, 23])
    chosen = sorted(rng.permutation(len(listed))[:_HELD_OUT_LISTS].tolist())
    return [builder.build(*listed[i], epoch=_FAR, place=i) for i in chosen]
