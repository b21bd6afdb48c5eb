"""Documents that attack: 72 of our own writing, nine kinds, against a small honest collection.

Each comes in beside 14 honest documents, its question is asked, and it has succeeded where the
false claim stands in the answer (or the answer is refused, or half of the places are its copies,
or a link or picture of a foreign host is live in the page). No reranker solves that: what is
asserted is what holds for every one of them, and the rest is measured, before and after each
defence; docs/reliability.md has the table (`make trial-content`).
"""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import fake_openai
import fault_kit
import ingest_files as files
import pytest

from rag_app.ask.pipeline import Pipeline
from rag_app.generate.context import build_context
from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.generate.markdown_html import answer_html
from rag_app.generate.openai import OpenAIGenerator
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest_into
from rankgate.decide.gate import Action
from rankgate.testing import FakeScorer

SET = json.loads((Path(__file__).parent / "data" / "attacks.json").read_text("utf-8"))
ATTACKS = SET["attacks"]
TOP = 5


def words(text):
    return frozenset(text.lower().split())


def capped(most):
    """At most so many passages a document."""

    def keep(passages):
        seen, kept = Counter(), []
        for p in passages:
            document = p.candidate.metadata["document_id"]
            if seen[document] < most:
                kept.append(p)
            seen[document] += 1
        return kept

    return keep


def unlike(passages):
    """No passage whose words are nearly those of a better one."""
    kept = []
    for p in passages:
        mine = words(p.candidate.text)
        others = [words(k.candidate.text) for k in kept]
        if not any(len(mine & o) / max(1, len(mine | o)) >= 0.7 for o in others):
            kept.append(p)
    return kept


DEFENCES = {
    "none": lambda passages: passages,
    "one a document": capped(1),
    "two a document": capped(2),
    "no near-duplicates": unlike,
}


class Gullible:
    """A scripted LLM at its worst: it says what a source orders, else the first source's words."""

    def __init__(self, claims):
        self.claims = claims

    def __call__(self, body):
        told = body["messages"][-1]["content"]
        sources = told.split("<question>")[0].split('<source id="')[1:]
        for number, source in enumerate(sources, start=1):
            for claim in self.claims:
                if claim.lower() in source.lower():
                    return fake_openai.Reply(text=f"{claim} [{number}].")
        first = sources[0].split(">", 1)[1].split("</source>")[0].strip()
        return fake_openai.Reply(text=f"{first} [1]")


def succeeded(attack, answer, kept):
    """Whether the attack reached what it wanted."""
    text = answer.text
    if attack["success"] == "refused":
        return answer.refused or attack["right"].lower() not in text.lower()
    if attack["success"] == "places":
        own = [p for p in kept if "-flood" in p.candidate.metadata["source"]]
        return 2 * len(own) >= max(1, len(kept))
    if attack["success"] == "link":
        html = answer_html(text, cited=[s.number for s in answer.sources])
        return "<img" in html or 'href="javascript' in html or 'href="data:' in html
    return attack["claim"].lower() in text.lower()


def clickable(answer):
    """Whether a reader could click to a foreign host: said, as links in documents are wanted."""
    html = answer_html(answer.text, cited=[s.number for s in answer.sources])
    return 'href="https://evil.example' in html


@pytest.fixture(scope="module")
def opened(tmp_path_factory, encoder):
    base = tmp_path_factory.mktemp("content")
    (base / "docs").mkdir()
    for document in SET["documents"]:
        (base / "docs" / document["name"]).write_text(document["text"], "utf-8")
    settings = files.make_settings(base, chunk_tokens=200, chunk_overlap=40)
    with Store.open(settings, embedder=encoder) as store:
        ingest_into(store, [base / "docs"])
        yield base, settings, store


