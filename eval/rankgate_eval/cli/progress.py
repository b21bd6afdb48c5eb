"""What a command says while it works: on stderr, and only once it takes longer than 2 seconds."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import typer

from rankgate.errors import RankgateError
from rankgate_eval.errors import DatasetError

EXIT_USAGE = 2
EXIT_CRASH = 70
_PATIENCE = 2.0
_LINE_EVERY = 10.0
_ISSUES = "the project's issue tracker"


class Teller:
    """Progress: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._last = 0.0
        self._what = ""
        self._width = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far it is, if it is time to."""
        now = self._clock()
        if now - self._begun < _PATIENCE:
            return
        terminal = sys.stderr.isatty()
        fresh = what != self._what
        if not fresh and now - self._last < (0.2 if terminal else _LINE_EVERY):
            return
        self._last, self._what = now, what
        line = f"{what}: {done}/{total}" if total > 1 else what
        if terminal:
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._width and sys.stderr.isatty():
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
        self._width = 0


@contextlib.contextmanager
def guarded(*, debug: bool = False) -> Iterator[Teller]:
    """Exit codes for what goes wrong: 2 for bad data and wrong usage, 70 for a crash.

    Findings of a bad data set are shown with file and line, the first of each kind. Other errors
    that rankgate raises on purpose are left to the command line, which shows them as a sentence.

    Args:
        debug: show every finding, and let a crash through, with its whole traceback.
    """
    teller = Teller()
    try:
        yield teller
    except DatasetError as exc:
        teller.end()
        shown = {"shown": len(exc.findings)} if debug else {}
        typer.echo(f"Error: {DatasetError(exc.name, exc.findings, **shown)}", err=True)
        raise typer.Exit(EXIT_USAGE) from exc
    except (RankgateError, KeyboardInterrupt, typer.Exit, typer.Abort):
        teller.end()
        raise
    except Exception as exc:
        teller.end()
        if debug or _of_command_line(exc):
            raise
        typer.echo(_crash_report(exc), err=True)
        # Not `from exc`: contextlib takes that for a StopIteration that Python has converted.
        raise typer.Exit(EXIT_CRASH) from None
    finally:
        teller.end()


def _of_command_line(exc: Exception) -> bool:
    """Whether it is the command line's own way of saying what is wrong with its arguments."""
    return hasattr(exc, "exit_code") and hasattr(exc, "format_message")


def _crash_report(exc: Exception) -> str:
    frames = traceback.extract_tb(exc.__traceback__)[-5:]
    lines = [f"Crash: {type(exc).__name__}: {exc}", ""]
    lines += [f"  {f.filename}:{f.lineno} in {f.name}: {f.line}" for f in frames]
    lines += [
        "",
        "This is a defect of rankgate, or of an object of yours that it called (see the lines "
        "above).",
        "The whole traceback: the same command with `rankgate --debug eval ...`.",
        f"To report it, send that traceback, the command and `rankgate --version` to {_ISSUES}.",
    ]
    return "\n".join(lines)
