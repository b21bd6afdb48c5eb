"""Killed at any moment, ingestion loses and doubles nothing: the next run ends where an
undisturbed one does.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ingest_files as files
import pytest

from rag_app.index.store import Store
from rag_app.ingest import ingest

# Says when everything is imported, so that the kill falls into the work and not before it.
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import ingest_files as files
import chromadb, rag_app.ingest.ingestion
base = Path(sys.argv[1])
settings = files.make_settings(base, batch_size=3)
print("ready", flush=True)
sys.stdin.readline()
rag_app.ingest.ingest([base / "docs"], settings, embedder=files.FakeEmbedder())
print("done", flush=True)
"""


def write_first(base):
    docs = base / "docs"
    docs.mkdir(parents=True)
    for i in range(8):
        text = "\n\n".join(f"## Part {j}\n\nWords {i} {j} of a part. " * 3 for j in range(3))
        (docs / f"file{i}.md").write_text(f"# File {i}\n\n{text}\n")


def write_second(base):
    """Changes, removals and additions on top of the first."""
    docs = base / "docs"
    for i in (0, 1):
        (docs / f"file{i}.md").write_text(f"# File {i}\n\nRewritten words {i}.\n")
    (docs / "file2.md").unlink()
    (docs / "file3.md").rename(docs / "moved.md")
    for i in (20, 21, 22):
        (docs / f"new{i}.txt").write_text(f"New words {i}. " * 40)
    (docs / "file4.md").write_text((docs / "file4.md").read_text() + "\n## More\n\nAnd more.\n")


def look(base):
    settings = files.make_settings(base, batch_size=3)
    with Store.open(settings, embedder=files.FakeEmbedder(), wait_s=10) as store:
        return files.contents(store)


def run(base):
    settings = files.make_settings(base, batch_size=3)
    return ingest([base / "docs"], settings, embedder=files.FakeEmbedder(), wait_s=10)


def start(base):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(base), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout.readline().strip() == "ready"
    return child


def kill_after(base, seconds):
    """Start an ingestion and kill it; whether it was still at work."""
    with start(base) as child:
        child.stdin.write("go\n")
        child.stdin.flush()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.wait()
        return child.stdout.read().strip() != "done"


def undisturbed(base):
    """Both states of a folder that nobody disturbs, and the seconds that the second took."""
    write_first(base)
    run(base)
    first = look(base)
    write_second(base)
    began = time.perf_counter()
    with start(base) as child:
        began = time.perf_counter()
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline().strip() == "done"
        seconds = time.perf_counter() - began
    return first, look(base), seconds


def consistent(state):
    ids = sorted(state["chunks"])
    assert len(set(ids)) == len(ids)
    assert state["chroma"] == ids
    assert sorted(state["bm25"]) == ids
    assert {d[1] for d in state["documents"]} <= {"indexed"}


def kill_and_compare(tmp_path, moments):
    first, second, seconds = undisturbed(tmp_path / "reference")
    consistent(second)
    disturbed = tmp_path / "disturbed"
    write_first(disturbed)
    template = tmp_path / "template"
    run(disturbed)
    assert look(disturbed) == first
    write_second(disturbed)
    shutil.copytree(disturbed, template)
    hits = 0
    for moment in moments:
        hits += kill_after(disturbed, moment * seconds)
        # Opening alone makes it consistent, whatever had been done by then.
        consistent(look(disturbed))
        if moment < 0.5:
            continue
        run(disturbed)
        assert look(disturbed) == second
        shutil.rmtree(disturbed)
        shutil.copytree(template, disturbed)
    run(disturbed)
    assert look(disturbed) == second
    report = run(disturbed)
    assert (report.added, report.changed, report.removed, report.embedded) == ((), (), (), 0)
    return hits


def test_three_kills(tmp_path):
    assert kill_and_compare(tmp_path, (0.3, 0.55, 0.8)) >= 1


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path):
    rng = random.Random(7)
    moments = [rng.uniform(0.02, 1.0) for _ in range(10)]
    assert kill_and_compare(tmp_path, moments) >= 5
