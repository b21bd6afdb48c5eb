"""Trains a `TokenHead`: a few thousand numbers over an encoder that stays as it is.

Passages are encoded once and their token vectors kept, so an epoch costs seconds to minutes on
a CPU, and a store that ingestion has filled serves the result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.head import TokenHead
from rankgate.encoders.token_store import TokenStore
from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.retrieve import TokenCache
from rankgate_eval.train.engine.vectors import window_scores

if TYPE_CHECKING:
    import torch

    from rankgate_eval.train.engine.modules import HeadModule

__all__ = ["HEAD_FILE", "HeadRanker", "load_head_ranker"]

HEAD_FILE = "head.npz"
_MARK = "rankgate_model.json"
_PARTS = ("salience", "matrix")


class HeadRanker:
    """A head that is being trained, over frozen token vectors.

    Args:
        module: the head's parameters.
        encoder: gives token vectors; never changed.
        store: keeps them on disk; None: in memory, for as long as this lives.
        window: tokens of a window.
    """

    kind = "head"

    def __init__(
        self,
        module: HeadModule,
        encoder: TokenEncoder,
        *,
        store: TokenStore | None = None,
        window: int = 32,
    ) -> None:
        self.module: HeadModule = module.eval()
        self.encoder = encoder
        self.window = window
        self.tokens_read = 0
        self._kept = TokenCache(encoder, store)

    @property
    def max_length(self) -> int:
        """Tokens that are read of each text."""
        return self.encoder.max_length

    def scores(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[torch.Tensor]:
        """(n,) scores of each (query, passages), times the learned scale."""
        texts = list(dict.fromkeys(t for _, passages in lists for t in passages))
        known = self._kept.token_vectors(texts)
        queries = self._kept.token_vectors([query for query, _ in lists])
        return [
            self.scores_of(queries[query], [known[t] for t in passages])
            for query, passages in lists
        ]

    def head(self) -> TokenHead:
        """What has been learned so far, as the scorer takes it."""
        state = {n: t.detach().cpu().numpy() for n, t in self.module.state_dict().items()}
        return TokenHead(
            encoder=self.encoder.sha256,
            window=self.window,
            mix=float(1.0 / (1.0 + np.exp(-state["mix"]))),
            salience=state["salience"].astype(np.float32) if "salience" in state else None,
            matrix=state["matrix"].astype(np.float32) if "matrix" in state else None,
        )

    def save(self, folder: Path) -> None:
        """head.npz for the scorer, and beside it what training goes on from."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        self.head().save(folder / HEAD_FILE)
        state = {n: t.detach().cpu().contiguous() for n, t in self.module.state_dict().items()}
        save_file(state, str(folder / "model.safetensors"))
        parts = [p for p in _PARTS if p in state]
        mark = {"format": 1, "kind": self.kind, "window": self.window, "parts": parts}
        (folder / _MARK).write_text(json.dumps(mark, indent=1) + "\n", "utf-8")

    def scores_of(self, query: TokenVectors, passages: Sequence[TokenVectors]) -> torch.Tensor:
        """(n,) scores from vectors that are there already."""
        import torch

        if query.tokens.shape[0]:
            self.tokens_read += sum(p.tokens.shape[0] for p in passages)
        asked = torch.from_numpy(query.tokens.astype(np.float32))
        return window_scores(self.module, asked, passages, window=self.window)


def load_head_ranker(
    start: str = "minilm",
    *,
    parts: Sequence[str] = ("salience",),
    window: int = 32,
    encoder: TokenEncoder | None = None,
    store: TokenStore | None = None,
) -> HeadRanker:
    """A head to train: a new one, or one that was saved.

    Args:
        start: `minilm` for a new head, or the folder of a saved one.
        parts: of a new head.
        window: of a new head.
        encoder: None: all-MiniLM-L6-v2.
        store: of token vectors.

    Raises:
        InputError: unknown parts.
        ConfigError: the folder holds no head.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("training a head", "train") from exc
    from rankgate_eval.train.engine.modules import HeadModule

    unknown = [p for p in parts if p not in _PARTS]
    if unknown:
        raise InputError(f"a head has the parts {', '.join(_PARTS)}; got {unknown[0]!r}")
    reader = TokenEncoder.load() if encoder is None else encoder
    if start == "minilm":
        return HeadRanker(HeadModule(reader.dimension, parts), reader, store=store, window=window)
    folder = Path(start)
    mark = folder / _MARK
    known = json.loads(mark.read_text("utf-8")) if mark.is_file() else {}
    if known.get("kind") != "head":
        raise ConfigError(f"{folder} holds no head; start from minilm or a folder of one")
    from safetensors.torch import load_file

    TokenHead.load(folder / HEAD_FILE, encoder=reader.sha256)
    module = HeadModule(reader.dimension, known["parts"])
    module.load_state_dict(load_file(str(folder / "model.safetensors")))
    return HeadRanker(module, reader, store=store, window=int(known["window"]))
