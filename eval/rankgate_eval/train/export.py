"""Writes a trained cross-encoder as ONNX, in float32 and int8, and checks what was written.

int8 has fixed weights and takes the range of activations as they come, and it is used only where
it costs little: layers are tried one by one on real pairs, and those that move the scores most
stay in float32 until the rest keeps the quality.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import without_progress_bar
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.scorers import CrossEncoderScorer
from rankgate.scorers.onnx import OnnxScorer
from rankgate.scorers.pairs import PairEncoder

Lists = Sequence[tuple[str, Sequence[str]]]
Quality = Callable[[Path], float]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A folder that `OnnxScorer` loads.

    Attributes:
        folder: holds model.onnx, config.json, the tokenizer, and SHA256SUMS.
        correlation: Spearman's, within a list, of its scores and the float32 model's; mean.
        largest: largest difference of a score.
        float32_nodes: matrix products that were left in float32; empty for a float32 export.
        quality: what the caller's measure gave, None without one.
    """

    folder: Path
    sha256: str
    megabytes: float
    correlation: float
    largest: float
    float32_nodes: tuple[str, ...] = ()
    quality: float | None = None


def export_onnx(best: Path, folder: Path, lists: Lists, *, max_length: int) -> Exported:
    """Write float32, load it with `OnnxScorer`, and compare it with the model on these lists.

    sentence-transformers' own export wants optimum, which knows no transformers of version 5.

    Args:
        best: folder of the cross-encoder.
        lists: (query, texts); about 20 are enough.
        max_length: tokens of query and passage together.

    Raises:
        ConfigError: the graph's scores are not the model's.
        InputError: no lists to compare on.
    """
    if not lists:
        raise InputError("an export is compared with its model on lists; there are none")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TOKENIZER_FILES:
        if (best / name).is_file():
            shutil.copyfile(best / name, folder / name)
    config = json.loads((best / "config.json").read_text("utf-8"))
    _write_graph(best, config, folder / "model.onnx", max_length)
    # What the graph can read; the scorer takes its limit from here.
    config["max_position_embeddings"] = max_length + (
        2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    )
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    model = CrossEncoderScorer(best, device="cpu", max_length=max_length)
    expected = [model.score(query, texts).values for query, texts in lists]
    exported = _compared(folder, max_length, lists, expected)
    if exported.largest > _TOLERANCE * max(1.0, max(float(np.abs(v).max()) for v in expected)):
        raise ConfigError(
            f"{folder / 'model.onnx'} differs from the model by {exported.largest:.2g}: this "
            "version of torch does not export it faithfully"
        )
    return exported


def _write_graph(best: Path, config: Mapping[str, Any], target: Path, max_length: int) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    names = ["input_ids", "attention_mask", "token_type_ids"]
    takes_types = int(config.get("type_vocab_size", 0)) > 1

    class Logits(torch.nn.Module):
        """(n, 1) logits by the inputs of any cross-encoder, types or not."""

        def __init__(self) -> None:
            super().__init__()
            with without_progress_bar():
                # Eager attention: the fused kinds are not exported alike by all versions of torch.
                self.model = AutoModelForSequenceClassification.from_pretrained(
                    str(best),
                    local_files_only=True,
                    attn_implementation="eager",
                    dtype=torch.float32,
                )

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            """(n, 1) for three (n, t) inputs."""
            given = dict(zip(names, inputs, strict=True))
            if not takes_types:
                del given["token_type_ids"]
            logits: torch.Tensor = self.model(**given).logits
            return logits

    pairs = PairEncoder(
        best / "tokenizer.json",
        max_length=max_length,
        pad_id=int(config.get("pad_token_id") or 0),
    ).encode("a query", ["one passage", "another, longer passage"])
    staging = target.with_name(f".{target.name}.part")
    with warnings.catch_warnings(), torch.no_grad():
        # The TorchScript exporter is deprecated; the new one needs onnxscript and is slower.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.from_numpy(getattr(pairs, name)) for name in names),
            str(staging),
            dynamo=False,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={n: {0: "batch", 1: "tokens"} for n in names} | {"logits": {0: "batch"}},
            opset_version=17,
        )
    staging.replace(target)


