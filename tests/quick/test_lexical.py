"""What the words of a list tell: any language, empty texts, and no company beyond the list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankgate import Floor, Policy, RelevanceModel, Reranker, Section
from rankgate.decide.gate import Action, Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.rank import rank
from rankgate.decide.signals import LEXICAL_SIGNALS, compute_signals
from rankgate.retrieve.lexical import coverage, list_scores, terms_of
from rankgate.testing import FakeScorer, candidates_of


def covered(query, *texts):
    return coverage(terms_of(query), texts).tolist()


def words(query):
    return [t.text for t in terms_of(query)]


def test_coverage_is_the_share_of_telling_words_inflected_or_not():
    assert words("How long is the warranty of a pump?") == ["long", "warranty", "pump"]
    texts = ["Pumps: warranty", "WARRANTY", "a of the"]
    assert covered("the warranty of a pump", *texts) == [1, 8 / 12, 0], "by letters, up to eight"
    assert covered("who is it", "it is me", "nobody") == [4 / 7, 0], "no other words, so all count"


def test_a_word_is_found_at_its_beginning_alone():
    assert covered("art", "the arts", "part", "artificial intelligence") == [1, 0, 0]
    assert covered("get user", "get_user()", "getters forgetusers") == [1, 3 / 7]


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [
        ("保証期間はいつまで", "製品の保証期間は二年です", "電源を入れてください"),
        ("保修期多长", "本产品的保修期为两年", "请先接通电源"),
        ("การรับประกันนานเท่าไร", "ระยะเวลาการรับประกันสองปี", "กรุณาเปิดเครื่อง"),
        ("보증기간은 얼마", "제품의 보증기간이 이 년입니다", "전원을 켜십시오"),
        ("वारंटी कितनी है", "वारंटी दो साल है", "पंप चालू करें"),
        ("Wie lang ist die GARANTIE für Straßen", "garantie auf STRASSEN", "Pumpe einschalten"),
        ("\uff57\uff41\uff52\uff52anty \ufb01eld", "warranty in the field", "switch it on"),
        ("iPhone手机保修", "iphone手机的保修", "switch it on"),
    ],
)
def test_languages_with_and_without_spaces(query, right, wrong):
    good, bad = covered(query, right, wrong)
    assert good > 0.4 and bad < 0.2
    scores = list_scores(terms_of(query), [wrong, right])
    assert scores[1] > scores[0] >= 0.0


@pytest.mark.parametrize("query", ["", "  ", "???", "🐶🐶", "\u0301"])
def test_a_question_without_words_is_covered_by_nothing(query):
    assert terms_of(query) in ((), terms_of("\u0301"))
    found = compute_signals(query, candidates_of(["a", "", "b"]))
    assert found.coverage_top1 == found.lexical_margin_12 == found.lexical_top1_agrees == 0.0
    assert found.lexical_entropy == 1.0


@pytest.mark.parametrize("texts", [["", "", ""], ["same words"] * 3, ["same words"], ["x" * 9]])
def test_texts_that_nothing_tells_apart_have_no_margin(texts):
    found = compute_signals("same words", candidates_of(texts))
    assert found.lexical_margin_12 == found.lexical_margin_15 == 0.0
    assert found.lexical_correlation_10 == 0.0
    assert found.lexical_entropy == (0.0 if len(texts) == 1 else 1.0)


def test_without_candidates_there_is_nothing_to_know():
    found = compute_signals("same words", [])
    assert all(found.values()[name] is None for name in LEXICAL_SIGNALS)


def test_the_list_score_is_bm25_with_the_lists_own_rarities():
    texts = ["pump pump a", "pump bbb ccc", "valve aa aaa"]
    assert {len(t) for t in texts[1:]} == {12}
    got = list_scores(terms_of("pump valve"), texts)
    idf = [np.log1p((3 - n + 0.5) / (n + 0.5)) for n in (2, 1)]
    norm = [1.5 * (0.25 + 0.75 * len(t) / (35 / 3)) for t in texts]
    want = [idf[0] * 2 / (2 + norm[0]), idf[0] / (1 + norm[1]), idf[1] / (1 + norm[2])]
    assert got == pytest.approx(want)


def test_signals_look_at_the_first_candidate_whatever_the_order_of_the_input():
    found = candidates_of(["other", "red cat", "cat"])
    one, two = (compute_signals("red cat", some) for some in (found, found[::-1]))
    for name in LEXICAL_SIGNALS:
        assert one.values()[name] == pytest.approx(two.values()[name]), name
    assert one.coverage_top1 == one.lexical_top1_agrees == 0.0
    better = compute_signals("red cat", candidates_of(["red cat", "cat", "other"]))
    assert better.coverage_top1 == better.lexical_top1_agrees == 1.0
    assert better.lexical_correlation_10 == pytest.approx(1.0) and better.lexical_margin_12 > 0.3


texts = st.lists(st.text(st.sampled_from("ab cdÄ保証 \n"), max_size=12), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(query=st.text(max_size=12), texts=texts, beyond=texts)
def test_coverage_is_a_passages_own(query, texts, beyond):
    terms = terms_of(query)
    alone = [coverage(terms, [t])[0] for t in texts]
    assert coverage(terms, texts + beyond)[: len(texts)].tolist() == alone
    assert all(0.0 <= c <= 1.0 for c in alone)
    assert np.isfinite(list_scores(terms, texts)).all()


JUDGE = RelevanceModel(model=Logistic(intercept=-4, features=(Feature(name="coverage", weight=8),)))
BY_RAW = RelevanceModel(
    model=Logistic(
        intercept=-4.0,
        features=(Feature(name="raw", weight=6.0), Feature(name="coverage", weight=2.0)),
    ),
    scale="fake",
)
CLEAR = Gate(
    rules=(
        Rule(
            name="clear_winner",
            conditions=(
                Condition(signal="lexical_top1_agrees", op=">=", value=1.0),
                Condition(signal="coverage_top1", op=">=", value=1.0),
                Condition(signal="lexical_margin_12", op=">=", value=0.3),
            ),
        ),
    )
)
ORDER = Section(gate=CLEAR, reranked=BY_RAW, first_stage=JUDGE, floor=Floor(refuse_below=0.5), k=3)


def reranker(section=ORDER):
    return Reranker(FakeScorer(), policy=Policy(name="p", sections={"order": section}))


def test_where_only_an_order_comes_in_the_gate_skips_and_the_floor_refuses():
    skipped = reranker().rerank("red cat", ["a red cat", "cat", "dog"])
    assert (skipped.status, skipped.reason) == ("skipped", "clear_winner")
    assert skipped.best_probability == pytest.approx(1 / (1 + np.exp(-4.0)))
    uncertain = reranker().rerank("red cat", ["cat", "a red cat", "dog"])
    assert uncertain.status == "reranked" and uncertain.kept[0].candidate.text == "a red cat"
    refused = reranker().rerank("red cat", ["dog", "bird", "cow"], force="skip")
    assert (refused.status, refused.path) == ("refused", "skipped")
    assert reranker().rerank("red cat", ["dog", "bird", "cow"]).refused


def test_what_is_not_reranked_keeps_the_order_it_came_in():
    """Words judge; they do not order what a better first stage has ordered."""
    outcome = reranker().rerank("red cat", ["cat", "dog", "a red cat"], force="skip")
    assert [p.candidate.text for p in outcome.kept] == ["cat", "dog", "a red cat"]
    told = [p.relevance_score for p in outcome.kept]
    assert told[2] > told[0] > told[1] and outcome.best_probability == told[2]
    floor = Floor(refuse_below=0.5, drop_below=0.4)
    some = ["cat", "dog", "a red cat", "beyond K"]
    dropping = rank(
        "red cat",
        candidates_of(some),
        None,
        Section(reranked=BY_RAW, first_stage=JUDGE, floor=floor, k=3),
    )
    assert dropping.order.tolist() == [0, 1, 2, 3]
    assert dropping.below.tolist() == [False, True, False, True], "nobody read what is beyond K"


@settings(max_examples=60, deadline=None)
@given(
    within=st.lists(st.sampled_from(["red cat", "cat", "dog", "red", ""]), min_size=3, max_size=3),
    beyond=st.lists(st.sampled_from(["red cat red cat", "cat", "x", ""]), max_size=5),
    force=st.sampled_from([None, Action.SKIP, Action.RERANK]),
)
def test_a_passage_beyond_k_and_a_batch_change_nothing(within, beyond, force):
    from rankgate.plan import Request

    def seen(outcome):
        return [
            outcome.status,
            outcome.reason,
            outcome.decision.detail,
            outcome.signals.values(),
            *(
                (p.candidate.text, p.relevance_score, p.dropped)
                for p in outcome.passages
                if p.index < 3
            ),
        ]

    alone = reranker().rerank("red cat", within, force=force)
    longer = reranker().rerank("red cat", [*within, *beyond], force=force)
    assert seen(alone) == seen(longer)
    requests = [
        Request(query="red cat", candidates=c, force=force)
        for c in (["dog"], [*within, *beyond], ["red cat", "x"])
    ]
    assert seen(reranker().rerank_many(requests)[1]) == seen(alone)


@pytest.mark.parametrize("at", [1, 2, 4, 10, 50])
def test_an_answer_is_refused_at_no_k_that_reaches_it(at):
    """From 1 to 200 candidates: the level that the floor reads is the passage's own."""
    texts = [f"number {i} of another kind" for i in range(200)]
    texts[at - 1] = "a red cat sat here"
    for k in range(at, 201):
        section = Section(gate=CLEAR, reranked=BY_RAW, first_stage=JUDGE, floor=ORDER.floor, k=k)
        for force in (None, "skip"):
            outcome = reranker(section).rerank("red cat", texts[:k], top_n=k, force=force)
            assert not outcome.refused, (k, force, outcome.detail)
    assert all(reranker(ORDER).rerank("red cat", texts[at:][:n]).refused for n in range(1, 51, 7))


def test_texts_are_read_only_where_a_section_asks_for_it():
    plain = Section(
        reranked=BY_RAW.__class__(
            model=Logistic(intercept=0.0, features=(Feature(name="raw", weight=1.0),)), scale="fake"
        )
    )
    assert ORDER.reads_texts and not plain.reads_texts
    assert reranker(plain).rerank("red cat", ["a", "b"]).signals.terms is None


def test_a_single_passage_is_read_before_its_words_refuse_it():
    other_words = FakeScorer({"the guarantee: two years": 1.0})
    policy = Policy(name="p", sections={"order": ORDER})
    outcome = Reranker(other_words, policy=policy).rerank(
        "how long is the warranty", ["the guarantee: two years"]
    )
    assert (outcome.status, outcome.reason) == ("reranked", "floor_needs_score")
    assert Reranker(other_words, policy=policy).rerank("warranty", ["dog"], force="skip").refused
