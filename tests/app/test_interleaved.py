"""Two policies on one server: mixed lists, one scoring, credit by what is cited and liked."""

import asyncio
import random

import fake_index
import ingest_files as files
import pytest
import server_rig as rig
from test_server_reask import ask, begin, rate

from rag_app.ask.interleaved import mixed
from rag_app.ask.pipeline import Pipeline
from rag_app.quality.trial import TRIAL_FILE, Trial
from rag_app.settings import Settings
from rankgate import Floor, Policy, RelevanceModel
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.retrieve import Fusion
from rankgate.testing import FakeScorer

QUESTION = "When does the gate skip reranking?"
BREAD = "How long does a sourdough rest?"
EVERY = Condition(signal="candidates", op=">=", value=0)
ALWAYS = Gate(rules=(Rule(name="all", conditions=(EVERY,)),))


def policy_file(folder, name, *, weight=10.0, **section):
    """Orders by the scorer's value, the best first, or with a weight below 0 the worst."""
    model = Logistic(features=(Feature(name="raw", weight=weight, mean=0.3),))
    first = Logistic(features=(Feature(name="dense", weight=1.0),))
    policy = Policy.unfitted(k=4, top_n=2).with_section(
        "hybrid",
        reranked=RelevanceModel(model=model, scale="fake"),
        first_stage=RelevanceModel(model=first),
        **section,
    )
    file = folder / f"{name}.json"
    Policy(name=name, sections=policy.sections).save(file)
    return file


def line(folder, *, scorer=None, **second):
    settings = Settings(
        policy=policy_file(folder, "good"), policy_b=policy_file(folder, "bad", **second)
    )
    scorer = FakeScorer() if scorer is None else scorer
    return Pipeline(settings, fake_index.FakeIndex(), scorer=scorer)


def ids(passages):
    return [p.candidate.id for p in passages]


def test_an_answer_takes_passages_of_both_and_says_so(tmp_path):
    pipeline = line(tmp_path, weight=-10.0)
    found = pipeline.answer(QUESTION)
    both = found.together
    assert found.outcome is both.outcome and found.outcome.policy == "good with bad"
    assert set(both.teams.values()) == {"a", "b"} and set(both.teams) == set(ids(found.passages))
    assert {ids(both.a.kept)[0], ids(both.b.kept)[0]} == set(both.teams)
    everything = found.outcome.passages
    assert [p.rank for p in everything] == list(range(1, len(everything) + 1))
    assert sorted(p.index for p in everything) == list(range(len(everything)))
    assert len(set(ids(everything))) == len(everything) == 4
    assert any("answer together" in note for note in found.outcome.notes)
    # Each passage has the probability of the policy that drafted it.
    for p in found.passages:
        own = both.a if both.teams[p.candidate.id] == "a" else both.b
        scores = {q.candidate.id: q.relevance_score for q in own.kept}
        assert p.relevance_score == scores[p.candidate.id]


@pytest.mark.parametrize("second", [{}, {"weight": -10.0}, {"fusion": Fusion(dense_weight=0.2)}])
def test_what_both_want_is_scored_once(tmp_path, second):
    scorer = FakeScorer()
    line(tmp_path, scorer=scorer, **second).answer(QUESTION)
    assert scorer.calls == 1, "the second policy read what the first had read"


def test_one_policy_that_skips_leaves_the_other_its_scores(tmp_path):
    scorer = FakeScorer()
    found = line(tmp_path, scorer=scorer, gate=ALWAYS).answer(QUESTION).together
    assert (found.a.path.value, found.b.path.value, scorer.calls) == ("reranked", "skipped", 1)


def test_nothing_is_learnt_where_both_are_the_same_or_one_refuses(tmp_path):
    same = line(tmp_path).answer(QUESTION).together
    assert same.teams == {} and ids(same.outcome.kept) == ids(same.a.kept)
    one = line(tmp_path, floor=Floor(refuse_below=1.0)).answer(QUESTION).together
    assert one.b.refused and not one.a.refused and one.teams == {}
    refused = [mixed(one.a, one.b, lambda d=d: d).outcome.refused for d in (0.0, 0.9)]
    assert refused == [True, False], "a coin says whose answer it is"


def test_search_and_forced_answers_are_of_the_first_policy_alone(tmp_path):
    pipeline = line(tmp_path, weight=-10.0)
    assert pipeline.search(QUESTION).together is None
    assert pipeline.search(QUESTION).outcome.policy == "good"


async def test_credit_goes_to_who_drafted_what_was_cited_opened_and_rated(tmp_path):
    changes = {
        "policy": policy_file(tmp_path, "good"),
        "policy_b": policy_file(tmp_path, "bad", weight=-10.0),
        "feedback": True,
    }
    async with rig.in_process(tmp_path, files, **changes) as client:
        server = client.app.state.server
        assert "Once this collection has been asked" in (await client.get("/quality")).text
        credited = 0
        for _ in range(6):
            conversation = await begin(client)
            told = await ask(client, conversation, BREAD)
            kept = server.conversations.get(conversation, owner="local").turns[-1]
            assert set(kept.details["teams"].values()) == {"a", "b"}
            if told["sources"]:
                await rate(client, conversation, told, opened=1)
                credited += 1
        found = await asyncio.to_thread(server.trial.standing, "default")
        assert (found.a, found.b, found.answers, found.differing) == ("good", "bad", 6, 6)
        assert found.people.answers == credited == 6
        assert (found.people.a, found.people.b) == (6, 0), "the bread is what the good one finds"
        assert found.cited.a >= 5 and found.people.p < 0.1
        await rate(client, conversation, told, verdict="down", reason="sources")
        after = await asyncio.to_thread(server.trial.standing, "default")
        assert (after.people.a, after.people.answers) == (5, 6), "what was said last counts"
        page = (await client.get("/quality")).text
        assert "Two policies" in page and "In 6 of 6 both keep something" in page
        weeks = await asyncio.to_thread(server.traffic.watched, "default")
        assert (weeks.policy, weeks.weeks[0].n) == ("good", 6)
    assert BREAD.encode() not in (client.settings.data_dir / TRIAL_FILE).read_bytes()


async def test_with_one_policy_nothing_of_it_is_there(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        assert client.app.state.server.trial is None
        assert "Two policies" not in (await client.get("/quality")).text
        assert not (client.settings.data_dir / TRIAL_FILE).exists()


def test_a_conversation_of_many_answers_is_one_voice(tmp_path):
    pipeline = line(tmp_path, weight=-10.0)
    trial = Trial(tmp_path)
    policies = (pipeline.reranker.policy, pipeline.rival.reranker.policy)
    draw = random.Random(0)
    for turn in range(20):
        found = pipeline.answer(QUESTION).together
        conversation = "talkative" if turn < 19 else "other"
        best = ids(found.a.kept)[0] if turn < 19 else ids(found.b.kept)[0]
        trial.add(
            found,
            policies,
            collection="default",
            cited=[best],
            conversation=conversation,
            turn=f"t{turn}",
        )
        trial.credit(f"t{turn}", found.teams, [best, "gone"], relevant=draw.random() < 2.0)
    standing = trial.standing("default")
    assert (standing.cited.a, standing.cited.b, standing.cited.answers) == (1, 1, 20)
    assert (standing.people.a, standing.people.b) == (1, 1)
    assert trial.standing("elsewhere") is None
    trial.close()
