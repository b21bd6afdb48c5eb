"""Batch: several queries, each with a retriever run of its own, one call to the scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig

from langchain_rankgate.finders import FoundDocuments
from langchain_rankgate.flow import Flow
from langchain_rankgate.trace import atrace, trace
from rankgate import Outcome

__all__ = ["abatch_of", "batch_of"]

Results = list[list[Document] | Exception]
Shown = Callable[[FoundDocuments, Outcome], list[Document]]


def batch_of(
    retriever: BaseRetriever,
    flow_of: Callable[[Mapping[str, Any]], Flow],
    documents: Shown,
    queries: Sequence[str],
    configs: Sequence[RunnableConfig],
    kwargs: Mapping[str, Any],
    isolate: bool,
) -> list[list[Document]]:
    """Documents of each query, in order; with `isolate` an error stands in its place.

    Args:
        flow_of: its first stage and reranker under the settings of this call.
        documents: what it makes of an outcome.
        queries: at least one.
        configs: one each.
        kwargs: of the call.
        isolate: as `return_exceptions` of `batch`.

    Raises:
        Exception: without `isolate`, the first error; every run ends with it.
    """
    runs = [
        CallbackManager.configure(**_settings(retriever, config, kwargs)).on_retriever_start(
            None, query, name=_name(retriever, config), run_id=config.get("run_id")
        )
        for query, config in zip(queries, configs, strict=True)
    ]
    try:
        flow = flow_of(kwargs)
        children = [run.get_child() for run in runs]
        found = flow.find_each(queries, children, configs[0].get("max_concurrency"))
        _check(found, isolate)
        outcomes = flow.rerank_found(queries, found, isolate=isolate)
        for run, item in zip(runs, outcomes, strict=True):
            if not isinstance(item, Exception):
                trace(run, item[1])
        results = _documents(documents, outcomes, isolate)
    except BaseException as exc:
        for run in runs:
            run.on_retriever_error(exc)
        if isolate and isinstance(exc, Exception):
            return _typed([exc] * len(runs))
        raise
    for run, result in zip(runs, results, strict=True):
        if isinstance(result, Exception):
            run.on_retriever_error(result)
        else:
            run.on_retriever_end(result)
    return _typed(results)


async def abatch_of(
    retriever: BaseRetriever,
    flow_of: Callable[[Mapping[str, Any]], Awaitable[Flow]],
    documents: Shown,
    queries: Sequence[str],
    configs: Sequence[RunnableConfig],
    kwargs: Mapping[str, Any],
    isolate: bool,
) -> list[list[Document]]:
    """`batch_of` without blocking the event loop."""
    runs = [
        await AsyncCallbackManager.configure(
            **_settings(retriever, config, kwargs)
        ).on_retriever_start(
            None, query, name=_name(retriever, config), run_id=config.get("run_id")
        )
        for query, config in zip(queries, configs, strict=True)
    ]
    try:
        flow = await flow_of(kwargs)
        children = [run.get_child() for run in runs]
        found = await flow.afind_each(queries, children, configs[0].get("max_concurrency"))
        _check(found, isolate)
        outcomes = await flow.arerank_found(queries, found, isolate=isolate)
        for run, item in zip(runs, outcomes, strict=True):
            if not isinstance(item, Exception):
                await atrace(run, item[1])
        results = _documents(documents, outcomes, isolate)
    except BaseException as exc:
        for run in runs:
            await run.on_retriever_error(exc)
        if isolate and isinstance(exc, Exception):
            return _typed([exc] * len(runs))
        raise
    for run, result in zip(runs, results, strict=True):
        if isinstance(result, Exception):
            await run.on_retriever_error(result)
        else:
            await run.on_retriever_end(result)
    return _typed(results)


def _settings(
    retriever: BaseRetriever, config: RunnableConfig, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What `BaseRetriever.invoke` gives its callback manager."""
    return {
        "inheritable_callbacks": config.get("callbacks"),
        "verbose": kwargs.get("verbose", False),
        "inheritable_tags": config.get("tags"),
        "local_tags": retriever.tags,
        "inheritable_metadata": {
            **(config.get("metadata") or {}),
            **retriever._get_ls_params(**kwargs),
        },
        "local_metadata": retriever.metadata,
    }


def _name(retriever: BaseRetriever, config: RunnableConfig) -> str:
    return config.get("run_name") or retriever.get_name()


def _check(found: Sequence[FoundDocuments | Exception], isolate: bool) -> None:
    """Raise the first error, before the scorer is asked for the others."""
    for item in found:
        if isinstance(item, Exception) and not isolate:
            raise item


def _documents(
    documents: Shown,
    outcomes: Sequence[tuple[FoundDocuments, Outcome] | Exception],
    isolate: bool,
) -> Results:
    results: Results = []
    for item in outcomes:
        if isinstance(item, Exception):
            results.append(item)
            continue
        try:
            results.append(documents(*item))
        except Exception as exc:
            if not isolate:
                raise
            results.append(exc)
    return results


def _typed(results: Results) -> list[list[Document]]:
    """LangChain's own types leave out that exceptions may stand in the list."""
    return results  # type: ignore[return-value]
