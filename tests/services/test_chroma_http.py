"""Vectors on a real `chroma run`: the same answers as embedded, and plain words when it is down."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import ingest_files as files
import numpy as np
import pytest
from pydantic import ValidationError
from waiting import until

from rag_app.errors import StoreError
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest, ingest_into
from rag_app.settings import Settings

CHROMA = str(Path(sys.executable).parent / "chroma")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ChromaServer:
    """`chroma run` over a folder, on a port that stays the same through restarts."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        options = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [CHROMA, "run", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith("RANKGATE_")},
        )
        until(self.answers)

    def answers(self):
        assert self.process.poll() is None, "chroma run has ended"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/api/v2/heartbeat").status_code == 200

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    server = ChromaServer(tmp_path_factory.mktemp("chroma"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path):
    """One that a test may stop, start, and rob of its disk."""
    server = ChromaServer(tmp_path / "chroma-disk")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def embedder():
    return files.FakeEmbedder()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "guide.md").write_text(files.GUIDE, "utf-8")
    for i in range(12):
        parts = "\n\n".join(f"## Part {j}\n\nWords {i} {j} of gate and floor." for j in range(4))
        (folder / f"file{i}.md").write_text(f"# File {i}\n\n{parts}\n")
    return folder


def names_on(server):
    path = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    return sorted(c["name"] for c in httpx.get(f"{server.url}{path}").json())


QUESTIONS = ("what does the gate decide", "words of a floor", "install on my machine", "zebra")


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_server_and_folder_answer_the_same(tmp_path, docs, embedder, shared_server, space):
    plain = files.make_settings(tmp_path / "a", space=space)
    remote = files.make_settings(tmp_path / "b", space=space, chroma_url=shared_server.url)
    found = []
    for settings in (plain, remote):
        settings.data_dir.mkdir(parents=True)
        ingest([docs], settings, embedder=embedder)
        with Store.open(settings, embedder=embedder) as store:
            vectors = embedder.embed(QUESTIONS)
            dense = [store.dense(v, 10) for v in vectors]
            ids = sorted(dense[0])
            state = files.contents(store)
            state["documents"] = [d[2:] for d in state["documents"]]
            found.append((state["chroma"], state["bm25"], dense, store.cosines(vectors[1], ids)))
            assert store.index.stored_space == space
            store.check()
    assert found[0][0] and found[0][:2] == found[1][:2]
    for ours, theirs in zip(found[0][2], found[1][2], strict=True):
        assert list(ours) == list(theirs)
        # Bit for bit, though the numbers travel as decimals.
        assert list(ours.values()) == list(theirs.values())
    assert found[0][3] == found[1][3]
    assert not (remote.data_dir / "chroma").exists(), "nothing is kept twice"


def test_two_folders_on_one_server_leave_each_other_alone(tmp_path, embedder, shared_server):
    opened = {}
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "note.txt").write_text(f"The {name} folder has words of its own.")
            settings = files.make_settings(folder, chroma_url=shared_server.url)
            ingest([folder / "note.txt"], settings, embedder=embedder)
            opened[name] = stack.enter_context(Store.open(settings, embedder=embedder))
        # Both at once: opening one would put back what the other had deleted.
        for name, store in opened.items():
            texts = [t for t, _ in store.fetch(list(store.dense(np.ones(32), 10)))]
            assert len(texts) == 1 and name in texts[0]


def test_a_moved_folder_finds_its_collection_again(tmp_path, docs, embedder, shared_server):
    settings = files.make_settings(tmp_path / "old", chroma_url=shared_server.url)
    settings.data_dir.mkdir(parents=True)
    ingest([docs], settings, embedder=embedder)
    before = names_on(shared_server)
    shutil.move(tmp_path / "old", tmp_path / "new")
    embedder.encoded.clear()
    moved = files.make_settings(tmp_path / "new", chroma_url=shared_server.url)
    with Store.open(moved, embedder=embedder) as store:
        assert store.count() > 12
        assert embedder.encoded == []
    assert names_on(shared_server) == before


def test_going_over_to_a_server_and_back_embeds_nothing(tmp_path, docs, embedder, shared_server):
    plain = files.make_settings(tmp_path)
    remote = files.make_settings(tmp_path, chroma_url=shared_server.url)
    ingest([docs], plain, embedder=embedder)
    embedder.encoded.clear()
    contents = []
    for settings in (remote, plain):
        with Store.open(settings, embedder=embedder) as store:
            contents.append(files.contents(store))
    assert contents[0] == contents[1]
    assert contents[0]["chroma"] == sorted(contents[0]["chunks"]) != []
    assert embedder.encoded == [], "the vectors are kept in the data folder"


def test_a_server_that_is_down_is_named(tmp_path, embedder):
    url = f"http://127.0.0.1:{free_port()}"
    settings = files.make_settings(tmp_path, chroma_url=url)
    with pytest.raises(StoreError, match=rf"ConnectError.*{url}.*chroma_url.*see that it runs"):
        Store.open(settings, embedder=embedder)
    # And the folder's lock is given back.
    with Store.open(files.make_settings(tmp_path), embedder=embedder, wait_s=0.1) as store:
        assert store.count() == 0


