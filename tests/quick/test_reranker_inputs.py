"""What the reranker takes: candidates, policies that fit the scorer, kinds of first stage."""

import pytest
from reranker_kit import PLATT, TABLE, abcd, policy, texts

from rankgate import Candidate, Floor, Policy, Profile, Reranker, Section, Status
from rankgate.errors import InputError, PolicyError, ProfileMismatchError
from rankgate.testing import FakeScorer


def test_empty_and_single_lists():
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    empty = reranker.rerank("q", [])
    assert (empty.status, empty.kept, empty.reason) == (Status.SKIPPED, (), "no_candidates")
    one = reranker.rerank("q", abcd()[:1])
    assert (one.status, one.reason, texts(one.kept)) == (Status.SKIPPED, "single_candidate", ["a"])
    for query in ("", " \n\t"):
        for candidates in ([], abcd()):
            with pytest.raises(InputError, match="the question is empty"):
                reranker.rerank(query, candidates)


def test_inputs_are_not_touched():
    metadata = {"source": "x", "relevance_score": 7}
    given = [Candidate(id="a", text="a", rank=1, metadata=metadata), *abcd()[1:]]
    before = list(given)
    out = Reranker(FakeScorer(TABLE), policy=policy(reranked=PLATT)).rerank("q", given)
    assert given == before and metadata == {"source": "x", "relevance_score": 7}
    assert out.passages[2].candidate.metadata is metadata


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.rerank(None, abcd()),
        lambda r: r.rerank("q", [3]),
        lambda r: r.rerank("q", "one string"),
        lambda r: r.rerank("q", abcd(), top_n=0),
        lambda r: r.rerank("q", abcd(), top_n=2.5),
        lambda r: r.rerank("q", abcd(), top_n=True),
    ],
)
def test_wrong_input_is_an_error_of_the_caller(call):
    with pytest.raises(InputError):
        call(Reranker(FakeScorer(TABLE), policy=policy()))


@pytest.mark.parametrize(
    "bad", [{"text": None}, {"rank": 0}, {"dense": float("nan")}, {"bm25": float("inf")}]
)
def test_candidates_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError):
        Candidate(**{"id": "a", "text": "a", "rank": 1, **bad})


def test_a_policy_for_another_scorer_is_refused_and_the_default_steps_back():
    fitted = policy(profile=Profile(scorer="late-interaction/x"))
    with pytest.raises(ProfileMismatchError):
        Reranker(FakeScorer(), policy=fitted)
    assert Reranker(FakeScorer()).policy.name == "unfitted"
    with pytest.raises(PolicyError, match="no section for a 'order'"):
        Reranker(FakeScorer(), policy=Policy(name="p", sections={"dense": Section()})).rerank(
            "q", abcd()
        )


def test_the_kind_of_first_stage_is_seen_from_the_candidates():
    reranker = Reranker(FakeScorer(TABLE), policy=policy())
    kinds = [
        reranker.rerank("q", abcd(**scores)).first_stage.value
        for scores in (
            {},
            {"dense": [0.1] * 4},
            {"bm25": [1.0] * 4},
            {"dense": [0.1] * 4, "bm25": [1.0] * 4},
        )
    ]
    assert kinds == ["order", "dense", "bm25", "hybrid"]


def test_a_named_kind_gives_way_where_no_candidate_has_its_scores():
    """A model fitted on cosines once read their absence as a cosine, without a word."""
    reranker = Reranker(FakeScorer(TABLE), policy=policy(), first_stage="dense")
    kinds = [
        reranker.rerank("q", abcd(**scores)).first_stage.value
        for scores in ({}, {"dense": [0.1, None, 0.1, 0.1]}, {"bm25": [1.0] * 4})
    ]
    assert kinds == ["order", "dense", "bm25"]
    only = Reranker(FakeScorer(TABLE), policy=Policy(name="p", sections={"dense": Section()}))
    assert only.rerank("q", abcd(dense=[0.1] * 4)).first_stage.value == "dense"


@pytest.mark.parametrize("named", ["dense", "hybrid", "bm25", None])
def test_the_section_for_a_bare_order_serves_any_first_stage_and_says_so(named):
    only = Policy(
        name="p", sections={"order": Section(reranked=PLATT, floor=Floor(refuse_below=0.9))}
    )
    reranker = Reranker(FakeScorer(TABLE), policy=only, first_stage=named)
    scored = abcd(dense=[0.1] * 4, bm25=[1.0] * 4)
    out = reranker.rerank("q", scored)
    assert out.first_stage.value == "order" and out.path == "reranked" and out.kept
    assert out.notes == (f"section_serves: 'order'; the policy has none for '{named or 'hybrid'}'",)
    assert reranker.rerank("q", abcd()[3:]).refused, "by the floor of the section that serves"
    said = str(reranker.describe())
    assert "refuses a query below 0.9" in said
    if named is not None:
        assert f"{named}, served by the section 'order'" in said


def test_a_section_for_one_kind_of_scores_stands_in_for_no_other():
    only = Policy(name="p", sections={"dense": Section()})
    with pytest.raises(PolicyError, match="no section for a 'hybrid'"):
        Reranker(FakeScorer(), policy=only, first_stage="hybrid")


def test_nothing_found_needs_no_section_for_it():
    only_dense = Policy(name="p", sections={"dense": Section()})
    out = Reranker(FakeScorer(TABLE), policy=only_dense).rerank("q", [])
    assert (out.status, out.reason) == (Status.SKIPPED, "no_candidates")


def test_a_policy_for_windows_is_refused_without_them():
    from rankgate.scorers.wrappers import Windowed

    plain = FakeScorer()
    cut = Windowed(FakeScorer())
    for fitted_for, used in ((cut, plain), (plain, cut)):
        with pytest.raises(ProfileMismatchError, match="window"):
            Reranker(used, policy=policy(profile=Profile.of_scorer(fitted_for.info)))