def _compared(
    folder: Path,
    max_length: int,
    lists: Lists,
    expected: Sequence[npt.NDArray[np.float32]],
    *,
    kept: tuple[str, ...] = (),
    quality: float | None = None,
) -> Exported:
    graph = folder / "model.onnx"
    scorer = OnnxScorer(folder, file="model.onnx", max_length=max_length)
    found = [scorer.score(query, texts).values for query, texts in lists]
    sha = file_sha256(graph)
    (folder / "SHA256SUMS").write_text(f"{sha}  model.onnx\n", "utf-8")
    return Exported(
        folder=folder,
        sha256=sha,
        megabytes=graph.stat().st_size / 1e6,
        correlation=float(np.mean([_spearman(a, b) for a, b in zip(found, expected, strict=True)])),
        largest=max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)),
        float32_nodes=kept,
        quality=quality,
    )


def _spearman(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    if a.size < 2:
        return 1.0
    ranks = [np.argsort(np.argsort(v, kind="stable"), kind="stable").astype(float) for v in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def quantise(
    exported: Exported,
    folder: Path,
    lists: Lists,
    *,
    max_length: int,
    quality: Quality | None = None,
    max_loss: float = 0.003,
    least_correlation: float = 0.99,
) -> Exported:
    """int8 of a float32 export: the most layers in int8 with which the quality is kept.

    Layers are ordered by how much each alone moves the scores; the worst are left in float32,
    none at first, then an eighth of them, a quarter, a half, three quarters.

    Args:
        folder: for the int8 one.
        lists: real lists; about 20 are enough.
        max_length: tokens of query and passage together.
        quality: measures a folder, higher is better, such as dev nDCG@10; None: the agreement
            of the scores decides.
        max_loss: of the quality, against the float32 export.
        least_correlation: Spearman's; only where there is no `quality`.

    Raises:
        ConfigError: not even the last attempt keeps the quality; the float32 export stands.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as exc:
        raise MissingExtraError("quantising a model", "train") from exc
    source = exported.folder / "model.onnx"
    scorer = OnnxScorer(exported.folder, file="model.onnx", max_length=max_length)
    expected = [scorer.score(query, texts).values for query, texts in lists]
    bar = None if quality is None else quality(exported.folder) - max_loss
    nodes = [n.name for n in onnx.load(str(source)).graph.node if n.op_type in ("MatMul", "Gemm")]
    folder.mkdir(parents=True, exist_ok=True)
    for file in exported.folder.iterdir():
        if file.name not in ("model.onnx", "SHA256SUMS"):
            shutil.copyfile(file, folder / file.name)
    order: list[str] = []
    said = ""
    for share in (0.0, 0.125, 0.25, 0.5, 0.75):
        if share and not order:
            order = _by_harm(source, folder, nodes, lists, expected, max_length)
        kept = tuple(order[: round(share * len(nodes))])
        _write_int8(source, folder / "model.onnx", kept)
        value = None if quality is None else quality(folder)
        result = _compared(folder, max_length, lists, expected, kept=kept, quality=value)
        good = (
            result.correlation >= least_correlation
            if bar is None or value is None
            else value >= bar
        )
        if good:
            return result
        said = (
            f"correlation {result.correlation:.4f}" if bar is None else f"{value:.4f} < {bar:.4f}"
        )
    shutil.rmtree(folder)  # a folder without its graph would only mislead
    raise ConfigError(
        f"int8 does not keep the quality, not even with three quarters of the layers in float32 "
        f"({said}); use the float32 export in {exported.folder}"
    )


def _write_int8(source: Path, target: Path, kept: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    staging = target.with_name(f".{target.name}.part")
    with warnings.catch_warnings(), _silent_logging():
        warnings.simplefilter("ignore")
        quantize_dynamic(
            str(source),
            str(staging),
            per_channel=True,
            # AVX2 adds pairs of products in 16 bits: 8-bit weights would overflow there.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            nodes_to_exclude=list(kept),
        )
    staging.replace(target)


@contextlib.contextmanager
def _silent_logging() -> Iterator[None]:
    """Onnxruntime advises on the root logger, which a library's user did not ask for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _by_harm(
    source: Path,
    folder: Path,
    nodes: Sequence[str],
    lists: Lists,
    expected: Sequence[npt.NDArray[np.float32]],
    max_length: int,
) -> list[str]:
    """Nodes, the most harmful first: each quantised alone, on a few lists."""
    some = list(lists)[:4]
    harm: dict[str, float] = {}
    for node in nodes:
        _write_int8(source, folder / "model.onnx", [n for n in nodes if n != node])
        scorer = OnnxScorer(folder, file="model.onnx", max_length=max_length)
        moved = [
            float(np.square(scorer.score(q, texts).values - e).mean())
            for (q, texts), e in zip(some, expected, strict=False)
        ]
        harm[node] = float(np.mean(moved))
    return sorted(nodes, key=lambda n: -harm[n])
