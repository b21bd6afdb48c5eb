"""Names, years and numbers of a corpus, and which can stand for one another."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A name inside a sentence: at its start every word has a capital letter.
_NAME = re.compile(
    r"(?<=[a-z0-9,;)] )[A-Z][\w'-]+(?: (?:(?:of|the|of the|de|la|van|von) )?[A-Z][\w'-]+){0,3}"
)
_WORD = re.compile(r"[\w'-]+")
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w-]|[.,]\d)")
_YEAR = re.compile(r"1[0-9]{3}|20[0-9]{2}")
_MOST_WORDS = 6
# What is a name is written with capital letters this often, and more than once.
_CAPITAL = 0.8
_LEAST = 2
# Closer than this two names are one thing, written in two ways.
_SAME = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A place in a question that can be changed.

    Attributes:
        start, end: of it in the text.
        key: as it is looked up: a name in lower case, a number as it stands.
    """

    start: int
    end: int
    key: str


class Mentions:
    """What a corpus names, found by capital letters and digits.

    Two names are of one type where they look alike (letters, a word, several words) and mean
    things that are alike, by their vectors; two numbers, where both are years or have as many
    digits.

    Args:
        corpus: passage id to text.
        embed: (n, d) unit vectors of n texts.
    """

    def __init__(
        self,
        corpus: Mapping[str, str],
        embed: Callable[[Sequence[str]], npt.NDArray[np.float32]],
    ) -> None:
        self.surfaces: dict[str, str] = {}
        self.passages: dict[str, set[str]] = defaultdict(set)
        written: Counter[str] = Counter()
        for passage, text in corpus.items():
            for surface in (*_NAME.findall(text), *_NUMBER.findall(text)):
                written[surface.lower()] += 1
                self.surfaces.setdefault(surface.lower(), surface)
                self.passages[surface.lower()].add(passage)
        small = Counter(w for text in corpus.values() for w in _WORD.findall(text) if w.islower())
        everything = "\n".join(corpus.values())
        for key, count in written.items():
            if key[0].isdigit():
                continue
            rare = count < _LEAST or count < _CAPITAL * (count + small[key])
            if rare or (" " in key and key in everything):
                del self.surfaces[key], self.passages[key]
        self._kinds: dict[str, list[str]] = defaultdict(list)
        for key, surface in self.surfaces.items():
            self._kinds[_shape(surface)].append(key)
        self._vectors = {
            kind: embed([self.surfaces[key] for key in keys])
            for kind, keys in self._kinds.items()
            if kind in ("letters", "name", "names")
        }

    def of(self, question: str) -> list[Mention]:
        """What of the question is a name or number of the corpus, the longest first from left.

        Case does not count: questions are often typed without capital letters.
        """
        words = list(_WORD.finditer(question))
        found, i = [], 0
        while i < len(words):
            for n in range(min(_MOST_WORDS, len(words) - i), 0, -1):
                start, end = words[i].start(), words[i + n - 1].end()
                if question[start:end].lower() in self.surfaces:
                    key = question[start:end].lower()
                    found.append(Mention(start=start, end=end, key=key))
                    i += n - 1
                    break
            i += 1
        return found

    def alike(self, key: str) -> list[str]:
        """Others of its type, the most alike first; numbers in the order of the corpus."""
        shape = _shape(self.surfaces[key])
        keys = self._kinds[shape]
        if shape not in self._vectors:
            return [other for other in keys if other != key]
        matrix = self._vectors[shape]
        close = matrix @ matrix[keys.index(key)]
        return [
            keys[i]
            for i in np.argsort(-close, kind="stable").tolist()
            if close[i] < _SAME and not _overlap(keys[i], key)
        ]


def _shape(surface: str) -> str:
    if _NUMBER.fullmatch(surface):
        digits = len(surface.replace(".", "").replace(",", ""))
        return "year" if _YEAR.fullmatch(surface) else f"number {digits}"
    if " " in surface:
        return "names"
    return "letters" if surface.upper() == surface else "name"


def _overlap(a: str, b: str) -> bool:
    """Whether one is part of the other, as `new york` of `new york city`, or its plural."""
    return a.rstrip("s") in b or b.rstrip("s") in a
