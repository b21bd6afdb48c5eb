"""LlamaIndex's retriever: K asked, gate before the cut, spaces, policies, copies."""

import copy
import pickle

import llamaindex_index as kit
import pytest
from llama_index.core.schema import QueryBundle

from llama_index.postprocessor.rankgate import RankGateRetriever
from rankgate import Candidate, Deadline, FirstStageKind, Policy, Reranker
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.errors import ConfigError, InputError, PolicyError
from rankgate.testing import FailingScorer, FakeScorer

QUERY, COSINES, THREE, nodes_of = kit.QUERY, kit.COSINES, kit.THREE, kit.nodes_of
Listed, Sized, ids = kit.Listed, kit.Sized, kit.ids
index_in, events = kit.index_in, kit.events


@pytest.mark.parametrize("how", ["metadata", "configuration"])
@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
async def test_over_chroma_the_gate_sees_cosines_in_every_space(index_in, policies, space, how):
    retriever = RankGateRetriever.from_chroma(
        index_in(space, how=how), scorer=FakeScorer(), policy=policies.fitted
    )
    for outcome in (
        retriever.retrieve_outcome(QUERY),
        await retriever.aretrieve_outcome(QUERY),
    ):
        assert outcome.first_stage is FirstStageKind.DENSE
        found = {p.candidate.text.splitlines()[-1]: p.candidate.dense for p in outcome.passages}
        assert found == pytest.approx(COSINES, abs=1e-5)
        assert outcome.signals.dense_top1 == pytest.approx(0.9, abs=1e-5)
        assert outcome.signals.dense_margin_12 == pytest.approx(0.4, abs=1e-5)
    assert ids(retriever.retrieve(QUERY)) == ids(await retriever.aretrieve(QUERY))


def test_a_collection_that_names_no_space_has_chromas_default(index_in, policies):
    outcome = RankGateRetriever.from_chroma(
        index_in(None, how="silent"), scorer=FakeScorer(), policy=policies.raw
    ).retrieve_outcome(QUERY)
    assert outcome.signals.dense_top1 == pytest.approx(0.9, abs=1e-5)


def test_a_collection_of_an_older_chroma(index_in, policies):
    """It shows no configuration, and its metadata may be wrong: what it returns is looked at."""

    class Older:
        def __init__(self, metadata):
            self.metadata = metadata

    retriever = index_in("l2").as_retriever(similarity_top_k=3)
    inner = retriever._vector_store._collection
    for metadata in ({"hnsw:space": "cosine"}, {}, None):
        retriever._vector_store._collection = Older(metadata)
        made = RankGateRetriever.from_chroma(
            retriever, scorer=FakeScorer(), policy=policies.raw, k=1
        )
        retriever._vector_store._collection = inner
        assert made.candidates(QUERY)[0].dense == pytest.approx(0.9, abs=1e-5)


def test_a_space_that_nobody_understands_is_refused(index_in, policies):
    class Hamming:
        configuration_json = {"hnsw": {"space": "hamming"}}  # noqa: RUF012

    retriever = index_in("cosine").as_retriever()
    with pytest.raises(ConfigError, match="unknown vector space 'jaccard'"):
        RankGateRetriever.from_chroma(retriever, space="jaccard", scorer=FakeScorer())
    retriever._vector_store._collection = Hamming()
    with pytest.raises(ConfigError, match="unknown vector space 'hamming'"):
        RankGateRetriever.from_chroma(retriever, scorer=FakeScorer())
    with pytest.raises(ConfigError, match="no Chroma collection"):
        RankGateRetriever.from_chroma(Listed([]), scorer=FakeScorer())


def test_k_is_asked_of_the_first_stage_and_top_n_cut_after_the_gate(policies):
    nodes = nodes_of(*[(f"blue {i}", None) for i in range(8)], ("red green", None))
    child = Sized(nodes, similarity_top_k=2)
    retriever = RankGateRetriever.from_retriever(
        child, k=9, top_n=2, scorer=FakeScorer(), policy=policies.raw
    )
    # The best is the ninth: only whoever asks for nine and cuts afterwards finds it.
    assert ids(retriever.retrieve(QUERY)) == ["n8", "n0"]
    assert child.similarity_top_k == 2, "the caller's retriever keeps its number"
    assert len(retriever.retrieve_outcome(QUERY).passages) == 9
    assert len(retriever.candidates(QUERY, k=3)) == 3
    without = RankGateRetriever.from_retriever(
        child, scorer=FakeScorer(), policy=policies.of(k=4, top_n=1)
    )
    assert len(without.retrieve_outcome(QUERY).passages) == 4, "the policy's K"
    assert len(without.retrieve(QUERY)) == 1


