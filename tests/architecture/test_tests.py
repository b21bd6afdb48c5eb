"""How tests are written: they wait for what happens, and know of a thing what its users know."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = {str(f.relative_to(TESTS)): f for f in sorted(TESTS.rglob("*.py"))}

# Where a test may sleep, and why.
SLEEPS = {
    "waiting.py": "what happens in another process or thread has no event to wait for",
    "app/load_kit.py": "its clients come back a while after a 429, as clients do",
}

# Names with an underscore that a test may use of something that is not its own, and why.
CHROMA = "the frameworks' stores show their Chroma collection nowhere"
SHARED = "that memory is shared, or not, can be seen in the torch module alone"
TABLE = "what the file's whole content is about has no other door"
PRIVATE = {
    ("adapters/test_langchain_chroma.py", "_collection"): CHROMA,
    ("adapters/test_llamaindex_retriever.py", "_collection"): CHROMA,
    ("adapters/test_llamaindex_retriever.py", "_vector_store"): CHROMA,
    ("adapters/test_langchain_fused.py", "_get_ls_params"): "LangChain's own hook for tracing",
    ("adapters/test_llamaindex_postprocessor.py", "_llm"): "the public name would load a model",
    ("adapters/test_llamaindex_postprocessor.py", "_embed_model"): "as its neighbour",
    ("services/test_chroma_http.py", "_client"): "Chroma's client tells its time limit nowhere",
    ("services/test_chroma_http.py", "_server"): "as its neighbour",
    ("services/test_chroma_http.py", "_session"): "as its neighbour",
    ("app/test_operations_docs.py", "_name"): "prometheus_client tells a metric's labels nowhere",
    ("app/test_operations_docs.py", "_labelnames"): "as its neighbour",
    ("core/test_bundled_weights.py", "_FOLDER"): "a package's own files cannot be damaged",
    ("core/test_late_interaction.py", "_checked"): "as the bundled weights",
    ("eval/test_training_query.py", "_body"): SHARED,
    ("eval/test_training_draws.py", "_NEAR"): TABLE,
    ("architecture/pattern_kit.py", "_constants"): "no public name says what a pattern is made of",
}
# Underscores that their owners mean for everybody.
EVERYBODYS = {"_exit", "_replace", "_asdict", "_fields"}


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


def reached_into(source):
    """Names with one underscore that are used of anything but the test's own classes.

    `self._x` and `cls._x` are its own, and `super()._x` is the hook of a class it derives from.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner, names = node.value, [node.attr]
            if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
                continue
            if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super":
                continue
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "setattr",
            "delattr",
        ):
            said = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names = [str(value).rpartition(".")[2] for value in said]
        else:
            continue
        yield from (n for n in names if n.startswith("_") and not n.startswith("__"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_it_reaches_into_nothing(name):
    found = set(reached_into(FILES[name].read_text("utf-8"))) - EVERYBODYS
    allowed = {attribute for file, attribute in PRIVATE if file == name}
    assert found <= allowed, f"tests/{name} uses {sorted(found - allowed)}: ask for it publicly"
    assert found >= allowed, f"take {sorted(allowed - found)} of {name} off the list"


def test_the_list_is_of_files_that_there_are():
    assert {file for file, _ in PRIVATE} <= FILES.keys()


def test_what_reaches_in_is_found():
    said = """
store._index.ids()
self._own + cls._own + super()._hook()
from rankgate.x import _thing
monkeypatch.setattr("a.b._C", 1)
a.__class__
"""
    assert sorted(reached_into(said)) == ["_C", "_index", "_thing"]
