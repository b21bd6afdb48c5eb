"""Rerankers that can be trained: joint late interaction over an encoder, or any cross-encoder.

A joint model reads query and passage together, so that every token has seen the other text, and
then compares them token by token (MaxSim). An encoder that was never trained on pairs can do
that from the start, which is what makes all-MiniLM-L6-v2 a usable beginning; a plain head on
its pooled output would have to be learned from nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from rankgate.encoders.encoder import without_progress_bar
from rankgate.encoders.locate import find_minilm
from rankgate.errors import ConfigError, MissingExtraError, ModelNotFoundError
from rankgate.scorers.pairs import PairBatch, PairEncoder

if TYPE_CHECKING:
    import torch

__all__ = ["PairRanker", "Ranker", "load_ranker"]

_MARK = "rankgate_model.json"
_KINDS = ("joint", "cross-encoder")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class Ranker(Protocol):
    """What the trainer trains."""

    @property
    def module(self) -> torch.nn.Module:
        """The weights."""
        ...

    def scores(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[torch.Tensor]:
        """(n,) scores of each (query, passages), with gradients where they are on."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that `load_ranker` needs."""
        ...


class _Batch(NamedTuple):
    ids: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor


class PairRanker:
    """A cross-encoder over (query, passage) pairs, with its tokenizer.

    Args:
        module: `forward(input_ids, attention_mask, token_type_ids)` gives (n,) logits.
        pairs: encodes.
        kind: `joint` or `cross-encoder`.
        config: of the transformer, as `config.json` holds it.
        source: folder with the tokenizer's files.
        device: of the computation.
        bfloat16: compute in bfloat16 where that is safe (autocast).
    """

    def __init__(
        self,
        module: torch.nn.Module,
        pairs: PairEncoder,
        *,
        kind: str,
        config: Any,
        source: Path,
        device: str,
        bfloat16: bool = False,
    ) -> None:
        self.module = module.to(device).eval()
        self.pairs = pairs
        self.kind = kind
        self.config = config
        self.source = source
        self.device = device
        self.bfloat16 = bfloat16
        self.tokens_read = 0

    @property
    def max_length(self) -> int:
        """Tokens of query and passage together."""
        return self.pairs.max_length

    def scores(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[torch.Tensor]:
        """(n,) logits of each (query, passages), all of them in one forward pass."""
        import torch

        batches = [self.pairs.encode(query, texts) for query, texts in lists]
        self.tokens_read += sum(b.tokens for b in batches)
        batch = _stacked(batches, int(self.config.pad_token_id or 0), self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.module(batch.ids, batch.mask, batch.types)
        return list(torch.split(logits.float(), [b.input_ids.shape[0] for b in batches]))

    def save(self, folder: Path) -> None:
        """config.json, tokenizer, model.safetensors, and a mark that says which kind it is."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        for name in _TOKENIZER_FILES:
            if (self.source / name).is_file() and self.source.resolve() != folder.resolve():
                shutil.copyfile(self.source / name, folder / name)
        if self.kind == "cross-encoder":
            with without_progress_bar():
                self.module.model.save_pretrained(folder)  # type: ignore[union-attr, operator]
        else:
            state = {n: t.detach().cpu().contiguous() for n, t in self.module.state_dict().items()}
            save_file(state, str(folder / "model.safetensors"))
            (folder / "config.json").write_text(self.config.to_json_string(), "utf-8")
        mark = {"format": 1, "kind": self.kind, "max_length": self.max_length}
        (folder / _MARK).write_text(json.dumps(mark, indent=1) + "\n", "utf-8")


def _stacked(batches: Sequence[PairBatch], pad: int, device: str) -> _Batch:
    import torch

    width = max(b.input_ids.shape[1] for b in batches)

    def laid(name: str, fill: int) -> torch.Tensor:
        parts = [getattr(b, name) for b in batches]
        whole = np.concatenate(
            [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=fill) for p in parts]
        )
        return torch.from_numpy(whole).to(device)

    return _Batch(laid("input_ids", pad), laid("attention_mask", 0), laid("token_type_ids", 0))


def load_ranker(
    start: str,
    *,
    max_length: int | None = None,
    device: str = "cpu",
    bfloat16: bool = False,
    allow_hub: bool = False,
) -> PairRanker:
    """The model that training starts from.

    Args:
        start: `minilm` (joint, from all-MiniLM-L6-v2), `bundled`, a folder (of a model that was
            trained here, of a cross-encoder, or of a sentence encoder), or a hub name of a
            cross-encoder.
        max_length: tokens of query and passage together; None: 256, or the model's limit.
        device: `cpu`, `cuda`, ...
        bfloat16: compute in bfloat16 under autocast.
        allow_hub: whether the Hugging Face hub may be asked.

    Raises:
        ModelNotFoundError: nothing there.
        ConfigError: more than one output, or max_length beyond what the model reads.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("training a reranker", "train") from exc
    kind, source = _located(start, allow_hub)
    from rankgate_eval.train.engine.modules import joint_module, plain_module

    module, config = joint_module(source) if kind == "joint" else plain_module(source)
    limit = int(config.max_position_embeddings)
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        limit -= 2  # their position ids begin behind the padding id
    wanted = min(256, limit) if max_length is None else max_length
    if not 8 <= wanted <= limit:
        raise ConfigError(f"max_length must be within 8..{limit} for {start}, got {wanted}")
    pairs = PairEncoder(
        source / "tokenizer.json", max_length=wanted, pad_id=int(config.pad_token_id or 0)
    )
    return PairRanker(
        module,
        pairs,
        kind=kind,
        config=config,
        source=source,
        device=device,
        bfloat16=bfloat16,
    )


def _located(start: str, allow_hub: bool) -> tuple[str, Path]:
    """Kind and folder of the model to start from."""
    if start == "minilm":
        return "joint", find_minilm(allow_hub=allow_hub).folder
    if start == "bundled":
        raise ModelNotFoundError(
            "this version of rankgate brings no bundled cross-encoder: start from minilm, or "
            "give a folder or a hub name"
        )
    folder = Path(start)
    if folder.is_dir():
        return _kind_of(folder), folder
    if not allow_hub:
        raise ModelNotFoundError(
            f"no model at {start}: give minilm, a folder, or allow the hub for a hub name"
        )
    try:
        from huggingface_hub import snapshot_download

        allowed = ["*.json", "model.safetensors"]
        return "cross-encoder", Path(snapshot_download(start, allow_patterns=allowed))
    except Exception as exc:  # the hub's own tree of errors, network ones included
        raise ModelNotFoundError(f"{start} could not be fetched from the hub: {exc}") from exc


def _kind_of(folder: Path) -> str:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ModelNotFoundError(f"no {name} in {folder}: it is no saved model")
    mark = folder / _MARK
    if mark.is_file():
        kind = json.loads(mark.read_text("utf-8")).get("kind")
        if kind not in _KINDS:
            raise ConfigError(f"{mark}: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
        return str(kind)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    names = " ".join(config.get("architectures") or ())
    return "cross-encoder" if "SequenceClassification" in names else "joint"
