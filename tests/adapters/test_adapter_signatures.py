"""The public surface of both packages, pinned: a change here breaks users."""

import importlib
import inspect
import pkgutil
from importlib.metadata import requires

import pytest

import langchain_rankgate
import llama_index.postprocessor.rankgate as llama_rankgate

PACKAGES = (langchain_rankgate, llama_rankgate)
PARTS = {
    "scorer": None, "policy": None, "reranker": None, "k": None, "top_n": None, "profile": None,
    "lexicon": None, "on_outcome": None,
}  # fmt: skip


def parameters(function):
    """Names with their defaults; `...` where a value must be given; ** as `**name`."""
    return {
        ("**" + p.name if p.kind is p.VAR_KEYWORD else p.name): (
            ... if p.default is p.empty else p.default
        )
        for p in inspect.signature(function).parameters.values()
    }


def test_surfaces():
    assert langchain_rankgate.__all__ == [
        "RankGateRerank", "RankGateRetriever", "RankGateRunnable", "RefusedError", "__version__",
    ]  # fmt: skip
    assert llama_rankgate.__all__ == [
        "RankGateOutcomeEvent", "RankGateRerank", "RankGateRetriever", "__version__",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("from_chroma", {"vectorstore": ..., "space": None}),
        ("from_retriever", {"retriever": ...}),
        (
            "from_retrievers",
            {
                "retrievers": ..., "weights": None, "rrf_k": 60.0, "same_by": "id",
                "id_key": None,
            },
        ),
        ("from_first_stage", {"first_stage": ..., "kind": None}),
    ],
)  # fmt: skip
def test_the_retriever(method, own):
    function = getattr(langchain_rankgate.RankGateRetriever, method)
    assert parameters(function) == {**PARTS, **own, "**kwargs": ...}
    kinds = [p.kind for p in inspect.signature(function).parameters.values()][1:-1]
    assert set(kinds) == {inspect.Parameter.KEYWORD_ONLY}


def test_the_retrievers_results():
    retriever = langchain_rankgate.RankGateRetriever
    for method in (retriever.retrieve, retriever.aretrieve):
        assert parameters(method) == {"self": ..., "query": ..., "callbacks": None, "**kwargs": ...}
    assert inspect.iscoroutinefunction(retriever.aretrieve)
    fields = {name: f.default for name, f in retriever.model_fields.items() if not f.is_required()}
    own = {"k": None, "top_n": None, "force": None, "when_refused": "empty", "on_outcome": None}
    assert own.items() <= fields.items()
    for method in (retriever.candidates, retriever.acandidates):
        assert parameters(method) == {"self": ..., "query": ..., "k": None}
    batched = {"self": ..., "inputs": ..., "config": None, "return_exceptions": False}
    for method in (retriever.batch, retriever.abatch):
        assert parameters(method) == {**batched, "**kwargs": ...}
    assert parameters(retriever.from_policy) == {
        "policy": ..., "first_stage": ..., "scorer": None, "**kwargs": ...,
    }  # fmt: skip


def test_the_compressor():
    compressor = langchain_rankgate.RankGateRerank
    fields = {name: f.default for name, f in compressor.model_fields.items()}
    parts = {name: default for name, default in PARTS.items() if name != "k"}
    assert fields == {**parts, "dense_key": None, "force": None, "when_refused": "empty"}
    assert parameters(compressor.from_policy) == {"policy": ..., "scorer": None, "**kwargs": ...}


def test_the_runnable():
    runnable = langchain_rankgate.RankGateRunnable
    parts = {name: default for name, default in PARTS.items() if name != "k"}
    assert parameters(runnable.__init__) == {
        **parts, "self": ..., "query_key": "query", "documents_key": "documents",
        "dense_key": None, "force": None, "when_refused": "empty", "engine": None,
        "**kwargs": ...,
    }  # fmt: skip
    assert parameters(runnable.from_policy) == {"policy": ..., "scorer": None, "**kwargs": ...}


def test_the_postprocessor():
    parts = {name: default for name, default in PARTS.items() if name != "k"}
    # `**kwargs` of the framework's base are not part of it: unknown names are refused.
    assert parameters(llama_rankgate.RankGateRerank) == {
        **parts, "chroma_space": None, "events_with_content": True, "callback_manager": None,
    }  # fmt: skip
    first = next(iter(inspect.signature(llama_rankgate.RankGateRerank).parameters))
    assert first == "top_n"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_all_is_what_is_defined(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        module = importlib.import_module(found.name)
        defined = {
            name
            for name, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module.__name__
            and not name.startswith("_")
            and "[" not in name  # what pydantic makes of a generic base
        }
        assert defined <= set(module.__all__), found.name
        assert all(hasattr(module, name) for name in module.__all__)


def test_both_write_the_same_keys():
    from langchain_rankgate.documents import METADATA_KEYS
    from llama_index.postprocessor.rankgate.nodes import METADATA_KEYS as NODE_KEYS

    assert METADATA_KEYS == NODE_KEYS


@pytest.mark.parametrize(
    ("distribution", "framework"),
    [
        ("langchain-rankgate", "langchain-core"),
        ("llama-index-postprocessor-rankgate", "llama-index-core"),
    ],
)
def test_nothing_but_the_engine_and_the_frameworks_core_is_required(distribution, framework):
    needed = requires(distribution)
    assert len(needed) == 2 and "rankgate==0.1.0" in needed
    assert any(line.startswith(framework) for line in needed)


def test_versions_are_one():
    import rankgate

    assert {p.__version__ for p in PACKAGES} == {rankgate.__version__}
