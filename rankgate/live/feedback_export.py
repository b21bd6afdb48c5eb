"""Hands a feedback log on: as a cleaned log, or as a BEIR folder where its labels allow one.

What is written holds each verdict once, the one that counts, and no session; the words of
questions and passages are in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from rankgate.errors import InputError
from rankgate.feedback import FeedbackLog, append_feedback
from rankgate.texts import whole_file

__all__ = ["Exported", "export_beir", "export_jsonl", "of_sources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        judgements: verdicts in it, one a question and passage.
        passages: in the corpus of a folder, or judged in a log.
        left_out: questions for which no passage was called relevant; they stand in a log, where
            they say what did not help, but in no folder: nobody knows what would be right.
        torn: lines of the log that its writer did not finish.
    """

    path: Path
    judgements: int
    questions: int
    passages: int
    left_out: int
    torn: int


def of_sources(log: FeedbackLog, sources: Collection[str]) -> FeedbackLog:
    """Only what came about in these ways, of `rankgate.feedback.FEEDBACK_SOURCES`."""
    return replace(log, judgements=tuple(j for j in log.judgements if j.source in sources))


def export_jsonl(log: FeedbackLog, file: str | Path) -> Exported:
    """Write the verdicts that count as a log of their own, in the schema of `rankgate.feedback`.

    `rankgate train FILE` and `rankgate eval FILE` read it.

    Raises:
        InputError: nothing to write, or the file is there already.
    """
    path = Path(file)
    _fresh(path)
    verdicts = log.verdicts()
    if not verdicts:
        raise InputError("the log holds no judgement; there is nothing to export")
    rows = sorted(
        (replace(j, session=None) for j in log.counting().values()), key=attrgetter("time")
    )
    with whole_file(path) as part:
        append_feedback(part, rows)
    return Exported(
        path=path,
        judgements=len(rows),
        questions=len(verdicts),
        passages=len({j.passage_id for j in rows}),
        left_out=sum(not any(found.values()) for found in verdicts.values()),
        torn=log.torn,
    )


def export_beir(
    log: FeedbackLog, folder: str | Path, *, passages: Mapping[str, str] | None = None
) -> Exported:
    """Write corpus.jsonl, queries.jsonl and qrels.tsv.

    Questions for which no passage was called relevant are left out: that nobody was helped does
    not say that nothing in the corpus would help.

    Args:
        passages: id to text of everything that could have been found; None: the judged passages
            alone, among which every first stage looks good.

    Raises:
        InputError: no question with a relevant passage, or the folder is there already.
    """
    path = Path(folder)
    _fresh(path)
    verdicts = log.verdicts()
    useful = {q: found for q, found in verdicts.items() if any(found.values())}
    if not useful:
        raise InputError(
            f"{len(log.judgements)} judgements, none of them says that a passage helped; export "
            "jsonl instead, or wait for thumbs up and opened sources"
        )
    # What was judged stays in, also where the index has it no more.
    judged = {p for found in useful.values() for p in found}
    texts = {i: t for i, t in log.passages().items() if i in judged} | dict(passages or {})
    with whole_file(path) as part:
        part.mkdir(parents=True, mode=0o700)
        _lines(part / "corpus.jsonl", ({"_id": i, "title": "", "text": texts[i]} for i in texts))
        ids = {q: f"feedback-{n}" for n, q in enumerate(useful, start=1)}
        _lines(part / "queries.jsonl", ({"_id": ids[q], "text": q} for q in useful))
        rows = [(ids[q], p, int(r)) for q, found in useful.items() for p, r in found.items()]
        table = "".join(f"{q}\t{p}\t{grade}\n" for q, p, grade in rows)
        (part / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{table}", "utf-8")
    return Exported(
        path=path,
        judgements=len(rows),
        questions=len(useful),
        passages=len(texts),
        left_out=len(verdicts) - len(useful),
        torn=log.torn,
    )


def _fresh(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} is there already; name a place that is not")


def _lines(file: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with file.open("w", encoding="utf-8", errors="replace") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
