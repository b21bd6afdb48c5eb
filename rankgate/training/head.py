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

from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.models.encoder import TokenEncoder, TokenVectors
from rankgate.models.head import TokenHead
from rankgate.models.token_store import TokenStore

if TYPE_CHECKING:
    import torch

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
        module: torch.nn.Module,
        encoder: TokenEncoder,
        *,
        store: TokenStore | None = None,
        window: int = 32,
    ) -> None:
        self.module = module.eval()
        self.encoder = encoder
        self.window = window
        self.tokens_read = 0
        self._store = store
        self._memory: dict[str, TokenVectors] = {}

    @property
    def max_length(self) -> int:
        """Tokens that are read of each text."""
        return self.encoder.max_length

    def scores(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[torch.Tensor]:
        """(n,) scores of each (query, passages), times the learned scale."""
        texts = list(dict.fromkeys(t for _, passages in lists for t in passages))
        known = self._vectors(texts)
        queries = self._vectors([query for query, _ in lists])
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

    def _vectors(self, texts: Sequence[str]) -> dict[str, TokenVectors]:
        wanted = list(dict.fromkeys(texts))
        if self._store is None:
            known = {t: self._memory[t] for t in wanted if t in self._memory}
        else:
            known = self._store.get_many(wanted)
        absent = [t for t in wanted if t not in known]
        fresh = dict(zip(absent, self.encoder.encode(absent), strict=True))
        if self._store is None:
            self._memory |= fresh
        else:
            self._store.put_many(fresh)
        return known | fresh

    def scores_of(self, query: TokenVectors, passages: Sequence[TokenVectors]) -> torch.Tensor:
        """(n,) scores from vectors that are there already."""
        import torch

        filled = [i for i, p in enumerate(passages) if p.tokens.shape[0]]
        if not query.tokens.shape[0] or not filled:
            return torch.zeros(len(passages))
        self.tokens_read += sum(p.tokens.shape[0] for p in passages)
        stacked = np.concatenate([passages[i].tokens for i in filled]).astype(np.float32)
        half = self.window // 2
        lengths = [passages[i].tokens.shape[0] for i in filled]
        blocks = [-(-n // half) for n in lengths]
        first = np.concatenate([[0], np.cumsum(blocks)[:-1]])
        block_of = np.concatenate(
            [np.arange(n) // half + at for n, at in zip(lengths, first, strict=True)]
        )
        owner = np.repeat(np.arange(len(filled)), blocks)
        found = self.module(
            torch.from_numpy(query.tokens.astype(np.float32)),
            torch.from_numpy(stacked),
            torch.from_numpy(block_of),
            torch.from_numpy(owner),
        )
        if len(filled) == len(passages):
            return found  # type: ignore[no-any-return]
        whole = torch.full((len(passages),), -1.0) * self.module.scale.detach()  # type: ignore[operator]
        whole[filled] = found
        return whole


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
    from rankgate.training.modules import HeadModule

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
