"""Breaks processes at chosen system calls, and keeps the figures of what was tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["Zygote", "consistent", "figure", "in_memory"]

HERE = Path(__file__).parent


def figure(trial, **fields):
    """Append a measured row to the file that RANKGATE_FIGURES names, if one is named."""
    named = os.environ.get("RANKGATE_FIGURES")
    if named:
        with open(named, "a", encoding="utf-8") as out:
            out.write(json.dumps({"trial": trial, **fields}) + "\n")


def consistent(state):
    """Manifest, Chroma and BM25 name the same passages, once each, and nothing is pending."""
    ids = sorted(state["chunks"])
    assert len(set(ids)) == len(ids)
    assert state["chroma"] == ids
    assert sorted(state["bm25"]) == ids
    assert {d[1] for d in state["documents"]} <= {"indexed"}


def in_memory():
    """A temporary folder whose file system does not wait for a disk, where there is one."""
    memory = "/dev/shm"
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


class Zygote:
    """`zygote.py` behind the fault shim, compiled into `folder`; a context manager.

    Works on Linux where a C compiler is installed.
    """

    def __init__(self, folder):
        self.library = Path(folder) / "fault_shim.so"
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", "-o", self.library, HERE / "fault_shim.c", "-ldl"],
            check=True,
            capture_output=True,
        )

    @staticmethod
    def available():
        return sys.platform == "linux" and shutil.which("cc") is not None

    def __enter__(self):
        paths = [str(HERE), str(HERE.parent / "app"), *sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "zygote.py"],
            env={
                **os.environ,
                "LD_PRELOAD": str(self.library),
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "RAYON_NUM_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)

    def ask(self, do, base, *, at=0, how="count", clock=0):
        """What a process did: `result` or `error`, `calls` it made, `signal` that ended it."""
        request = {"do": do, "base": str(base), "at": at, "how": how, "clock": clock}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def done(self, do, base, **options):
        """The result of something that nobody disturbs."""
        reply = self.ask(do, base, **options)
        assert "error" not in reply and not reply["signal"], reply
        return reply["result"]
