"""How tests are written: they wait for what happens, and know of a thing what its users know."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = {str(f.relative_to(TESTS)): f for f in sorted(TESTS.rglob("*.py"))}

# Where a test may sleep, and why.
SLEEPS = {"waiting.py": "what happens in another process or thread has no event to wait for"}


def sleeps(source):
    """Lines that let time pass; `asyncio.sleep(0)` only lets others run."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        nothing = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if name == "sleep" and not nothing:
            yield node.lineno


@pytest.mark.parametrize("name", sorted(FILES.keys() - SLEEPS.keys()))
def test_it_waits_for_events_not_for_time(name):
    found = list(sleeps(FILES[name].read_text("utf-8")))
    assert not found, f"tests/{name} sleeps in lines {found}: wait for an event, or with waiting.py"


def test_a_sleep_is_found():
    said = "import time\nfrom asyncio import sleep\ntime.sleep(1)\nawait sleep(0.1)\nawait sleep(0)"
    assert list(sleeps(said)) == [3, 4]
