"""Late interaction: each query token finds its best match among the passage's tokens.

MaxSim over the token vectors of a sentence encoder (ColBERT: Khattab and Zaharia, SIGIR 2020,
arXiv 2004.12832), here with the *mean* over the query's tokens instead of the sum, so that
scores of queries of different length stay on one scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.encoders.bundled import bundled_query_encoder
from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.head import TokenHead
from rankgate.encoders.packing import TOKEN_FORM, PackedVectors, packed, similarities
from rankgate.encoders.query_encoder import QueryEncoder
from rankgate.encoders.runtime import backend
from rankgate.encoders.shared_tokens import SharedTokens
from rankgate.encoders.token_store import TokenStore
from rankgate.errors import ConfigError, WeightsMismatchError
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts

__all__ = ["LateInteractionScorer", "maxsim"]

SCALE = "maxsim-mean"
HEAD_SCALE = "maxsim-head"


def maxsim(
    query: npt.NDArray[np.float32], passages: Sequence[TokenVectors | PackedVectors]
) -> npt.NDArray[np.float32]:
    """(n,) mean over the query's tokens of the best cosine in each passage, in [-1, 1].

    Only real tokens are compared: passages are laid end to end instead of being padded, so
    nothing that is not a token can match. They are compared as they are kept (`packing`), also
    those that were read a moment ago. A passage without tokens scores -1, a query without
    tokens 0 against every passage.
    """
    n = len(passages)
    result = np.full(n, -1.0, dtype=np.float32)
    if query.shape[0] == 0:
        result[:] = 0.0
        return result
    compact = [packed(p) for p in passages]
    filled = [i for i, p in enumerate(compact) if len(p)]
    if not filled:
        return result
    lengths = [len(compact[i]) for i in filled]
    similarity = similarities(query, [compact[i] for i in filled])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    best = np.maximum.reduceat(similarity, starts, axis=0)
    result[filled] = best.mean(axis=1)
    return result


class LateInteractionScorer:
    """MaxSim over all-MiniLM-L6-v2's token vectors: runs without a hub.

    Passages are embedded on the fly, or read from a `TokenStore` that ingestion has filled, or
    from `SharedTokens`, which keep what is read here; then only the query goes through the model.
    Texts beyond 256 tokens are truncated, and counted; put `Windowed` around it where that
    matters.

    Args:
        encoder: gives the token vectors.
        token_store: vectors known beforehand; None: everything is embedded on the fly.
        head: turns similarities into a score in another way than plain MaxSim; the same stored
            vectors serve it. Its scores have a scale of their own and need their own policy.
        query_encoder: reads the question in the encoder's place; the same stored vectors serve
            it. Its scores need their own policy too.

    Raises:
        WeightsMismatchError: the head or the query encoder was made for another encoder.
    """

    reads_apart = True

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        token_store: TokenStore | SharedTokens | None = None,
        head: TokenHead | None = None,
        query_encoder: QueryEncoder | None = None,
    ) -> None:
        if query_encoder is not None and query_encoder.encoder.sha256 != encoder.sha256:
            raise WeightsMismatchError(
                f"the query encoder was tuned for {query_encoder.encoder.sha256[:12]}, not for "
                f"{encoder.name} ({encoder.sha256[:12]})"
            )
        if head is not None and head.encoder != encoder.sha256:
            raise WeightsMismatchError(
                f"the head was trained for the encoder {head.encoder[:12]}, not for "
                f"{encoder.name} ({encoder.sha256[:12]})"
            )
        self.encoder = encoder
        self.token_store = token_store
        self.head = head
        self.query_encoder = query_encoder

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        token_store: TokenStore | SharedTokens | None = None,
        allow_hub: bool = False,
        query: str | Path | None = None,
        plain: bool = False,
    ) -> LateInteractionScorer:
        """The scorer that the default policy is made for, or one with parts of one's own.

        Over all-MiniLM-L6-v2 that is the bundled query encoder with the best window mixed in;
        over another encoder the window alone.

        Args:
            path: folder of the encoder; None: all-MiniLM-L6-v2 as `find_minilm` finds it.
            allow_hub: whether the Hugging Face hub may be asked for the encoder.
            query: file of a `QueryEncoder`; None: the bundled one where it fits the encoder.
            plain: MaxSim with the encoder alone: neither the best window of 32 tokens, half and
                half, nor a query encoder.

        Raises:
            ModelNotFoundError: no weights.
            WeightsMismatchError: not the published weights, or a part for another encoder.
            ConfigError: a file that is no such part, or parts together with `plain`.
        """
        encoder = TokenEncoder.load(path, allow_hub=allow_hub)
        if plain:
            if query is not None:
                raise ConfigError("plain late interaction has no query encoder")
            return cls(encoder, token_store=token_store)
        return cls(
            encoder,
            token_store=token_store,
            head=TokenHead(encoder=encoder.sha256),
            query_encoder=bundled_query_encoder(encoder)
            if query is None
            else QueryEncoder.load(query, encoder),
        )

    @property
    def info(self) -> ScorerInfo:
        """Who is scoring; parts are named by the beginning of their hashes."""
        parts = [
            (name, part.sha256)
            for name, part in (("query", self.query_encoder), ("head", self.head))
            if part is not None
        ]
        weights = self.encoder.sha256
        if parts:
            whole = weights + "".join(sha256 for _, sha256 in parts)
            weights = hashlib.sha256(whole.encode("ascii")).hexdigest()
        return ScorerInfo(
            id=f"late-interaction/{self.encoder.name}"
            + "".join(f"+{name}-{sha256[:8]}" for name, sha256 in parts),
            scale=self._scale,
            weights=weights,
            backend=backend(),
            dtype=f"float32/{TOKEN_FORM}",
            max_length=self.encoder.max_length,
        )

    @property
    def _scale(self) -> str:
        return SCALE if self.head is None else HEAD_SCALE

    def read_queries(
        self, queries: Sequence[str], *, should_stop: Callable[[], bool] | None = None
    ) -> list[TokenVectors]:
        """The questions as they are compared; a prefix where `should_stop` became true."""
        reader = self.encoder if self.query_encoder is None else self.query_encoder
        return reader.encode(queries, should_stop=should_stop)

    def compare(
        self, query: TokenVectors, passages: Sequence[TokenVectors | PackedVectors]
    ) -> npt.NDArray[np.float32]:
        """(n,) scores of passages that have been read by `encoder`, in [-1, 1]."""
        asked = query.tokens.astype(np.float32)
        return maxsim(asked, passages) if self.head is None else self.head.scores(asked, passages)

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """MaxSim of each text, in [-1, 1]; chunks of 8 texts, the clock is read between them."""
        return self.score_many([Job(query=query, texts=texts)], context)[0]

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """`score` for several queries; a text that several of them share is read once."""
        ctx = ScoreContext() if context is None else context
        if not jobs:
            return []
        cleaned = [checked_texts(job.query, job.texts) for job in jobs]
        jobs = [Job(query=query, texts=texts) for query, texts in cleaned]
        known: dict[str, PackedVectors] = {}
        texts = list(dict.fromkeys(t for job in jobs for t in job.texts))
        if self.token_store is not None:
            known = self.token_store.get_many(texts)
        cached = len(known)
        queries = self.read_queries(
            [job.query for job in jobs], should_stop=lambda: ctx.should_stop
        )
        absent = [t for t in texts if t not in known]
        # Fresh texts become known in input order, so what is read in time is a prefix.
        encoded = self.encoder.encode(absent, should_stop=lambda: ctx.should_stop)
        fresh = [packed(v) for v in encoded]
        read = dict(zip(absent, fresh, strict=False))
        if isinstance(self.token_store, SharedTokens):
            self.token_store.put_many(read)
        known.update(read)
        tokens = sum(len(v.tokens) + 2 for v in queries) + sum(len(v) + 2 for v in fresh)
        return [
            self._scores(
                job,
                queries[i] if i < len(queries) else None,
                known,
                ScoreStats(calls=1, tokens=tokens, cached=cached) if i == 0 else ScoreStats(),
            )
            for i, job in enumerate(jobs)
        ]

    def _scores(
        self,
        job: Job,
        query: TokenVectors | None,
        known: dict[str, PackedVectors],
        shared: ScoreStats,
    ) -> Scores:
        n = len(job.texts)
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        truncated = 0
        if query is not None:
            read = [i for i, t in enumerate(job.texts) if t in known]
            vectors = [known[job.texts[i]] for i in read]
            if read:
                values[read] = self.compare(query, vectors)
                scored[read] = True
            truncated = sum(v.truncated for v in vectors)
        count = int(scored.sum())
        stats = shared + ScoreStats(pairs=count, windows=count, truncated=truncated)
        return Scores(values=values, scale=self._scale, scored=scored, stats=stats)
