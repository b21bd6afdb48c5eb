"""Examples that the sufficiency reader learns from: train splits, and errors made by rule.

Questions with the passage that answers them and with passages that do not: near ones by a hybrid
first stage, the same passage without the sentence that holds the answer, the same question about
another name or number. Statements: Fool Me Twice's claims, and sentences of passages, as they are,
with a name, number or negation changed, or with the sentence gone from the passage.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from corpus_index import CorpusIndex
from domains import domain_of

from rankgate.encoders import TokenEncoder
from rankgate.retrieve import Fusion
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.negatives.mentions import Mentions
from rankgate_eval.train.lists import with_typos

__all__ = ["Example", "build", "read", "write"]

# Questions of each that are learned from, at most.
AT_MOST = {"xquad-en": 522, "nq-oracle": 1330, "covid-qa": 793, "medquad": 900, "pubmedqa": 240}
_CLOZES = 1000
_STATEMENTS = 900
_TYPOS = 0.15
_NEAR_DUPLICATE = 0.95
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"(])")
_BE = re.compile(r"\b(is|are|was|were|can|has|had|will|does|did)\b(?! not)")
_NOT = re.compile(r"\b(is|are|was|were|can|has|had|will|does|did) not\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question or statement with one passage.

    Attributes:
        source: corpus or rule.
        domain: of `domains.DOMAINS`, or `fm2`.
        kind: `question` or `statement`.
        first, passage: the two texts.
        label: of a question 1 (answered) or 0; of a statement 0 supported, 1 contradicted, 2
            neither.
        span: characters of the passage that hold the answer; None: not known.
    """

    source: str
    domain: str
    kind: str
    first: str
    passage: str
    label: int
    span: tuple[int, int] | None = None


def write(examples: Sequence[Example], file: Path) -> None:
    """As JSON lines."""
    rows = ({n: getattr(e, n) for n in Example.__slots__} for e in examples)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def read(file: Path) -> list[Example]:
    """What `write` wrote."""
    rows = map(json.loads, file.read_text("utf-8").splitlines())
    return [Example(**{**r, "span": None if r["span"] is None else tuple(r["span"])}) for r in rows]


def build(data: Path, cache: Path, *, seed: int = 0) -> list[Example]:
    """All of them, in an order by chance."""
    rng = np.random.default_rng(seed)
    encoder = TokenEncoder.load()
    found: list[Example] = []
    for name in AT_MOST:
        made = list(_of_corpus(Dataset.load(data / name), cache, encoder, rng))
        print(name, len(made), file=sys.stderr)
        found += made
    found += _claims(data / "judge" / "fm2.jsonl", rng, held=False)
    print("all", len(found), file=sys.stderr)
    spoilt = [
        replace(e, first=with_typos(e.first, rng))
        if e.kind == "question" and rng.random() < _TYPOS
        else e
        for e in found
    ]
    return [spoilt[i] for i in rng.permutation(len(spoilt)).tolist()]


def _sentences(text: str) -> list[tuple[int, int]]:
    ends = [m.start() for m in _SENTENCE.finditer(text)]
    starts = [0, *(m.end() for m in _SENTENCE.finditer(text))]
    return list(zip(starts, [*ends, len(text)], strict=True))


def _without(text: str, span: tuple[int, int], answer: str) -> str | None:
    """The passage without the sentences around this; None where the answer is still in it."""
    left = " ".join(text[a:b] for a, b in _sentences(text) if b <= span[0] or a >= span[1])
    gone = answer.lower() not in left.lower()
    return left if gone and len(left.split()) >= 20 else None


