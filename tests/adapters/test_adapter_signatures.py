"""The public surface of both packages, pinned: a change here breaks users."""

import importlib
import inspect
import pkgutil
from importlib.metadata import requires
from typing import Any, get_type_hints

import pytest

import langchain_rankgate
import llama_index.postprocessor.rankgate as llama_rankgate
from langchain_rankgate import settings as langchain_settings
from llama_index.postprocessor.rankgate import settings as llama_settings
from rankgate.adapters.arguments import RerankerSettings
from rankgate.adapters.as_scorer import ScorerLike

PACKAGES = (langchain_rankgate, llama_rankgate)
RERANKER = {
    "scorer", "policy", "reranker", "profile", "embedder", "lexicon", "token_cache", "question_log",
}  # fmt: skip
SHARED = {*RERANKER, "k", "top_n", "on_outcome"}
BOTH = (langchain_rankgate.RankGateRetriever, llama_rankgate.RankGateRetriever)


def keys(settings):
    """What `**settings` may hold."""
    return set(get_type_hints(settings))


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
        "DegradedError", "RankGateRerank", "RankGateRetriever", "RankGateRunnable",
        "RefusedError", "__version__", "create_retriever_tool",
    ]  # fmt: skip
    assert llama_rankgate.__all__ == [
        "DegradedError", "RankGateOutcomeEvent", "RankGateRerank", "RankGateRetriever",
        "RefusedError", "__version__",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("from_defaults", {"first_stage": ...}),
        ("from_chroma", {"space": None}),
        ("from_retriever", {"retriever": ...}),
        ("from_retrievers", {"retrievers": ..., "weights": None, "rrf_k": 60.0}),
        ("from_first_stage", {"first_stage": ..., "kind": None}),
        ("from_policy", {"policy": ..., "first_stage": ...}),
    ],
)
def test_the_same_verb_has_the_same_name_in_both(method, own):
    further = {
        "langchain_rankgate": {
            "from_chroma": {"vectorstore": ...},
            "from_retrievers": {"same_by": "id", "id_key": None},
        },
        "llama_index": {
            "from_chroma": {"index": ...},
            "from_retriever": {"embed_model": None, "space": None},
        },
    }
    for retriever in BOTH:
        more = further[retriever.__module__.partition(".")[0]].get(method, {})
        function = getattr(retriever, method)
        assert parameters(function) == {**own, **more, "**settings": ...}


def test_every_constructor_takes_the_same_settings():
    assert keys(RerankerSettings) == RERANKER
    langchain = keys(langchain_settings.RetrieverSettings)
    assert langchain == {
        *SHARED,
        "force",
        "when_refused",
        "when_degraded",
        "name",
        "tags",
        "metadata",
    }
    llama = keys(llama_settings.RetrieverSettings)
    assert llama == {
        *SHARED, "when_refused", "when_degraded", "events_with_content", "callback_manager",
    }  # fmt: skip


def test_nothing_is_typed_any():
    hints = get_type_hints(RerankerSettings)
    assert hints["scorer"] == ScorerLike | None
    for component in (*BOTH, langchain_rankgate.RankGateRerank, llama_rankgate.RankGateRerank):
        for verb in ("from_first_stage", "from_defaults"):
            function = getattr(component, verb, None)
            if function is not None:
                named = get_type_hints(function)
                assert Any not in {named.get("first_stage"), named.get("scorer")}


def test_both_say_what_is_active_and_give_outcomes_under_one_name():
    for component in (
        *BOTH, langchain_rankgate.RankGateRerank, langchain_rankgate.RankGateRunnable,
        llama_rankgate.RankGateRerank,
    ):  # fmt: skip
        assert parameters(component.describe) == {"self": ...}
    for retriever in BOTH:
        for method in (retriever.retrieve_outcome, retriever.aretrieve_outcome):
            assert list(parameters(method))[:2] == ["self", "query"]
        assert isinstance(retriever.profile, property)


def test_the_retrievers_results():
    retriever = langchain_rankgate.RankGateRetriever
    for method in (retriever.retrieve_outcome, retriever.aretrieve_outcome):
        assert parameters(method) == {"self": ..., "query": ..., "callbacks": None, "**kwargs": ...}
    assert inspect.iscoroutinefunction(retriever.aretrieve_outcome)
    fields = {name: f.default for name, f in retriever.model_fields.items() if not f.is_required()}
    own = {
        "k": None,
        "top_n": None,
        "force": None,
        "when_refused": "empty",
        "when_degraded": "keep",
        "on_outcome": None,
    }
    assert own.items() <= fields.items()
    for method in (retriever.candidates, retriever.acandidates):
        assert parameters(method) == {"self": ..., "query": ..., "k": None}
    batched = {"self": ..., "inputs": ..., "config": None, "return_exceptions": False}
    for method in (retriever.batch, retriever.abatch):
        assert parameters(method) == {**batched, "**kwargs": ...}


def test_the_compressor():
    compressor = langchain_rankgate.RankGateRerank
    fields = {name: f.default for name, f in compressor.model_fields.items()}
    parts = dict.fromkeys({*SHARED} - {"k"})
    own = {
        "dense_key": None,
        "force": None,
        "when_refused": "empty",
        "when_degraded": "keep",
        "token_cache": True,
        "question_log": None,
    }
    assert fields == {**parts, **own}
    assert parameters(compressor.from_policy) == {"policy": ..., "scorer": None, "**kwargs": ...}


def test_the_runnable():
    runnable = langchain_rankgate.RankGateRunnable
    assert parameters(runnable.__init__) == {
        "self": ..., "query_key": "query", "documents_key": "documents", "dense_key": None,
        "top_n": None, "force": None, "when_refused": "empty", "when_degraded": "keep",
        "engine": None, "on_outcome": None, "**settings": ...,
    }  # fmt: skip
    assert parameters(runnable.from_policy) == {"policy": ..., "scorer": None, "**kwargs": ...}


def test_the_postprocessor():
    assert parameters(llama_rankgate.RankGateRerank.__init__) == {
        "self": ..., "top_n": None, "chroma_space": None, "embed_model": None,
        "when_refused": "empty", "when_degraded": "keep",
        "on_outcome": None,
        "events_with_content": True, "callback_manager": None, "**settings": ...,
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
    needed = {line for line in requires(distribution) if "extra ==" not in line}
    rest = needed - {"rankgate==0.1.0", "rankgate-minilm==0.1.0"}  # the second: its weights
    assert "rankgate==0.1.0" in needed and len(rest) == 1
    assert rest.pop().startswith(framework)


def test_versions_are_one():
    import rankgate

    assert {p.__version__ for p in PACKAGES} == {rankgate.__version__}
