"""The documentation as a site: strict about links, whole, and nothing loaded from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_page_is_there_and_found_from_the_contents(site):
    listed = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        if page.stem != "index":
            assert (site / page.stem / "index.html").exists()
            assert f'href="{page.stem}/"' in listed, f"{page.name} is not in mkdocs.yml's nav"


def test_the_reference_shows_arguments_and_errors_of_what_is_exported(site):
    text = (site / "reference" / "index.html").read_text("utf-8")
    for name in ("rankgate.Reranker.rerank", "langchain_rankgate.RankGateRetriever.from_chroma"):
        assert f'id="{name}"' in text
    assert "InputError" in text


def test_no_page_loads_anything_from_elsewhere(site):
    loads = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')
    for page in site.rglob("*.html"):
        found = [u for u in loads.findall(page.read_text("utf-8")) if "rankgate" not in u]
        assert not found, f"{page}: {found}"
