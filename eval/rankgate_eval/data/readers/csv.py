"""Reads a table of questions with answers and gold passages (CSV, TSV)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.gold import GoldQuestion, assemble
from rankgate_eval.finding import Place

_COLUMNS = {
    "id": ("id", "_id", "query_id", "question_id"),
    "question": ("question", "query"),
    "answer": ("answer", "reference", "ground_truth"),
    "passage_id": ("passage_id", "corpus_id", "gold_id"),
    "passage": ("passage", "gold_passage", "context"),
    "span": ("span", "gold_span"),
    "split": ("split",),
}


def read_csv(
    file: str | Path,
    *,
    corpus: str | Path | None = None,
    name: str | None = None,
    gold: bool = True,
) -> RawDataset:
    """Read a table of questions with a header.

    Columns: `question`, and `answer`, `passage_id`, `passage`, `span`, `id`, `split` as far as
    they are there; further columns are kept as fields. Comma, semicolon and tab are told apart
    by the header. A question with several gold passages has a row for each.

    Args:
        file: UTF-8, with or without a byte order mark.
        corpus: where passages and spans are looked up; None: they form the corpus.
        name: of the data set; None: of the file.
        gold: whether a table that tells of no gold passage is an error.
    """
    source = Path(file)
    raw = RawDataset(name=source.stem if name is None else name)
    place = Place(file=str(source))
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raw.error("unreadable", f"not UTF-8: {exc}. Save the file as UTF-8.", place)
        return raw
    except OSError as exc:
        raw.error("missing_file", f"cannot be read: {exc}", place)
        return raw
    head = text.split("\n", 1)[0].rstrip("\r")
    delimiter = max(",;\t", key=lambda sign: (_columns(head.split(sign)) != {}, head.count(sign)))
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a passage may be a whole book
    # Strict: a stray quote is an error with a line, not half a file in one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    questions: list[GoldQuestion] = []
    where: dict[str, int] = {}
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            at = Place(file=str(source), line=line)
            line = reader.line_num + 1
            if not header:
                header = [cell.strip() for cell in cells]
                where = _columns(header)
                if "question" not in where:
                    raw.error(
                        "missing_field",
                        f"no column question (or query); the header is {', '.join(header)!r}",
                        at,
                    )
                    return raw
            elif any(cell.strip() for cell in cells):
                question = _question(cells, header, where, raw, at)
                if question is not None:
                    questions.append(question)
    except csv.Error as exc:
        raw.error("unreadable", f"not a table: {exc}", Place(file=str(source), line=line))
    if not header:
        raw.error("empty", "the file is empty", place)
    elif gold and not where.keys() & {"passage_id", "passage", "span"}:
        said = f"no column passage_id, passage or span; the header is {', '.join(header)!r}"
        raw.error("missing_field", said, place)
    return assemble(raw, questions, corpus=corpus)


def _columns(header: list[str]) -> dict[str, int]:
    """Which column holds what; nothing where there is no question."""
    names = [cell.strip().strip('"').casefold() for cell in header]
    found = {}
    for meaning, aliases in _COLUMNS.items():
        at = next((names.index(alias) for alias in aliases if alias in names), None)
        if at is not None:
            found[meaning] = at
    return found if "question" in found else {}


def _question(
    cells: list[str], header: list[str], where: dict[str, int], raw: RawDataset, place: Place
) -> GoldQuestion | None:
    if len(cells) != len(header):
        raw.error(
            "unreadable",
            f"the header has {len(header)} columns, this row {len(cells)}; quote cells that "
            "hold the separator",
            place,
        )
        return None
    values = {meaning: cells[at].strip() for meaning, at in where.items()}
    if not values["question"]:
        raw.error("missing_field", "the row has no question", place)
        return None

    def listed(meaning: str) -> tuple[str, ...]:
        value = values.get(meaning, "")
        return (value,) if value else ()

    used = set(where.values())
    return GoldQuestion(
        id=values.get("id", "") or None,
        text=values["question"],
        place=place,
        answers=listed("answer"),
        passage_ids=listed("passage_id"),
        passages=listed("passage"),
        spans=listed("span"),
        split=values.get("split", "") or None,
        fields={header[i]: cell for i, cell in enumerate(cells) if i not in used and header[i]},
    )
