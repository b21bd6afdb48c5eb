"""What a language model says: without what it thinks, whether it refuses, the JSON in its words.

Reasoning models write their drafts into the answer, between `<think>` and `</think>` or before a
`</think>` alone. A draft is no answer: it must reach no reader, no count and no verdict.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["MOST_DENIAL", "Spoken", "denies", "json_values", "may_deny", "spoken"]

_NAMES = ("think", "thinking", "thought", "reasoning", "reflection")
_OPENS = re.compile(rf"<({'|'.join(_NAMES)})>", re.I)
_CLOSES = re.compile(rf"</(?:{'|'.join(_NAMES)})>", re.I)
_LONGEST = max(len(name) for name in _NAMES) + len("</>")
_BEGINS = re.compile(r"[{\[]")
_STEP = {"{": 1, "[": 1, "}": -1, "]": -1}
_DEEPEST = 200  # the decoder recurses
MOST_DENIAL = 400
_CITES = re.compile(r"\[\d{1,3}\]")
_TEXTS = (
    r"(?:source|document|context|passage|text|information|excerpt|material|article|content|file)s?"
)
_LACK = (
    r"(?:do|does|did)(?:n't| not) (?:\w+ly )?(?:contain|mention|provide|include|specify|state|say|"
    r"address|have|cover|give|discuss|describe|answer|indicate|list|explain)"
)
_DENIES = re.compile(
    r"(?:(?:i'm|i am|we're) (?:sorry|afraid),? (?:but )?|sorry,? (?:but )?|unfortunately,? "
    r"|apologies,? (?:but )?|based on [^.,]{1,60}, ?|according to [^.,]{1,60}, ?)*(?:"
    rf"(?:the |these |this |those |none of the |neither of the )?(?:\w+ ){{0,2}}{_TEXTS}"
    rf" (?:\w+ ){{0,3}}{_LACK}"
    r"|none of the (?:\w+ ){0,3}(?:contain|mention|provide|include|answer)"
    r"|(?:i|we) (?:do not|don't|cannot|can't|can not|could not|couldn't|did not|didn't) (?:\w+ly )?"
    r"(?:have (?:\w+ ){0,2}(?:information|data|details?|answer|access|knowledge|context)|know"
    r"|find|locate|answer|determine|see (?:any|an|the|this|that|it))\b"
    r"|(?:i am|i'm) (?:unable|not able) to|there is (?:no|not enough|insufficient) "
    r"|no (?:\w+ ){0,2}(?:information|mention|answer|data|details?)\b"
    rf"|(?:this|that|it|the (?:answer|requested {_TEXTS})) (?:is|was) not (?:\w+ly )?"
    r"(?:mentioned|provided|contained|available|stated|specified|given|found|in the))"
)
_BEGINS_DENIAL = (
    "i'm sorry", "i am sorry", "i'm afraid", "i am afraid", "i'm unable", "i am unable", "i don't",
    "i do not", "i cannot", "i can't", "i could", "i did", "sorry", "unfortunately", "apolog",
    "based on", "according to", "the provided", "the given", "the source", "the document",
    "the context", "the passage", "the text", "the information", "the excerpt", "the answer is not",
    "none of", "there is no", "no information", "this is not", "this information", "we don't",
)  # fmt: skip
_DECODER = json.JSONDecoder()


class Spoken:
    """Takes thoughts out of a text while it is still being written.

    A thought begins where nothing was said before it, or on a line of its own, so that an answer
    may speak of the marks. What could still become one is held back until it is decided.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._at_line = True
        self._blank = False

    def feed(self, piece: str) -> str:
        """What is certainly said once this piece is known."""
        self._held += piece
        said: list[str] = []
        while self._held:
            if self._thinking:
                end = _CLOSES.search(self._held)
                if end is None:
                    self._held = self._held[-_LONGEST:]
                    break
                self._held, self._thinking = self._held[end.end() :], False
                self._blank = True
                continue
            if self._blank:  # around a thought that is gone
                self._held = self._held.lstrip()
                self._blank = not self._held
                continue
            at = self._held.find("<")
            if at < 0:
                said.append(self._say(len(self._held)))
                break
            said.append(self._say(at))
            mark = self._held[:_LONGEST]
            opens = _OPENS.match(mark) if self._at_line else None
            if opens is not None:
                self._held, self._thinking = self._held[opens.end() :], True
            elif self._at_line and len(mark) < _LONGEST and ">" not in mark:
                break  # the mark may not be complete yet
            else:
                said.append(self._say(1))
        return "".join(said)

    def finish(self) -> str:
        """The rest; what was only begun as a thought is none."""
        rest = "" if self._thinking else self._held
        self._held = ""
        return rest

    def _say(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        if text:
            line = text.rpartition("\n")[2]
            self._at_line = not line.strip() and (self._at_line or "\n" in text)
        return text


def spoken(text: str) -> str:
    """What is said in a whole text; "" where it is all thought, or broken off while thinking."""
    filtered = Spoken()
    said = filtered.feed(text) + filtered.finish()
    # Some models' templates open the thought themselves, so that only its end is in the text.
    return _CLOSES.split(said)[-1].strip()


def denies(text: str) -> bool:
    """Whether an answer says, in a model's own words, that the information is not there.

    Only a short answer that cites nothing does: what goes on with what there is, is an answer.
    """
    plain = _plain(text)
    return len(plain) <= MOST_DENIAL and _CITES.search(plain) is None and bool(_DENIES.match(plain))


def may_deny(text: str) -> bool:
    """Whether a text that is still being written could become one that `denies`."""
    plain = _plain(text)
    if len(plain) > MOST_DENIAL or _CITES.search(plain):
        return False
    return _DENIES.match(plain) is not None or any(
        plain.startswith(begins[: len(plain)]) and not re.search(r"[.!?]\s", plain)
        for begins in _BEGINS_DENIAL
    )


def _plain(text: str) -> str:
    straight = text.replace("\u2019", "'").replace("\u2018", "'")
    return " ".join(straight.lstrip(" \t\r\n\"'*_>`").casefold().split())


def json_values(text: str) -> Iterator[Any]:
    """Every JSON object and list in a text that stands in no other, whatever is around it.

    Back-ticks inside a string end nothing: what is JSON is decided by a JSON decoder. A heap of
    brackets, which nobody means anything by, holds none.
    """
    depth = itertools.accumulate(_STEP.get(c, 0) for c in text)
    if max(depth, default=0) > _DEEPEST:
        return
    at = 0
    while (begin := _BEGINS.search(text, at)) is not None:
        try:
            value, at = _DECODER.raw_decode(text, begin.start())
        except ValueError:
            at = begin.start() + 1
            continue
        yield value
