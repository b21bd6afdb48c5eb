"""`rankgate ingest`: files and folders into the index, with a report of every one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_app.cli.documents import collections, documents
from rag_app.cli.options import JsonOption, Where
from rag_app.cli.render import print_json
from rag_app.index.private import private_files
from rankgate.cli import grouped
from rankgate.errors import RankgateError

if TYPE_CHECKING:
    from rag_app.ingest.report import IngestReport, Progress
    from rag_app.settings import Settings

EXIT_PARTLY = 4
_EPILOG = (
    "Exit codes: 0 all files are in; 4 some could not be read and were passed over (each is named "
    "with its reason); 2 wrong usage or setting, nothing found, or the data folder is in use."
)
_SHOWN = 50
_PASSED = 10
_LOOK_S = 2.0
Files = frozenset[tuple[Path, int, int]]


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", show_default=False)],
    as_json: JsonOption = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Empty the collection first; it then holds these PATHS alone."
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on looking, and read what changes, until Ctrl+C."),
    ] = False,
    *,
    where: Where,
) -> None:
    """Index Markdown, text, HTML, PDF, Word, CSV and e-mail files.

    Run it again at any time: unchanged files cost nothing, changed ones are replaced, and documents
    whose file is gone from a given folder are removed. An interrupted run is finished by the next.
    """
    settings = where.settings()

    def run(*, rebuild: bool = False) -> IngestReport:
        with private_files(), _progress_bar() as tell:
            from rag_app.served import ingest

            report = ingest(paths, settings, progress=tell, rebuild=rebuild)
        if as_json:
            print_json(report.to_dict())
        else:
            _print_report(report)
        return report

    before = _files(paths, settings) if watch else frozenset()
    report = run(rebuild=rebuild)
    if watch:
        typer.echo("Looking for changes; stop with Ctrl+C.", err=True)
        _watch(before, lambda: _files(paths, settings), run)
    if report.failed:
        raise typer.Exit(EXIT_PARTLY)


def _watch(done: Files, look: Callable[[], Files], run: Callable[[], object]) -> None:
    """Run whenever what is seen has changed and then stays as it is, which a copy does not.

    Looking every few seconds also sees changes on network drives, where nothing is told.

    Args:
        done: what was seen before the last run.
    """
    before, said = done, ""
    while True:
        time.sleep(_LOOK_S)
        now = look()
        if now == before != done:
            try:
                run()
                done, said = now, ""
            except RankgateError as exc:  # such as a folder that is in use: tried again
                if str(exc) != said:
                    typer.echo(f"Error: {exc}", err=True)
                said = str(exc)
        before = now


def _files(paths: Sequence[Path], settings: Settings) -> Files:
    """Every file with its size and time of change."""
    from rag_app.ingest.walk import walk

    seen = set()
    for file in walk(paths, exclude=[settings.data_dir]).files:
        with suppress(OSError):  # gone since it was listed
            stat = file.path.stat()
            seen.add((file.path, stat.st_size, stat.st_mtime_ns))
    return frozenset(seen)


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[chunks]} chunks"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("Opening the index", total=None, chunks=0)

        def tell(now: Progress) -> None:
            # A file's name may hold what rich takes for markup.
            name = Path(now.source).name.replace("[", "(")[:40]
            bar.update(
                task,
                description=name or "Finishing",
                completed=now.done,
                total=now.total,
                chunks=now.chunks,
            )

        yield tell


def _print_report(report: IngestReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title=Text(f"Collection {report.collection}"), show_header=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, many in (
        ("added", len(report.added)),
        ("changed", len(report.changed)),
        ("unchanged", len(report.unchanged)),
        ("removed", len(report.removed)),
        ("failed", len(report.failed)),
        *((f"passed over: {why}", len(names)) for why, names in sorted(report.skipped.items())),
    ):
        table.add_row(what, str(many))
    table.add_section()
    table.add_row("documents now", str(report.documents))
    table.add_row("chunks now", str(report.chunks))
    table.add_row("chunks embedded", str(report.embedded))
    table.add_row("seconds", f"{report.seconds:.1f}")
    console.print(table)
    files: dict[str, list[str]] = {}
    for source, notes in report.notes.items():
        files.setdefault("; ".join(notes), []).append(source)
    for note, (first, *rest) in list(files.items())[:_SHOWN]:
        typer.echo(f"note: {first}{f' and {len(rest)} more' if rest else ''}: {note}")
    for why, names in sorted(report.skipped.items()):
        more = f" and {len(names) - _PASSED} more; --json names all"
        shown = ", ".join(names[:_PASSED]) + (more if len(names) > _PASSED else "")
        typer.echo(f"passed over, {why}: {shown}")
    for failed in report.failed[:_SHOWN]:
        kept = " (its earlier version stays indexed)" if failed.kept else ""
        typer.echo(f"failed: {failed.source}: {failed.reason}: {failed.detail}{kept}")
    if len(report.failed) > _SHOWN:
        typer.echo(f"... and {len(report.failed) - _SHOWN} more; --json names all.")


def register(app: typer.Typer) -> None:
    """Add the command, and those for what was ingested."""
    app.command("ingest", epilog=_EPILOG)(grouped(ingest))
    app.add_typer(documents, name="documents")
    app.add_typer(collections, name="collections")
