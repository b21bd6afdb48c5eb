"""The four distributions, built and imported outside the checkout."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rankgate.encoders.locate import MINILM_SHA256

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {
    "rankgate": ROOT,
    "langchain_rankgate": ROOT / "integrations" / "langchain-rankgate",
    "llama_index_postprocessor_rankgate": ROOT
    / "integrations"
    / "llama-index-postprocessor-rankgate",
    "rankgate_minilm": ROOT / "integrations" / "rankgate-minilm",
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Each project's wheel, by name."""
    built = {}
    for name, folder in PROJECTS.items():
        out = tmp_path_factory.mktemp(name)
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), "."],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        (built[name],) = out.glob("*.whl")
    return built


def names_in(wheel):
    return zipfile.ZipFile(wheel).namelist()


def test_the_engines_wheel_holds_code_data_and_nothing_else(wheels):
    names = names_in(wheels["rankgate"])
    tops = {n.split("/")[0] for n in names}
    assert tops == {"rankgate", "rag_app", "rankgate_eval", "rankgate-0.1.0.dist-info"}
    for needed in (
        "rankgate/py.typed",
        "rankgate/policy.schema.json",
        "rankgate/policies/default.json",
        "rag_app/web/templates/chat.html",
        "rag_app/web/static/js/chat.js",
        "rag_app/web/static/css/tokens.css",
    ):
        assert needed in names
    code = {
        str(f.relative_to(ROOT)) for p in ("rankgate", "rag_app") for f in (ROOT / p).rglob("*.py")
    }
    assert code <= set(names), sorted(code - set(names))


def test_the_adapters_wheels_hold_only_their_own_package(wheels):
    names = names_in(wheels["langchain_rankgate"])
    assert {n.split("/")[0] for n in names} == {
        "langchain_rankgate",
        "langchain_rankgate-0.1.0.dist-info",
    }
    names = names_in(wheels["llama_index_postprocessor_rankgate"])
    inside = [n for n in names if ".dist-info/" not in n]
    assert inside and all(n.startswith("llama_index/postprocessor/rankgate/") for n in inside)
    assert "llama_index/__init__.py" not in names, "a PEP 420 namespace has none"


def test_the_weights_wheel_holds_the_published_files_and_no_code(wheels):
    wheel = zipfile.ZipFile(wheels["rankgate_minilm"])
    inside = {n for n in wheel.namelist() if ".dist-info/" not in n}
    model = {"config.json", "tokenizer.json", "model.safetensors"}
    assert inside == {"rankgate_minilm/__init__.py", *(f"rankgate_minilm/model/{n}" for n in model)}
    weights = wheel.read("rankgate_minilm/model/model.safetensors")
    assert hashlib.sha256(weights).hexdigest() == MINILM_SHA256
    assert wheels["rankgate_minilm"].stat().st_size < 100e6, "the index takes no larger file"


def test_they_import_outside_the_checkout(wheels, tmp_path):
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
        + [str(w) for w in wheels.values()],
        check=True,
        capture_output=True,
    )
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); "
        "import rankgate, rag_app, rankgate_eval, langchain_rankgate, "
        "llama_index.postprocessor.rankgate as li; "
        "from rankgate import Policy; Policy.default(); "
        "print([m.__file__ for m in (rankgate, rag_app, rankgate_eval, langchain_rankgate, li)])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = eval(done.stdout)
    assert all(str(target) in f for f in files if "llama_index" not in f), files
