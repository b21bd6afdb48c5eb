"""Trains the layers that read questions; passages and what is stored of them stay as they are.

Ten million numbers learn from a few hundred questions here, because a list is long (every
candidate that was mined) and costs one question to read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankgate.encoders.bundled import bundled_query_encoder
from rankgate.encoders.encoder import TokenEncoder, without_progress_bar
from rankgate.encoders.head import TokenHead
from rankgate.encoders.query_encoder import QueryEncoder, save_query_layers
from rankgate.encoders.token_store import TokenStore
from rankgate.errors import ConfigError, MissingExtraError, ModelNotFoundError
from rankgate.retrieve import TokenCache
from rankgate.texts import clean_text

if TYPE_CHECKING:
    import torch

    from rankgate_eval.train.query_module import QueryModule

QUERY_FILE = "query-encoder.safetensors"
_MARK = "rankgate_model.json"


class QueryRanker:
    """Question layers that are being trained, over frozen token vectors of passages.

    Its scores, divided by its scale, are those of `LateInteractionScorer` with the window mix
    (`TokenHead` as it comes) and the saved layers. What is saved is in float16, and the scorer
    keeps question tokens in float16: the two agree within 0.005 on a scale of [-1, 1].

    Args:
        module: the layers and the slope of the scores.
        encoder: reads passages; never changed.
        store: keeps passages' vectors on disk; None: in memory, for as long as this lives.
        start_sha256: of the file that the layers came from; None: of the encoder.
    """

    def __init__(
        self,
        module: QueryModule,
        encoder: TokenEncoder,
        *,
        store: TokenStore | None = None,
        start_sha256: str | None = None,
    ) -> None:
        self.module = module
        self.encoder = encoder
        self.start_sha256 = encoder.sha256 if start_sha256 is None else start_sha256
        self._kept = TokenCache(encoder, store)
        self._window = TokenHead(encoder=encoder.sha256).window

    @property
    def max_length(self) -> int:
        """Tokens that are read of each text."""
        return self.encoder.max_length

    @property
    def scale(self) -> float:
        """What a unit of the scorer's score is in this ranker's."""
        return float(self.module.scale.detach())

    def rescale(self, factor: float) -> None:
        """Multiply the scale, so that scores weigh rightly beside a prior."""
        self.module.scale.data.mul_(factor)

    def scores(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[torch.Tensor]:
        """(n,) scores of each (query, passages), times the scale; gradients by the question."""
        known = self._kept.token_vectors([t for _, passages in lists for t in passages])
        asked = self.read([query for query, _ in lists])
        return [
            self.module.window_scores(query, [known[t] for t in passages], window=self._window)
            for query, (_, passages) in zip(asked, lists, strict=True)
        ]

    def values(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n,) scores without gradients."""
        import torch

        with torch.no_grad():
            return self.scores([(query, texts)])[0].numpy()

    def read(self, queries: Sequence[str]) -> list[torch.Tensor]:
        """(t, d) unit vectors of each question's own tokens, as `TokenEncoder` cuts them."""
        import torch

        if not queries:
            return []
        tokenizer = self.encoder.tokenizer
        ends = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        most = self.max_length - 2
        rows = [
            [ends[0], *e.ids[:most], ends[1]]
            for e in tokenizer.encode_batch_fast(
                [clean_text(q) for q in queries], add_special_tokens=False
            )
        ]
        width = max(map(len, rows))
        # What pads is masked, so any id will do.
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        units = self.module(ids, mask)
        return [units[i, 1 : len(row) - 1] for i, row in enumerate(rows)]

    def save(self, folder: Path) -> None:
        """The layers as the scorer takes them, and beside them the scale to go on with."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            name: values.numpy(force=True) for name, values in self.module.state_dict().items()
        }
        save_query_layers(state, folder / QUERY_FILE, encoder=self.encoder.sha256)
        mark = {"format": 1, "kind": "query", "scale": self.scale}
        (folder / _MARK).write_text(json.dumps(mark, indent=1) + "\n", "utf-8")


def torch_body(encoder: TokenEncoder) -> Any:
    """The encoder's transformer as a torch module, in float32, to be trained."""
    import torch
    from transformers import AutoModel

    with without_progress_bar():
        return AutoModel.from_pretrained(
            str(encoder.files.folder), local_files_only=True, dtype=torch.float32
        ).eval()


def load_query_ranker(
    start: str = "minilm",
    *,
    encoder: TokenEncoder | None = None,
    store: TokenStore | None = None,
) -> QueryRanker:
    """Question layers to train.

    Args:
        start: `minilm` for the passages' own layers, `bundled` for those that come with this
            release, or the folder of a `QueryRanker` that was saved.
        encoder: reads passages; None: all-MiniLM-L6-v2.

    Raises:
        ModelNotFoundError: no bundled layers.
        ConfigError: the folder holds no question layers.
        WeightsMismatchError: they are for another encoder.
        MissingExtraError: torch is not installed.
    """
    try:
        from safetensors.torch import load_file
    except ImportError as exc:
        raise MissingExtraError("training a query encoder", "train") from exc
    from rankgate_eval.train.query_module import QueryModule

    reader = TokenEncoder.load() if encoder is None else encoder
    module = QueryModule(torch_body(reader))
    if start == "minilm":
        return QueryRanker(module, reader, store=store)
    layers, scale = _located(start, reader)
    state = {name: values.float() for name, values in load_file(str(layers.file)).items()}
    module.load_state_dict(state, strict=False)  # the scale is not in the file
    ranker = QueryRanker(module, reader, store=store, start_sha256=layers.sha256)
    if scale is not None:
        ranker.rescale(scale / ranker.scale)
    return ranker


def _located(start: str, reader: TokenEncoder) -> tuple[QueryEncoder, float | None]:
    """Layers that were trained before, checked, and the scale to go on with."""
    if start == "bundled":
        bundled = bundled_query_encoder(reader)
        if bundled is None:
            raise ModelNotFoundError(
                "this version of rankgate brings no query encoder for this encoder: start from "
                "minilm, or give the folder of one"
            )
        return bundled, None
    folder = Path(start)
    mark = folder / _MARK
    known = json.loads(mark.read_text("utf-8")) if mark.is_file() else {}
    if known.get("kind") != "query":
        raise ConfigError(
            f"{folder} holds no query encoder; start from minilm, bundled, or a folder of one"
        )
    return QueryEncoder.load(folder / QUERY_FILE, reader), float(known["scale"])