def test_a_retriever_without_a_number_gives_what_it_gives(policies):
    child = Listed(nodes_of(*THREE))
    small = {"scorer": FakeScorer(), "policy": policies.of(k=2, top_n=5)}
    assert len(RankGateRetriever.from_retriever(child, **small).retrieve(QUERY)) == 3
    assert len(RankGateRetriever.from_retriever(child, k=1, **small).retrieve(QUERY)) == 1


def test_a_number_that_cannot_be_set_on_a_copy_is_left_alone(policies):
    class Shared(Listed):
        def __init__(self, nodes):
            super().__init__(nodes)
            self.config = {"k": 2}

        @property
        def similarity_top_k(self):
            return self.config["k"]

        @similarity_top_k.setter
        def similarity_top_k(self, value):
            self.config["k"] = value

        def _retrieve(self, query_bundle):
            return self.nodes[: self.config["k"]]

    class ReadOnly(Listed):
        similarity_top_k = property(lambda self: 2)

    child = Shared(nodes_of(*THREE))
    made = RankGateRetriever.from_retriever(child, k=3, scorer=FakeScorer(), policy=policies.raw)
    assert len(made.retrieve(QUERY)) == 2
    assert child.config == {"k": 2}
    child = ReadOnly(nodes_of(*THREE))
    made = RankGateRetriever.from_retriever(child, k=3, scorer=FakeScorer(), policy=policies.raw)
    assert len(made.retrieve(QUERY)) == 3


def test_the_queries_bundle_is_not_filled_in(index_in, policies):
    bundle = QueryBundle(QUERY)
    index = index_in("cosine")
    RankGateRetriever.from_chroma(index, scorer=FakeScorer(), policy=policies.raw).retrieve(bundle)
    assert bundle.embedding is None
    # The framework's own writes the embedding into it, so a second embedder would read it.
    index.as_retriever().retrieve(bundle)
    assert bundle.embedding is not None


def test_from_defaults_sees_the_most_it_can(index_in, policies):
    def kind(first_stage):
        made = RankGateRetriever.from_defaults(
            first_stage, scorer=FakeScorer(), policy=policies.raw
        )
        return made.retrieve_outcome(QUERY).first_stage

    index = index_in("l2")
    assert kind(index) == kind(index.as_retriever()) == "dense"
    assert kind(Listed(nodes_of(*THREE))) == "order"
    assert kind([Listed(nodes_of(*THREE))]) == "order"
    assert kind({"one": index.as_retriever()}) == "order"
    both = Candidate(id="a", text="red", rank=1, dense=0.5, bm25=3.0)
    assert kind(lambda query, k: [both]) == "hybrid"
    with pytest.raises(InputError, match="a first stage must be callable"):
        kind(3)


async def test_candidates_of_the_callers_own_first_stage(policies):
    rows = [
        Candidate(id="a", text="whale", rank=1, metadata={"page": 1}, dense=0.9, bm25=0.0),
        Candidate(id="b", text="red green", rank=2, metadata={"page": 2}, dense=0.8, bm25=4.0),
    ]

    class Async:
        async def acandidates(self, query, k):
            return rows[:k]

    retriever = RankGateRetriever.from_first_stage(
        Async(), scorer=FakeScorer(), policy=policies.raw
    )
    found = await retriever.aretrieve(QUERY)
    assert [(n.node_id, n.metadata["page"], n.metadata["rankgate_bm25"]) for n in found] == [
        ("b", 2, 4.0), ("a", 1, 0.0),
    ]  # fmt: skip
    with pytest.raises(InputError, match="async only"):
        retriever.retrieve(QUERY)
    wrong = RankGateRetriever.from_first_stage(
        lambda query, k: ["text"], scorer=FakeScorer(), policy=policies.raw
    )
    with pytest.raises(InputError, match=r"candidate 0 must be a rankgate\.Candidate, got str"):
        wrong.retrieve(QUERY)


def test_what_is_set_for_one_call(policies):
    scorer = FakeScorer()
    retriever = RankGateRetriever.from_retriever(
        Listed(nodes_of(*THREE)), scorer=scorer, policy=policies.fitted, top_n=2
    )
    assert len(retriever.retrieve_outcome(QUERY, top_n=1).kept) == 1
    assert len(retriever.retrieve_outcome(QUERY).kept) == 2
    calls = scorer.calls
    skipped = retriever.retrieve_outcome(QUERY, force="skip")
    assert (skipped.status, skipped.reason, scorer.calls) == ("skipped", "forced", calls)
    late = retriever.retrieve_outcome(QUERY, deadline=Deadline.after(0.0))
    assert (late.status, late.reason) == ("degraded", "no_time")
    assert [len(n) for n in retriever.retrieve_many([QUERY, "x"], top_n=1)] == [1, 1]
    for wrong, match in (
        ({"top_n": 0}, "top_n must be a whole number"),
        ({"force": "maybe"}, "force must be 'rerank' or 'skip', got 'maybe'"),
        ({"deadline": 3.0}, r"deadline must be a rankgate\.Deadline, got float"),
    ):
        with pytest.raises(InputError, match=match):
            retriever.retrieve_outcome(QUERY, **wrong)
        with pytest.raises(InputError, match=match):
            retriever.retrieve_many([QUERY], **wrong)
    with pytest.raises(InputError, match="a query must be a string or a QueryBundle, got int"):
        retriever.retrieve_outcome(3)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "three"])
