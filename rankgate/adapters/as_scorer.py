"""As scorer: whatever people already have that scores texts for a query, as a `Scorer`."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rankgate.adapters.identity import identity, is_scorer, model_name, module_of, qualified
from rankgate.errors import BadScoresError, InputError
from rankgate.scorers.build import SCORER_FORMS, Wrapping, load, wrapped
from rankgate.scorers.protocol import (
    Job,
    ScoreContext,
    Scorer,
    ScorerInfo,
    Scores,
    ScoreStats,
)
from rankgate.scorers.wrappers.traits import is_pointwise
from rankgate.texts import checked_texts

__all__ = ["Predicts", "Ranks", "ScorerLike", "ScoresPairs", "TakenScorer", "as_scorer"]

_CHUNK = 8
# What holds the model that people load through it, and under which attribute.
_HOLDERS = {
    "HuggingFaceCrossEncoder": "client",
    "SentenceTransformerRerank": "_model",
    "FlagEmbeddingReranker": "_model",
    "CrossEncoderReranker": "model",
    "RerankerLangChainCompressor": "model",
}
_TAKES = (
    "a sentence-transformers CrossEncoder, a LangChain BaseCrossEncoder such as "
    "HuggingFaceCrossEncoder, a `rerankers` ranker, a compressor with rerank(documents, query), "
    "a function of (query, texts) that returns one number a text, an object with `info` and "
    f"`score` (rankgate.scorers.Scorer), or a name: {SCORER_FORMS}"
)

Ask = Callable[[str, list[str]], Any]


class Predicts(Protocol):
    """A model of pairs, as sentence-transformers has it."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """One number a pair."""


class ScoresPairs(Protocol):
    """A model of pairs, as LangChain has it."""

    def score(self, *args: Any, **kwargs: Any) -> Any:
        """One number a pair."""


class Ranks(Protocol):
    """A ranker, as the package `rerankers` has it."""

    def rank(self, *args: Any, **kwargs: Any) -> Any:
        """Results with document ids."""


ScorerLike = Scorer | str | Predicts | ScoresPairs | Ranks | Callable[[str, list[str]], Any]
"""What `as_scorer` takes, as far as types say it."""


def as_scorer(
    thing: Any,
    *,
    id: str | None = None,
    scale: str | None = None,
    wrapping: Wrapping | None = None,
) -> Scorer:
    """The thing as a scorer; every component that takes a scorer takes what this takes.

    Found by looking, without importing what it comes from:

    - a `Scorer`, unchanged; a name as for `rankgate.load`;
    - sentence-transformers' `CrossEncoder`, alone or inside LangChain's
      `HuggingFaceCrossEncoder` and LlamaIndex's `SentenceTransformerRerank`: its raw logits,
      whatever activation it has, the same scores and identity as `cross-encoder:NAME`;
    - `score(pairs)` of a LangChain `BaseCrossEncoder`, `predict(pairs)`, `compute_score(pairs)`;
    - `rank(query, docs)` of a `rerankers` object, `rerank(documents, query)` of a LangChain
      compressor such as `CohereRerank`;
    - a function of query and texts.

    A scorer's identity binds a policy and caches to it. What does not name its model is called
    by its module and qualified name; a lambda or local function, and a `functools.partial`, also
    by a hash of its code and of what it captures, or a random number where that names no model.
    Give an `id` to these, and to each of two objects of one class that name no model.

    Args:
        thing: what scores; higher is better.
        id: its name in policies and outcomes, for things that are not scorers yet.
        scale: what its numbers mean, such as `logit` or `sigmoid`; likewise, and without effect
            on a `CrossEncoder`, whose logits are read.
        wrapping: as for `rankgate.load`, where it makes the scorer.

    Raises:
        InputError: it is nothing that scores; the message lists what is.
        ConfigError: a model that gives more than one number a pair.
    """
    named = id is not None or scale is not None
    if isinstance(thing, str | Path) or is_scorer(thing):
        if named:
            raise InputError("id and scale are for things that do not name themselves, this does")
        return load(str(thing), lazy=True, wrapping=wrapping) if not is_scorer(thing) else thing
    if inspect.isclass(thing):
        raise InputError(f"a scorer is an object, got the class {thing.__name__}: make one of it")
    inner = next((getattr(thing, _HOLDERS[n], None) for n in _kinds(thing) if n in _HOLDERS), None)
    if _is_sentence_transformers(thing):
        from rankgate.scorers.cross_encoder import CrossEncoderScorer

        return wrapped(CrossEncoderScorer.of_model(thing, name=id), wrapping)
    if inner is not None and not _two_numbers(inner):
        return as_scorer(inner, id=id, scale=scale, wrapping=wrapping)
    ask, each_alone = _ask(thing)
    known = model_name(thing)
    info = ScorerInfo(
        id=id or (identity(thing) if known is None else f"{type(thing).__name__}/{known}"),
        scale=scale or _scale(thing),
        backend=module_of(thing).partition(".")[0],
    )
    return TakenScorer(thing, ask, info, pointwise=each_alone)


class TakenScorer:
    """Asks a thing that knows nothing of rankgate; `as_scorer` makes one.

    Under a deadline it is asked for 8 texts at a time and the clock is read between; a thing
    whose scores depend on the whole list (`pointwise = False` on it) is asked once.

    Args:
        ask: how it is asked, with query and texts; one number a text comes back.
        pointwise: whether a text's score is its own.
    """

    def __init__(self, thing: Any, ask: Ask, info: ScorerInfo, *, pointwise: bool) -> None:
        self.thing = thing
        self.pointwise = pointwise
        self._ask = ask
        self.info = info
        # Tokenizers of models cannot be called by two threads; functions are their own business.
        self._lock = None if inspect.isroutine(thing) else threading.Lock()

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """One number a text, as the thing gives it.

        Raises:
            BadScoresError: not one finite number for each text.
            Exception: whatever the thing raises.
        """
        ctx = ScoreContext() if context is None else context
        query, texts = checked_texts(query, texts)
        n = len(texts)
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        step = n if ctx.deadline is None or not self.pointwise else _CHUNK
        calls = 0
        for start in range(0, n, max(step, 1)):
            if ctx.should_stop:
                break
            part = texts[start : start + step]
            values[start : start + step] = self._numbers(query, part)
            scored[start : start + step] = True
            calls += 1
        stats = ScoreStats(pairs=int(scored.sum()), calls=calls)
        return Scores(values=values, scale=self.info.scale, scored=scored, stats=stats)

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """`score` for several queries, one after the other."""
        return [self.score(job.query, job.texts, context) for job in jobs]

    def _numbers(self, query: str, texts: list[str]) -> npt.NDArray[np.float32]:
        if self._lock is None:
            found = self._ask(query, texts)
        else:
            with self._lock:
                found = self._ask(query, texts)
        return _numbers(found, len(texts), self.info.id)

    def __reduce__(self) -> tuple[Any, ...]:
        again = functools.partial(as_scorer, id=self.info.id, scale=self.info.scale)
        return (again, (self.thing,))


def _numbers(found: Any, n: int, who: str) -> npt.NDArray[np.float32]:
    """What came back as (n,) float32.

    Raises:
        BadScoresError: it is not that.
    """
    if hasattr(found, "detach"):  # a tensor, perhaps with a gradient or on another device
        found = found.detach().float().cpu().numpy()
    try:
        values = np.asarray(found if hasattr(found, "shape") else list(found), dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise BadScoresError(
            f"scorer {who} was given {n} texts and must return one number for each, got "
            f"{type(found).__name__}: {exc}"
        ) from exc
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and len(values) == n:
        raise BadScoresError(
            f"scorer {who} returns {values.shape[1]} numbers a text, and a reranker needs one. "
            "Pass a function that takes the relevant column: scorer=lambda query, texts: "
            "model.predict([(query, t) for t in texts])[:, 1]"
        )
    if values.shape != (n,):
        raise BadScoresError(
            f"scorer {who} was given {n} texts and returned numbers of the shape {values.shape}; "
            "it must return one number for each text, in their order"
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise BadScoresError(
            f"scorer {who}: score {bad[0]} of {n} is {values[bad[0]]}; every text needs a finite "
            "number"
        )
    return values


def _ask(thing: Any) -> tuple[Ask, bool]:
    """How the thing is asked, and whether a text's score is its own.

    Raises:
        InputError: it is nothing that scores.
    """
    apart = is_pointwise(thing) and getattr(thing, "ranking_type", "pointwise") == "pointwise"
    if callable(getattr(thing, "rank", None)) and not hasattr(thing, "predict"):
        return functools.partial(_ranked, thing.rank), apart
    if callable(getattr(thing, "rerank", None)) and hasattr(thing, "compress_documents"):
        return functools.partial(_reranked, thing.rerank), apart
    for name in ("score", "predict", "compute_score"):
        method = getattr(thing, name, None)
        if callable(method) and (name != "score" or _needs(method) == 1):
            return functools.partial(_of_pairs, method), apart
    own = getattr(thing, "score", None)
    function = own if callable(own) else thing
    if not callable(function) or hasattr(thing, "postprocess_nodes"):
        raise InputError(f"scorer cannot be {type(thing).__name__}. It is {_TAKES}.")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    ):
        raise InputError(
            f"scorer {qualified(thing)} is async. Pass a plain function of (query, texts): it "
            "runs in a worker thread wherever the event loop should not wait"
        )
    if _needs(function) not in (2, None):
        raise InputError(
            f"scorer {qualified(thing)} must take (query, texts), it takes "
            f"{inspect.signature(function)}"
        )
    return function, apart


def _of_pairs(method: Callable[..., Any], query: str, texts: list[str]) -> Any:
    return method([(query, text) for text in texts])


def _ranked(method: Callable[..., Any], query: str, texts: list[str]) -> list[float]:
    """`rerankers`: results in the order of relevance; without scores, their places count."""
    results = list(method(query, texts, doc_ids=list(range(len(texts)))))
    found = {
        int(r.document.doc_id): -float(place) if r.score is None else float(r.score)
        for place, r in enumerate(results, start=1)
    }
    return _in_order(found, len(texts))


def _reranked(method: Callable[..., Any], query: str, texts: list[str]) -> list[float]:
    """LangChain's hosted rerankers: mappings of index and relevance_score."""
    rows = method(texts, query, top_n=len(texts))
    return _in_order({int(r["index"]): float(r["relevance_score"]) for r in rows}, len(texts))


def _in_order(found: dict[int, float], n: int) -> list[float]:
    if set(found) != set(range(n)):
        raise BadScoresError(f"{n} texts were ranked, and {len(found)} of them came back")
    return [found[i] for i in range(n)]


def _is_sentence_transformers(thing: Any) -> bool:
    return any(
        base.__name__ == "CrossEncoder" and base.__module__.startswith("sentence_transformers")
        for base in type(thing).__mro__
    )


def _two_numbers(inner: Any) -> bool:
    """A model of two labels, of which its holder knows the column that counts."""
    return getattr(inner, "num_labels", 1) != 1


def _kinds(thing: Any) -> list[str]:
    return [base.__name__ for base in type(thing).__mro__]


def _needs(function: Callable[..., Any]) -> int | None:
    """How many positional arguments it must be given; None: it does not say."""
    try:
        takes = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a built-in
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in takes):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in takes)


def _scale(thing: Any) -> str:
    """What the numbers mean, where the thing says it; `raw`: it does not."""
    normalised = getattr(thing, "normalize", None)
    return "raw" if normalised is None else "sigmoid" if normalised else "logit"
