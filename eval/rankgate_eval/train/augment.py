"""Spoils questions as keyboards and speech recognisers do, so that training has seen it before.

Only questions: passages come from documents, which are spelled right.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

__all__ = ["spoil", "with_speech_errors", "with_typos"]

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
    spoken = re.sub(r"\d", lambda m: f" {_NUMBERS[m[0]]} ", text.lower())
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
