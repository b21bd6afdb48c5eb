"""A judge and a generator without a model: they answer by rule, as OpenAI's API would.

For rehearsals, tests and examples. What the judge finds is known beforehand: a statement is
supported where its words stand in a row in the context, so an answer of three sentences from the
passages and one from nowhere is 0.75 faithful. Its scores say nothing about real answers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rankgate_eval.answers.keyless import answer_words, containment
from rankgate_eval.answers.prompt import REFUSAL, is_refusal

__all__ = ["bag_vector", "best_sentence", "scripted_text", "sentences"]

Generate = Callable[[str, Sequence[str]], str]

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INPUT = "Now perform the same with the following input\ninput: "
_TITLE = re.compile(r'"title": "(\w+)", "type": "object"\}')
_SOURCE = re.compile(r'<source id="\d+">\n(.*?)\n</source>', re.DOTALL)
_QUESTION = re.compile(r"<question>\n(.*?)\n</question>", re.DOTALL)
_DIMENSIONS = 64


def scripted_text(messages: Sequence[Mapping[str, Any]], generate: Generate | None = None) -> str:
    """The content of the reply to a chat.

    Args:
        messages: of the request; one that Ragas wrote is judged, any other answered.
        generate: writes an answer from question and sources; None: `best_sentence`.
    """
    asked = next(str(m["content"]) for m in messages if m["role"] == "user")
    if _INPUT in asked:
        return json.dumps(_judged(asked))
    question = _QUESTION.findall(asked)
    write = best_sentence if generate is None else generate
    return write(question[-1] if question else asked, _SOURCE.findall(asked))


def sentences(text: str) -> list[str]:
    """The sentences of a text, by its full stops."""
    return [s.strip() for s in _SENTENCE.split(text.strip()) if s.strip()]


def best_sentence(question: str, sources: Sequence[str]) -> str:
    """The sentence with most of the question's words, the first of equals; or the refusal."""
    wanted = set(answer_words(question))
    best, shared = REFUSAL, 0
    for source in sources:
        for sentence in sentences(source):
            found = len(wanted & set(answer_words(sentence)))
            if found > shared:
                best, shared = sentence, found
    return best


def bag_vector(text: str) -> list[float]:
    """A unit vector of the text's words; texts without a word in common may still be close to 0."""
    vector = [0.0] * _DIMENSIONS
    for word in answer_words(text):
        value = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        vector[value % _DIMENSIONS] += 1.0
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector] if length else [1.0, *vector[1:]]


def _judged(prompt: str) -> dict[str, Any]:
    """What the judge says: the schema's name tells which question it is."""
    titles = _TITLE.findall(prompt.split("--------EXAMPLES", 1)[0])
    given = json.loads(prompt.rsplit(_INPUT, 1)[1].rsplit("\nOutput:", 1)[0])
    title = titles[-1] if titles else ""
    if title == "StatementGeneratorOutput":
        return {"statements": sentences(given["answer"])}
    if title == "NLIStatementOutput":
        rows = [
            {"statement": s, "reason": "by its words", "verdict": _supported(s, given["context"])}
            for s in given["statements"]
        ]
        return {"statements": rows}
    if title == "AnswerRelevanceOutput":
        answer = given["response"]
        return {"question": answer, "noncommittal": int(is_refusal(answer))}
    if title == "ContextPrecisionOutput":
        verdict = _supported(given["answer"], given["context"])
        return {"reason": "by its words", "verdict": verdict}
    if title == "ContextRecallOutput":
        found = [
            {
                "statement": s,
                "reason": "by its words",
                "attributed": _supported(s, given["context"]),
            }
            for s in sentences(given["answer"])
        ]
        return {"classifications": found}
    if title == "ClaimDecompositionOutput":
        return {"claims": sentences(given["response"])}
    raise ValueError(f"no script for {title!r}")


def _supported(statement: str, context: str) -> int:
    return int(containment(context, [statement]) == 1.0)
