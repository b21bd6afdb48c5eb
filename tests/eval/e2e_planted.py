"""Questions whose truth is planted: what each arm hands over is right or wrong by construction."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from e2e_server import ScriptedServer, serving

from rankgate_eval.answers import (
    ApiGenerator,
    AskedQuestion,
    Endpoint,
    Handed,
    Judge,
    LocalGenerator,
    Model,
    compare_answers,
)
from rankgate_eval.answers.judge import DEFAULT_PARAMETERS
from rankgate_eval.answers.keyless import answer_words
from rankgate_eval.answers.rehearsal import best_sentence, sentences

_METALS = ("copper", "silver", "zinc", "nickel", "cobalt", "chromium", "titanium", "tungsten")


def questions(n: int, *, answerable: bool = True, start: int = 0) -> list[AskedQuestion]:
    """AskedQuestion i asks about deposit i; only passage p<i> answers it."""
    return [
        AskedQuestion(
            id=f"q{i}",
            text=f"Which metal lies in deposit number{i}?",
            references=(f"Deposit number{i} holds {_metal(i)}.",) if answerable else (),
            answerable=answerable,
            relevant=(f"p{i}",) if answerable else (),
        )
        for i in range(start, start + n)
    ]


def _metal(i: int) -> str:
    return _METALS[i % len(_METALS)]


def right(i: int) -> Handed:
    """The passage that answers question i first."""
    return Handed.of(
        [
            (f"p{i}", f"Deposit number{i} holds {_metal(i)}. It was found late."),
            (f"n{i}", f"Nobody has mapped valley{i} yet."),
        ]
    )


def wrong(i: int) -> Handed:
    """A passage with the question's words and another metal."""
    return Handed.of(
        [
            (f"w{i}", f"Deposit number{i} was thought to hold {_metal(i + 1)}. It was dry."),
            (f"n{i}", f"Nobody has mapped valley{i} yet."),
        ]
    )


def hand(asked: Sequence[AskedQuestion], of) -> dict[str, Handed]:
    """What an arm hands over, by question id."""
    return {q.id: of(int(q.id[1:])) for q in asked}


def embellished(share: int = 3):
    """A generator: the best sentence, and every `share`-th answer says a thing from nowhere."""

    def write(question: str, sources: Sequence[str]) -> str:
        wanted = set(answer_words(question))
        best = max(
            (s for source in sources for s in sentences(source)),
            key=lambda s: len(wanted & set(answer_words(s))),
            default="",
        )
        number = int("".join(c for c in question if c.isdigit()) or 0)
        return best if number % share else f"{best} The king of Spain was there."

    return write


def endpoint(url: str, name: str = "judge", **model) -> Endpoint:
    parameters = model.pop("parameters", DEFAULT_PARAMETERS)
    return Endpoint(Model(name=name, base_url=url, parameters=parameters, **model))


def judge(url: str, **options) -> Judge:
    return Judge(
        endpoint=endpoint(url), embeddings=endpoint(url, "embedder", parameters={}), **options
    )


def generator(url: str) -> ApiGenerator:
    return ApiGenerator(endpoint(url, "writer"))


def folder_text(folder: Path) -> dict[str, bytes]:
    """The result's files, without the kept calls, whose order is chance's."""
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if f.is_file()}


def kept(folder: Path) -> list[dict]:
    """The rows of a run's kept calls, read while nobody or somebody else has them open."""
    file = folder / "calls" / "cache.db"
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(file)) as base:
        return [json.loads(value) for (value,) in base.execute("SELECT value FROM Cache")]


FEW = ("faithfulness", "factual_correctness")


def judged(n, before, after, *, folder=None, server=None, **options):
    """A judged comparison of two planted arms."""
    state = ScriptedServer(embellished()) if server is None else server
    asked = questions(n)
    with serving(state) as running:
        return compare_answers(
            asked,
            {
                "first_stage": hand(asked, before),
                "policy": hand(asked, after),
            },
            generator=generator(running.url),
            judge=judge(running.url, metrics=options.pop("metrics", FEW)),
            folder=folder,
            **options,
        )


def keyless(questions, before, after, *, generator=None, **options):
    """A comparison without a judge."""
    return compare_answers(
        questions,
        {"first_stage": before, "policy": after},
        generator=LocalGenerator(best_sentence) if generator is None else generator,
        **options,
    )
