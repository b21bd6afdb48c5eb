"""Policies, data sets and settings that somebody spoilt: accepted, or refused in words of ours.

A policy that is accepted also has to rerank. `make trial-malformed` tries 1,000 of each.
"""

import copy
import json
import random

import fault_kit
import pytest

from rag_app.settings import Settings
from rankgate.errors import RankgateError
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.testing import FakeScorer, candidates_of
from rankgate_eval.data.loading import load_dataset

STRANGE = [
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e308, 10**30, 1e-320, float("nan"),
    float("inf"), "", " ", "nan", "0.5", "é\u0000", "\ud800", "x" * 5000, [], [[]], {}, {"": {}},
    [1, "a", None], {"a": [{}]}, "../../etc/passwd", "None",
]  # fmt: skip


def places(value, at=()):
    """Every place of nested plain data."""
    yield at
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*at, key))


def changed(value, chance):
    """Plain data with one to three strange changes."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice([p for p in places(value) if p])
        home = value
        for key in way:
            home = home[key]
        kind = chance.randrange(5)
        if kind == 0:
            del home[last]
        elif kind == 1 and isinstance(home, dict):
            home[chance.choice(["new", "", "k ", str(last).upper()])] = chance.choice(STRANGE)
        elif kind == 2 and isinstance(home[last], (int, float)):
            home[last] = home[last] * chance.choice([-1, 0, 1000, 1e9, float("nan")])
        else:
            home[last] = chance.choice(STRANGE)
        if not value:
            break
    return value


TORN = [b"\x00", b"\xff", b'"', b"}", b"[" * 90_000, b",", b"\n", b"="]


def torn(text, chance):
    """Text with bytes changed, cut out or doubled; as bytes."""
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(chance.randint(1, 3)):
        at, span = chance.randrange(len(data) + 1), chance.randint(1, 40)
        way = chance.randrange(4)
        if way == 0:
            del data[at : at + span]
        elif way == 1:
            data[at:at] = data[at : at + span]
        elif way == 2:
            data[at:at] = chance.choice(
                [b"\x00", b"\xff", b'"', b"}", b"[" * 90_000, b",", b"\n", b"="]
            )
        else:
            data = data[: max(1, at)]
    return bytes(data)


def tried(what, count, seed, work):
    """How often it was taken and refused; fails on anything but an error of ours with words."""
    found, bad = {"taken": 0, "refused": 0}, []
    for number in range(count):
        chance = random.Random(f"{what} {seed} {number}")
        try:
            work(chance)
            found["taken"] += 1
        except RankgateError as exc:
            found["refused"] += 1
            if len(str(exc)) < 15:
                bad.append((number, f"says nothing: {exc!r}"))
        except Exception as exc:
            bad.append((number, f"{type(exc).__name__}: {exc}"[:300]))
    fault_kit.figure("malformed", what=what, tried=count, lost=len(bad), **found, said=bad[:6])
    assert not bad, "\n".join(map(str, bad[:12]))


BUNDLED = json.dumps(Policy.default().to_dict())
CANDIDATES = candidates_of(
    ["paris is the capital", "berlin", "rome and paris"],
    dense=[0.8, 0.4, 0.6],
    bm25=[7.0, 1.0, 5.0],
)


def policies(chance):
    if chance.random() < 0.3:
        text = torn(BUNDLED, chance).decode("utf-8", "replace")
    else:
        text = json.dumps(changed(json.loads(BUNDLED), chance))
    policy = Policy.from_json(text)
    outcome = Reranker(FakeScorer(), policy=policy).rerank("capital of france", CANDIDATES)
    assert len(outcome.passages) == 3


CORPUS = [
    {"_id": f"p{i}", "title": "T", "text": f"Pump {i} runs at {i}0 bar. It is blue."}
    for i in range(5)
]
QUESTIONS = [
    {"_id": f"q{i}", "question": f"How fast is pump {i}?", "gold": [f"p{i}"], "answer": f"{i}0 bar"}
    for i in range(4)
]


def data_sets(folder):
    def work(chance):
        corpus, questions = folder / "corpus.jsonl", folder / "mine.jsonl"
        files = {corpus: CORPUS, questions: QUESTIONS}
        hit = chance.choice(list(files))
        for path, rows in files.items():
            if path == hit and chance.random() < 0.6:
                rows = [r if chance.random() < 0.6 else changed(r, chance) for r in rows]
            text = "".join(json.dumps(r) + "\n" for r in rows)
            path.write_bytes(
                torn(text, chance) if path == hit and chance.random() < 0.5 else text.encode()
            )
        load_dataset(questions, corpus=corpus)

    return work


def tables(folder):
    def work(chance):
        table, qrels = folder / "mine.csv", folder / "qrels.tsv"
        corpus = folder / "whole.jsonl"
        corpus.write_text("".join(json.dumps(r) + "\n" for r in CORPUS))
        text = "id,question,gold,team\n" + "".join(f"q{i},How {i}?,p{i},x\n" for i in range(4))
        table.write_bytes(torn(text, chance))
        trec = "".join(f"q{i} 0 p{i} 1\n" for i in range(4))
        qrels.write_bytes(torn(trec, chance))
        load_dataset(table, corpus=corpus)

    return work


TOML = """data_dir = "data"
chunk_tokens = 200
chunk_overlap = 40
scorer = "late-interaction"
k = 50
generator = "extractive"
chroma_url = "http://localhost:9000"
trusted_proxies = ["10.0.0.0/8"]
cors_origins = ["https://intranet.example"]
request_timeout_s = 60
feedback = true
"""
NAMES = sorted(Settings.model_fields)


def written(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {written(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, float | bool) else json.dumps(value)


def settings(folder):
    def work(chance):
        lines = TOML.splitlines()
        for _ in range(chance.randint(1, 3)):
            lines.append(f"{chance.choice(NAMES)} = {written(chance.choice(STRANGE))}")
        text = "\n".join({line.split(" ")[0]: line for line in lines}.values())
        config = folder / "rankgate.toml"
        data = text.encode("utf-8", "surrogatepass")
        config.write_bytes(torn(text, chance) if chance.random() < 0.4 else data)
        Settings.load(config=config).shown()

    return work


KINDS = {
    "policies": lambda _: policies,
    "data sets": data_sets,
    "tables": tables,
    "settings": settings,
}


@pytest.mark.parametrize("what", sorted(KINDS))
def test_some(what, tmp_path):
    tried(what, 60, 0, KINDS[what](tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", sorted(KINDS))
def test_a_thousand(what, tmp_path):
    tried(what, 1000, 1, KINDS[what](tmp_path))
