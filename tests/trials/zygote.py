"""Forks a process for each request and breaks it at a chosen system call; see `fault_kit`.

Everything heavy is imported once and before the first fork. Requests and replies are JSON lines
on stdin and stdout: `{"do": NAME, "base": FOLDER, "at": N, "how": FAULT, "clock": SECONDS}`.
"""

import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import chromadb  # noqa: F401 - before the fork
import ingest_files as files

from rag_app.ask.conversations import Conversations
from rag_app.index.backup import back_up
from rag_app.index.manifest_copy import repair_manifest
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest
from rag_app.server.collections import Collections
from rag_app.server.intake.uploads import Uploads
from rag_app.server.keys import KeyStore
from rag_app.server.shapes import document_ref
from rankgate.errors import RankgateError

FAULTS = {"none": 0, "count": 1, "kill": 2, "torn": 3, "full": 4, "readonly": 5, "ioerror": 6}
UPLOADED = [
    (f"up{i}.md", f"# Up {i}\n\nWords {i} that were uploaded.\n".encode()) for i in range(3)
]


def settings_of(base):
    return files.make_settings(base, batch_size=3)


def store_of(base):
    return Store.open(settings_of(base), embedder=files.FakeEmbedder(), wait_s=10)


def uploading(base, work):
    """A server's uploads, with what an earlier server left undone; the states of the files."""
    with Collections(settings_of(base), embedder=files.FakeEmbedder(), wait_s=10) as opened:
        uploads = Uploads(opened)
        uploads.resume()
        job = work(uploads, opened)
        opened.write("default", lambda store: None).result(60)
        failed = [] if job is None else [f for f in job.files if f.state != "done"]
        if failed:
            raise RankgateError(f"uploads failed: {failed[0].reason} {failed[0].detail}")


def upload(base):
    uploading(base, lambda uploads, _: uploads.take("default", UPLOADED))


def delete(base):
    def work(uploads, opened):
        def remove(store):
            names = ("up0.md", "file1.md")
            refs = [document_ref(d.id) for d in store.documents() if d.shown in names]
            uploads.remove(store, refs)

        opened.write("default", remove).result(60)

    uploading(base, work)


def update(base):
    ingest([base / "docs"], settings_of(base), embedder=files.FakeEmbedder(), wait_s=10)


def rebuild(base):
    settings = settings_of(base)
    ingest([base / "docs"], settings, embedder=files.FakeEmbedder(), wait_s=10, rebuild=True)


def backup(base):
    copy = base / "data-copy" / "data"
    if not copy.exists():
        back_up(base / "data", copy)


def keys(base):
    KeyStore(base / "data").create(name="somebody")


def talk(base):
    talks = Conversations(base / "data")
    try:
        made = talks.create(owner="me", collection="default")
        talks.append(made.id, owner="me", question="Q?", answer="A.", status="answered", details={})
    finally:
        talks.close()


def repair(base):
    return repair_manifest(base / "data")


def look(base):
    """All that a folder holds and answers; opening it makes it consistent."""
    with store_of(base) as store:
        found = files.contents(store)
        vector = store.embedder.embed(["words of a part"])[0]
        found["dense"] = {i: round(s, 5) for i, s in store.dense(vector, 8).items()}
        found["lexical"] = {i: round(s, 5) for i, s in store.bm25.search("words new", 8).items()}
        return found


def look_at_uploads(base):
    """`look`, after a server has started and stopped."""
    uploading(base, lambda *_: None)
    return look(base)


def look_at_copy(base):
    """What is in the copy of a folder; None where there is no copy."""
    copy = base / "data-copy"
    return look(copy) if (copy / "data").exists() else None


WORK = {f.__name__: f for f in (
    update, rebuild, upload, delete, backup, keys, talk, repair,
    look, look_at_uploads, look_at_copy,
)}  # fmt: skip


def child(request, answers):
    shim = ctypes.CDLL(None)
    base = Path(request["base"])
    reply = {}
    under = str(base / request.get("under", "data"))
    arm = shim.fault_arm
    arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_long)
    arm(under.encode(), request["at"], FAULTS[request["how"]], request["clock"])
    try:
        reply["result"] = WORK[request["do"]](base)
    except Exception as exc:
        reply["error"] = str(exc)
        reply["kind"] = type(exc).__name__
        reply["clear"] = isinstance(exc, RankgateError)
        reply["where"] = [
            f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(exc.__traceback__)
        ]
    shim.fault_calls.restype = ctypes.c_long
    reply["calls"] = shim.fault_calls()
    arm(under.encode(), 0, 0, 0)
    with os.fdopen(answers, "w") as out:
        json.dump(reply, out, default=str)


def main():
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        there, here = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(there)
            signal.alarm(120)  # nothing outlives its test
            try:
                child(request, here)
            finally:
                os._exit(0)
        os.close(here)
        with os.fdopen(there) as answers:
            said = answers.read()
        _, status = os.waitpid(pid, 0)
        reply = json.loads(said) if said else {}
        reply["signal"] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
