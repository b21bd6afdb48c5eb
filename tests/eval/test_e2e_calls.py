"""Paid calls: logged before use, never paid twice, bounded, repeated as the server asks."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import traceback

import diskcache
import e2e_planted as planted
import pytest
from e2e_server import Fault, ScriptedServer, serving
from waiting import until

from rankgate.errors import ConfigError, InputError
from rankgate.scorers.remote.secret import Secret
from rankgate_eval.answers import Prices
from rankgate_eval.errors import BudgetReached, CallFailed, EndpointError
from rankgate_eval.paid.calls import Calls, Purpose, digest, open_store, spent_before
from rankgate_eval.paid.endpoint import Budget, Usage, most_tokens

PURPOSE = Purpose(role="judge", sample="q", metric="faithfulness")


def ask(server, texts, *, store=None, budget=None, concurrency=8, at_once=True, **endpoint):
    """Reply texts to plain chats, or the reasons why there is none."""

    async def run():
        target = planted.endpoint(server.url, **endpoint)
        calls = Calls({} if store is None else store, budget=budget, concurrency=concurrency)

        async def one(text):
            body = {"model": "judge", "messages": [{"role": "user", "content": text}]}
            try:
                reply = await calls.chat(target, body, purpose=PURPOSE)
                return reply.choices[0].message.content
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


def test_what_is_kept_is_not_sent_again(tmp_path):
    with serving(echo()) as server:
        for _ in range(2):
            with open_store(tmp_path / "calls") as store:
                assert ask(server, ["a", "b"], store=store) == ["to a", "to b"]
        assert len(server.requests) == 2
    rows = planted.kept(tmp_path)
    assert {r["request"] for r in rows} == set(server.digests)
    assert {r["sample"] for r in rows} == {"q"}


def test_tasks_that_want_the_same_call_share_it():
    with serving(echo()) as server:
        assert ask(server, ["a"] * 20) == ["to a"] * 20
        assert len(server.requests) == 1


def test_nothing_paid_for_is_ever_evicted(tmp_path):
    # diskcache's own limit of 1 GB would let the oldest answers go.
    long = "x" * 200_000
    with open_store(tmp_path / "calls") as store:
        store.reset("size_limit", 1000)
        for i in range(30):
            store[str(i)] = long
        assert len(store) == 30
        # In the database alone, so that an answer and its row are on the disk together.
        assert {f.name.split("-")[0] for f in (tmp_path / "calls").rglob("*")} == {
            "cache.db",
            "lock",
        }
    with open_store(tmp_path / "calls") as store:
        assert [store[str(i)] == long for i in range(30)] == [True] * 30


def test_a_damaged_store_is_an_error_and_stays_as_it_is(tmp_path):
    with open_store(tmp_path / "calls") as store:
        store["k"] = "{}"
    file = tmp_path / "calls" / "cache.db"
    file.write_bytes(b"not a database, " * 500)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="paid for again"), open_store(tmp_path / "calls"):
        pass
    assert file.read_bytes() == before


def test_what_somebody_else_put_into_the_store_is_not_run(tmp_path):
    with diskcache.Cache(str(tmp_path / "calls")) as foreign:
        foreign["k"] = {"pickled": True}
    with (
        pytest.raises(ConfigError, match="a row that is not ours"),
        open_store(tmp_path / "calls") as store,
    ):
        store.get("k")


def test_two_runs_do_not_share_a_store(tmp_path):
    with open_store(tmp_path / "calls"):
        with (
            pytest.raises(ConfigError, match="another run is writing"),
            open_store(tmp_path / "calls"),
        ):
            pass
    with open_store(tmp_path / "calls"):
        pass


def test_the_digest_knows_order_of_lists_and_not_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429, headers={"Retry-After-Ms": "1"}),
        Fault(status=408),
        Fault(cut_after=30),
    ],
    ids=lambda f: f"{f.status}-{f.cut_after}",
)
def test_what_may_pass_is_repeated(fault):
    with serving(
        ScriptedServer(lambda q, s: "well", fault=lambda body, n: fault if n < 3 else None)
    ) as server:
        assert ask(server, ["a"]) == ["well"]
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "reason", "sent"),
    [
        (Fault(status=500), "http_500", 3),
        (Fault(status=429, headers={"Retry-After-Ms": "1"}), "http_429", 3),
        (Fault(cut_after=30), "connection", 3),
        (Fault(status=400), "http_400", 1),
        (Fault(status=429, headers={"Retry-After": "9999"}), "http_429", 1),
    ],
)
def test_what_does_not_pass_is_missing_with_its_reason(fault, reason, sent, tmp_path):
    with serving(ScriptedServer(fault=lambda body, n: fault)) as server:
        with open_store(tmp_path / "calls") as store:
            assert ask(server, ["a"], store=store, max_retries=2) == [reason]
            assert len(store) == 0  # nothing was answered, so nothing is kept
        assert len(server.requests) == sent


def test_a_slow_server_is_a_timeout():
    with serving(ScriptedServer(fault=lambda body, n: Fault(held=True))) as server:
        assert ask(server, ["a"], timeout_s=0.05, max_retries=0) == ["timeout"]


def test_nobody_answers_at_all():
    with serving() as server:
        url = server.url
    server.url = url  # gone
    # At once: a run of twenty questions took twelve minutes to say that nothing was judged.
    with pytest.raises(EndpointError, match=r"cannot be reached .*is the server running"):
        ask(server, ["a", "b"], max_retries=1)


def test_a_server_that_goes_away_later_costs_the_calls_that_it_misses():
    async def run():
        calls, said = Calls({}), []
        with serving(echo()) as server:
            target = planted.endpoint(server.url, max_retries=0)
            body = {"model": "judge", "messages": [{"role": "user", "content": "a"}]}
            await calls.chat(target, body, purpose=PURPOSE)
            await target.close()  # the next call has to connect anew, and there is nobody
        try:
            await calls.chat(target, {**body, "seed": 2}, purpose=PURPOSE)
        except CallFailed as exc:
            said.append(exc.reason)
        await target.close()
        return said

    assert asyncio.run(run()) == ["connection"]


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
    class Picky(ScriptedServer):
        refusal = "Unsupported parameter: 'max_tokens'"

    with serving(Picky(fault=lambda body, n: Fault(status=400))) as server:

        async def run():
            target = planted.endpoint(server.url)
            try:
                await Calls({}).chat(target, {"model": "m", "messages": []}, purpose=PURPOSE)
            finally:
                await target.close()

        with pytest.raises(CallFailed, match="--judge-params"):
            asyncio.run(run())


def test_a_key_is_sent_and_never_shown(caplog):
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret-0123456789"
    with serving(ScriptedServer(lambda q, s: "well", key=key)) as server:
        assert ask(server, ["a"], api_key=Secret(key)) == ["well"]
        with pytest.raises(EndpointError) as caught:  # the server repeats what it was shown
            ask(server, ["a"], api_key=Secret(key + "x"))
    told = "".join(traceback.format_exception(caught.value))
    assert key not in told
    assert key not in caplog.text
    assert "HTTP Request" in caplog.text  # something was logged


def test_nothing_of_the_environment_is_sent(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-the-environment")
    with serving(echo()) as server:
        assert ask(server, ["a"]) == ["to a"]
        (headers,) = server.headers
    assert "of-the-environment" not in str(headers)
    assert "Authorization" not in headers


def test_parameters_that_only_other_servers_know_are_sent():
    with serving(echo()) as server:

        async def run():
            target = planted.endpoint(server.url)
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": "a"}],
                "chat_template_kwargs": {"enable_thinking": False},
            }
            try:
                await Calls({}).chat(target, body, purpose=PURPOSE)
            finally:
                await target.close()

        asyncio.run(run())
        (sent,) = server.requests
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}


def test_concurrency_is_bounded():
    with serving(ScriptedServer(fault=lambda body, n: Fault(held=True))) as server:
        texts = [str(i) for i in range(20)]
        asking = threading.Thread(target=lambda: ask(server, texts, concurrency=3))
        asking.start()
        until(lambda: server.active == 3)
        server.go.set()
        asking.join(60)
        assert server.busiest == 3 and len(server.requests) == 20


def test_a_429_is_asked_again_no_sooner_than_it_says():
    def fault(body, n):
        return Fault(status=429, headers={"Retry-After": "0.4"}) if n == 1 else None

    with serving(ScriptedServer(lambda q, s: "well", fault=fault)) as server:
        begun = time.monotonic()
        assert ask(server, ["a"]) == ["well"]
    assert time.monotonic() - begun >= 0.4  # a lower bound: no machine is too slow for it


# Money.


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
    with serving(echo()) as server, open_store(tmp_path / "calls") as store:
        budget = Budget(10.0, prices=known)
        ask(server, ["a", "b"], store=store, budget=budget)
        assert spent_before(store, known) == pytest.approx(budget.spent)
        assert budget.spent > 0.0


def test_a_server_that_counts_no_tokens_is_charged_the_upper_bound(tmp_path):
    known = prices(tmp_path, "[models.judge]\ninput = 1000\noutput = 1000\n")
    silent = ScriptedServer(lambda q, s: "x", fault=lambda body, n: Fault(usage=False))
    with serving(silent) as server:
        store = {}
        budget = Budget(99.0, prices=known)
        ask(server, ["a"], store=store, budget=budget, parameters={"max_tokens": 50})
        (row,) = map(json.loads, store.values())
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
