"""What adapters share: several retrievers fused, a caller's own first stage, Chroma's space."""

import asyncio
import threading

import pytest

from rankgate import Action, Deadline, Policy, Reranker
from rankgate.adapters.arguments import CallSettings, as_count, candidates_wanted
from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import (
    CandidateSupplier,
    RetrieverFusion,
    chroma_space,
    reciprocal_rank_fusion,
    separate_failures,
)
from rankgate.testing import FakeScorer
from rankgate.types import Candidate

ONE = Candidate(id="a", text="one", rank=1)


class Named:
    pass


def test_retrievers_are_named_by_their_class_and_counted():
    first, second, other = Named(), Named(), "other"
    fusion = RetrieverFusion([first, second, other])
    assert fusion.members == {"Named": first, "Named-2": second, "str": other}
    assert fusion.weights == {"Named": 1.0, "Named-2": 1.0, "str": 1.0}


def test_a_weight_of_zero_takes_a_retriever_out():
    fusion = RetrieverFusion({"a": 1, "b": 2}, weights={"b": 0.0, "a": 0.5})
    assert (fusion.members, fusion.weights) == ({"a": 1}, {"a": 0.5})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"retrievers": []}, "at least one retriever"),
        ({"weights": [1.0]}, "2 retrievers, but 1 weights"),
        ({"weights": {"a": 1.0}}, "must name the retrievers"),
        ({"weights": [1.0, -1.0]}, "'int-2' must be a number >= 0, got -1.0"),
        ({"weights": [1.0, float("nan")]}, "got nan"),
        ({"weights": [1.0, float("inf")]}, "got inf"),
        ({"weights": [0.0, 0.0]}, "one of the weights must be above 0"),
        ({"rrf_k": 0.0}, "rrf_k must be a number above 0"),
        ({"rrf_k": float("inf")}, "rrf_k must be a number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, match):
    with pytest.raises(InputError, match=match):
        RetrieverFusion(**{"retrievers": [1, 2], **settings})


def test_the_merged_list_by_hand():
    fusion = RetrieverFusion({"x": 1, "y": 2}, weights=[1.0, 3.0], rrf_k=10.0)
    merged = fusion.merge({"x": ["a", "b", "a"], "y": ["b", "c"]}, 2, failures={"z": "gone"})
    assert merged.ids == ("b", "c")
    assert merged.scores == pytest.approx((1 / 12 + 3 / 11, 3 / 12))
    assert merged.found_by == ({"x": 2, "y": 1}, {"y": 2})
    assert merged.extras[1] == {
        "rankgate_found_by": {"y": 2},
        "rankgate_failed_retrievers": {"z": "gone"},
    }
    assert merged.notes == ("retriever_failed: z: gone",)
    whole = fusion.merge({"x": ["a", "b", "a"], "y": ["b", "c"]}, 9)
    assert whole.found_by[whole.ids.index("a")] == {"x": 1}
    assert whole.notes == () and whole.extras[0] == {"rankgate_found_by": {"x": 2, "y": 1}}


def test_asking_for_more_never_changes_the_head():
    x = [f"p{i}" for i in range(120)]
    y = [f"p{(i * 37) % 120}" for i in range(120)]
    fusion = RetrieverFusion({"x": 1, "y": 2})
    long = fusion.merge({"x": x, "y": y}, 120)
    for k in (1, 50, 51, 100):
        assert fusion.merge({"x": x, "y": y}, k).ids == long.ids[:k]
    plain = [i for i, _ in reciprocal_rank_fusion([x[:50], y[:50]])][:50]
    assert list(long.ids[:50]) == plain
    # Deeper lists would have another head, which is why they are cut.
    assert plain != [i for i, _ in reciprocal_rank_fusion([x, y])][:50]


def test_failures_are_told_apart_from_results(caplog):
    given, failed = separate_failures({"x": ["a"], "y": OSError("no disk"), "z": []})
    assert given == {"x": ["a"], "z": []} and failed == {"y": "OSError: no disk"}
    assert "retriever y failed: OSError: no disk" in caplog.text


def test_when_all_fail_the_first_error_is_raised_and_names_all():
    with pytest.raises(OSError, match="one") as caught:
        separate_failures({"x": OSError("one"), "y": ValueError("two")})
    assert caught.value.__notes__ == ["all retrievers failed: x, y"]


@pytest.mark.parametrize("error", [InputError("mistake"), asyncio.CancelledError()])
def test_mistakes_and_cancellations_go_through(error):
    with pytest.raises(type(error)):
        separate_failures({"x": ["a"], "y": error})


class Both:
    def candidates(self, query, k, *, colour=None):
        return [Candidate(id=f"{query}-{k}-{colour}-{threading.get_ident()}", text="t", rank=1)]

    async def acandidates(self, query, k, **rest):
        return [Candidate(id=f"async {sorted(rest)}", text="t", rank=1)]


async def test_an_object_with_both_methods():
    supplier = CandidateSupplier(Both())
    assert supplier.takes(awaited=False) == ("colour",)
    assert supplier.takes(awaited=True) is None
    here = supplier.candidates("q", 3, colour="red")[0].id
    assert here == f"q-3-red-{threading.get_ident()}"
    assert (await supplier.acandidates("q", 3, size=1))[0].id == "async ['size']"


async def test_a_plain_function_is_awaited_in_a_thread():
    supplier = CandidateSupplier(lambda query, k: Both().candidates(query, k))
    assert supplier.takes(awaited=True) == ()
    found = (await supplier.acandidates("q", 3))[0].id
    assert found.startswith("q-3-None-") and not found.endswith(str(threading.get_ident()))


async def test_a_coroutine_function_is_async_only():
    async def find(query, k):
        return [ONE]

    supplier = CandidateSupplier(find)
    assert await supplier.acandidates("q", 1) == [ONE]
    with pytest.raises(InputError, match="async only"):
        supplier.candidates("q", 1)


async def test_what_is_no_first_stage_or_no_candidate_is_refused():
    with pytest.raises(InputError, match=r"callable as f\(query, k\).*got int"):
        CandidateSupplier(7)
    wrong = CandidateSupplier(lambda query, k: [ONE, "text"])
    with pytest.raises(InputError, match=r"candidate 1 must be a rankgate\.Candidate, got str"):
        wrong.candidates("q", 1)
    with pytest.raises(InputError, match="candidate 1 must be"):
        await wrong.acandidates("q", 1)


class Collection:
    def __init__(self, configuration=None, metadata=None):
        self.configuration_json, self.metadata = configuration, metadata


class Store:
    def __init__(self, collection):
        self._collection = collection


@pytest.mark.parametrize(
    ("collection", "space"),
    [
        (Collection({"hnsw": {"space": "cosine"}}, {"hnsw:space": "ip"}), "cosine"),
        (Collection({"spann": {"space": "ip"}}), "ip"),
        (Collection({"hnsw": None}, {"hnsw:space": "ip"}), "ip"),
        (Collection(None, {"hnsw:space": "cosine"}), "cosine"),
        (Collection({}, None), "l2"),
    ],
)
def test_the_space_that_a_collection_records(collection, space):
    assert chroma_space(Store(collection)) == space


@pytest.mark.parametrize("store", [object(), Store(None), Store(object())])
def test_what_shows_no_collection_is_told(store):
    with pytest.raises(ConfigError, match="shows no Chroma collection"):
        chroma_space(store)
    with pytest.raises(ConfigError, match="unknown vector space 'hamming'"):
        chroma_space(Store(Collection({"hnsw": {"space": "hamming"}})))


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "3"])
def test_counts(bad):
    assert as_count("k", None) is None and as_count("k", 3) == 3
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        as_count("k", bad)


def test_actions_and_deadlines():
    assert CallSettings().force is None and CallSettings(force="skip").force is Action.SKIP
    with pytest.raises(InputError, match="force must be 'rerank' or 'skip', got 'maybe'"):
        CallSettings(force="maybe")
    soon = Deadline.after(1.0)
    assert CallSettings(deadline=soon).deadline is soon and CallSettings().deadline is None
    with pytest.raises(InputError, match=r"must be a rankgate\.Deadline, got float"):
        CallSettings(deadline=0.5)


def test_how_many_candidates_are_wanted():
    policy = Policy.unfitted(k=20).with_section("dense", k=70)
    open_kind = Reranker(FakeScorer(), policy=policy)
    made_for = Reranker(FakeScorer(), policy=policy, first_stage="order")
    assert candidates_wanted(open_kind, 7) == 7
    assert candidates_wanted(open_kind, None) == 70
    assert candidates_wanted(made_for, None) == 20
    assert candidates_wanted(open_kind, None, kind="dense") == 70
    assert candidates_wanted(open_kind, None, kind="bm25") == 20
