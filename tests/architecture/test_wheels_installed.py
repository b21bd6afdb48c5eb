"""Each adapter's wheel beside the engine's, installed from a package index into an empty place."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(# runnable\n.*?)^```", re.DOTALL | re.MULTILINE)
ADAPTERS = {
    "langchain-rankgate": "langchain_rankgate",
    "llama-index-postprocessor-rankgate": "llama_index.postprocessor.rankgate",
}
PAGES = {
    "langchain-rankgate": "langchain.md",
    "llama-index-postprocessor-rankgate": "llamaindex.md",
}
HEAVY = {"torch", "sentence-transformers", "transformers", "chromadb", "scikit-learn"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The four wheels."""
    out = tmp_path_factory.mktemp("dist")
    for folder in (ROOT, *(p.parent for p in ROOT.glob("integrations/*/pyproject.toml"))):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), "."],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    assert len(list(out.glob("*.whl"))) == 4
    return out


@pytest.fixture(scope="module", params=ADAPTERS)
def installed(request, dist, tmp_path_factory):
    """An empty environment with one adapter in it, and what came along."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--find-links", str(dist), request.param],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return request.param, python


def run_in(python, code, cwd):
    done = subprocess.run(
        [python, "-P", "-W", "error", "-c", code],
        cwd=cwd,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
            "RANKGATE_TOKEN_CACHE": str(cwd),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_it_imports_and_is_of_the_engines_version(installed, tmp_path):
    name, python = installed
    module = ADAPTERS[name]
    code = (
        f"import importlib.metadata as m, rankgate, {module} as adapter\n"
        f"print(m.version('{name}'), m.version('rankgate'), adapter.__version__, "
        "rankgate.__version__)\n"
        "print(adapter.__file__)"
    )
    versions, file = run_in(python, code, tmp_path).splitlines()
    assert len(set(versions.split())) == 1
    assert str(Path(python).parents[1]) in file, "not the checkout's"


@pytest.mark.slow
def test_nothing_heavy_comes_along(installed, tmp_path):
    _, python = installed
    code = (
        "import importlib.metadata as m\n"
        "print(*sorted(d.metadata['Name'].lower().replace('_', '-') for d in m.distributions()))"
    )
    names = set(run_in(python, code, tmp_path).split())
    assert {"rankgate", "numpy"} <= names
    assert not names & HEAVY


@pytest.mark.slow
def test_it_brings_only_its_own_code(installed, tmp_path):
    name, python = installed
    code = f"import importlib.metadata as m\nprint(*[str(f) for f in m.files('{name}')], sep='\\n')"
    files = [f for f in run_in(python, code, tmp_path).splitlines() if ".dist-info/" not in f]
    package = ADAPTERS[name].replace(".", "/") + "/"
    assert files and all(f.startswith(package) for f in files), files
    assert f"{package}py.typed" in files


@pytest.mark.slow
def test_the_readmes_example_runs(installed, tmp_path):
    name, python = installed
    blocks = BLOCK.findall((ROOT / "integrations" / name / "README.md").read_text("utf-8"))
    assert blocks, f"the README of {name} has no block that begins with '# runnable'"
    for code in blocks:
        run_in(python, code, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.model
@pytest.mark.slow
def test_the_first_example_of_its_page_answers_as_it_is_installed(installed, tmp_path):
    name, python = installed
    page = (ROOT / "docs" / PAGES[name]).read_text("utf-8")
    code = BLOCK.findall(page)[0]
    assert "scorer=" not in code, "the default one"
    said = run_in(python, "import sys\nsys.modules['torch'] = None\n" + code, tmp_path)
    assert "late-interaction/all-MiniLM-L6-v2" in said
    assert list(tmp_path.glob("tokens-*.sqlite")), "what was read is kept"
