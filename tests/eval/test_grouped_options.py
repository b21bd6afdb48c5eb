"""Options that commands share: one declaration, the same flags on every command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from rankgate.cli import build_app, grouped
from rankgate_eval.cli.inputs import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    data: Annotated[str, typer.Argument(metavar="DATA")]
    size: Annotated[int, typer.Option("--size", min=1, help="How large.")] = 3


def command_of(function):
    made = typer.Typer()
    made.command()(function)
    return made


def test_a_dataclass_stands_for_its_options():
    seen = []

    @grouped
    def one(
        ctx: typer.Context,
        shared: Shared,
        out: Annotated[Path, typer.Option("--out")],
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Does one thing."""
        seen.append((shared, out, loud, ctx.info_name))

    run = CliRunner().invoke
    assert run(command_of(one), ["d", "--out", "x"]).exit_code == 0
    assert run(command_of(one), ["--size", "7", "d", "--out", "y", "--loud"]).exit_code == 0
    assert [s[:3] for s in seen] == [
        (Shared(data="d"), Path("x"), False),
        (Shared(data="d", size=7), Path("y"), True),
    ]
    shown = run(command_of(one), ["--help"]).output
    assert "Does one thing." in shown and "How large." in shown and "--shared" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--out", "x"], "DATA"), (["d", "--size", "0", "--out", "x"], "--size")],
)
def test_what_is_required_or_out_of_range_is_told_as_ever(arguments, said):
    @grouped
    def one(shared: Shared, out: Annotated[Path, typer.Option("--out")]) -> None:
        raise AssertionError("not reached")

    found = CliRunner().invoke(command_of(one), arguments)
    assert found.exit_code == 2 and said in found.output


@pytest.mark.parametrize(
    "path",
    [
        *(("eval", name) for name in ("DATA", "sweep", "compare", "check", "e2e")),
        ("calibrate",),
    ],
)
def test_every_command_of_the_evaluation_takes_the_same_inputs(path):
    command = get_command(build_app())
    for name in path:
        command = command.commands[name]
    flags = {flag for p in command.params for flag in p.opts}
    assert {"--queries", "--corpus", "--qrels", "--system", "--id-key", "--cache"} <= flags
    assert [p.name for p in command.params if p.param_type_name == "argument"] == ["data"]
    assert "--inputs" not in flags


def test_vectors_are_kept_where_told_or_in_the_usual_folder(tmp_path):
    assert Inputs(data="d", cache=tmp_path).folder == tmp_path
    assert Inputs(data="d").folder == Path(".rankgate") / "eval"
