"""What is said of supported versions is what the manifests and the constraint files hold."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {
    "langchain-rankgate": "langchain-core",
    "llama-index-postprocessor-rankgate": "llama-index-core",
}


def pinned(file, name):
    return re.search(rf"^{name}==(\S+)$", (ROOT / file).read_text("utf-8"), re.MULTILINE)[1]


@pytest.mark.parametrize("adapter", FRAMEWORKS)
def test_the_oldest_environment_is_at_the_lower_bound(adapter):
    framework = FRAMEWORKS[adapter]
    folder = ROOT / "integrations" / adapter
    needs = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    bound = next(n for n in needs if n.startswith(framework)).removeprefix(framework)
    lower = re.match(r">=([\d.]+),<", bound)[1]
    oldest, newest = (
        pinned("constraints-oldest.txt", framework),
        pinned("constraints.txt", framework),
    )
    assert oldest == f"{lower}.0" or oldest == lower
    page = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    assert (
        f"| {framework} {bound.replace(',', ', ')} | {framework} {oldest} | {framework} {newest} |"
        in page
    )
    assert oldest in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["numpy", "onnxruntime", "jsonschema", "bm25s"])
def test_the_engines_own_needs_are_at_their_lower_bound_too(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lower = next(n for n in project["dependencies"] if n.startswith(name))
    lower = re.match(rf"{name}>=([\d.]+)", lower)[1]
    assert pinned("constraints-oldest.txt", name).startswith(lower)
