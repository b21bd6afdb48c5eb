"""`make quick` installs no torch: what stands in tests/quick needs nothing beyond the engine."""

import ast
import sys
from pathlib import Path

import pytest

QUICK = Path(__file__).resolve().parents[1] / "quick"
FILES = sorted(QUICK.glob("*.py"))

# What `make quick` installs: the engine with three small extras, and the test tools.
INSTALLED = {"rankgate", "numpy", "onnxruntime", "tokenizers", "bm25s", "typer", "jsonschema"}
EXTRAS = {"httpx", "diskcache", "prometheus_client"}
TOOLS = {"pytest", "hypothesis"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def used_names(tree):
    """Attributes, which pytest's ways of leaving out are, and arguments, which fixtures are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_it_imports_only_what_quick_installs(file):
    helpers = {f.stem for f in (*FILES, *QUICK.parent.glob("*.py"))}
    foreign = set(imported(ast.parse(file.read_text("utf-8"))))
    foreign -= INSTALLED | EXTRAS | TOOLS | helpers | sys.stdlib_module_names
    assert not foreign, f"{file.name} imports {sorted(foreign)}: it belongs into tests/core"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_it_needs_no_model_and_leaves_nothing_out(file):
    used = set(used_names(ast.parse(file.read_text("utf-8"))))
    assert not used & {"encoder", "importorskip", "skip", "skipif", "xfail"}
    assert "@pytest.mark.model" not in file.read_text("utf-8")
