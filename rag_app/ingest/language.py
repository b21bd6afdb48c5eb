"""Whether a text is in English: by its script, and by the small words that every sentence has."""

from __future__ import annotations

import re

from bm25s.stopwords import STOPWORDS_EN

_READ = 50_000  # characters
_FEWEST = 20  # letters, or small words of another language: less says nothing
_LATIN = re.compile(r"[a-z\u00c0-\u024f]+")
# None of them is an English word of more than two letters.
_OTHERS = frozenset(
    "der das und ist nicht mit ein eine für auf dem zu von wird sich auch "
    "le les la et est une dans pour que sur il du au qui par "
    "el los las una y en del se no es un lo di che e non della sono gli "
    "os um uma não em na do da mais het een van niet en dat op zijn te "
    "och att som på är av det til og ikke med nie jest się z do".split()
) - frozenset(STOPWORDS_EN)


def not_english(text: str) -> bool:
    """Whether most letters are of another script, or most small words of another language."""
    read = text[:_READ].casefold()
    letters = sum(map(str.isalpha, read))
    words = _LATIN.findall(read)
    if letters - sum(map(len, words)) > letters / 2 and letters >= _FEWEST:
        return True
    other = sum(word in _OTHERS for word in words)
    return other >= _FEWEST and other > sum(word in STOPWORDS_EN for word in words)
