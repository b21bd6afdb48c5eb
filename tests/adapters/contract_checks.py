"""What a reranking component owes its user, as checks that any framework's can be run through."""

import asyncio
import copy
import math
import pickle

import contract_kit as kit
from waiting import auntil

QUERY, FOUR, BEST_FIRST, P = kit.QUERY, kit.FOUR, kit.BEST_FIRST, kit.P
Check, Model, overlap = kit.Check, kit.Model, kit.overlap


def best_first(adapter):
    order = adapter.order()
    assert order == BEST_FIRST, f"order is {order}"


def negative_scores(adapter):
    logits = {"red one": -3.0, "nothing two": 0.0, "red green blue three": -1.0}
    order = adapter.order(model=Model(lambda _, t: logits.get(t, -2.0)))
    assert order == ["b", "c", "d", "a"], f"order is {order}"


def content_survives(adapter):
    by_id = {p.id: p for p in FOUR}
    rows = adapter.rows(adapter.make(Model()), adapter.inputs(FOUR))
    assert all(r.id is not None for r in rows), "ids are lost"
    assert sorted(r.id for r in rows) == ["a", "b", "c", "d"], "passages are lost"
    for r in rows:
        assert r.text == by_id[r.id].text, "text is changed"
        assert by_id[r.id].metadata.items() <= r.metadata.items(), "metadata is lost"


def input_unchanged(adapter):
    inputs = adapter.inputs(FOUR)
    before = copy.deepcopy(inputs)
    adapter.run(adapter.make(Model()), inputs)
    assert inputs == before, "what was handed in is changed"


def results_are_copies(adapter):
    inputs = adapter.inputs(FOUR)
    before = copy.deepcopy(inputs)
    results = adapter.run(adapter.make(Model()), inputs)
    adapter.row(results[0]).metadata["page"] = "changed"
    assert [adapter.row(r).metadata.get("page") for r in inputs] == [
        adapter.row(r).metadata.get("page") for r in before
    ], "changing a result's metadata changes the input's"


def twice_the_same(adapter):
    inputs, component = adapter.inputs(FOUR), adapter.make(Model())
    first = [(r.id, r.score, r.before) for r in adapter.rows(component, inputs)]
    second = [(r.id, r.score, r.before) for r in adapter.rows(component, inputs)]
    assert first == second, f"first {first}, then {second}"


def second_pass_reads_the_same(adapter):
    model = Model()
    component = adapter.make(model)
    once = adapter.run(component, adapter.inputs(FOUR))
    adapter.run(component, once)
    assert sorted(model.texts[0]) == sorted(model.texts[1]), (
        "its own metadata is in the text of a second pass"
    )


def nothing_in_nothing_out(adapter):
    model = Model()
    assert adapter.run(adapter.make(model), []) == []
    assert model.calls == 0, "the model is called for no passage"


def single_passage(adapter):
    assert adapter.order(FOUR[:1]) == ["a"]


def ties_keep_first_stage_order(adapter):
    passages = [P(f"p{i}", f"same {i}", 0.9 - i / 10) for i in range(6)]
    order = adapter.order(passages, Model(lambda *_: 0.5), top_n=6)
    assert order == [p.id for p in passages], f"order is {order}"


def same_text_stays_apart(adapter):
    twins = [P("x", "red green", 0.9, {"n": 1}), P("y", "red green", 0.8, {"n": 2})]
    rows = adapter.rows(adapter.make(Model()), adapter.inputs(twins))
    assert sorted(r.metadata["n"] for r in rows) == [1, 2], "one of them is lost"
    assert all(r.id in (None, {1: "x", 2: "y"}[r.metadata["n"]]) for r in rows), "mixed up"


def top_n_cuts(adapter):
    for n in (1, 2, 4, 9):
        assert adapter.order(top_n=n) == BEST_FIRST[:n], f"top_n={n}"


def senseless_top_n(adapter):
    for wrong in (0, -1):
        try:
            order = adapter.order(top_n=wrong)
        except ValueError:
            continue
        raise AssertionError(f"top_n={wrong} is taken, and gives {order}")


def unknown_argument(adapter):
    try:
        adapter.make(Model(), topn=3)
    except (TypeError, ValueError):
        return
    raise AssertionError("an argument that nobody knows is swallowed")


def nan_is_noticed(adapter):
    model = Model(lambda _, t: math.nan if t == "nothing two" else overlap(QUERY, t))
    component, inputs = adapter.make(model), adapter.inputs(FOUR)
    try:
        rows = adapter.rows(component, inputs)
    except Exception:
        return  # loud is well
    if all(r.metadata.get("rankgate_outcome") == "degraded" for r in rows):
        return  # and so is saying so
    raise AssertionError(f"a NaN score goes unnoticed; order is {[r.id for r in rows]}")


def missing_scores_are_noticed(adapter):
    component, inputs = adapter.make(kit.TooFew()), adapter.inputs(FOUR)
    try:
        rows = adapter.rows(component, inputs)
    except Exception:
        return
    assert len(rows) == 4, f"a score is missing and {4 - len(rows)} passage with it, silently"


def async_equals_sync(adapter):
    component = adapter.make(Model())
    there = asyncio.run(adapter.arun(component, adapter.inputs(FOUR)))
    here = adapter.run(component, adapter.inputs(FOUR))
    assert [adapter.row(r).id for r in there] == [adapter.row(r).id for r in here]


def async_leaves_the_loop_free(adapter):
    model = kit.Waiting()
    component, inputs = adapter.make(model), adapter.inputs(FOUR)

    async def both():
        running = asyncio.ensure_future(adapter.arun(component, inputs))
        await auntil(lambda: model.begun.is_set() or running.done())
        model.released.set()
        return await running

    asyncio.run(both())
    assert model.in_time, "the event loop stands still while the model computes"


