"""`rankgate feedback` and `quality`: what people said about answers, and what traffic says."""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from contextlib import closing
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_app.cli.options import JsonOption, Where
from rag_app.cli.render import print_json
from rankgate.cli import grouped
from rankgate.errors import InputError
from rankgate.feedback import FEEDBACK_FILE, FEEDBACK_SOURCES, FeedbackLog, read_feedback
from rankgate.live.feedback_export import export_beir, export_jsonl, of_sources

if TYPE_CHECKING:
    from rag_app.quality.traffic import Watched
    from rag_app.quality.trial import Standing
    from rag_app.quality.trust import Trust
    from rankgate.live.drift import Rate

_EPILOG = (
    "Works while a server runs. The words of questions and passages are in what is written: read "
    "it before you hand it on. Exit codes: 0 ok; 2 wrong usage, setting or file, or no feedback."
)
group = typer.Typer(no_args_is_help=True, help="What people said about answers: export it.")


class Form(StrEnum):
    """How feedback is written."""

    JSONL = "jsonl"
    BEIR = "beir"


@group.command("export", epilog=_EPILOG)
@grouped
def export(
    out: Annotated[Path, typer.Argument(help="File (jsonl) or folder (beir) to make.")],
    form: Annotated[
        Form, typer.Option("--format", help="jsonl: for train and eval; beir: a folder, for eval.")
    ] = Form.JSONL,
    sources: Annotated[
        str, typer.Option(help=f"Separated by commas, of: {', '.join(FEEDBACK_SOURCES)}.")
    ] = ",".join(FEEDBACK_SOURCES),
    judged_only: Annotated[
        bool,
        typer.Option(
            "--judged-only", help="beir: the judged passages alone, not the whole collection."
        ),
    ] = False,
    as_json: JsonOption = False,
    *,
    where: Where,
) -> None:
    """Write a collection's verdicts that count: thumbs, opened sources, questions asked again."""
    settings = where.settings()
    wanted = [s.strip() for s in sources.split(",") if s.strip()]
    unknown = [s for s in wanted if s not in FEEDBACK_SOURCES]
    if unknown or not wanted:
        raise InputError(
            f"--sources takes {', '.join(FEEDBACK_SOURCES)}, separated by commas; got {sources!r}"
        )
    if judged_only and form is Form.JSONL:
        raise InputError("--judged-only goes with --format beir; a log has nothing else anyway")
    file = settings.data_dir / FEEDBACK_FILE
    if not file.is_file():
        raise InputError(
            f"there is no {file}: a server writes it with feedback = true, once people rate "
            "answers, open sources or ask again"
        )
    name = settings.collection
    log = of_sources(read_feedback(file), wanted)
    whole = form is Form.BEIR and not judged_only
    passages: dict[str, str] = {}
    if whole or any(j.collection is None for j in log.judgements):
        passages = _passages(settings.data_dir, name)
    if whole and not passages:
        raise InputError(
            f"collection {name!r} holds no passage; name another with --collection, or use "
            "--judged-only"
        )
    here = _of_collection(log, name, passages)
    unsaid = sum(j.collection is None and j.passage_id not in passages for j in log.judgements)
    if unsaid:
        typer.echo(
            f"{unsaid} judgements of an older version do not say their collection, and their "
            f"passages are not in {name!r}; they are left out.",
            err=True,
        )
    if log.judgements and not here.judgements:
        raise InputError(
            f"nothing was said about collection {name!r}; name another with --collection"
        )
    if form is Form.JSONL:
        done = export_jsonl(here, out)
    else:
        done = export_beir(here, out, passages=passages if whole else None)
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    typer.echo(
        f"{done.path}: {done.judgements} verdicts on {done.questions} questions, "
        f"{done.passages} passages."
    )
    if done.left_out:
        told = "they are not in it" if form is Form.BEIR else "train and eval pass over them"
        typer.echo(f"{done.left_out} questions without a passage that helped; {told}.", err=True)
    if done.torn:
        typer.echo(f"{done.torn} lines were not finished by their writer.", err=True)


def _of_collection(log: FeedbackLog, name: str, passages: Container[str]) -> FeedbackLog:
    """What was said about one collection; what was said about another is no label of it.

    Args:
        log: of a data folder, which may have several.
        passages: the ids of its passages. A line that does not say its collection, as older
            versions wrote them, counts where its passage is among these.
    """
    here = tuple(
        j
        for j in log.judgements
        if (j.passage_id in passages if j.collection is None else j.collection == name)
    )
    return replace(log, judgements=here)


