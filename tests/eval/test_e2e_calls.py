"""Paid calls: logged before use, never paid twice, bounded, repeated as the server asks."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time

import e2e_planted as planted
import pytest

from rankgate.errors import ConfigError, InputError
from rankgate_eval.answers import Prices
from rankgate_eval.answers.calls import Calls, Label, spent_before
from rankgate_eval.answers.errors import BudgetReached, CallFailed, EndpointError
from rankgate_eval.answers.ledger import Ledger, digest
from rankgate_eval.answers.limits import Budget, Retries, Usage, most_tokens, retry_after
from rankgate_eval.answers.scripted_server import Fault, ScriptedServer, serving

LABEL = Label(role="judge", sample="q", purpose="faithfulness")


def ask(server, texts, *, ledger=None, budget=None, concurrency=8, at_once=True, **endpoint):
    """Reply texts to plain chats, or the reasons why there is none."""

    async def run():
        target = planted.endpoint(server.url, **endpoint)
        calls = Calls(
            Ledger(None) if ledger is None else ledger, budget=budget, concurrency=concurrency
        )

        async def one(text):
            body = {"model": "judge", "messages": [{"role": "user", "content": text}]}
            try:
                return (await calls.chat(target, body, label=LABEL))["text"]
            except CallFailed as exc:
                return exc.reason

        try:
            if at_once:
                return await asyncio.gather(*(one(t) for t in texts))
            return [await one(t) for t in texts]
        finally:
            await target.close()

    return asyncio.run(run())


def echo():
    return ScriptedServer(generate=lambda question, sources: f"to {question}")


def test_what_is_in_the_log_is_not_sent_again(tmp_path):
    with serving(echo()) as server:
        for _ in range(2):
            with Ledger(tmp_path / "calls.jsonl") as ledger:
                assert ask(server, ["a", "b"], ledger=ledger) == ["to a", "to b"]
        assert len(server.requests) == 2
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert {r["request"] for r in rows} == set(server.digests)
    assert {r["sample"] for r in rows} == {"q"}


def test_tasks_that_want_the_same_call_share_it():
    with serving(echo()) as server:
        assert ask(server, ["a"] * 20) == ["to a"] * 20
        assert len(server.requests) == 1


def test_a_torn_last_line_is_cut_off_and_its_call_repeated(tmp_path):
    log = tmp_path / "calls.jsonl"
    with serving(echo()) as server:
        with Ledger(log) as ledger:
            ask(server, ["a", "b"], ledger=ledger, at_once=False)
        whole = log.read_bytes()
        log.write_bytes(whole[:-7])
        with Ledger(log) as ledger:
            assert len(ledger) == 1
            assert ask(server, ["a", "b"], ledger=ledger) == ["to a", "to b"]
        assert len(server.requests) == 3
    assert log.read_bytes() == whole


def test_a_damaged_log_is_an_error_and_stays_as_it_is(tmp_path):
    log = tmp_path / "calls.jsonl"
    log.write_text('{"key": "k", "data": {}}\nnot json\n{"key": "l"}\n')
    before = log.read_bytes()
    with pytest.raises(ConfigError, match="line 2"):
        Ledger(log)
    assert log.read_bytes() == before


def test_two_runs_do_not_share_a_log(tmp_path):
    with Ledger(tmp_path / "calls.jsonl"):
        with pytest.raises(ConfigError, match="another run is writing"):
            Ledger(tmp_path / "calls.jsonl")
    Ledger(tmp_path / "calls.jsonl").close()


def test_the_digest_knows_order_of_lists_and_not_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=408),
        Fault(cut_after=30),
    ],
    ids=lambda f: f"{f.status}-{f.cut_after}",
)
def test_what_may_pass_is_repeated(fault):
    with serving(
        ScriptedServer(lambda q, s: "well", fault=lambda body, n: fault if n < 4 else None)
    ) as server:
        assert ask(server, ["a"]) == ["well"]
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "reason", "sent"),
    [
        (Fault(status=500), "http_500", 6),
        (Fault(status=429, headers={"Retry-After": "0"}), "http_429", 6),
        (Fault(cut_after=30), "connection", 6),
        (Fault(status=400), "http_400", 1),
        (Fault(status=429, headers={"Retry-After": "9999"}), "http_429", 1),
    ],
)
def test_what_does_not_pass_is_missing_with_its_reason(fault, reason, sent, tmp_path):
    with serving(ScriptedServer(fault=lambda body, n: fault)) as server:
        with Ledger(tmp_path / "calls.jsonl") as ledger:
            assert ask(server, ["a"], ledger=ledger) == [reason]
            assert len(ledger) == 0  # nothing was answered, so nothing is kept
        assert len(server.requests) == sent


def test_a_slow_server_is_a_timeout():
    with serving(ScriptedServer(fault=lambda body, n: Fault(delay_s=1.0))) as server:
        quick = Retries(attempts=1)
        assert ask(server, ["a"], timeout_s=0.05, retries=quick) == ["timeout"]


def test_nobody_answers_at_all():
    with serving() as server:
        url = server.url
    server.url = url  # gone
    assert ask(server, ["a"], retries=Retries(attempts=2, first_s=0.0)) == ["connection"]


def test_a_server_that_never_works_is_not_asked_about_every_sample():
    with serving(ScriptedServer(fault=lambda body, n: Fault(status=400))) as server:
        with pytest.raises(EndpointError, match="none succeeded"):
            ask(server, [str(i) for i in range(100)], at_once=False)
        assert len(server.requests) == 12


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_can_never_work_stops_the_run(status):
    with serving(ScriptedServer(fault=lambda body, n: Fault(status=status))) as server:
        with pytest.raises(EndpointError, match=f"HTTP {status}"):
            ask(server, ["a"])
        assert len(server.requests) == 1


def test_a_refused_parameter_says_how_to_leave_it_out():
    fault = Fault(text="")

    class Picky(ScriptedServer):
        pass

    with serving(Picky(fault=lambda body, n: fault)):
        pass
    endpoint = planted.endpoint("http://127.0.0.1:1")

    class Response:
        status_code = 400
        text = "Unsupported parameter: 'max_tokens'"

    with pytest.raises(CallFailed, match="--judge-params"):
        endpoint._complaint(Response())


def test_concurrency_is_bounded():
    slow = ScriptedServer(fault=lambda body, n: Fault(delay_s=0.05))
    with serving(slow) as server:
        ask(server, [str(i) for i in range(20)], concurrency=3)
        assert server.busiest == 3


def test_retry_after_is_read_in_all_its_forms():
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0.0
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("nan") is None
    then = email.utils.formatdate(1000.0, usegmt=True)
    assert retry_after(then, now=lambda: 990.0) == 10.0
    assert retry_after(then, now=lambda: 2000.0) == 0.0


def test_pauses_double_and_the_server_goes_before_them():
    retries = Retries(attempts=5, first_s=1.0, longest_s=5.0, patience_s=100.0)
    assert [retries.pause(n, None, lambda: 0.0) for n in range(1, 6)] == [1, 2, 4, 5, None]
    assert retries.pause(1, None, lambda: 1.0) == 1.5
    assert retries.pause(1, 7.0, lambda: 0.0) == 7.0
    assert retries.pause(1, 0.0, lambda: 0.0) == 0.0
    assert retries.pause(1, 101.0, lambda: 0.0) is None


def test_a_429_makes_everybody_wait_as_long_as_it_says():
    with serving(
        ScriptedServer(
            lambda q, s: "well",
            fault=lambda body, n: (
                Fault(status=429, headers={"Retry-After": "0.4"})
                if n == 1 and body["messages"][0]["content"] == "a"
                else None
            ),
        )
    ) as server:
        begun = time.monotonic()

        async def run():
            target = planted.endpoint(server.url)
            calls = Calls(Ledger(None))

            async def one(text, after):
                await asyncio.sleep(after)
                body = {"model": "judge", "messages": [{"role": "user", "content": text}]}
                await calls.chat(target, body, label=LABEL)
                return time.monotonic() - begun

            try:
                return await asyncio.gather(one("a", 0.0), one("b", 0.2))
            finally:
                await target.close()

        first, second = asyncio.run(run())
    # Both a lower bound: no machine is too slow for it.
    assert first >= 0.4
    assert second >= 0.4


# Money.

PRICES = Prices.load


def prices(tmp_path, text):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    return Prices.load(file)


def test_prices_are_read_from_toml_and_json(tmp_path):
    found = prices(tmp_path, 'currency = "EUR"\n[models."a/b"]\ninput = 2\noutput = 8.0\n')
    assert found.currency == "EUR"
    assert found.of("a/b", Usage(input=500_000, output=250_000)) == 3.0
    assert found.of("c", Usage(input=1)) is None
    file = tmp_path / "prices.json"
    file.write_text('{"models": {"m": {"input": 0.0}}}')
    assert Prices.load(file).of("m", Usage(input=9, output=9)) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "models = 3",
        "[models.m]\noutput = 1.0",
        "[models.m]\ninput = -1",
        "[models.m]\ninput = true",
        "[models.m]\ninput = nan",
        "[models.m]\ninput = 1\nper = 'k'",
        "[model.m]\ninput = 1",
        "not toml",
    ],
)
def test_bad_prices_are_errors(tmp_path, text):
    with pytest.raises(ConfigError, match="price"):
        prices(tmp_path, text)


def test_the_budget_is_never_passed(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1000\noutput = 1000\n")
    parameters = {"max_tokens": 100}
    # Answers as long as they may be, so that what is on its way is what counts.
    with serving(ScriptedServer(lambda q, s: "x" * 400)) as server:
        for limit in (0.3, 0.7, 1.1):
            budget = Budget(limit, prices=known)
            said = ask(
                server, [f"{limit} {i}" for i in range(40)], budget=budget, parameters=parameters
            )
            done = [s for s in said if s != "budget"]
            assert 0.0 < budget.spent <= limit
            assert 0 < len(done) < 40
            # Nor is it given up early: what is left would not have paid for one worst case more.
            worst = known.of("judge", Usage(input=most_tokens("x" * 60), output=100))
            assert limit - budget.spent < worst


def test_the_budget_counts_what_earlier_runs_spent(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1000\noutput = 1000\n")
    with serving(echo()) as server, Ledger(tmp_path / "calls.jsonl") as ledger:
        budget = Budget(10.0, prices=known)
        ask(server, ["a", "b"], ledger=ledger, budget=budget)
        assert spent_before(ledger, budget) == pytest.approx(budget.spent)
        assert budget.spent > 0.0


def test_a_server_that_counts_no_tokens_is_charged_the_upper_bound(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1000\noutput = 1000\n")
    silent = ScriptedServer(lambda q, s: "x", fault=lambda body, n: Fault(usage=False))
    with serving(silent) as server, Ledger(None) as ledger:
        budget = Budget(99.0, prices=known)
        ask(server, ["a"], ledger=ledger, budget=budget, parameters={"max_tokens": 50})
        (row,) = ledger
    assert row["usage"]["counted"] is False
    assert row["usage"]["output"] == 50
    assert budget.spent == pytest.approx((row["usage"]["input"] + 50) / 1000)


def test_a_limit_needs_a_price_for_every_model(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1\n")
    with pytest.raises(ConfigError, match=r"generator's model 'writer'"):
        Budget(1.0, prices=known).check_models({"judge": "judge", "generator": "writer"})
    Budget(None).check_models({"judge": "anything"})
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="max-cost"):
            Budget(wrong)


def test_a_failed_call_costs_nothing(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1000\noutput = 1000\n")
    with serving(ScriptedServer(fault=lambda body, n: Fault(status=400))) as server:
        budget = Budget(1e6, prices=known)
        ask(server, ["a"], budget=budget)
    assert budget.spent == 0.0
    assert budget.reserve("judge", Usage(input=1000)) == 1.0
    with pytest.raises(BudgetReached):
        Budget(0.5, prices=known).reserve("judge", Usage(input=1000))


def test_most_tokens_bounds_every_tokeniser():
    for text in ("", "plain", "日本語のテキスト", "\U0001f600" * 10):
        assert most_tokens(text) >= len(text.encode())
