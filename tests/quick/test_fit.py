"""Which policy fits: another scorer, another embedder, and a scorer that is loaded later."""

import logging
from dataclasses import replace

import pytest

from rankgate import FirstStageKind, Floor, Policy, Profile, RelevanceModel, Reranker, ScorerInfo
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.section import Section
from rankgate.describe import describe
from rankgate.errors import ConfigError, ProfileMismatchError, warn_once
from rankgate.scorers.build import wrapped
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.testing import FakeScorer, candidates_of

DENSE, ORDER = FirstStageKind.DENSE, FirstStageKind.ORDER
RAW = RelevanceModel(
    model=Logistic(intercept=-2.0, features=(Feature(name="raw", weight=4.0),)), scale="fake"
)


def usual_scorer():
    """Says that it is the scorer that the default policy was fitted for."""
    p = Policy.default().section(ORDER).profile
    info = ScorerInfo(
        id=p.scorer, scale=p.scale, weights=p.weights, dtype=p.dtype, max_length=p.max_length
    )
    return FakeScorer(lambda q, t: 0.6, info=info)


def refusing(**profile):
    section = Section(
        reranked=RAW, floor=Floor(refuse_below=0.99), profile=Profile(scorer="fake", **profile)
    )
    return Policy(name="mine", sections={"order": section})


@pytest.mark.parametrize("kind", ["dense", "hybrid", None])
def test_another_embedder_keeps_a_floor_that_reads_no_cosine(kind, caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "rankgate"):
        reranker = Reranker(usual_scorer(), first_stage=kind, profile=Profile(embedder="te-3"))
    section = reranker.policy.section(DENSE if kind is None else kind)
    order = Policy.default().section(ORDER)
    assert (section.reranked, section.floor) == (order.reranked, order.floor)
    assert reranker.notes and all(n.startswith("embedder_differs") for n in reranker.notes)
    assert "in use is 'te-3'" in caplog.text and "scorer" not in reranker.notes[0].split(";")[0]
    said = str(reranker.describe())
    assert "skips where clear_winner (lexical_top1_agrees" in said and "note: embedder_dif" in said
    assert "skipped from coverage" in said and "gate: off" not in said
    found = candidates_of(["a", "b"], dense=[0.9, 0.8])
    if kind != "hybrid":
        assert reranker.rerank("q", found).notes[: len(reranker.notes)] == reranker.notes


def test_its_own_embedder_under_a_usual_name_changes_nothing():
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", None):
        reranker = Reranker(usual_scorer(), profile=Profile(embedder=name))
        assert reranker.policy is Policy.default() and reranker.notes == ()


def test_another_scorer_is_told_so_once_with_the_command(caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "rankgate"):
        one, two = Reranker(FakeScorer()), Reranker(FakeScorer())
    assert one.notes == two.notes and one.policy.name == "unfitted"
    (record,) = [r for r in caplog.records if "no_policy" in r.message]
    assert "for another scorer (in use: fake)" in record.message
    assert "rankgate calibrate DATA" in record.message
    assert one.rerank("q", candidates_of(["a"])).notes[0] == one.notes[0]
    assert "note: no_policy" in str(one.describe())


@pytest.mark.parametrize(
    ("fitted", "actual", "blamed"),
    [
        ({"embedder": "a"}, {"embedder": "b"}, "another EMBEDDER"),
        ({"space": "l2"}, {"space": "ip"}, "another vector space"),
        ({"analyser": "x"}, {"analyser": "y"}, "another analyser"),
        ({"embedder": "a", "space": "l2"}, {"embedder": "b", "space": "ip"},
         "another EMBEDDER and another vector space"),
    ],
)  # fmt: skip
def test_a_mismatch_blames_what_differs(fitted, actual, blamed):
    with pytest.raises(ProfileMismatchError, match=f"was fitted for {blamed}: "):
        refusing(**fitted).check_profile("order", Profile(scorer="fake", **actual))


# --- a scorer that is loaded later ------------------------------------------------------------


def lazily(loaded, *, wrap):
    lazy = Lazy(ScorerInfo(id="fake", scale="fake"), lambda: FakeScorer(info=loaded))
    return wrapped(lazy) if wrap else lazy


