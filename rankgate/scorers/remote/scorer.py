"""A reranker behind HTTP: hosted (Cohere, Jina, Voyage) or one's own (TEI, vLLM, ...)."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.scorers.remote.dialects import Answer, Dialect, dialect_named
from rankgate.scorers.remote.exchange import Asker, Part
from rankgate.scorers.remote.secret import Secret
from rankgate.scorers.remote.transport import (
    Exchange,
    HttpTransport,
    acarry_out,
    carry_out,
    endpoint_of,
)
from rankgate.scorers.steps import Stepped, adrive, drive
from rankgate.texts import checked_texts

if TYPE_CHECKING:
    import httpx

__all__ = ["RemoteScorer"]


@dataclass(slots=True, kw_only=True)
class _Tally:
    """One job's scores, as its batches arrive."""

    query: str
    texts: list[str]
    values: npt.NDArray[np.float32] = field(init=False)
    done: int = 0
    calls: int = 0
    tokens: int = 0
    units: float = 0.0

    def __post_init__(self) -> None:
        self.values = np.zeros(len(self.texts), dtype=np.float32)

    def take(self, answer: Answer) -> None:
        end = self.done + answer.values.size
        self.values[self.done : end] = answer.values
        self.done = end
        self.tokens += answer.tokens
        self.units += answer.units

    def scores(self, scale: str, price: float) -> Scores:
        stats = ScoreStats(
            pairs=self.done,
            windows=self.done,
            tokens=self.tokens,
            calls=self.calls,
            cost=self.units * price,
        )
        scored = np.arange(len(self.texts)) < self.done
        return Scores(values=self.values, scale=scale, scored=scored, stats=stats)