def _of_corpus(
    data: Dataset, cache: Path, encoder: TokenEncoder, rng: np.random.Generator
) -> Iterator[Example]:
    name, domain = data.name, domain_of(data.name)
    index = CorpusIndex(data, cache, encoder)
    mentions = Mentions(data.corpus, encoder.embed)
    train = list(data.judged("train"))
    chosen = [train[i] for i in sorted(rng.permutation(len(train))[: AT_MOST[name]].tolist())]
    texts = [data.queries[q] for q in chosen]
    for q, text, vector in zip(chosen, texts, encoder.encode(texts), strict=True):
        gold = sorted(data.relevant(q))
        passage = data.corpus[gold[int(rng.integers(len(gold)))]]
        row = data.fields.get(q, {})
        answers = row.get("answers") or ([row["answer"]] if row.get("answer") else [])
        answers = [a.strip().rstrip(".") for a in answers if isinstance(a, str)]
        if name == "pubmedqa":
            answers = []
        span = next(
            (
                (at, at + len(a))
                for a in answers
                if a and (at := passage.lower().find(a.lower())) >= 0
            ),
            None,
        )
        if len(answers) and span is None and name in ("xquad-en", "nq-oracle"):
            continue

        def of(first: str, text: str, label: int, at: tuple[int, int] | None = None) -> Example:
            return Example(source=name, domain=domain, kind="question", first=first, passage=text,
                           label=label, span=at)  # fmt: skip

        yield of(text, passage, 1, span)
        positions = [index.position[g] for g in gold]
        known = index.pooled[positions]
        pool = []
        for c in index.index.search(text, 12, fusion=Fusion(), vector=vector.pooled):
            near = float((index.pooled[index.position[c.id]] @ known.T).max()) > _NEAR_DUPLICATE
            told = any(len(a) > 2 and a.lower() in c.text.lower() for a in answers)
            if c.id not in gold and not near and not told:
                pool.append(c.text)
        take = 2 if name in ("medquad", "pubmedqa") else 3
        # The nearest of all is often an answer that nobody judged.
        ranks = [0, *sorted(rng.permutation(np.arange(1, max(2, len(pool))))[: take - 1].tolist())]
        for r in ranks:
            if r < len(pool) and not (r == 0 and name in ("medquad", "covid-qa")):
                yield of(text, pool[r], 0)
        if span is not None:
            left = _without(passage, span, passage[span[0] : span[1]])
            if left is not None:
                yield of(text, left, 0)
        other = _swapped(text, passage, mentions, rng)
        if other is not None:
            yield of(other, passage, 0)
    if name == "pubmedqa":
        return
    relevant = {p for q in train for p in data.relevant(q)}
    pool_ids = sorted(relevant)
    picked = [pool_ids[i] for i in rng.permutation(len(pool_ids)).tolist()]
    share = AT_MOST[name] / sum(AT_MOST.values())
    wants = {"cloze": int(_CLOZES * share), "statement": int(_STATEMENTS * share)}
    for p in picked:
        passage = data.corpus[p]
        made = _cloze(passage, mentions, rng) if wants["cloze"] > 0 else None
        if made is not None:
            wants["cloze"] -= 1
            question, span, left = made
            base = Example(source="cloze", domain=domain, kind="question", first=question,
                           passage=passage, label=1, span=span)  # fmt: skip
            yield base
            yield replace(base, passage=left, label=0, span=None)
            continue
        if wants["statement"] > 0:
            told = list(_statements(passage, mentions, rng))
            wants["statement"] -= bool(told)
            for first, text, label, at in told:
                yield Example(source="rule", domain=domain, kind="statement", first=first,
                              passage=text, label=label, span=at)  # fmt: skip
        if not any(v > 0 for v in wants.values()):
            return


def _swapped(text: str, passage: str, mentions: Mentions, rng: np.random.Generator) -> str | None:
    """The text about another name or number, which the passage does not have."""
    places = mentions.of(text)
    for index in rng.permutation(len(places)).tolist():
        place = places[index]
        others = mentions.alike(place.key)
        if not others or text[place.start : place.end].lower() not in passage.lower():
            continue
        near = others[: 12 if not place.key[0].isdigit() else None]
        other = mentions.surfaces[near[int(rng.integers(len(near)))]]
        if other.lower() not in passage.lower():
            if text[place.start : place.end].islower():
                other = other.lower()
            return text[: place.start] + other + text[place.end :]
    return None