@pytest.mark.parametrize("wrap", [False, True])
def test_what_is_loaded_is_compared_with_the_policy(wrap):
    policy = refusing(weights="abc")
    found = candidates_of(["red", "green"])
    right = lazily(ScorerInfo(id="fake", scale="fake", weights="abc"), wrap=wrap)
    assert Reranker(right, policy=policy, first_stage="order").rerank("q red", found).refused
    other = lazily(ScorerInfo(id="fake", scale="fake", weights="xyz"), wrap=wrap)
    reranker = Reranker(other, policy=policy, first_stage="order")
    for _ in range(2):
        outcome = reranker.rerank("q red", found)
        # Refusing by the floor of other weights would be worse than the first stage's order.
        assert outcome.status == "degraded" and len(outcome.kept) == 2
        assert "weights: fitted for 'abc', in use is 'xyz'" in outcome.detail


def test_a_scorer_that_is_loaded_already_is_compared_at_once():
    lazy = lazily(ScorerInfo(id="fake", scale="fake", weights="xyz"), wrap=False)
    lazy.score("q", ["a"])

    def refuse(info):
        raise ConfigError(f"not {info.weights}")

    with pytest.raises(ConfigError, match="not xyz"):
        lazy.expect(refuse)


# --- describe -----------------------------------------------------------------------------------


def test_a_description_says_what_is_on_and_off_and_why():
    policy = refusing()
    said = Reranker(FakeScorer(), policy=policy, first_stage="order").describe()
    (section,) = said.sections
    assert section.floor == "refuses a query below 0.99"
    assert section.probabilities.startswith("reranked from raw (no similarities")
    assert section.gate.startswith("off, every query is reranked. Fit one")
    assert said.to_dict()["policy"] == "mine" and "embedder not known" in str(said)
    skipping = Policy.default().section(DENSE)
    held = replace(skipping, first_stage=None)
    for one, expected in ((skipping, "skips where clear_winner"), (held, "off: a refusal floor")):
        told = describe(
            Policy(name="x", sections={"dense": one}), kind=DENSE, profile=Profile(),
            scorer=FakeScorer().info,
        )  # fmt: skip
        assert told.sections[0].gate.startswith(expected)


CLAIM = {"claim": "skipping changes it", "allowed": 0.05, "failures": 1, "n": 120, "upper": 0.039}


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({}, ["nothing for your questions: this section was not fitted on them"]),
        ({"section": "order"}, ["nothing: the policy does not say"]),
        (
            {
                "section": "order",
                "guarantees": {"confidence": 0.95, "claims": [CLAIM], "failed": []},
            },
            ["together at 95% confidence", "no label says", "at most 5.0% (seen 1 of 120"],
        ),
        (
            {
                "section": "order",
                "guarantees": {"confidence": 0.95, "claims": [], "failed": [CLAIM]},
            },
            ["guaranteed: nothing\n", "not shown: skipping changes it: at most 5.0%"],
        ),
        (
            {"section": "order", "why_not": {"gate": "too few conversations"}},
            ["gate: off, every query is reranked: too few conversations"],
        ),
    ],
)
def test_a_description_says_what_is_guaranteed_of_the_section_that_serves(provenance, expected):
    policy = replace(refusing(), provenance=provenance)
    reranker = Reranker(FakeScorer(), policy=policy, first_stage="dense")
    said = reranker.describe()
    for words in expected:
        assert words in str(said), said
    assert [s.section for s in said.sections] == ["order"]
    told = "why_not" in provenance
    assert ("--questions FILE, --from-log LOG or --documents FOLDER" in str(said)) is not told


@pytest.mark.parametrize("kind", ["dense", "order"])
def test_over_an_unknown_embedder_the_gate_skips_and_the_floor_refuses_at_every_k(kind):
    """One answer among texts of another kind, from 1 candidate to 200."""
    answer = "The warranty of the pump is two years long."
    others = [f"Recipe {i}: peel {i} onions and stir the soup." for i in range(199)]
    reranker = Reranker(usual_scorer(), first_stage=kind, profile=Profile(embedder="te-3"))

    def ask(texts):
        cosines = [0.3] * len(texts) if kind == "dense" else None
        found = candidates_of(texts, dense=cosines)
        return reranker.rerank("how long is the warranty of the pump?", found)

    for n in range(200):
        outcome = ask([answer, *others[:n]])
        assert not outcome.refused and outcome.kept[0].candidate.text == answer, n
        assert outcome.status == ("skipped" if n else "reranked"), n
    nonsense = reranker.rerank("asdf qwer zxcv", candidates_of(others[:5]), force="skip")
    if kind == "order":
        assert nonsense.refused and nonsense.path == "skipped"
