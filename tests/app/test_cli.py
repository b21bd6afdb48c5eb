"""The command line itself: plugins, errors, exit codes."""

import importlib.metadata
import logging
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankgate import __version__
from rankgate.cli import GROUP, build_app
from rankgate.errors import ConfigError, RankgateError

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


class FiveError(RankgateError):
    exit_code = 5


@pytest.fixture
def plugins(monkeypatch):
    """Commands of a module that exists only here, as entry points."""
    module = types.ModuleType("rankgate_test_plugin")

    def register(app):
        @app.command("fine")
        def fine(name: str = "you") -> None:
            import typer

            typer.echo(f"hello {name}")

        @app.command("wrong")
        def wrong() -> None:
            raise ConfigError("the file is wrong; mend it")

        @app.command("five")
        def five() -> None:
            raise FiveError("no answer")

        @app.command("stop")
        def stop() -> None:
            raise KeyboardInterrupt

        @app.command("bug")
        def bug() -> None:
            raise ZeroDivisionError("a bug")

    def register_broken(app):
        raise RuntimeError("cannot register")

    module.register, module.register_broken = register, register_broken
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return [
        importlib.metadata.EntryPoint("fine", f"{module.__name__}:register", GROUP),
        importlib.metadata.EntryPoint("absent", "rankgate_no_such_module:register", GROUP),
        importlib.metadata.EntryPoint("broken", f"{module.__name__}:register_broken", GROUP),
        importlib.metadata.EntryPoint("unnamed", f"{module.__name__}:nothing", GROUP),
    ]


def test_a_broken_plugin_is_reported_and_the_others_work(plugins, capsys):
    app = build_app(plugins)
    said = capsys.readouterr().err
    for name in ("absent", "broken", "unnamed"):
        assert f"Warning: the command '{name}'" in said
    assert "cannot register" in said
    result = RUNNER.invoke(app, ["fine", "--name", "me"])
    assert (result.exit_code, result.stdout) == (0, "hello me\n")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("wrong", 2, "Error: the file is wrong; mend it\n"),
        ("five", 5, "Error: no answer\n"),
        ("stop", 130, "Interrupted.\n"),
    ],
)
def test_expected_errors_are_one_line_and_a_code(plugins, capsys, command, code, said):
    app = build_app(plugins[:1])
    result = RUNNER.invoke(app, [command])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_debug_shows_where_it_happened(plugins):
    handlers = list(logging.getLogger().handlers)
    try:
        result = RUNNER.invoke(build_app(plugins[:1]), ["--debug", "wrong"])
    finally:
        logging.getLogger().handlers[:] = handlers
    assert isinstance(result.exception, ConfigError)


def test_a_bug_is_not_hidden(plugins):
    result = RUNNER.invoke(build_app(plugins[:1]), ["bug"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_version_and_help():
    app = build_app([])
    assert RUNNER.invoke(app, ["--version"]).stdout == f"rankgate {__version__}\n"
    helped = RUNNER.invoke(app, ["--help"])
    assert helped.exit_code == 0
    assert "Exit codes" in helped.stdout


def test_unknown_commands_and_options_are_usage_errors(plugins):
    app = build_app(plugins[:1])
    assert RUNNER.invoke(app, ["nonsense"]).exit_code == 2
    assert RUNNER.invoke(app, ["fine", "--nonsense"]).exit_code == 2


def run(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "rankgate.cli", *args],
        capture_output=True, text=True, timeout=120, cwd=ROOT, **kwargs,
    )  # fmt: skip


def test_as_a_process():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rankgate {__version__}\n", "")


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from rankgate.cli import build_app; build_app();"
        "print([m for m in ('torch', 'chromadb', 'langchain_core', 'pydantic', 'transformers')"
        " if m in sys.modules])"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    # Generous: the machine may be busy; what matters is the list above.
    assert time.monotonic() - begun < 20
