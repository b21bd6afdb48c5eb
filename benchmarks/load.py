"""The running server under load: many clients, two keys, and documents coming in meanwhile.

A real `rankgate serve` in its own process, over two collections with the same topics and a marker
word of their own in every sentence. Half of the clients have one key, half the other; they ask the
same questions, by chat (streamed and whole) and search, one after the other without a pause, while
files are uploaded and ingested all the time (a server holds its folder, so nothing else ingests
into it). Two minutes and 32 clients, unless told otherwise. What must hold: no error but 429, no
answer with the other key's marker, memory that does not grow with the number of questions.

python benchmarks/load.py --out eval/results/load
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

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
# Growth of the server's memory between warm-up and end that still counts as flat: the index
# itself grows by what is uploaded.
FLAT = 0.15


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
        first: seconds to the first word, of streamed answers.
        whole: seconds to the last, of streamed and whole answers.
        search: seconds of a search.
        own: answers and searches with the key's own marker.
        foreign: with the other's; must stay 0.
        refusals: without either.
        errors: what was not 200 or 429, the first few.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    search: list[float] = field(default_factory=list)
    own: int = 0
    foreign: int = 0
    refusals: int = 0
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
) -> tuple[int, str, float, float]:
    """Status, everything that was sent, seconds to the first word and to the end."""
    begun = time.perf_counter()
    first = float("nan")
    text = []
    async with client.stream(
        "POST", "/v1/chat/completions", json={**body, "stream": True}, headers=headers
    ) as answer:
        async for line in answer.aiter_lines():
            text.append(line)
            if np.isnan(first) and line.startswith("data: {"):
                choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
                if choices[0].get("delta", {}).get("content"):
                    first = time.perf_counter() - begun
    whole = "\n".join(text)
    if answer.status_code == 200 and "[DONE]" not in whole:
        raise RuntimeError(f"a stream without an end: {whole[-200:]}")
    return answer.status_code, whole, first, time.perf_counter() - begun


async def one_client(
    number: int, url: str, keys: dict[str, str], until: float, known: list[int], seen: Seen
) -> None:
    """Ask without a pause until the time is over."""
    collection = sorted(keys)[number % 2]
    headers = {"Authorization": f"Bearer {keys[collection]}"}
    chance = random.Random(number)
    async with httpx.AsyncClient(base_url=url, timeout=90) as client:
        while time.monotonic() < until:
            n = chance.randrange(known[0])
            question = chance.choice(QUESTIONS).format(topic=TOPICS[n % len(TOPICS)], n=n)
            way = chance.choices(("stream", "chat", "search"), (2, 1, 1))[0]
            body = {"model": "rankgate", "messages": [{"role": "user", "content": question}]}
            begun = time.perf_counter()
            try:
                if way == "stream":
                    status, text, first, whole = await streamed(client, body, headers)
                    if status == 200:
                        seen.first.append(first)
                        seen.whole.append(whole)
                else:
                    path = "/v1/search" if way == "search" else "/v1/chat/completions"
                    sent = {"query": question} if way == "search" else body
                    answer = await client.post(path, json=sent, headers=headers)
                    status, text = answer.status_code, answer.text
                    if status == 200:
                        took = seen.search if way == "search" else seen.whole
                        took.append(time.perf_counter() - begun)
            except (httpx.HTTPError, RuntimeError, ValueError) as exc:
                seen.failed(f"{way}: {type(exc).__name__}: {exc}")
                continue
            seen.statuses[str(status)] += 1
            if status == 200:
                # The question itself is no passage; it holds no marker.
                seen.look(collection, text)
            elif status == 429:
                await asyncio.sleep(0.2 + chance.random() * 0.3)
            else:
                seen.failed(f"{way}: {status}: {text}")


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


async def memory(server: psutil.Process, until: float) -> AsyncIterator[tuple[float, int]]:
    """Seconds since the start, and bytes of the server alone (parsers come and go), each second."""
    begun = time.monotonic()
    while time.monotonic() < until:
        yield time.monotonic() - begun, server.memory_info().rss
        await asyncio.sleep(1)


async def under_load(
    url: str,
    keys: dict[str, str],
    pid: int,
    clients: int,
    seconds: float,
    documents: int,
    seed: int,
) -> tuple[Seen, dict[str, int], list[tuple[float, int]]]:
    """All of it at once."""
    seen, known = Seen(), [documents]
    until = time.monotonic() + seconds

    async def sample() -> list[tuple[float, int]]:
        return [pair async for pair in memory(psutil.Process(pid), until)]

    asking = [one_client(i, url, keys, until, known, seen) for i in range(clients)]
    uploads, samples, *_ = await asyncio.gather(
        uploader(url, keys, until, documents, seed), sample(), *asking
    )
    return seen, uploads, samples


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


def quantiles(values: list[float]) -> dict[str, float | int]:
    """n, and milliseconds of the median and the 95th percentile."""
    if not values:
        return {"n": 0}
    p50, p95 = np.percentile(values, [50, 95])
    return {"n": len(values), "p50_ms": round(p50 * 1000), "p95_ms": round(p95 * 1000)}


def over_time(samples: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    """Megabytes by tenth of the time, and how fast they grow once it is warm.

    The slope is that of a least-squares line through the last two thirds.
    """
    tenths: list[float | None] = []
    for n in range(10):
        part = [b for at, b in samples if n <= 10 * at / seconds < n + 1]
        tenths.append(round(float(np.mean(part)) / 2**20, 1) if part else None)
    warm = [(at, b / 2**20) for at, b in samples if at >= seconds / 3]
    slope = float("nan")
    if len({at for at, _ in warm}) > 1:
        slope = float(np.polyfit([at for at, _ in warm], [mb for _, mb in warm], 1)[0]) * 60
    return {
        "tenths_mb": tenths,
        "slope_mb_per_minute": None if np.isnan(slope) else round(slope, 2),
        "samples": len(samples),
    }


def measured(clients: int, seconds: float, documents: int, seed: int) -> dict[str, Any]:
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
            before = os.getloadavg()[0]
            seen, uploads, samples = asyncio.run(
                under_load(url, keys, server.pid, clients, seconds, documents, seed)
            )
            after = os.getloadavg()[0]
        finally:
            server.terminate()
            stopped = server.wait(120)
    # Warm is a third of the time: threads and their arenas are there by then.
    warm = min((s for s in samples if s[0] >= seconds / 3), default=samples[-1])
    # The mean of the last tenth, not one moment of it.
    end = int(np.mean([rss for at, rss in samples if at >= 0.9 * seconds] or [samples[-1][1]]))
    return {
        "clients": clients,
        "seconds": seconds,
        "documents": documents,
        "requests": sum(seen.statuses.values()),
        "statuses": dict(seen.statuses),
        "errors": seen.errors,
        "own": seen.own,
        "foreign": seen.foreign,
        "without_passages": seen.refusals,
        "first_word": quantiles([s for s in seen.first if not np.isnan(s)]),
        "whole_answer": quantiles(seen.whole),
        "search": quantiles(seen.search),
        "answered_per_second": round(seen.statuses["200"] / seconds, 2),
        "uploaded_files": uploads,
        "rss_mb": {
            "start": round(samples[0][1] / 2**20),
            "warm": round(warm[1] / 2**20),
            "end": round(end / 2**20),
            "most": round(max(rss for _, rss in samples) / 2**20),
        },
        "rss_over_time": over_time(samples, seconds),
        "load_average": {"before": round(before, 1), "after": round(after, 1)},
        "server_exit": stopped,
    }


def verdict(result: dict[str, Any]) -> list[str]:
    """What does not hold; empty is good."""
    wrong = []
    unexpected = {k: v for k, v in result["statuses"].items() if k not in ("200", "429")}
    if unexpected:
        wrong.append(f"answers other than 200 and 429: {unexpected}")
    if result["foreign"]:
        wrong.append(f"{result['foreign']} answers with another key's passages")
    if not result["own"]:
        wrong.append("no answer had a passage of its own key: the check saw nothing")
    if result["uploaded_files"].get("error") or result["uploaded_files"].get("failed"):
        wrong.append(f"uploads failed: {result['uploaded_files']}")
    if not result["uploaded_files"].get("done"):
        wrong.append("no file was ingested meanwhile")
    growth = result["rss_mb"]["end"] / result["rss_mb"]["warm"] - 1
    if growth > FLAT:
        wrong.append(f"memory grew by {growth:.0%} after warm-up")
    if result["server_exit"] != 0:
        wrong.append(f"the server ended with {result['server_exit']}")
    return wrong


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    memory, flat = result["rss_mb"], result["rss_over_time"]
    lines = [
        "# The server under load",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed "
        f"{result['seed']}, {result['hardware']}; load average {result['load_average']['before']} "
        f"before and {result['load_average']['after']} after.",
        "",
        f"{result['clients']} clients without a pause for {result['seconds']:g} s, two keys with a "
        f"collection each ({result['documents']} documents at the start), default scorer and "
        f"policy, extractive answers, {result['uploaded_files'].get('done', 0)} files ingested "
        "meanwhile. Clients and server share the machine. Times are of answered requests, waiting "
        "for a slot included; what exceeds the slots gets 429 and asks again.",
        "",
        "| | n | p50 ms | p95 ms |",
        "|---|---|---|---|",
    ]
    for label, name in (
        ("first word, streamed", "first_word"),
        ("whole answer", "whole_answer"),
        ("search", "search"),
    ):
        row = result[name]
        lines.append(f"| {label} | {row['n']} | {row.get('p50_ms')} | {row.get('p95_ms')} |")
    statuses = ", ".join(f"{k}: {v}" for k, v in sorted(result["statuses"].items()))
    lines += [
        "",
        f"Requests by status: {statuses}; {result['answered_per_second']} answered a second. "
        f"Answers with the key's own passages: {result['own']}, with the other key's: "
        f"{result['foreign']}, without any: {result['without_passages']}.",
        "",
        f"Memory of the server process: {memory['start']} MB at the start, {memory['warm']} after "
        f"warm-up (a third of the time), {memory['end']} at the end, {memory['most']} at most.",
        "",
        "By tenth of the time, means in MB (documents come in all the while, and the index with "
        f"them); after warm-up {flat['slope_mb_per_minute']} MB a minute by least squares:",
        "",
        "| " + " | ".join(str(n) for n in range(1, 11)) + " |",
        "|" + "---|" * 10,
        "| " + " | ".join("-" if mb is None else f"{mb:.0f}" for mb in flat["tenths_mb"]) + " |",
        "",
        "Held: everything."
        if not result["wrong"]
        else f"Did not hold: {'; '.join(result['wrong'])}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, write, and end with 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("eval/results/load"))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--documents", type=int, default=80, help="a collection, at the start")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = measured(options.clients, options.seconds, options.documents, options.seed)
    result["wrong"] = verdict(result)
    command = (
        f"python benchmarks/load.py --out {options.out} --clients {options.clients} --seconds "
        f"{options.seconds:g} --documents {options.documents} --seed {options.seed}"
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    whole = {
        "command": command,
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": options.seed,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
        **result,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    options.out.with_suffix(".md").write_text(table(whole), "utf-8")
    print(table(whole))
    if result["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
