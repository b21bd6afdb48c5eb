"""The running server under load: many clients, two keys, and documents coming in meanwhile.

A real `rankgate serve` in its own process, over two collections with the same topics and a marker
word of their own in every sentence. Half of the clients have one key, half the other; they ask the
same questions, by chat (streamed and whole) and search, one after the other without a pause, while
files are uploaded and ingested all the time (a server holds its folder, so nothing else ingests
into it). What must hold: no error but 429, no answer with the other key's marker.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rag_app.ingest.ingestion import ingest
from rag_app.server.keys import KeyStore
from rag_app.settings import Settings

MARKERS = {"alpha": "kiwigarden", "beta": "plumharbour"}
TOPICS = ("library", "museum", "bakery", "station", "theatre", "market", "school", "hospital")
FACTS = (
    "The {topic} number {n} of {marker} opens at {hour} in the morning.",
    "Whoever visits the {topic} number {n} in {marker} pays {price} euros.",
    "The roof of the {topic} number {n} at {marker} was repaired in {year}.",
    "In {marker} the {topic} number {n} is run by {people} people.",
)
QUESTIONS = (
    "When does the {topic} number {n} open?",
    "How much do visitors of {topic} number {n} pay?",
    "When was the roof of the {topic} number {n} repaired?",
    "How many people run the {topic} number {n}?",
    "Who won the chess tournament on the moon?",
)


def document(collection: str, number: int, seed: int) -> str:
    """One Markdown document; every sentence has the collection's marker."""
    chance = random.Random(f"{seed} {collection} {number}")
    topic = TOPICS[number % len(TOPICS)]
    lines = [f"# The {topic} number {number} of {MARKERS[collection]}"]
    for fact in FACTS:
        filled = fact.format(
            topic=topic,
            n=number,
            marker=MARKERS[collection],
            hour=chance.randint(5, 11),
            price=chance.randint(2, 30),
            year=chance.randint(1950, 2020),
            people=chance.randint(3, 90),
        )
        lines += ["", filled]
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Seen:
    """What the clients saw.

    Attributes:
        statuses: of every request, by HTTP status or kind of failure.
        own: answers and searches with the key's own marker.
        foreign: with the other's; must stay 0.
        refusals: without either.
        answered: by collection, so by key.
        errors: what was not 200 or 429, the first few.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    own: int = 0
    foreign: int = 0
    refusals: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def look(self, collection: str, text: str) -> None:
        """Whose passages are in it."""
        others = [m for name, m in MARKERS.items() if name != collection]
        if any(marker in text for marker in others):
            self.foreign += 1
        elif MARKERS[collection] in text:
            self.own += 1
        else:
            self.refusals += 1

    def failed(self, what: str) -> None:
        """Neither answered nor 429."""
        self.statuses["error"] += 1
        if len(self.errors) < 20:
            self.errors.append(what[:300])


async def streamed(
    client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, str]:
    """Status, and everything that was sent."""
    async with client.stream(
        "POST", "/v1/chat/completions", json={**body, "stream": True}, headers=headers
    ) as answer:
        whole = "\n".join([line async for line in answer.aiter_lines()])
    if answer.status_code == 200 and "[DONE]" not in whole:
        raise RuntimeError(f"a stream without an end: {whole[-200:]}")
    return answer.status_code, whole


async def one_client(
    number: int,
    url: str,
    keys: dict[str, str],
    until: float,
    known: list[int],
    seen: Seen,
    shares: tuple[int, ...] = (0, 1),
) -> None:
    """Ask without a pause until the time is over; `shares` says which key the n-th client has."""
    collection = sorted(keys)[shares[number % len(shares)]]
    headers = {"Authorization": f"Bearer {keys[collection]}"}
    chance = random.Random(number)
    async with httpx.AsyncClient(base_url=url, timeout=90) as client:
        while time.monotonic() < until:
            n = chance.randrange(known[0])
            question = chance.choice(QUESTIONS).format(topic=TOPICS[n % len(TOPICS)], n=n)
            way = chance.choices(("stream", "chat", "search"), (2, 1, 1))[0]
            body = {"model": "rankgate", "messages": [{"role": "user", "content": question}]}
            try:
                if way == "stream":
                    status, text = await streamed(client, body, headers)
                else:
                    path = "/v1/search" if way == "search" else "/v1/chat/completions"
                    sent = {"query": question} if way == "search" else body
                    answer = await client.post(path, json=sent, headers=headers)
                    status, text = answer.status_code, answer.text
                    if status in (429, 503) and "retry-after" not in answer.headers:
                        raise RuntimeError(f"{status} without Retry-After")
            except (httpx.HTTPError, RuntimeError, ValueError) as exc:
                seen.failed(f"{way}: {type(exc).__name__}: {exc}")
                continue
            seen.statuses[str(status)] += 1
            if status == 200:
                # The question itself is no passage; it holds no marker.
                seen.look(collection, text)
                seen.answered[collection] += 1
            elif status in (429, 503):
                await asyncio.sleep(0.2 + chance.random() * 0.3)
            else:
                seen.failed(f"{way}: {status}: {text}")


async def leaver(url: str, keys: dict[str, str], until: float) -> int:
    """Begin streams and go away in the middle, or read a byte a while; how many that were."""
    begun = 0
    key = keys[sorted(keys)[0]]
    body = {"messages": [{"role": "user", "content": QUESTIONS[0].format(topic="library", n=0)}]}
    while time.monotonic() < until:
        async with httpx.AsyncClient(base_url=url, timeout=90) as client:
            try:
                async with client.stream(
                    "POST",
                    "/v1/chat/completions",
                    json={**body, "model": "rankgate", "stream": True},
                    headers={"Authorization": f"Bearer {key}"},
                ) as answer:
                    begun += 1
                    async for _ in answer.aiter_bytes(1):
                        await asyncio.sleep(0.2)
                        break
            except httpx.HTTPError:
                pass
        await asyncio.sleep(0.3)
    return begun


async def watch(pid: int, until: float) -> list[tuple[float, int, int]]:
    """(MB, descriptors, threads) of the server, once a second."""
    import psutil

    process, found = psutil.Process(pid), []
    while time.monotonic() < until:
        with process.oneshot():
            memory = process.memory_info().rss / 2**20
            found.append((round(memory, 1), process.num_fds(), process.num_threads()))
        await asyncio.sleep(1)
    return found


async def deleter(url: str, keys: dict[str, str], until: float) -> Counter[str]:
    """Delete the oldest upload of each collection, again and again; statuses."""
    done: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        while time.monotonic() < until:
            for key in keys.values():
                headers = {"Authorization": f"Bearer {key}"}
                listed = await client.get("/v1/documents?limit=1000", headers=headers)
                rows = listed.json().get("data", []) if listed.status_code == 200 else []
                mine = [d["id"] for d in rows if d["uploaded"]]
                if mine:
                    gone = await client.delete(f"/v1/documents/{mine[0]}", headers=headers)
                    done[str(gone.status_code)] += 1
            await asyncio.sleep(2)
    return done


async def uploader(
    url: str, keys: dict[str, str], until: float, first: int, seed: int
) -> dict[str, int]:
    """Upload ten files at a time, to each collection in turn, and wait until they are in."""
    done: Counter[str] = Counter()
    number = first
    async with httpx.AsyncClient(base_url=url, timeout=90) as client:
        while time.monotonic() < until:
            for collection, key in keys.items():
                headers = {"Authorization": f"Bearer {key}"}
                files = [
                    ("files", (f"more{n}.md", document(collection, n, seed).encode()))
                    for n in range(number, number + 10)
                ]
                answer = await client.post("/v1/documents", files=files, headers=headers)
                if answer.status_code == 429:
                    done["429"] += 1
                    await asyncio.sleep(1)
                    continue
                if answer.status_code != 202:
                    done["error"] += 1
                    continue
                job = answer.json()
                while job["state"] != "done":
                    await asyncio.sleep(0.3)
                    asked = await client.get(f"/v1/jobs/{job['id']}", headers=headers)
                    if asked.status_code == 200:
                        job = asked.json()
                    elif asked.status_code != 429:
                        done["error"] += 1
                        break
                done.update(f["state"] for f in job["files"])
            number += 10
    return dict(done)


async def under_load(
    url: str,
    keys: dict[str, str],
    clients: int,
    seconds: float,
    documents: int,
    seed: int,
    *,
    pid: int,
    shares: tuple[int, ...] = (0, 1),
) -> dict[str, Any]:
    """All of it at once; what was seen."""
    seen, known = Seen(), [documents]
    until = time.monotonic() + seconds
    asking = [one_client(i, url, keys, until, known, seen, shares) for i in range(clients)]
    uploads, deleted, left, samples, *_ = await asyncio.gather(
        uploader(url, keys, until, documents, seed),
        deleter(url, keys, until),
        leaver(url, keys, until),
        watch(pid, until),
        *asking,
    )
    return {
        "statuses": dict(seen.statuses),
        "errors": seen.errors,
        "own": seen.own,
        "foreign": seen.foreign,
        "without_passages": seen.refusals,
        "answered": dict(seen.answered),
        "uploaded_files": uploads,
        "deleted": dict(deleted),
        "left_early": left,
        "samples": samples,
    }


def served(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """`rankgate serve`, ready."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RANKGATE_")}
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "rankgate"),
            *("serve", "--data-dir", str(folder), "--port", str(port), "--collection", "alpha"),
        ],
        env={**clean, "HF_HUB_OFFLINE": "1", "RANKGATE_LOG_FORMAT": "none"},
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
    )
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200:
                return process
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    process.kill()
    raise SystemExit("the server did not get ready")