def pickles(adapter):
    component = adapter.make(Model())
    expected = [r.id for r in adapter.rows(component, adapter.inputs(FOUR))]
    twin = pickle.loads(pickle.dumps(component))
    assert [r.id for r in adapter.rows(twin, adapter.inputs(FOUR))] == expected


def shows_its_score(adapter):
    rows = adapter.rows(adapter.make(Model()), adapter.inputs(FOUR))
    shown = [r.score for r in rows]
    assert shown == sorted(shown, reverse=True) and shown[0] > shown[-1], f"shows {shown}"


def keeps_the_first_stages_score(adapter):
    rows = adapter.rows(adapter.make(Model(), keep=True), adapter.inputs(FOUR))
    before = {r.id: r.before for r in rows}
    assert before == {p.id: _close(p.score) for p in FOUR}, f"shows {before}"


def _close(value):
    return type("Close", (float,), {"__eq__": lambda s, o: o is not None and abs(s - o) < 1e-6})(
        value
    )


def own_metadata_stays_out_of_prompts(adapter):
    results = adapter.run(adapter.make(Model(), keep=True), adapter.inputs(FOUR))
    for result in results:
        prompt = adapter.prompt(result)
        strange = [k for k in adapter.row(result).metadata if k != "page" and k in prompt]
        assert not strange, f"the prompt of a language model holds {', '.join(strange)}"


def tells_the_framework(adapter):
    assert adapter.announced(Model()), "no event or run is told of a reranking"


def floor_drops(adapter):
    # Word overlap is 1, 2/3, 1/3 and 0 in the order of BEST_FIRST.
    order = adapter.order(floor=0.5)
    assert order == ["c", "d"], f"order is {order}"


def floor_is_inclusive(adapter):
    scores = {"red one": 0.25, "nothing two": 0.0}
    order = adapter.order(FOUR[:2], Model(lambda _, t: scores[t]), floor=0.25)
    assert order == ["a"], f"at the threshold itself: {order}"


def floor_of_zero_is_a_floor(adapter):
    scores = {"red one": 0.5, "nothing two": -0.5}
    order = adapter.order(FOUR[:2], Model(lambda _, t: scores[t]), floor=0.0)
    assert order == ["a"], f"a floor of 0.0 gives {order}"


def refusal_has_a_reason(adapter):
    rows, reason = adapter.refused(Model(lambda *_: 0.0), adapter.inputs(FOUR))
    assert rows == [] and reason, "nothing comes back, and nothing says why"


def failure_gives_first_stage_order(adapter):
    component = adapter.make(kit.Failing())
    rows = adapter.rows(component, adapter.inputs(FOUR))
    assert [r.id for r in rows] == ["a", "b", "c", "d"]
    assert {r.metadata["rankgate_outcome"] for r in rows} == {"degraded"}


def gate_may_skip(adapter):
    model = Model()
    component = adapter.make(model, skip=True)
    assert [r.id for r in adapter.rows(component, adapter.inputs(FOUR))] == ["a", "b", "c", "d"]
    assert model.calls == 0


def probability(adapter):
    rows = adapter.rows(adapter.make(Model(), calibrated=True), adapter.inputs(FOUR))
    shown = [r.metadata["relevance_score"] for r in rows]
    assert all(0.0 <= s <= 1.0 for s in shown) and shown == sorted(shown, reverse=True)


CHECKS = (
    Check(best_first, "best score first", "reranking"),
    Check(negative_scores, "logits below and at zero are ordered as numbers", "reranking"),
    Check(content_survives, "ids, text and metadata survive"),
    Check(input_unchanged, "the input is not changed"),
    Check(results_are_copies, "results share no metadata with the input"),
    Check(twice_the_same, "the same call twice gives the same"),
    Check(second_pass_reads_the_same, "a second pass reads the same text", "reranking"),
    Check(nothing_in_nothing_out, "no passages: no call to the model", "reranking"),
    Check(single_passage, "a single passage is kept"),
    Check(ties_keep_first_stage_order, "ties keep the first stage's order", "reranking"),
    Check(same_text_stays_apart, "passages of one text stay apart"),
    Check(top_n_cuts, "top_n cuts, also beyond the number of passages", "reranking"),
    Check(senseless_top_n, "top_n of 0 or -1 is an error", "reranking"),
    Check(unknown_argument, "an unknown argument is an error"),
    Check(nan_is_noticed, "a NaN score is an error or a marked fallback", "reranking"),
    Check(missing_scores_are_noticed, "a missing score loses no passage silently", "reranking"),
    Check(async_equals_sync, "async gives the same as sync"),
    Check(async_leaves_the_loop_free, "async leaves the event loop free"),
    Check(pickles, "pickles, and gives the same afterwards"),
    Check(shows_its_score, "shows the score that ordered", "score"),
    Check(keeps_the_first_stages_score, "keeps the first stage's score too", "retrieval score"),
    Check(own_metadata_stays_out_of_prompts, "its metadata stays out of prompts", "prompts"),
    Check(tells_the_framework, "tells the framework's tracing", "tracing"),
    Check(floor_drops, "a floor drops what is below", "floor"),
    Check(floor_is_inclusive, "what is exactly at the floor is kept", "floor"),
    Check(floor_of_zero_is_a_floor, "a floor of 0.0 is a floor", "raw floor"),
    Check(refusal_has_a_reason, "an empty answer says why", "refusal reason"),
    Check(failure_gives_first_stage_order, "a failing model: first-stage order", "fallback"),
    Check(gate_may_skip, "a gate may skip the model", "gate"),
    Check(probability, "shows a probability", "calibration"),
)  # fmt: skip
