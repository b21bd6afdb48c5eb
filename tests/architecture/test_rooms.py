"""Rooms: no circle of imports between them, typing included; none too full; each says what it is.

A room is a folder right below a package, with everything in it, or a single module there.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "rankgate": ROOT / "rankgate",
    "rag_app": ROOT / "rag_app",
    "rankgate_eval": ROOT / "eval" / "rankgate_eval",
    "langchain_rankgate": ROOT / "integrations/langchain-rankgate/langchain_rankgate",
    "llama_index.postprocessor.rankgate": ROOT
    / "integrations/llama-index-postprocessor-rankgate/llama_index/postprocessor/rankgate",
}
FOLDERS = sorted({f.parent for base in PACKAGES.values() for f in base.rglob("__init__.py")})

# Folders that are still too full, and the files they may have at most. Only to be lowered.
MOST_FILES = 15
TOO_FULL = {
    "eval/rankgate_eval/calibrate": 16,
    "rankgate": 16,
}


def imported(file):
    """Full names of what a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(package, base):
    """Each room, and the rooms of the same package that it imports."""
    known = {p.stem for p in base.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    found = defaultdict(set)
    for file in base.rglob("*.py"):
        here = file.relative_to(base).parts[0].removesuffix(".py")
        for name in imported(file):
            if name.startswith(f"{package}."):
                there = name.removeprefix(f"{package}.").partition(".")[0]
                # A name of the package itself comes from all that its __init__ imports.
                found[here].add(there if there in known else "__init__")
    return {here: there - {here} for here, there in found.items()}


def circle_of(graph):
    """The rooms that can reach themselves."""
    reached = {here: set(there) for here, there in graph.items()}
    for middle in graph:
        for here in graph:
            if middle in reached[here]:
                reached[here] |= reached[middle]
    return {here for here, there in reached.items() if here in there}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_rooms_import_each_other_in_no_circle(package):
    graph = rooms(package, PACKAGES[package])
    found = circle_of(graph)
    ways = {here: sorted(graph[here] & found) for here in sorted(found)}
    assert not found, f"{package}: {sorted(found)} import each other in a circle: {ways}"


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert circle_of(graph) == {"b", "c"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a_folder_is_small_and_says_what_lives_in_it(folder):
    files, name = sorted(folder.glob("*.py")), folder.relative_to(ROOT).as_posix()
    most = TOO_FULL.get(name, MOST_FILES)
    assert len(files) <= most, f"{name} has {len(files)} files, {most} at most: divide it"
    says = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert says, f"{name}/__init__.py does not say what lives there"
