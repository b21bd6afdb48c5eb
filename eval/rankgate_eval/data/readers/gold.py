"""Questions with gold passages given by id, by text or by a span; made into a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.raw import JudgementRow, PassageRow, QueryRow, RawDataset, SplitRow
from rankgate_eval.data.readers.lines import present
from rankgate_eval.data.readers.passages import read_passages
from rankgate_eval.data.readers.spans import SpanFinder
from rankgate_eval.finding import Place

# A span in more passages than this does not say which of them was meant.
_TOO_COMMON = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldQuestion:
    """One row of a user's question file.

    Attributes:
        id: None: one is given, and rows with equal questions are one question.
        passage_ids, passages, spans: what is relevant, by id, by text, by a quotation.
        split: None: in no split.
        fields: whatever else stood in the row.
    """

    id: str | None
    text: str
    place: Place
    answers: tuple[str, ...] = ()
    passage_ids: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()
    split: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def assemble(
    raw: RawDataset, questions: Sequence[GoldQuestion], *, corpus: str | Path | None
) -> RawDataset:
    """Fill `raw` with the questions and what is relevant to them.

    Args:
        corpus: a `corpus.jsonl[.gz]`, or a folder that holds one. None: the gold passages form
            the corpus (spans, where a row has no passage).
    """
    if corpus is None:
        golds = _form_corpus(raw, questions)
    else:
        path = Path(corpus)
        if path.is_dir():
            found = present(path, "corpus.jsonl", "corpus.jsonl.gz")
            path = path / "corpus.jsonl" if found is None else found
        read_passages(path, raw)
        golds = _locate(raw, questions)
    groups: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        key = "text " + normalised(question.text) if question.id is None else "id " + question.id
        groups.setdefault(key, []).append(i)
    for number, members in enumerate(groups.values(), start=1):
        first = questions[members[0]]
        key = f"q{number}" if first.id is None else first.id
        for i in members[1:]:
            if normalised(questions[i].text) != normalised(first.text):
                raw.error(
                    "duplicate_query",
                    f"question id {key!r} stands in line {first.place.line} with another text",
                    questions[i].place,
                )
        answers = list(dict.fromkeys(a for i in members for a in questions[i].answers))
        fields = dict(first.fields)
        if answers:
            fields["answers"] = answers
        raw.queries.append(QueryRow(id=key, text=first.text, place=first.place, fields=fields))
        splits = dict.fromkeys(s for i in members if (s := questions[i].split) is not None)
        raw.splits += [SplitRow(split=s, query=key, place=first.place) for s in splits]
        judged: set[str] = set()
        for i in members:
            for passage in golds[i]:
                if passage not in judged:  # overlapping spans may name a passage twice
                    judged.add(passage)
                    raw.judgements.append(
                        JudgementRow(query=key, passage=passage, grade=1, place=questions[i].place)
                    )
    return raw


def _form_corpus(raw: RawDataset, questions: Sequence[GoldQuestion]) -> list[list[str]]:
    """The rows' own passages as the corpus, equal ones once; the ids relevant to each row."""
    known: dict[str, str] = {}
    golds: list[list[str]] = []
    spans_only = False
    for question in questions:
        named = dict(zip(question.passages, question.passage_ids, strict=False))
        # Without a text an id leads nowhere; the check says so.
        golds.append(list(question.passage_ids[len(named) :]))
        spans_only |= bool(question.spans) and not question.passages
        for text in question.passages if question.passages else question.spans:
            form = normalised(text)
            if form not in known:
                known[form] = named.get(text, f"p{len(known) + 1}")
                raw.passages.append(PassageRow(id=known[form], text=text, place=question.place))
            golds[-1].append(known[form])
        if question.passages:
            whole = [normalised(p) for p in question.passages]
            for span in question.spans:
                if not any(normalised(span) in p for p in whole):
                    raw.warn(
                        "span_not_found",
                        f"the span {span[:60]!r} is not in the passage of its row",
                        question.place,
                    )
    if known:
        raw.warn(
            "gold_only_corpus",
            f"no corpus was given: the {len(known)} gold "
            f"{'spans' if spans_only else 'passages'} form it. Retrieval is far easier than "
            "in the whole corpus; give that one for figures that mean something.",
        )
    return golds


def _locate(raw: RawDataset, questions: Sequence[GoldQuestion]) -> list[list[str]]:
    """The ids relevant to each row, texts and spans searched in the corpus."""
    finder: SpanFinder | None = None
    golds: list[list[str]] = []
    for question in questions:
        found = list(question.passage_ids)
        quoted = [] if found else [*(question.passages or question.spans)]
        for text in quoted:
            if finder is None:
                finder = SpanFinder([(p.id, p.text) for p in raw.passages])
            ids = finder.find(text)
            if not ids:
                raw.error(
                    "span_not_found",
                    f"{text[:60]!r} is in no passage of the corpus. Quote it as it stands "
                    "there, within one passage, or name the passage by its id.",
                    question.place,
                )
            elif len(ids) > _TOO_COMMON:
                raw.warn(
                    "common_span",
                    f"{text[:60]!r} is in {len(ids)} passages, and all count as relevant; "
                    "quote more of it",
                    question.place,
                )
            found += ids
        golds.append(found)
    return golds