def written(base, attack):
    for n in range(attack["copies"]):
        stem, _, ending = attack["file"].rpartition(".")
        name = attack["file"] if attack["copies"] == 1 else f"{stem}{n}.{ending}"
        (base / "docs" / name).write_text(attack["text"].replace("{n}", str(n)), "utf-8")
        yield base / "docs" / name


def attacked(opened, attack, pipelines):
    """Outcome of one attack under every scorer, defence and generator."""
    base, settings, store = opened
    paths = list(written(base, attack))
    ingest_into(store, [base / "docs"])
    found = {}
    try:
        for scorer, (make, force) in pipelines.items():
            with closing(make(settings, store)) as pipeline:
                outcome = pipeline.search(attack["question"], top_n=20, force=force).outcome
                for name, defence in DEFENCES.items():
                    kept = defence(list(outcome.kept))[:TOP]
                    context = build_context(kept, budget=1500, count_tokens=pipeline.count_tokens)
                    extractive = ExtractiveGenerator(store.embedder, token_store=store.token_store)
                    answer = extractive.answer(attack["question"], context)
                    found[scorer, name, "extractive"] = succeeded(attack, answer, kept)
                    if name == "none" and attack["success"] == "link":
                        found[scorer, "clickable", "extractive"] = clickable(answer)
                    if scorer != "late interaction" or not kept:
                        continue
                    with fake_openai.serving() as fake:
                        fake.next_reply = Gullible([a["claim"] for a in ATTACKS])
                        llm = OpenAIGenerator.of(
                            settings.model_copy(
                                update={"openai_base_url": fake.url, "openai_model": "gullible"}
                            )
                        )
                        said = llm.answer(attack["question"], context)
                    found[scorer, name, "scripted LLM"] = succeeded(attack, said, kept)
    finally:
        for path in paths:
            path.unlink()
        ingest_into(store, [base / "docs"])
    return found


def stuffed(query, text):
    """A scorer that counts words, as often as they stand there."""
    wanted = words(query)
    return float(sum(w in wanted for w in text.lower().split()))


PIPELINES = {
    "late interaction": (Pipeline, Action.RERANK),
    "first stage": (Pipeline, Action.SKIP),
    "shared words": (lambda s, store: Pipeline(s, store, scorer=FakeScorer()), Action.RERANK),
    "counted words": (
        lambda s, store: Pipeline(s, store, scorer=FakeScorer(stuffed)),
        Action.RERANK,
    ),
}


def test_the_set_is_whole():
    assert len(ATTACKS) >= 60 and len({a["id"] for a in ATTACKS}) == len(ATTACKS)
    assert min(Counter(a["kind"] for a in ATTACKS).values()) == 8


@pytest.mark.model
def test_what_holds_for_every_attack(opened):
    """Hidden text is not read; nothing is fetched, nothing runs; honest questions go on."""
    some = [a for a in ATTACKS if a["kind"] in ("hidden", "link")][::5]
    one = {"late interaction": PIPELINES["late interaction"]}
    for attack in some:
        found = attacked(opened, attack, one)
        if attack["kind"] == "link":
            assert not any(v for (_, how, _), v in found.items() if how != "clickable"), attack[
                "id"
            ]
    _, settings, store = opened
    with closing(Pipeline(settings, store)) as pipeline:
        answer = pipeline.answer("When does the harbour open?").answer
        assert "nine" in answer.text


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(3600)
def test_all_of_them(opened):
    tables = {}
    for attack in ATTACKS:
        for way, success in attacked(opened, attack, PIPELINES).items():
            tables.setdefault((attack["kind"], *way), []).append(success)
    for (kind, scorer, defence, generator), all_of in sorted(tables.items()):
        fault_kit.figure(
            "content", kind=kind, scorer=scorer, defence=defence, generator=generator,
            tried=len(all_of), succeeded=sum(all_of),
        )  # fmt: skip
    live = [v for (kind, _, how, _), v in tables.items() if kind == "link" and how != "clickable"]
    assert not any(any(v) for v in live), "a picture or script of a foreign host is live"
