"""Makes (question, passage) pairs of documents that nobody has labelled.

The heading of a section asks, its text answers; the first sentence of a section asks for the
rest of it. The pairs are poorer than real questions, and they cost nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rankgate.errors import InputError
from rankgate.retrieve import Analyser
from rankgate_eval.train.corpus import TrainingCorpus, TrainingQuery
from rankgate_eval.train.sections import READERS, Section

__all__ = ["documents_corpus", "read_documents"]

_SENTENCE = re.compile(r"^(.{30,200}?[.:])\s+(?=\S)", re.DOTALL)
# Headings that stand in every manual and say nothing about their section.
_EMPTY = frozenset(
    "abstract introduction overview description notes examples example see also parameters "
    "summary arguments options usage synopsis compatibility references author authors outputs "
    "history bugs navigation files environment exit status return value returns "
    "raises contents index".split()
)
_MIN_BODY_WORDS = 25
_MAX_BODY_WORDS = 180


def read_documents(folder: str | Path, *, licence: str = "not stated") -> TrainingCorpus:
    """Pairs from every .md, .html and .py file below a folder.

    Raises:
        InputError: no folder, no such files, or not one usable pair in them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder of documents at {root}")
    files = sorted(f for f in root.rglob("*") if f.suffix.casefold() in READERS and f.is_file())
    if not files:
        raise InputError(f"{root} holds no {', '.join(READERS)} file")
    sections = [
        (str(file.relative_to(root)), section)
        for file in files
        for section in READERS[file.suffix.casefold()](file.read_text("utf-8", "replace"))
    ]
    corpus = documents_corpus(sections, name=root.name, licence=licence)
    if not corpus.queries:
        raise InputError(
            f"{root}: {len(files)} files, {len(sections)} sections, and no pair in them: a "
            f"heading needs two telling words and {_MIN_BODY_WORDS} words below it"
        )
    return corpus


def documents_corpus(
    sections: Iterable[tuple[str, Section]], *, name: str, licence: str = "not stated"
) -> TrainingCorpus:
    """Pairs of (document, section); all sections of a document form a group.

    Left out are headings that say nothing, headings that stand over several sections with no
    telling heading above them, and sections of a few words: their pairs would teach noise.
    """
    listed = [(doc, s) for doc, s in sections if len(s.body.split()) >= _MIN_BODY_WORDS]
    asked = Counter(_question(s.path) for _, s in listed)
    passages: dict[str, str] = {}
    queries: list[TrainingQuery] = []
    for document, section in listed:
        question = _question(section.path)
        body = " ".join(section.body.split()[:_MAX_BODY_WORDS])
        identifier = hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()[:16]
        if identifier in passages:
            continue
        passages[identifier] = body
        if question is not None and asked[question] == 1:
            queries.append(_query(f"h:{identifier}", question, identifier, document))
        lead = _SENTENCE.match(body)
        rest = "" if lead is None else body[lead.end() :]
        if lead is not None and _prose(lead[1]) and len(rest.split()) >= _MIN_BODY_WORDS:
            # The passage that answers is the rest: with the sentence in it, equal words do.
            below = f"{identifier}-rest"
            passages[below] = rest
            queries.append(_query(f"s:{identifier}", lead[1].rstrip(".:"), below, document))
    return TrainingCorpus(
        name=name, passages=passages, queries=tuple(queries), licence=licence, source="documents"
    )


def _query(identifier: str, text: str, passage: str, document: str) -> TrainingQuery:
    return TrainingQuery(id=identifier, text=text, positives=(passage,), group=document)


def _question(path: tuple[str, ...]) -> str | None:
    """The heading, with the one above it where one word alone would be too little."""
    telling = _telling(path[-1])
    if telling >= 2:
        return path[-1]
    joined = " ".join(path[-2:])
    return joined if telling == 1 and _telling(joined) >= 2 else None


def _prose(sentence: str) -> bool:
    """Whether this reads as a sentence, not as a table of contents, a signature or a prompt."""
    plain = sum(ch.isalpha() or ch in " ,'-" for ch in sentence)
    return sentence[0].isupper() and plain >= 0.9 * len(sentence)


def _telling(heading: str) -> int:
    """Words that are neither stop words nor headings of every manual."""
    return sum(term not in _EMPTY for term in Analyser().terms([heading])[0])