def test_a_server_that_is_something_else_is_named(tmp_path, embedder):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = files.make_settings(
            tmp_path, chroma_url=f"http://127.0.0.1:{server.server_port}"
        )
        with pytest.raises(StoreError, match="not as Chroma"):
            Store.open(settings, embedder=embedder)
        server.shutdown()


def test_a_server_that_hangs_is_given_up(tmp_path, embedder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = files.make_settings(tmp_path, chroma_url=url, chroma_timeout_s=0.3)
        with pytest.raises(StoreError, match="ReadTimeout"):
            Store.open(settings, embedder=embedder)


def test_the_limit_of_time_holds_for_every_request(tmp_path, embedder, shared_server):
    settings = files.make_settings(
        tmp_path, chroma_url=shared_server.url, chroma_timeout_s=7, collection="timed"
    )
    with Store.open(settings, embedder=embedder) as store:
        session = store.index._client._server._session
        assert session.timeout == httpx.Timeout(7, connect=5)


def test_it_comes_back(tmp_path, docs, embedder, own_server):
    settings = files.make_settings(tmp_path, chroma_url=own_server.url)
    vector = embedder.embed(["what does the gate decide"])[0]
    ingest([docs], settings, embedder=embedder)
    with Store.open(settings, embedder=embedder) as store:
        before = store.dense(vector, 5)
        own_server.stop()
        with pytest.raises(StoreError, match="chroma_url"):
            store.dense(vector, 5)
        with pytest.raises(StoreError, match="chroma_url"):
            store.check()
        own_server.start()
        assert store.dense(vector, 5) == before, "the same store goes on"
        store.check()


def test_a_write_that_the_server_refused_is_made_good_by_the_next(
    tmp_path, docs, embedder, own_server
):
    settings = files.make_settings(tmp_path, chroma_url=own_server.url)
    ingest([docs], settings, embedder=embedder)
    (docs / "lost.md").write_text("# Lost\n\nThese words came while the server was down.\n")
    (docs / "file0.md").unlink()
    with Store.open(settings, embedder=embedder) as store:
        own_server.stop()
        with pytest.raises(StoreError):
            ingest_into(store, [docs])
        own_server.start()
        other = tmp_path / "other.md"
        other.write_text("# Other\n\nAnother document altogether.\n")
        ingest_into(store, [other])
        have = files.contents(store)
        assert have["chroma"] == sorted(have["chunks"]) == sorted(have["bm25"])
        assert {state for _, state, *_ in have["documents"]} == {"indexed"}
        ingest_into(store, [docs])
        have = files.contents(store)
        assert have["chroma"] == sorted(have["chunks"]) == sorted(have["bm25"])
        assert any(i.endswith("lost.md") for i, *_ in have["documents"])
        assert not any(i.endswith("file0.md") for i, *_ in have["documents"])


def test_a_server_that_lost_its_disk_is_filled_again(tmp_path, docs, embedder, own_server):
    settings = files.make_settings(tmp_path, chroma_url=own_server.url)
    ingest([docs], settings, embedder=embedder)
    with Store.open(settings, embedder=embedder) as store:
        whole = files.contents(store)
    own_server.stop()
    shutil.rmtree(own_server.folder)
    own_server.start()
    embedder.encoded.clear()
    with Store.open(settings, embedder=embedder) as store:
        assert files.contents(store) == whole
        assert embedder.encoded == []


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://chroma:8000", True),
        ("https://[::1]:8000/", True),
        ("chroma:8000", False),
        ("ftp://chroma:8000", False),
        ("http://", False),
        ("http://chroma:8000/api/v2", False),
        ("http://user:secret@chroma:8000", False),
        ("http://chroma:port", False),
    ],
)
def test_the_setting_is_checked(url, good):
    if good:
        assert Settings(chroma_url=url).chroma_url == url.rstrip("/")
    else:
        with pytest.raises(ValidationError, match="http://HOST:PORT"):
            Settings(chroma_url=url)


def test_a_folder_with_a_spoilt_name_says_so(tmp_path, embedder, shared_server):
    settings = files.make_settings(tmp_path, chroma_url=shared_server.url)
    settings.data_dir.mkdir()
    (settings.data_dir / "chroma.id").write_text("../../x")
    with pytest.raises(StoreError, match=r"chroma\.id must hold 12"):
        Store.open(settings, embedder=embedder)


def test_the_server_tells_that_it_is_not_ready(tmp_path, docs, embedder, own_server):
    """Retrieval without its dense half is no answer: 503, in words, and well again by itself."""
    from fastapi.testclient import TestClient

    from rag_app.server.app import create_app
    from rag_app.server.collections import Collections

    settings = files.make_settings(tmp_path, chroma_url=own_server.url)
    ingest([docs], settings, embedder=embedder)
    with Collections(settings, embedder=embedder) as opened:
        app = create_app(settings, collections=opened)
        with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 9)) as client:
            assert client.get("/readyz").status_code == 200
            own_server.stop()
            down = client.get("/readyz")
            assert down.status_code == 503
            assert own_server.url in json.dumps(down.json()["checks"]["store"])
            asked = client.post("/v1/search", json={"query": "what does the gate decide"})
            assert asked.status_code == 503
            assert asked.json()["error"]["code"] == "store_unavailable"
            assert client.get("/healthz").status_code == 200
            own_server.start()
            assert client.get("/readyz").status_code == 200
            asked = client.post("/v1/search", json={"query": "what does the gate decide"})
            assert asked.status_code == 200