def test_a_senseless_k_is_rejected(wrong):
    with pytest.raises(InputError, match="k must be a whole number"):
        RankGateRetriever.from_retriever(Listed([]), k=wrong, scorer=FakeScorer())


def test_an_argument_that_nobody_knows_is_an_error():
    with pytest.raises(TypeError, match="similarity_top_k"):
        RankGateRetriever.from_retriever(Listed([]), similarity_top_k=3, scorer=FakeScorer())


MARGIN = Gate(
    rules=(
        Rule(name="clear", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.2),)),
    )
)


def test_one_policy_several_profiles(index_in, policies):
    """The same file: dense decides by its margin, order reranks and says what is missing."""
    policy = policies.of(gate=MARGIN)
    index = index_in("ip")

    def outcome(make, first_stage):
        scorer = FakeScorer()
        return make(first_stage, scorer=scorer, policy=policy).retrieve_outcome(QUERY), scorer

    dense, scorer = outcome(RankGateRetriever.from_chroma, index)
    assert (dense.status, dense.reason, scorer.calls) == ("skipped", "clear", 0)
    order, scorer = outcome(RankGateRetriever.from_retriever, Listed(nodes_of(*THREE)))
    assert (order.status, order.reason, scorer.calls) == ("reranked", "signals_missing", 1)
    assert "dense_margin_12" in order.detail


def test_a_missing_section_names_the_call_that_fits_it(index_in, policies, tmp_path):
    file = tmp_path / "policy.json"
    Policy(name="mine", sections={"hybrid": policies.raw.section("hybrid")}).save(file)
    for first_stage, kind in ((index_in("cosine"), "dense"), (Listed([]), "order")):
        with pytest.raises(
            PolicyError, match=rf"rankgate calibrate .*--first-stage {kind}\b"
        ) as raised:
            RankGateRetriever.from_policy(file, first_stage, scorer=FakeScorer())
        assert "it has: hybrid" in str(raised.value)
    loaded = RankGateRetriever.from_first_stage(
        lambda query, k: [], kind="hybrid", policy=file, scorer=FakeScorer()
    )
    assert loaded.retrieve(QUERY) == []


def test_a_failing_scorer_gives_the_order_of_chroma(index_in, policies):
    found = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=FailingScorer(RuntimeError("no GPU")), policy=policies.fitted
    ).retrieve(QUERY)
    assert [n.node.text for n in found] == ["red apple", "whale", "red green fish"]
    assert {n.metadata["rankgate_outcome"] for n in found} == {"degraded"}


class Picklable(Listed):
    """Of this module, which pickle can import; the helpers' it cannot."""


def test_copies_and_pickles(policies):
    retriever = RankGateRetriever.from_retriever(
        Picklable(nodes_of(*THREE)), scorer=FakeScorer(), policy=policies.fitted, top_n=2
    )
    expected = retriever.retrieve(QUERY)
    twins = copy.copy(retriever), copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))
    for twin in twins:
        assert twin.retrieve(QUERY) == expected and twin.top_n == 2
    twins[0].top_n = 1
    assert len(retriever.retrieve(QUERY)) == 2


def test_the_engine_made_beforehand(policies):
    reranker = Reranker(FakeScorer(), policy=policies.dropping)
    retriever = RankGateRetriever.from_retriever(Listed(nodes_of(*THREE)), reranker=reranker)
    assert ids(retriever.retrieve(QUERY)) == ["n2", "n0"]


def test_the_first_stage_alone(index_in, policies):
    scorer = FakeScorer()
    retriever = RankGateRetriever.from_chroma(
        index_in("cosine"), scorer=scorer, policy=policies.fitted
    )
    found = retriever.candidates(QUERY, k=2)
    assert [(c.id, c.rank) for c in found] == [("n0", 1), ("n1", 2)]
    assert [c.dense for c in found] == pytest.approx([0.9, 0.5], abs=1e-5)
    assert scorer.calls == 0
