"""Reads the log of what users said about passages (`rankgate.feedback`) as a data set."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from rankgate.feedback import read_feedback as read_log
from rankgate_eval.data.raw import JudgementRow, PassageRow, QueryRow, RawDataset
from rankgate_eval.data.readers.gold import GoldQuestion, assemble
from rankgate_eval.finding import Place


def is_feedback(file: Path) -> bool:
    """Whether the first row of JSON lines is a judgement of the log."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8", errors="replace") as stream:
        line = next((text for text in stream if text.strip()), "")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "verdict" in row and isinstance(row.get("passage"), dict)


def read_feedback(
    file: str | Path, *, corpus: str | Path | None = None, name: str | None = None
) -> RawDataset:
    """Read a feedback log; of several verdicts on one passage the strongest, latest counts.

    A question for which no passage was called relevant is left out, with a warning: nobody said
    that the corpus does not answer it.

    Args:
        file: as the application writes it.
        corpus: where the relevant passages are looked up by their text, so that the log outlives
            a new index; None: the judged passages form the corpus, which is small and makes
            every first stage look good.
        name: of the data set; None: of the file.

    Raises:
        InputError: no such file, or a line that is not of the schema.
    """
    source = Path(file)
    log = read_log(source)
    raw = RawDataset(name=source.name.split(".")[0] if name is None else name)
    place = Place(file=str(source))
    texts, verdicts = log.passages(), log.verdicts()
    useful = {q: found for q, found in verdicts.items() if any(found.values())}
    if len(useful) < len(verdicts):
        raw.warn(
            "no_relevant_passage",
            f"{len(verdicts) - len(useful)} questions have verdicts but no relevant passage; they "
            "are left out",
            place,
        )
    if log.torn:
        raw.warn("torn_lines", f"{log.torn} lines were not finished by their writer", place)
    if corpus is not None:
        questions = [
            GoldQuestion(
                id=None,
                text=question,
                place=place,
                passages=tuple(texts[p] for p, relevant in found.items() if relevant),
            )
            for question, found in useful.items()
        ]
        return assemble(raw, questions, corpus=corpus)
    raw.passages.extend(PassageRow(id=p, text=text, place=place) for p, text in texts.items())
    for number, (question, found) in enumerate(useful.items(), start=1):
        query = f"feedback-{number}"
        raw.queries.append(QueryRow(id=query, text=question, place=place))
        raw.judgements.extend(
            JudgementRow(query=query, passage=p, grade=int(relevant), place=place)
            for p, relevant in found.items()
        )
    return raw