def _passages(data_dir: Path, collection: str) -> dict[str, str]:
    """A collection's passages by id, read beside whatever has the folder open."""
    file = data_dir / "manifest.sqlite"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT id, indexed_text FROM chunk WHERE collection = ? "
                "ORDER BY document_id, position",
                (collection,),
            )
            return dict(rows.fetchall())
    except sqlite3.Error as exc:
        raise InputError(f"the passages in {file} cannot be read: {exc}") from exc


EXIT_DRIFTED = 1
_QUALITY_EPILOG = (
    "Works while a server runs. Exit codes: 0 as before; 1 this week's rates of skipped or refused "
    "questions have moved; 2 a setting is wrong, or nothing was asked yet."
)


def quality(as_json: JsonOption = False, *, where: Where) -> None:
    """Skipped and refused questions by week against what was promised, and what people said."""
    from rag_app.quality.figures import watched
    from rag_app.quality.traffic import TRAFFIC_FILE, Traffic
    from rag_app.quality.trial import TRIAL_FILE, Trial

    settings = where.settings()
    if not (settings.data_dir / TRAFFIC_FILE).is_file():
        raise InputError(
            f"nothing was counted in {settings.data_dir} yet: a server counts the questions that "
            "it answers (rankgate serve)"
        )
    traffic = Traffic(settings.data_dir)
    trial = Trial(settings.data_dir) if (settings.data_dir / TRIAL_FILE).is_file() else None
    try:
        found, trust = watched(traffic, settings.data_dir, settings.collection)
        standing = None if trial is None else trial.standing(settings.collection)
    finally:
        traffic.close()
        if trial is not None:
            trial.close()
    if found is None:
        raise InputError(
            f"collection {settings.collection!r} was not asked yet; name another with --collection"
        )
    if as_json:
        plain = _plain(settings.collection, found, trust)
        print_json({**plain, "two_policies": None if standing is None else asdict(standing)})
    else:
        typer.echo(f"Collection {settings.collection}, policy {found.policy}\n")
        typer.echo("\n".join(_quality_lines(found, trust)))
        if standing is not None:
            typer.echo("\n".join(_trial_lines(standing)))
    if found.drifted:
        raise typer.Exit(EXIT_DRIFTED)


def _plain(collection: str, found: Watched, trust: Trust | None) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "collection": collection,
        **asdict(found),
        "drifted": found.drifted,
        "trust": None if trust is None else asdict(trust),
    }
    for week in plain["weeks"]:
        week["start"] = week["start"].isoformat()
    return plain


def _quality_lines(found: Watched, trust: Trust | None) -> list[str]:
    rows = [("week of", "questions", "skipped", "refused")]
    rows += [
        (week.start.isoformat(), str(week.n), _rate_words(week.skipped), _rate_words(week.refused))
        for week in found.weeks
    ]
    now = found.weeks[0]
    rows += [
        ("promised", "", _range(now.skipped.promised), _range(now.refused.promised)),
        ("weeks before", "", _range(now.skipped.before), _range(now.refused.before)),
    ]
    lines = [f"{a:<14}{b:>9}  {c:<42}{d}".rstrip() for a, b, c, d in rows]
    if trust is not None and trust.found is not None:
        lines += [
            "",
            f"Probabilities of the best cited passage, {trust.n} rated answers: predicted "
            f"{trust.found.predicted:.1%}, found helpful {trust.found.base_rate:.1%} "
            f"[{trust.low:.1%}, {trust.high:.1%}]; in {trust.unhelped:.0%} none helped.",
        ]
    return lines


def _trial_lines(found: Standing) -> list[str]:
    lines = [
        "",
        f"Two policies, A {found.a} and B {found.b}: {found.answers} answers, {found.differing} of "
        "them not the same; conversations that prefer",
    ]
    for name, one in (("people", found.people), ("citations", found.cited)):
        share = "-" if one.share is None else f"{one.share:.1%} [{one.low:.1%}, {one.high:.1%}]"
        lines.append(
            f"{name:<12}A {one.a}, B {one.b}, ties {one.ties}; share of B {share}, p {one.p:.3f}"
        )
    return lines


def _rate_words(rate: Rate) -> str:
    mark = f" moved ({rate.drifted})" if rate.drifted else ""
    return f"{rate.share:.1%} [{rate.low:.1%}, {rate.high:.1%}]{mark}"


def _range(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="feedback")
    app.command("quality", epilog=_QUALITY_EPILOG)(grouped(quality))
