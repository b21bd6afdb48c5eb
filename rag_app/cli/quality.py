"""`rankgate quality`: what traffic says of the policy, week by week."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from rag_app.cli.options import (
    CollectionOption,
    ConfigOption,
    DataDirOption,
    JsonOption,
    load_settings,
)
from rag_app.cli.render import print_json

if TYPE_CHECKING:
    from rag_app.quality.traffic import Watched
    from rag_app.quality.trust import Trust
    from rankgate.live.drift import Rate

__all__ = ["EXIT_DRIFTED", "register"]

EXIT_DRIFTED = 1
_EPILOG = (
    "Works while a server runs. Exit codes: 0 as before; 1 this week's rates of skipped or refused "
    "questions have moved; 2 a setting is wrong, or nothing was asked yet."
)


def quality(
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    collection: CollectionOption = None,
) -> None:
    """Skipped and refused questions by week against what was promised, and what people said."""
    from rag_app.quality.figures import watched
    from rag_app.quality.traffic import TRAFFIC_FILE, Traffic
    from rankgate.errors import InputError

    settings = load_settings(config, data_dir=data_dir, collection=collection)
    if not (settings.data_dir / TRAFFIC_FILE).is_file():
        raise InputError(
            f"nothing was counted in {settings.data_dir} yet: a server counts the questions that "
            "it answers (rankgate serve)"
        )
    traffic = Traffic(settings.data_dir)
    try:
        found, trust = watched(traffic, settings.data_dir, settings.collection)
    finally:
        traffic.close()
    if found is None:
        raise InputError(
            f"collection {settings.collection!r} was not asked yet; name another with --collection"
        )
    if as_json:
        print_json(_plain(settings.collection, found, trust))
    else:
        typer.echo(f"Collection {settings.collection}, policy {found.policy}\n")
        typer.echo("\n".join(_lines(found, trust)))
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


def _lines(found: Watched, trust: Trust | None) -> list[str]:
    rows = [("week of", "questions", "skipped", "refused")]
    rows += [
        (week.start.isoformat(), str(week.n), _rate(week.skipped), _rate(week.refused))
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


def _rate(rate: Rate) -> str:
    mark = f" moved ({rate.drifted})" if rate.drifted else ""
    return f"{rate.share:.1%} [{rate.low:.1%}, {rate.high:.1%}]{mark}"


def _range(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quality", epilog=_EPILOG)(quality)