def _loosened(text: str, rng: np.random.Generator) -> str:
    """Some words fewer: who asks does not quote."""
    words = text.split()
    return " ".join(w for w in words if rng.random() > 0.15) if len(words) > 6 else text


def _cloze(
    passage: str, mentions: Mentions, rng: np.random.Generator
) -> tuple[str, tuple[int, int], str] | None:
    """A question made of a sentence, its answer's place, and the passage without it."""
    spans = _sentences(passage)
    for i in rng.permutation(len(spans)).tolist():
        a, b = spans[i]
        sentence = passage[a:b]
        if not 8 <= len(sentence.split()) <= 35:
            continue
        places = [m for m in mentions.of(sentence) if m.start > 0 or m.key[0].isdigit()]
        if not places:
            continue
        place = places[int(rng.integers(len(places)))]
        key, before = place.key, sentence[: place.start].rstrip()
        word = "what" if not key[0].isdigit() else "how many"
        if re.fullmatch(r"1\d{3}|20\d\d", key):
            word = "which year"
        rest = sentence[place.end :].strip().rstrip(".")
        question = _loosened(f"{before} {word} {rest}", rng) + "?"
        if rng.random() < 0.5:
            question = f"{word} " + _loosened(f"{rest} {before}", rng).strip(" ,;") + "?"
        answer = sentence[place.start : place.end]
        left = _without(passage, (a + place.start, a + place.end), answer)
        if left is not None:
            return question, (a + place.start, a + place.end), left
    return None


def _statements(
    passage: str, mentions: Mentions, rng: np.random.Generator
) -> Iterator[tuple[str, str, int, tuple[int, int] | None]]:
    """One sentence: supported, changed (contradicted), and gone from the passage (neither)."""
    spans = [s for s in _sentences(passage) if 6 <= len(passage[s[0] : s[1]].split()) <= 40]
    if len(spans) < 3:
        return
    a, b = spans[int(rng.integers(len(spans)))]
    sentence = passage[a:b]
    wrong = _swapped(sentence, "", mentions, rng) or _swapped_in(sentence, passage, mentions, rng)
    if wrong is None or rng.random() < 0.4:
        turned = _NOT.sub(r"\1", sentence, count=1)
        if turned == sentence:
            turned = _BE.sub(r"\1 not", sentence, count=1)
        wrong = turned if turned != sentence else wrong
    yield _loosened(sentence, rng), passage, 0, (a, b)
    if wrong is not None:
        yield wrong, passage, 1, (a, b)
    left = (passage[:a] + passage[b:]).strip()
    if len(left.split()) >= 20:
        yield _loosened(sentence, rng), left, 2, None


def _swapped_in(
    sentence: str, passage: str, mentions: Mentions, rng: np.random.Generator
) -> str | None:
    return _swapped(sentence, sentence, mentions, rng) if passage else None


def _claims(file: Path, rng: np.random.Generator, *, held: bool) -> list[Example]:
    """Fool Me Twice, by page: every fifth page is kept back."""
    found: list[Example] = []
    for row in map(json.loads, file.read_text("utf-8").splitlines()):
        if (sum(map(ord, row["page"])) % 5 == 0) != held:
            continue
        others, gold = list(row["others"]), list(row["gold"])
        rng.shuffle(others)
        label = 0 if row["label"] == "SUPPORTS" else 1
        mixed = [*gold, *others[:2]]
        rng.shuffle(mixed)
        told = ((mixed, label, gold[0]), (gold, label, gold[0]), (others[:3], 2, None))
        for sentences, stance, at in told:
            text = f"{row['page']}: {' '.join(sentences)}"
            start = -1 if at is None else text.find(at)
            span = None if at is None or start < 0 else (start, start + len(at))
            found.append(
                Example(source="fm2", domain="fm2", kind="statement", first=row["claim"],
                        passage=text, label=stance, span=span)
            )  # fmt: skip
    return found


if __name__ == "__main__":
    data, cache, out = map(Path, sys.argv[1:4])
    write(build(data, cache), out)
