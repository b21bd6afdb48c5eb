"""Reads a data set of the catalogue `ir_datasets` by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rankgate.errors import InputError, MissingExtraError
from rankgate_eval.data.raw import JudgementRow, RawDataset
from rankgate_eval.data.readers.passages import add_passages, add_queries
from rankgate_eval.finding import Place

PREFIX = "ir_datasets:"


def catalogue_name(source: object) -> str | None:
    """`beir/scifact/test` of `ir_datasets:beir/scifact/test`; None of anything else."""
    text = str(source)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def read_catalogue(name: str) -> RawDataset:
    """Read passages, queries and judgements; `ir_datasets` fetches what is not on the disk yet.

    A judgement of a passage that the catalogue's own corpus lacks is left out, with a warning.

    Raises:
        MissingExtraError: `ir_datasets` is not installed.
        InputError: no such name, or it lacks passages, queries or judgements.
    """
    try:
        import ir_datasets
    except ModuleNotFoundError as exc:
        raise MissingExtraError(f"{PREFIX}{name}", "eval-data") from exc
    try:
        found: Any = ir_datasets.load(name)
    except KeyError as exc:
        raise InputError(
            f"ir_datasets has no data set {name!r}; its names are at ir-datasets.com"
        ) from exc
    lacking = [what for what in ("docs", "queries", "qrels") if not getattr(found, f"has_{what}")()]
    if lacking:
        raise InputError(
            f"{PREFIX}{name} has no {', no '.join(lacking)}: name one of its parts that has "
            "passages, queries and judgements, such as .../test"
        )
    raw = RawDataset(name=name.replace("/", "-"))
    place = Place(file=f"{PREFIX}{name}")
    add_passages(_texts(found.docs_iter(), "doc_id", place), raw)
    add_queries(_texts(found.queries_iter(), "query_id", place), raw)
    known = {row.id for row in raw.passages}
    strange = []
    for row in found.qrels_iter():
        if row.doc_id in known:
            raw.judgements.append(
                JudgementRow(
                    query=row.query_id, passage=row.doc_id, grade=int(row.relevance), place=place
                )
            )
        else:
            strange.append(row.doc_id)
    if strange:
        raw.warn(
            "judged_elsewhere",
            f"{len(strange)} judgements are of passages that its corpus does not have (first: "
            f"{strange[0]!r}); left out",
            place,
        )
    return raw


def _texts(rows: Any, key: str, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """What the catalogue calls the text of each record, its title with it."""
    for row in rows:
        yield place, {"_id": getattr(row, key), "text": row.default_text()}
