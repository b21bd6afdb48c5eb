"""Whether a question can be understood without the turns before it; English, by its words.

It cannot where it points back ("its price", "that one", "the same"), where it leaves out what it
asks about ("And on Linux?", "Probate?"), or where it has no word of its own to search for ("Why
is that?"). Whatever is not clearly a whole English question counts as one that cannot: then the
earlier turns are put to it, as they would be anyway.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rankgate.judge.words import content_words

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# They say that a turn goes on, and nothing else.
_OPENING = frozenset(
    "and but or so then also ok okay well hi hello hey thanks thank please sorry yes no oh wow "
    "anyway now however plus actually".split()
)
_ELLIPTIC = (
    *(("what", "about"), ("how", "about"), ("why", "not"), ("what", "if"), ("what", "else")),
    *(("i", "meant"), ("i", "mean"), ("tell", "more"), ("any", "other"), ("anything", "else")),
)
_BACK = frozenset(
    "it it's its itself they they're them their theirs themselves he he's him his himself she "
    "she's her hers herself this these those former latter same such others another else one "
    "ones both either neither again instead above aforementioned previous mentioned".split()
)
_OF_NAMES = frozenset("he him his himself she her hers herself they their theirs its".split())
_TIMES = frozenset("year season month week century decade morning evening".split())
# After these and before a word, `one` is a number; "a lost one" is not.
_BEFORE_NUMBER = frozenset("in than for at of with to by within after from only about just".split())
_PAIRS = {"both": "and", "either": "or", "neither": "nor"}
_EMPTY = frozenset(
    "true possible necessary important safe legal common normal better worth advisable required "
    "allowed".split()
)
# `that` points back after these ("is that", "about that"); elsewhere it joins clauses.
_BEFORE_THAT = frozenset(
    "is was does did do can could will would about of for like after before with in on to from "
    "by at mean why how all and or than".split()
)
_HELPERS = frozenset(
    "is are was were am be do does did can could will would shall should may might must has have "
    "had isn't aren't wasn't weren't don't doesn't didn't can't won't couldn't shouldn't".split()
)
_ASKING = frozenset("what which who whom whose when where why how what's who's where's".split())
_TELLING = frozenset(
    "tell explain describe list show give name compare find define summarize summarise".split()
)
# Words that only English has: "was", "is" or "do" also stand in German, Dutch or Portuguese.
_ENGLISH = (
    _ASKING | _TELLING | frozenset("does did the are were can could would should there".split())
)
_PERSONS = frozenset("i you we".split())
# They say how something is asked about, and never what.
_GENERAL = content_words(
    "mean work use happen do get make need apply cost take price go come help know think say want "
    "like look thing way kind type sort example detail information info more tell explain "
    "describe list show give name compare find define much many long often difference reason "
    "issue problem step good best better first second last second next new please"
)
_DEFINITION = re.compile(r"(?:what|who)(?:'s|\u2019s| is| are) (?:an? )?[^\W_]+")


def stands_alone(question: str) -> bool:
    """Whether the question names what it asks about.

    A question of two words to search for stands alone; of one where it is a name, or where the
    question asks what that is.
    """
    words = _WORD.findall(question)
    while words and words[0].lower() in _OPENING:
        words.pop(0)
    low = [w.lower().replace("\u2019", "'") for w in words]
    if not low or tuple(low[:2]) in _ELLIPTIC or not _is_whole(low) or _points_back(low, words):
        return False
    telling = [w for w in words if _tells(w)]
    own = frozenset().union(*(content_words(w) for w in telling))
    if len(own) != 1:
        return len(own) > 1
    named = any(w[:1].isupper() for w in telling if w is not words[0])
    return named or _DEFINITION.fullmatch(" ".join(low)) is not None


def _points_back(low: list[str], words: list[str]) -> bool:
    return any(_back(low, i, words[1:i]) for i in range(len(low)))


def _back(low: list[str], i: int, earlier: list[str]) -> bool:
    """Whether the i-th word points out of the question."""
    word, rest = low[i], low[i + 1 :]
    before, after = low[i - 1] if i else "", rest[0] if rest else ""
    if word in ("that", "that's"):
        return not before or not after or before in _BEFORE_THAT
    if word == "there":  # "Is there a limit?" points nowhere, "What is there?" does
        return not (after and (before in _HELPERS or after in _HELPERS))
    if word not in _BACK:
        return False
    if word in _OF_NAMES:  # "Does the King have his own income?" points to the King
        return not any(w[:1].isupper() and len(w) > 1 for w in earlier)
    if word == "it":  # "Is it true that ...", "How long does it take to ..." point onwards
        onwards = before in _HELPERS and after in _EMPTY
        return not (onwards or (after in ("take", "cost") and "to" in rest[1:-1]))
    if word == "this":
        return after not in _TIMES
    if word == "one":
        return not (after and before in _BEFORE_NUMBER)
    if word in _PAIRS:
        return _PAIRS[word] not in rest
    return True


def _is_whole(low: list[str]) -> bool:
    """A clause, not a fragment, and in English."""
    clause = any(w in _ASKING or w in _TELLING or w in _HELPERS for w in low)
    person = any(a in _HELPERS and b in _PERSONS for a, b in pairwise(low))
    # "How long?", "Which ones": a question word needs a verb after it.
    verb = low[0] not in _ASKING or len(low) > 2 or "'s" in low[0]
    return clause and verb and (person or any(w in _ENGLISH for w in low))


def _tells(word: str) -> bool:
    # Beside another word, because of a stop word alone `content_words` gives the stop word.
    stems = content_words(f"{word} 0x0") - {"0x0"}
    return bool(stems) and not stems <= _GENERAL
