"""Dependencies point one way, and importing the engine stays light."""

import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts_hold():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "module",
    ["rankgate", "rankgate.retrieve", "rankgate.scorers", "rankgate.testing", "rankgate.cli"],
)
def test_engine_loads_no_framework(module):
    heavy = (
        "torch",
        "transformers",
        "sentence_transformers",
        "langchain_core",
        "llama_index",
        "chromadb",
        "pydantic",
        "httpx",
        "diskcache",
        "prometheus_client",
    )
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_extra_named_in_an_error_exists():
    import re

    named = set()
    for file in (ROOT / "rankgate").rglob("*.py"):
        named |= set(re.findall(r'MissingExtraError\([^)]*?,\s*"([a-z]+)"\s*\)', file.read_text()))
    for folder in ("rag_app", "eval/rankgate_eval"):
        for file in (ROOT / folder).rglob("*.py"):
            named |= set(
                re.findall(r'MissingExtraError\([^)]*?,\s*"([a-z]+)"\s*\)', file.read_text())
            )
    assert "torch" in named, "the pattern no longer finds anything"
    assert named <= set(metadata("rankgate").get_all("Provides-Extra"))
