"""Build: one string names a scorer, and one builder stacks the wrappers around it.

Command lines, application, server and adapters all come here, so that a name means the same
everywhere and what was measured is what runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rankgate.errors import ConfigError, InputError
from rankgate.scorers.protocol import Scorer, ScorerInfo

if TYPE_CHECKING:
    from rankgate.encoders.shared_tokens import SharedTokens
    from rankgate.encoders.token_store import TokenStore

__all__ = [
    "BARE",
    "DEFAULT_SCORER",
    "MEASURED",
    "SCORER_FORMS",
    "ScorerName",
    "Wrapping",
    "load",
    "wrapped",
]

DEFAULT_SCORER = "late-interaction"
_HOSTED = {
    "cohere": "https://api.cohere.com",
    "jina": "https://api.jina.ai",
    "voyage": "https://api.voyageai.com",
    "rankgpt": "https://api.openai.com",
}
_SERVED = ("tei", "infinity", "vllm-rerank", "vllm-score", "llama.cpp")
SCORER_FORMS = (
    "late-interaction (the default), late-interaction:FILE (question layers that `rankgate train` "
    "has written), cross-encoder:NAME (a hub name or a folder), onnx:FOLDER, "
    f"{', '.join(f'{name}:MODEL' for name in _HOSTED)} (with a key), "
    f"{', '.join(f'{name}:MODEL@URL' for name in _SERVED)}"
)
"""The names that `load` knows, in words; messages and help texts show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerName:
    """A scorer's name, taken apart.

    Attributes:
        kind: `late-interaction`, `cross-encoder`, `onnx`, or a dialect of remote servers.
        name: a file, a folder, a hub name or a remote model; "" for late interaction as it ships.
        url: of a remote server; None: the dialect's own, or not remote.
    """

    kind: str
    name: str = ""
    url: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a name apart; looks for nothing but a folder of that very name.

        Raises:
            InputError: it is none of the known forms, which the message lists.
        """
        wanted = text.strip() if isinstance(text, str) else ""
        kind, colon, rest = wanted.partition(":")
        rest = rest.strip()
        if kind == DEFAULT_SCORER and bool(colon) == bool(rest):
            return cls(kind=kind, name=rest)
        if kind in ("cross-encoder", "onnx") and rest:
            return cls(kind=kind, name=rest)
        if kind in _HOSTED or kind in _SERVED:
            model, _, url = rest.rpartition("@") if "@" in rest else (rest, "", "")
            if model.startswith(("http://", "https://")) and not url:
                model, url = "", model
            if model or url:
                return cls(kind=kind, name=model, url=url or _HOSTED.get(kind))
        alone = ":" not in wanted and wanted.count("/") == 1 and all(wanted.split("/"))
        if alone or (wanted and os.path.isdir(wanted)):
            return cls(kind="cross-encoder", name=wanted)  # a hub name or folder alone
        raise InputError(f"unknown scorer {text!r}. Scorers: {SCORER_FORMS}")

    @property
    def remote(self) -> bool:
        """Whether texts leave this process for a server."""
        return self.kind in _HOSTED or self.kind in _SERVED

    @property
    def hosted(self) -> bool:
        """Whether it is a service's own server, which wants a key."""
        return self.kind in _HOSTED and self.url == _HOSTED[self.kind]

    @property
    def reads_tokens(self) -> bool:
        """Whether stored token vectors serve it."""
        return self.kind == DEFAULT_SCORER


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """Which wrappers stand around a scorer: `Cached(Breaker(Batched(Windowed(scorer))))`.

    Only `windowed` has a part in a score; the others decide when and whether it is computed.

    Attributes:
        windowed: texts that the scorer would cut off are read in windows, where it says how
            much it reads.
        batched: queries that come at the same time share one call.
        breaker: a scorer that keeps failing is left alone for a while.
        cache_bytes: room for scores in memory; 0: none are kept.
        cache_folder: keeps scores on disk as well; None: memory only.
        max_wait_ms: how long a query waits for company.
        max_pairs: pairs of query and text that share a call, at most; see `Batched`.
        open_for_s: how long a breaker that has opened refuses calls.
        slow_call_ms: calls longer than this count against the breaker; None: none do.
    """

    windowed: bool = True
    batched: bool = True
    breaker: bool = True
    cache_bytes: int = 64 * 2**20
    cache_folder: Path | None = None
    max_wait_ms: float = 2.0
    max_pairs: int = 256
    open_for_s: float = 30.0
    slow_call_ms: float | None = None


BARE = Wrapping(windowed=False, batched=False, breaker=False, cache_bytes=0)
"""No wrapper at all."""
MEASURED = Wrapping(batched=False, breaker=False, cache_bytes=0)
"""What has a part in a score and nothing else: evaluation and calibration read this."""


def wrapped(scorer: Scorer, wrapping: Wrapping | None = None) -> Scorer:
    """The scorer inside the wrappers, in the one order that they stand in.

    Windows lie inside batches, so that a batch is measured by what is really read; a breaker
    sees whole batches, and never what the cache answers.

    Args:
        scorer: any; a wrapper that it has already is not put around it twice.
        wrapping: which wrappers; None: all, with their defaults.
    """
    from rankgate.scorers.wrappers import Batched, Breaker, Cached

    how = Wrapping() if wrapping is None else wrapping
    made = _windowed(scorer) if how.windowed else scorer
    if how.batched:
        made = Batched(made, max_wait_ms=how.max_wait_ms, max_pairs=how.max_pairs)
    if how.breaker:
        made = Breaker(made, open_for_s=how.open_for_s, slow_call_ms=how.slow_call_ms)
    if how.cache_bytes or how.cache_folder is not None:
        made = Cached(made, max_bytes=how.cache_bytes, disk=how.cache_folder)
    return made


