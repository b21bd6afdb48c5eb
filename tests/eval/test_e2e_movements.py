"""What moved in the contexts, what became of the answers, and how sure the judge is of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import e2e_planted as planted
from e2e_server import Fault, ScriptedServer, serving

from rankgate_eval.answers import (
    Handed,
    compare_answers,
)
from rankgate_eval.answers.rehearsal import best_sentence


def test_equal_contexts_are_answered_and_judged_once():
    questions = planted.questions(6)
    right = planted.hand(questions, planted.right)
    mixed = {**right, "q5": planted.wrong(5)}
    writes = Counter()

    def noisy(question, sources):
        # A generator that never says the same twice: shared, or the arms would differ.
        writes[question] += 1
        return f"{sources[0].split('. ')[0]}. Take number {writes[question]}."

    with serving(ScriptedServer(noisy)) as server:
        result = compare_answers(
            questions,
            {"first_stage": right, "rerank": right, "policy": mixed},
            generator=planted.generator(server.url),
            judge=planted.judge(server.url, metrics=("faithfulness",)),
        )
        answers = [b for b in server.requests if b.get("model") == "writer"]
    assert len(answers) == 7  # not 18
    assert Counter(writes.values()) == {1: 5, 2: 1}
    frame = result.to_frame().set_index(["query_id", "arm"])
    assert frame.loc[("q0", "first_stage"), "answer"] == frame.loc[("q0", "policy"), "answer"]
    assert frame.loc[("q0", "first_stage"), "shared_with"] == ["rerank", "policy"]
    assert frame.loc[("q5", "policy"), "shared_with"] == []
    change = result.section["differences"]["policy-first_stage"]["faithfulness"]
    assert (change["n"], change["changed"]) == (6, 0)


def test_the_order_of_passages_is_a_context_of_its_own():
    questions = planted.questions(1)
    one = planted.right(0)
    turned = replace(one, ids=one.ids[::-1], texts=one.texts[::-1])
    result = planted.keyless(questions, {"q0": one}, {"q0": turned})
    assert result.section["contexts"]["policy-first_stage"]["changed"] == 1


def test_lifts_and_inversions_are_linked_to_the_answers():
    questions = planted.questions(4)
    before = planted.hand(questions, planted.wrong)
    after = planted.hand(questions, planted.wrong)
    after["q0"] = planted.right(0)  # a lift, a better answer
    before["q1"] = planted.right(1)  # an inversion, a worse answer
    before["q2"] = planted.right(2)
    after["q2"] = Handed(ids=(), texts=(), refused=True)  # refused
    result = planted.keyless(questions, before, after)
    changed = {row["query_id"]: row for row in result.section["changed"]}
    assert set(changed) == {"q0", "q1", "q2"}
    assert (changed["q0"]["kind"], changed["q0"]["moves"]) == ("better", ["lift"])
    assert changed["q0"]["lifted"] == ["p0"]
    assert (changed["q1"]["kind"], changed["q1"]["moves"]) == ("worse", ["inversion"])
    assert changed["q1"]["lost"] == ["p1"]
    assert (changed["q2"]["kind"], changed["q2"]["because"]) == (
        "worse",
        "answered before, wrong refusal after",
    )
    side = changed["q0"]["before"]
    assert (side["arm"], side["refused"]) == ("first_stage", False)
    assert [c["relevant"] for c in changed["q0"]["after"]["contexts"]] == [True, False]
    assert changed["q0"]["after"]["judgements"]["containment"] == 1.0
    tally = result.section["contexts"]["policy-first_stage"]["moves"]
    assert tally["lift"] == {"n": 1, "better": 1, "worse": 0, "same": 0, "unclear": 0}
    assert tally["inversion"]["worse"] == 2
    # Harm first.
    assert [row["kind"] for row in result.section["changed"]] == ["worse", "worse", "better"]


def test_the_report_has_a_place_for_all_of_it():
    from rankgate_eval.report.answers import read_answers

    result = planted.judged(4, planted.wrong, planted.right)
    read = read_answers(result.to_dict())
    assert read.verdict == "not_enough_data"
    assert (
        read.arms["policy"]["faithfulness"].mean
        == result.section["arms"]["policy"]["faithfulness"]["mean"]
    )
    assert read.differences["policy-first_stage"]["factual_correctness"].n == 4
    (question, *_) = read.changed
    assert [s.arm for s in question.sides] == ["first_stage", "policy"]
    assert question.sides[1].contexts[0].relevant


def test_agreement_of_a_judge_that_says_the_same():
    server = ScriptedServer(planted.embellished())
    questions = planted.questions(5)
    right = planted.hand(questions, planted.right)
    with serving(server):
        result = compare_answers(
            questions,
            {"first_stage": right, "policy": right},
            generator=planted.generator(server.url),
            judge=planted.judge(server.url, repeat=2, metrics=("faithfulness",)),
        )
    found = result.section["agreement"]["faithfulness"]
    # Shared answers are one answer, not two.
    assert found["n"] == 5
    assert (found["same"], found["mean_difference"]) == (1.0, 0.0)
    assert found["same_ci"][0] < 1.0


def test_agreement_of_a_judge_that_wavers():
    # Each second judging of the same statements finds nothing supported.
    def fault(body, count):
        if "NLIStatementOutput" in str(body.get("messages")) and count == 2:
            statements = ["s"]
            rows = [{"statement": s, "reason": "", "verdict": 0} for s in statements]
            return Fault(text=json.dumps({"statements": rows}))
        return None

    server = ScriptedServer(best_sentence, fault=fault)
    questions = planted.questions(4)
    right = planted.hand(questions, planted.right)
    with serving(server):
        result = compare_answers(
            questions,
            {"first_stage": right, "policy": right},
            generator=planted.generator(server.url),
            judge=planted.judge(server.url, repeat=2, metrics=("faithfulness",)),
        )
    found = result.section["agreement"]["faithfulness"]
    assert (found["same"], found["mean_difference"]) == (0.0, 1.0)
    assert result.samples["policy"]["q0"].scores["faithfulness"].values == (1.0, 0.0)
    assert result.section["arms"]["policy"]["faithfulness"]["mean"] == 0.5
