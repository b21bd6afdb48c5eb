"""Late interaction: each query token finds its best match among the passage's tokens.

MaxSim over the token vectors of a sentence encoder (ColBERT: Khattab and Zaharia, SIGIR 2020,
arXiv 2004.12832), here with the *mean* over the query's tokens instead of the sum, so that
scores of queries of different length stay on one scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.errors import WeightsMismatchError
from rankgate.models.encoder import TokenEncoder, TokenVectors
from rankgate.models.head import TokenHead
from rankgate.models.token_store import TokenStore
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts

__all__ = ["LateInteractionScorer", "maxsim"]

SCALE = "maxsim-mean"
HEAD_SCALE = "maxsim-head"


def maxsim(
    query: npt.NDArray[np.float32], passages: Sequence[TokenVectors]
) -> npt.NDArray[np.float32]:
    """(n,) mean over the query's tokens of the best cosine in each passage, in [-1, 1].

    Only real tokens are compared: passages are laid end to end instead of being padded, so
    nothing that is not a token can match. A passage without tokens scores -1, a query without
    tokens 0 against every passage.
    """
    n = len(passages)
    result = np.full(n, -1.0, dtype=np.float32)
    if query.shape[0] == 0:
        result[:] = 0.0
        return result
    filled = [i for i, p in enumerate(passages) if p.tokens.shape[0]]
    if not filled:
        return result
    lengths = [passages[i].tokens.shape[0] for i in filled]
    stacked = np.concatenate([passages[i].tokens for i in filled]).astype(np.float32)
    similarity = stacked @ query.T
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    best = np.maximum.reduceat(similarity, starts, axis=0)
    result[filled] = best.mean(axis=1)
    return result


class LateInteractionScorer:
    """MaxSim over all-MiniLM-L6-v2's token vectors: needs no training, runs without a hub.

    Passages are embedded on the fly, or read from a `TokenStore` that ingestion has filled;
    then only the query goes through the model. Texts beyond 256 tokens are truncated, and
    counted; put `Windowed` around it where that matters.

    Args:
        encoder: gives the token vectors.
        token_store: vectors known beforehand; None: everything is embedded on the fly.
        head: turns similarities into a score in another way than plain MaxSim; the same stored
            vectors serve it. Its scores have a scale of their own and need their own policy.

    Raises:
        WeightsMismatchError: the head was trained for another encoder.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        token_store: TokenStore | None = None,
        head: TokenHead | None = None,
    ) -> None:
        if head is not None and head.encoder != encoder.sha256:
            raise WeightsMismatchError(
                f"the head was trained for the encoder {head.encoder[:12]}, not for "
                f"{encoder.name} ({encoder.sha256[:12]})"
            )
        self.encoder = encoder
        self.token_store = token_store
        self.head = head

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        token_store: TokenStore | None = None,
        allow_hub: bool = False,
        head: str | Path | None = None,
    ) -> LateInteractionScorer:
        """A scorer over the encoder that `TokenEncoder.load` finds; `head` is a file of one."""
        encoder = TokenEncoder.load(path, allow_hub=allow_hub)
        loaded = None if head is None else TokenHead.load(head, encoder=encoder.sha256)
        return cls(encoder, token_store=token_store, head=loaded)

    @property
    def info(self) -> ScorerInfo:
        """Who is scoring."""
        if self.head is not None:
            both = hashlib.sha256((self.encoder.sha256 + self.head.sha256).encode("ascii"))
            return ScorerInfo(
                id=f"late-interaction/{self.encoder.name}+head-{self.head.sha256[:8]}",
                scale=HEAD_SCALE,
                weights=both.hexdigest(),
                backend="torch",
                dtype="float32",
                max_length=self.encoder.max_length,
            )
        return ScorerInfo(
            id=f"late-interaction/{self.encoder.name}",
            scale=SCALE,
            weights=self.encoder.sha256,
            backend="torch",
            dtype="float32",
            max_length=self.encoder.max_length,
        )

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
        known: dict[str, TokenVectors] = {}
        texts = list(dict.fromkeys(t for job in jobs for t in job.texts))
        if self.token_store is not None:
            known = self.token_store.get_many(texts)
        cached = len(known)
        queries = self.encoder.encode(
            [job.query for job in jobs], should_stop=lambda: ctx.should_stop
        )
        absent = [t for t in texts if t not in known]
        # Fresh texts become known in input order, so what is read in time is a prefix.
        fresh = self.encoder.encode(absent, should_stop=lambda: ctx.should_stop)
        known.update(zip(absent, fresh, strict=False))
        tokens = sum(v.tokens.shape[0] + 2 for v in (*queries, *fresh))
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
        known: dict[str, TokenVectors],
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
                asked = query.tokens.astype(np.float32)
                values[read] = (
                    maxsim(asked, vectors)
                    if self.head is None
                    else self.head.scores(asked, vectors)
                )
                scored[read] = True
            truncated = sum(v.truncated for v in vectors)
        count = int(scored.sum())
        stats = shared + ScoreStats(pairs=count, windows=count, truncated=truncated)
        scale = SCALE if self.head is None else HEAD_SCALE
        return Scores(values=values, scale=scale, scored=scored, stats=stats)
