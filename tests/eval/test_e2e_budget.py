"""Dry runs and budgets."""

from __future__ import annotations

import json
from collections import Counter

import e2e_planted as planted
import pytest
from e2e_server import ScriptedServer, serving

from rankgate_eval.answers import (
    Prices,
    Spending,
    compare_answers,
    rehearse,
)


def test_a_dry_run_counts_what_a_run_sends_and_sends_nothing(tmp_path):
    questions = planted.questions(5)
    arms = {
        "first_stage": planted.hand(questions, planted.wrong),
        "policy": planted.hand(questions, planted.right),
    }
    prices = tmp_path / "prices.toml"
    prices.write_text("[models.judge]\ninput = 1\noutput = 1\n[models.writer]\ninput = 1\n")

    def typical(question, sources):
        return " ".join(" ".join(sources).split())[:400]

    with serving(ScriptedServer(typical)) as server:
        writer, judge = planted.generator(server.url), planted.judge(server.url)
        known = Prices.load(prices)
        found = rehearse(questions, arms, generator=writer, judge=judge, prices=known)
        assert server.requests == []
        compare_answers(questions, arms, generator=writer, judge=judge, folder=tmp_path)
        sent = Counter(b["model"] for b in server.requests)
        assert {r["model"]: r["calls"] for r in found["roles"].values()} == sent
        assert found["calls"] == len(server.requests)
        assert found["unpriced"] == ["embedder"]
        counted = sum(
            row["usage"]["input"] for row in planted.kept(tmp_path) if row["model"] == "judge"
        )
        assert found["roles"]["judge"]["input_tokens"] == pytest.approx(counted, rel=0.1)
        again = rehearse(questions, arms, generator=writer, judge=judge, folder=tmp_path)
        assert (again["calls"], again["already_paid"]) == (0, found["calls"])


def test_a_spent_budget_leaves_whole_pairs_and_the_next_run_goes_on(tmp_path):
    prices = Prices.load(_priced(tmp_path))
    questions = planted.questions(12)
    arms = {
        "first_stage": planted.hand(questions, planted.wrong),
        "policy": planted.hand(questions, planted.right),
    }

    def run(server, limit):
        return compare_answers(
            questions,
            arms,
            generator=planted.generator(server.url),
            judge=planted.judge(server.url, metrics=("faithfulness",)),
            folder=tmp_path / "out",
            spending=Spending(max_cost=limit, prices=prices, concurrency=2),
        )

    with serving(ScriptedServer(planted.embellished())) as server:
        short = run(server, 40.0)
        first = len(server.requests)
        pairs = short.section["differences"]["policy-first_stage"]["faithfulness"]["n"]
        assert 0 < pairs < 12
        assert any("budget ended" in note for note in short.section["notes"])
        assert short.section["made"]["usage"]["judge"]["cost"] <= 40.0
        whole = run(server, 1000.0)
        assert whole.section["differences"]["policy-first_stage"]["faithfulness"]["n"] == 12
        assert len(set(server.digests)) == len(server.digests) > first  # nothing twice


@pytest.mark.parametrize("mode", ["json", "schema", "tools", "plain"])
def test_the_budget_holds_where_a_schema_is_read_too(tmp_path, mode):
    # A token a byte, of all that a model reads: messages, and the schema beside them.
    def tokens(body):
        parts = ("messages", "tools", "response_format", "input")
        return sum(
            len(json.dumps(body[p], ensure_ascii=False).encode()) for p in parts if p in body
        )

    questions = planted.questions(8)
    right, wrong = planted.hand(questions, planted.right), planted.hand(questions, planted.wrong)
    server = ScriptedServer(planted.embellished())
    server.tokens = tokens
    parameters = {"temperature": 0.0, "max_tokens": 60}
    for limit in (6.0, 12.0, 18.0):
        with serving(server) as running:
            judge = planted.Judge(
                endpoint=planted.endpoint(running.url, parameters=parameters),
                mode=mode,
                metrics=("faithfulness",),
            )
            result = compare_answers(
                questions,
                {"first_stage": wrong, "policy": right},
                generator=planted.generator(running.url),
                judge=judge,
                spending=Spending(max_cost=limit, prices=Prices.load(_priced(tmp_path))),
            )
        assert 0.0 < result.section["made"]["usage"]["judge"]["cost"] <= limit
        assert any("budget ended" in note for note in result.section["notes"])


def _priced(folder):
    file = folder / "prices.toml"
    file.write_text(
        "[models.judge]\ninput = 1000\noutput = 1000\n[models.writer]\ninput = 0\n"
        "[models.embedder]\ninput = 0\n"
    )
    return file