def load(
    name: str = DEFAULT_SCORER,
    *,
    encoder: str | Path | None = None,
    token_store: TokenStore | SharedTokens | None = None,
    api_key: Any = None,
    url: str | None = None,
    model: str | None = None,
    lazy: bool = False,
    wrapping: Wrapping | None = None,
) -> Scorer:
    """The scorer of that name, ready to be handed to a `Reranker`.

    Args:
        name: `late-interaction`, `late-interaction:FILE` (of a `QueryEncoder`),
            `cross-encoder:NAME` (a hub name or a folder), `onnx:FOLDER`, `cohere:MODEL`,
            `jina:MODEL`, `voyage:MODEL`, `tei:MODEL@URL` or another dialect of `RemoteScorer`
            in that form; also a hub name alone, taken for a cross-encoder.
        encoder: folder of the sentence encoder of late interaction; None: all-MiniLM-L6-v2.
        token_store: token vectors known beforehand, for late interaction.
        api_key: of a remote server: a string, or anything with `get_secret_value()`. The library
            reads no environment variable.
        url: of a remote server, where it does not stand in the name.
        model: of a remote server, likewise.
        lazy: load a model from disk or hub at the first query that needs it. Late interaction
            and remote scorers are ready at once in any case.
        wrapping: which wrappers stand around it; None: all of `Wrapping`. `BARE` for none.

    Raises:
        InputError: no such form of name; the message lists them.
        ConfigError: a remote scorer without a URL, a model or, where it is hosted, a key; or an
            option that has no meaning for this scorer.
        ModelNotFoundError: its weights are not there (with `lazy` the first query says so, and
            the outcome is degraded).
        MissingExtraError: its engine is not installed.
    """
    parts = ScorerName.parse(name)
    how = Wrapping() if wrapping is None else wrapping
    if not parts.remote and any(given is not None for given in (api_key, url, model)):
        raise ConfigError(f"api_key, url and model are for remote scorers, {name!r} is none")
    if not parts.reads_tokens and token_store is not None:
        raise ConfigError(f"token_store is for late interaction, {name!r} is none")
    if parts.reads_tokens:
        from rankgate.scorers.late_interaction import LateInteractionScorer

        late = LateInteractionScorer.load(
            encoder, token_store=token_store, query=parts.name or None
        )
        return wrapped(late, how)
    if parts.remote:
        return wrapped(_remote(name, parts, api_key, url, model), how)
    make = partial(_local, parts.kind, parts.name, windowed=how.windowed)
    if not lazy:
        return wrapped(make(), how)
    from rankgate.scorers.wrappers.lazy import Lazy

    return wrapped(Lazy(_announced(parts), make), how)


def _local(kind: str, name: str, *, windowed: bool) -> Scorer:
    if kind == "onnx":
        from rankgate.scorers.onnx import OnnxScorer

        made: Scorer = OnnxScorer(name)
    else:
        from rankgate.scorers.cross_encoder import CrossEncoderScorer

        made = CrossEncoderScorer(name)
    return _windowed(made) if windowed else made


def _remote(
    text: str, parts: ScorerName, api_key: Any, url: str | None, model: str | None
) -> Scorer:
    from rankgate.scorers.remote import RemoteScorer

    where = parts.url if url is None else url
    what = parts.name if model is None else model
    if where is None or not what:
        lacks = "the URL of the server" if what else "the model that the server runs"
        raise ConfigError(
            f"{text!r} does not name {lacks}: write {parts.kind}:MODEL@URL, or give "
            f"{'url' if what else 'model'}=. The model is part of what a score means."
        )
    if api_key is None and where == _HOSTED.get(parts.kind):
        raise ConfigError(f"{text!r} needs a key: rankgate.load({text!r}, api_key=...)")
    if parts.kind == "rankgpt":
        from rankgate.scorers.remote.listwise import listwise

        return listwise(where, model=what, api_key=api_key)
    return RemoteScorer(where, dialect=parts.kind, model=what, api_key=api_key)


def _windowed(scorer: Scorer) -> Scorer:
    """With windows where the scorer says how much it reads, and has none yet."""
    from rankgate.scorers.wrappers.windowed import LEAST_READ, Windowed

    info = scorer.info
    if info.window or info.max_length is None or info.max_length < LEAST_READ:
        return scorer
    return Windowed.for_scorer(scorer)


def _announced(parts: ScorerName) -> ScorerInfo:
    """What a model on disk or hub will be called, without loading it."""
    from rankgate.encoders.locate import file_sha256

    folder = Path(parts.name)
    weights = folder / "model.safetensors"
    known = folder.name if folder.is_dir() else parts.name
    if parts.kind == "onnx":
        known = folder.resolve().name
    return ScorerInfo(
        id=f"{parts.kind}/{known}",
        scale="logit",
        weights=file_sha256(weights) if weights.is_file() else "",
        backend="onnxruntime" if parts.kind == "onnx" else "torch",
    )
