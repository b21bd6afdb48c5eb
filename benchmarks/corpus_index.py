"""A corpus encoded once and kept on disk: token vectors, pooled vectors, BM25.

Shared by the benchmarks. Encoding resumes where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals, compute_signals
from rankgate.encoders import PackedVectors, TokenEncoder, TokenVectors
from rankgate.encoders.packing import TOKEN_FORM, packed
from rankgate.retrieve import BM25Index, Fusion, MemoryIndex
from rankgate.scorers import LateInteractionScorer, ScoreContext, ScorerInfo, Scores
from rankgate.types import Candidate
from rankgate_eval.data.dataset import Dataset

__all__ = ["CorpusIndex", "KnownScores", "Retrieved"]

_SHARD = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """One query's candidates with the late interaction scores of each, and its signals."""

    query_id: str
    query: str
    candidates: tuple[Candidate, ...]
    raw: npt.NDArray[np.float32]
    signals: Signals


class KnownScores:
    """The late interaction scorer with scores that retrieval has computed already."""

    def __init__(self, info: ScorerInfo) -> None:
        self.info = info
        self.values: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """The scores set for this query."""
        return Scores.full(self.values[: len(texts)], self.info.scale)


class CorpusIndex:
    """A data set's passages, searchable without the application.

    Args:
        data: passages and questions.
        cache: folder of the token vectors.
        encoder: of the passages.
        scorer: over that encoder; None: plain MaxSim.
    """

    def __init__(
        self,
        data: Dataset,
        cache: Path,
        encoder: TokenEncoder,
        scorer: LateInteractionScorer | None = None,
    ) -> None:
        self.data = data
        self.encoder = encoder
        self.scorer = LateInteractionScorer(encoder) if scorer is None else scorer
        self.folder = cache / data.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ids = list(data.corpus)
        self.vectors = self._encoded()
        self.pooled = np.stack([v.pooled for v in self.vectors])
        self.bm25 = BM25Index.build(data.corpus.items())
        self.index = MemoryIndex(data.corpus, self.bm25, matrix=self.pooled)
        self.position = self.index.position

    def _encoded(self) -> list[PackedVectors]:
        found: list[PackedVectors] = []
        for start in range(0, len(self.ids), _SHARD):
            file = self.folder / f"{self.encoder.sha256[:8]}-{TOKEN_FORM}-{start:06d}.npz"
            part = self.ids[start : start + _SHARD]
            if not file.exists():
                texts = [self.data.corpus[i] for i in part]
                vectors = [packed(v) for v in self.encoder.encode(texts)]
                temporary = file.with_suffix(".tmp.npz")
                np.savez(
                    temporary,
                    codes=np.concatenate([v.codes for v in vectors]),
                    scales=np.concatenate([v.scales for v in vectors]),
                    lengths=np.array([len(v) for v in vectors]),
                    pooled=np.stack([v.pooled for v in vectors]),
                    truncated=np.array([v.truncated for v in vectors]),
                )
                temporary.replace(file)
                print(f"{self.data.name}: {start + len(part)}/{len(self.ids)}", file=sys.stderr)
            with np.load(file) as loaded:
                codes, scales, lengths = loaded["codes"], loaded["scales"], loaded["lengths"]
                pooled, truncated = loaded["pooled"], loaded["truncated"]
            ends = np.cumsum(lengths)
            found.extend(
                PackedVectors(
                    codes=codes[end - length : end],
                    scales=scales[end - length : end],
                    pooled=pooled[i],
                    truncated=bool(truncated[i]),
                )
                for i, (end, length) in enumerate(zip(ends, lengths, strict=True))
            )
        return found

    def lists(
        self, query: TokenVectors, text: str, depth: int, hidden: frozenset[str] = frozenset()
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The dense and the BM25 list, `depth` deep; `hidden` passages do not exist."""
        asked = self.index.ask(text, vector=query.pooled, hidden=hidden)
        return asked.dense(depth), asked.bm25(depth)

    def retrieve(
        self,
        query_id: str,
        text: str,
        vectors: TokenVectors,
        *,
        fusion: Fusion,
        k: int,
        hidden: frozenset[str] = frozenset(),
        lexicon: frozenset[str] | None = None,
        asked: TokenVectors | None = None,
    ) -> Retrieved:
        """The k fused candidates of one query, with the scorer's scores.

        `vectors` is the question as the encoder reads it, `asked` as the scorer does; without
        it the scorer reads it now.
        """
        candidates = self.index.search(text, k, fusion=fusion, hidden=hidden, vector=vectors.pooled)
        passages = [self.vectors[self.position[c.id]] for c in candidates]
        return Retrieved(
            query_id=query_id,
            query=text,
            candidates=tuple(candidates),
            raw=self.scorer.compare(
                self.scorer.read_queries([text])[0] if asked is None else asked, passages
            ),
            signals=compute_signals(text, candidates, lexicon=lexicon, lexical=False),
        )
