"""What kind of thing a question asks for, and whether a text has one: a date, a name, a path.

English questions; of any other nothing is expected, and likeness alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["answers_to"]

Test = Callable[[str], float]

_DATE = re.compile(
    r"\b(?:1[5-9]|20)\d\d\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.? \d"
    r"|\b\d{1,2}:\d\d\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\b(?:every|within|per|each) (?:\w+ )?(?:hour|day|night|week|month|quarter|year)s?\b",
    re.I,
)
_CONDITION = re.compile(r"\b(?:when|whenever|if|once|as soon as|after|before|until|while)\b", re.I)
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred"
    r"|thousand|million|billion|half|once|twice)\b",
    re.I,
)
_MONEY = re.compile(
    r"[$\u20ac\u00a3\u00a5]|\b(?:USD|EUR|GBP|dollars?|euros?|free of charge)\b", re.I
)
_NAME = re.compile(
    r"\b[A-Z][\w'\u2019-]{1,60}(?: (?:[a-z]{2,3} )?[A-Z][\w'\u2019.-]*)+"
    r"|(?<=[a-z,;:] )[A-Z][a-z]\w+"
)
_ROLE = re.compile(r"\b(?:users?|groups?|members?|admin\w*|owners?|managers?|teams?|staff)\b", re.I)
_PATH = re.compile(
    r"(?<![\w<])[/~][\w.<>*-]+|\b[\w-]{1,80}\.(?:[a-z]{2,5}|d)\b(?!\.\w)|\b[A-Z]:\\|\w/\w+/"
)
_PLACE = re.compile(r"\b(?:in|at|under|to|from|on|inside|below) (?:the |an? )?[A-Z/~\u201c\"]")
_CODE = re.compile(r"`[^`]+`|(?:^|\s)[#$] \w|\s--?\w[\w-]*|\b[a-z]+[-_/.][a-z][\w/.-]*\b")
_REASON = re.compile(
    r"\b(?:because|since|so that|therefore|thus|due to|in order to|otherwise|reason|as it|avoid"
    r"|allows?|cannot|caused? by|makes?)\b",
    re.I,
)
_STEP = re.compile(
    r"(?:^|[:;] )(?:to \w+, |\d{1,2}\. )?(?:first,? |then,? )?(?:use|run|select|click|choose|open"
    r"|press|enter|set|add|go|type|install|create|call|pass|send|write|edit|change|boot|put|make|log"
    r"|visit|turn|ask|fill|append|start)\b|\b(?:you can|you may|by \w+ing|can be|command)\b",
    re.I,
)
_SEVERAL = re.compile(r"; |, [^,]+,? (?:and|or) |\n")
_BEGINS = r"(?:^|[,;.:?] |\b(?:and|but|for|of|at|by|in|since|until|to) )"
_HOW = "many|much|long|old|often|far|tall|big|large|high|fast|late|wide|deep|heavy"
_AMOUNT = (
    "version|port|size|number|age|percent\\w*|amount|rate|share|limit|length|level|total"
    "|duration|period|time|weight|speed|temperature"
    "|ip address|minimum|maximum"
)
_PAID = "costs?|price|fee|pay|salary|revenue|charge[ds]?"
_CODED = "command|option|parameter|setting|variable|function|flag|tool"
_KINDS: tuple[tuple[str, tuple[re.Pattern[str], ...]], ...] = (
    (rf"(?:how much|what) .*\b(?:{_PAID})\b", (_MONEY, _NUMBER)),
    (rf"how (?:{_HOW})\b", (_NUMBER,)),
    (r"when\b|(?:what|which) (?:year|date|day|month|time)\b", (_DATE, _CONDITION)),
    (rf"(?:what|which) (?:\w+ ){{0,2}}(?:{_AMOUNT})\b", (_NUMBER,)),
    (rf"what (?:is|was|are|were) the (?:\w+ ){{0,3}}(?:{_AMOUNT}|deadline)\b", (_NUMBER,)),
    (r"who\b|whose\b|whom\b|(?:what|which) (?:person|people|company|author)\b", (_NAME, _ROLE)),
    (r"where\b|(?:what|which) (?:file|director|folder|path|place|city|countr)", (_PATH, _PLACE)),
    (rf"(?:what|which) (?:\w+ )?(?:{_CODED})\b", (_CODE,)),
    (r"why\b|what .*\b(?:reason|cause)", (_REASON,)),
    (r"how\b", (_STEP, _CODE)),
    (r"(?:what|which) (?!(?:is|was|does|has|this)\b)\w+[^\Ws]s\b", (_SEVERAL,)),
)  # fmt: skip


def answers_to(question: str) -> Test:
    """A test of how well a text has what the question asks for, in [0, 1].

    What the question names is no answer to it: a year that it has is not the date asked for.
    """
    for kind, wanted in _KINDS:
        if re.search(
            rf"(?:^|[,;.:?] |\b(?:and|but|for|of|at|by|in|since|until|to) )(?:{kind})",
            question,
            re.I,
        ):
            return lambda text, wanted=wanted: _has(text, wanted, question)  # type: ignore[misc]
    return lambda text: 0.0


def _has(text: str, wanted: tuple[re.Pattern[str], ...], question: str) -> float:
    asked = question.casefold()
    for worth, pattern in zip((1.0, 0.6), wanted, strict=False):
        found = (m[0].strip() for m in pattern.finditer(text))
        if any(
            (said.islower() and said.isalpha()) or said.casefold() not in asked for said in found
        ):
            return worth
    return 0.0