class RemoteScorer(Stepped):
    """Scores over HTTP, in batches of what the server takes, always within a timeout.

    Batches go out in input order, so that what was read when the deadline passes is a prefix.
    429, 5xx and lost connections are tried again while the deadline allows, as late as the
    server's Retry-After asks; a timeout is not, because a slow server does not become faster
    by being asked twice. A batch that is refused as too large (413, 422) is halved, and the
    smaller size is kept for later calls. Texts longer than the server's limit are cut there,
    and it does not say which: put `Windowed` around it where that matters. NUL and lone
    surrogates are replaced before sending; hosted services get `.` for a blank text.

    Threads may share it, and so may forked children and event loops: each gets connections of
    its own. A pickled copy opens its own connections and reads the key from the environment
    variable that holds it; without one it is an error. Proxies are used only by a client that
    you inject.

    Args:
        url: the server, such as `http://127.0.0.1:8080`, or the endpoint itself.
        dialect: cohere, jina, voyage, tei, infinity, vllm-rerank, llama.cpp or vllm-score, or
            a `Dialect` of your own.
        model: the model's name; needed also where the server knows it by itself, because it
            is part of the scale: a floor fitted on one model must not meet another's scores.
        api_key: a string, or anything with `get_secret_value()`; sent as a bearer token, never
            shown or logged.
        timeout_s: for one request, above 0; the remaining deadline where that is less.
        max_batch: texts in a request; None: the dialect's default.
        max_retries: further attempts for one batch.
        raw_scores: logits instead of their sigmoid; TEI only.
        max_tokens_per_doc: where the server cuts a text; Cohere only.
        revision: of the remote model, where you know it.
        price: of one unit that the server bills (Cohere: a search unit; else a token), for
            `ScoreStats.cost`.
        concurrency: batches in flight at once, async calls only.
        max_connections: of its own clients.
        client, async_client: your own httpx clients; they are not closed here.

    Raises:
        ConfigError: a setting cannot be used.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: str | Dialect,
        model: str | None = None,
        api_key: Any = None,
        timeout_s: float = 10.0,
        max_batch: int | None = None,
        max_retries: int = 2,
        raw_scores: bool = False,
        max_tokens_per_doc: int | None = None,
        revision: str = "",
        price: float = 0.0,
        concurrency: int = 1,
        max_connections: int = 10,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        spoken = dialect if isinstance(dialect, Dialect) else dialect_named(dialect)
        if model is None or not model:
            raise ConfigError(
                f"the dialect {dialect!r} needs model=: the name of what the server runs is part "
                "of the scale of its scores"
            )
        if raw_scores and not spoken.raw_scores:
            raise ConfigError(f"the dialect {dialect!r} has no raw_scores; only tei has")
        if max_tokens_per_doc is not None and not spoken.max_tokens_per_doc:
            raise ConfigError(f"the dialect {dialect!r} has no max_tokens_per_doc; only cohere has")
        if not 0 < timeout_s < float("inf"):
            raise ConfigError(f"timeout_s must be a number of seconds above 0, got {timeout_s}")
        limit = spoken.batch_limit if max_batch is None else max_batch
        for name, value, least in (
            ("max_batch", limit, 1),
            ("max_retries", max_retries, 0),
            ("concurrency", concurrency, 1),
            ("max_connections", max_connections, 1),
            ("max_tokens_per_doc", 1 if max_tokens_per_doc is None else max_tokens_per_doc, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number of {least} or more, got {value}")
        key = Secret.of(api_key)
        endpoint = endpoint_of(url, spoken.path)
        self._transport = HttpTransport(
            endpoint,
            key=key,
            max_connections=max_connections,
            client=client,
            async_client=async_client,
        )
        self._settings: dict[str, Any] = {
            "url": url,
            "dialect": dialect,
            "model": model,
            "api_key": key,
            "timeout_s": timeout_s,
            "max_batch": max_batch,
            "max_retries": max_retries,
            "raw_scores": raw_scores,
            "max_tokens_per_doc": max_tokens_per_doc,
            "revision": revision,
            "price": price,
            "concurrency": concurrency,
            "max_connections": max_connections,
        }
        self._asker = Asker(
            dialect=spoken,
            model=model,
            raw_scores=raw_scores,
            max_tokens_per_doc=max_tokens_per_doc,
            timeout_s=timeout_s,
            max_retries=max_retries,
            shown=endpoint.partition("?")[0],
            key=key,
        )
        self._price, self._concurrency, self._limit = price, concurrency, limit
        self.info = ScorerInfo(
            id=f"remote/{spoken.name}/{model}",
            scale=spoken.scale_of(model, raw_scores=raw_scores),
            revision=revision,
            backend="http",
            window="" if max_tokens_per_doc is None else f"max_tokens_per_doc={max_tokens_per_doc}",
        )

    @property
    def batch_limit(self) -> int:
        """Texts in one request, as far as the server's refusals have taught."""
        return self._limit

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """Score several queries, one after the other; the scale and its range are the server's.

        Raises:
            InputError: query or texts are not strings.
            ScorerTimeoutError: a batch had no answer within `timeout_s`, or the deadline passed
                before anything was read.
            RemoteScorerError: see its subclasses in `rankgate.errors`.
        """
        ctx = ScoreContext() if context is None else context

        def together(wave: Sequence[Exchange[Part]]) -> list[Part]:
            return [carry_out(e, self._transport, ctx.cancelled) for e in wave]

        return drive(self._plan(jobs, ctx, width=1), together)

    async def ascore_many(
        self, jobs: Sequence[Job], context: ScoreContext | None = None
    ) -> list[Scores]:
        """`score_many` without blocking; `concurrency` batches of a query at once."""
        ctx = ScoreContext() if context is None else context
        return await adrive(self._plan(jobs, ctx, width=self._concurrency), self._together)

    async def _together(self, wave: Sequence[Exchange[Part]]) -> list[Part]:
        tasks = [asyncio.ensure_future(acarry_out(e, self._transport)) for e in wave]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # one failed, or the caller has gone: the others are not wanted
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _plan(
        self, jobs: Sequence[Job], context: ScoreContext, *, width: int
    ) -> Generator[list[Exchange[Part]], list[Part], list[Scores]]:
        """Yields waves of at most `width` batches, receives what came of each."""
        tallies = []
        for job in jobs:
            query, texts = checked_texts(job.query, job.texts)
            tallies.append(_Tally(query=query, texts=texts))
        stopped = False
        for tally in tallies:
            limit, halved_until = self._limit, 0
            while tally.done < len(tally.texts) and not stopped:
                if context.should_stop:
                    stopped = True
                    break
                starts = range(tally.done, len(tally.texts), limit)[:width]
                batches = [tally.texts[s : s + limit] for s in starts]
                parts = yield [self._asker.ask(tally.query, b, context) for b in batches]
                tally.calls += sum(part.calls for part in parts)
                for batch, part in zip(batches, parts, strict=True):
                    if part.answer is not None:
                        tally.take(part.answer)
                    elif part.late is not None:
                        if not any(t.done for t in tallies):
                            raise part.late
                        stopped = True
                        break
                    else:
                        limit = (len(batch) + 1) // 2
                        halved_until = max(halved_until, tally.done + len(batch))
                        break
                # Only once all of a refused batch went through in smaller ones is it known
                # that its size was the matter, and not one of its texts.
                if halved_until and tally.done >= halved_until:
                    self._limit, halved_until = min(self._limit, limit), 0
        return [t.scores(self.info.scale, self._price) for t in tallies]

    def close(self) -> None:
        """Close own blocking connections; a later call opens them again."""
        self._transport.close()

    async def aclose(self) -> None:
        """Close own connections of this event loop; call it before the loop ends."""
        await self._transport.aclose()

    def __enter__(self) -> RemoteScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> RemoteScorer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __getstate__(self) -> dict[str, Any]:
        if self._transport.injected:
            raise ConfigError(
                "a RemoteScorer with an injected client cannot be pickled: the copy would go "
                "around your client's proxies and hooks. Build it anew in the other process."
            )
        return dict(self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        RemoteScorer.__init__(self, **state)

    def __repr__(self) -> str:
        spoken = self._asker.dialect.name
        return f"RemoteScorer({self._asker.shown!r}, dialect={spoken!r}, scale={self.info.scale!r})"
