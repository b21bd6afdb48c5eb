"""Killed at any moment, ingestion loses and doubles nothing: the next run ends where an
undisturbed one does.
"""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fault_kit
import ingest_files as files
import pytest

from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest

# Kills itself at its Nth function call, Python's or C's, of the work alone; 0: never. What a
# number of calls stands for does not depend on how busy the machine is.
CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import ingest_files as files
import chromadb, rag_app.ingest.ingestion
base = Path(sys.argv[1])
settings = files.make_settings(base, batch_size=3)
calls, last = 0, int(sys.argv[3])

def count(frame, event, _):
    global calls
    if event in ("call", "c_call"):
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(count)
rag_app.ingest.ingestion.ingest([base / "docs"], settings, embedder=files.FakeEmbedder())
sys.setprofile(None)
print(calls)
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


def killed_at(base, call):
    """Ingest in a process that dies at this call; whether it came so far."""
    done = in_a_child(base, call)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def in_a_child(base, call=0):
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(base), str(Path(__file__).parent), str(call)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def undisturbed(base):
    """Both states of a folder that nobody disturbs, and the calls that the second took."""
    write_first(base)
    run(base)
    first = look(base)
    write_second(base)
    done = in_a_child(base)
    assert done.returncode == 0, done.stderr
    return first, look(base), int(done.stdout)


def kill_and_compare(tmp_path, moments):
    first, second, calls = undisturbed(tmp_path / "reference")
    fault_kit.consistent(second)
    disturbed = tmp_path / "disturbed"
    write_first(disturbed)
    template = tmp_path / "template"
    run(disturbed)
    assert look(disturbed) == first
    write_second(disturbed)
    shutil.copytree(disturbed, template)
    hits = 0
    for moment in moments:
        hits += killed_at(disturbed, int(moment * calls))
        # Opening alone makes it consistent, whatever had been done by then.
        fault_kit.consistent(look(disturbed))
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
    assert kill_and_compare(tmp_path, (0.3, 0.55, 0.8)) == 3


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path):
    rng = random.Random(7)
    moments = [rng.uniform(0.02, 1.0) for _ in range(10)]
    assert kill_and_compare(tmp_path, moments) >= 8
