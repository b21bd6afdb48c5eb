"""Runs a command of `rankgate` in this process."""

from typer.testing import CliRunner

from rankgate.cli import build_app


def invoke(command, *arguments):
    """What the command says and its exit code; arguments may be paths and numbers."""
    return CliRunner().invoke(build_app(), [command, *map(str, arguments)])