def measured(
    clients: int, seconds: float, documents: int, seed: int, shares: tuple[int, ...] = (0, 1)
) -> dict[str, Any]:
    """Fill, serve, load, stop; what was seen."""
    with tempfile.TemporaryDirectory(prefix="rankgate-load-") as name:
        base = Path(name)
        data, keys = base / "data", {}
        for collection in MARKERS:
            folder = base / collection
            folder.mkdir()
            for n in range(documents):
                (folder / f"{n}.md").write_text(document(collection, n, seed), "utf-8")
            ingest([folder], Settings(data_dir=data, collection=collection))
            keys[collection] = KeyStore(data).create(name=collection, collections=[collection])[1]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        server = served(data, port)
        try:
            url = f"http://127.0.0.1:{port}"
            for key in keys.values():  # both collections opened, models loaded
                body = {"query": "When does the library number 0 open?"}
                httpx.post(
                    f"{url}/v1/search",
                    json=body,
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=120,
                ).raise_for_status()
            options = {"pid": server.pid, "shares": shares}
            found = asyncio.run(under_load(url, keys, clients, seconds, documents, seed, **options))
        finally:
            server.terminate()
            stopped = server.wait(120)
    return {**found, "server_exit": stopped}


def verdict(result: dict[str, Any]) -> list[str]:
    """What does not hold; empty is good."""
    wrong = []
    unexpected = {k: v for k, v in result["statuses"].items() if k not in ("200", "429", "503")}
    if unexpected:
        wrong.append(f"answers other than 200, 429 and 503: {unexpected}")
    if result["foreign"]:
        wrong.append(f"{result['foreign']} answers with another key's passages")
    if not result["own"]:
        wrong.append("no answer had a passage of its own key: the check saw nothing")
    if result["uploaded_files"].get("error") or result["uploaded_files"].get("failed"):
        wrong.append(f"uploads failed: {result['uploaded_files']}")
    if not result["uploaded_files"].get("done"):
        wrong.append("no file was ingested meanwhile")
    if result["server_exit"] != 0:
        wrong.append(f"the server ended with {result['server_exit']}")
    return wrong
