"""BERT's layers as an ONNX graph, built from saved tensors; neither torch nor `onnx` is needed.

An ONNX file is a protobuf message, and the few fields of it that a graph needs have had their
numbers since 2017 (onnx.proto, IR version 3 on), so they are written down here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from rankgate.errors import ConfigError

__all__ = ["BertShape", "bert_graph", "layer_shapes", "read_tensors"]

_OPSET = 17
_IR = 8
_FLOAT, _INT64 = 1, 7
_SQUARE = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
)  # fmt: skip
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BertShape:
    """Of `config.json`: what the graph is built by.

    Attributes:
        layers, heads, hidden, wide: as in BERT; `wide` is the intermediate size.
        epsilon: of the layer norms.
    """

    layers: int
    heads: int
    hidden: int
    wide: int
    epsilon: float

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> BertShape:
        """Read a saved model's configuration.

        Raises:
            ConfigError: another architecture than BERT's.
        """
        kind, act = config.get("model_type"), config.get("hidden_act", "gelu")
        position = config.get("position_embedding_type", "absolute")
        if (kind, act, position) != ("bert", "gelu", "absolute"):
            raise ConfigError(
                "the encoder must be a BERT with gelu and absolute positions, such as MiniLM, bge "
                f"or e5; this one is {kind!r} with {act!r} and {position!r} positions"
            )
        return cls(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            wide=int(config["intermediate_size"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )


def read_tensors(file: Path, names: Iterable[str]) -> dict[str, Array]:
    """The named tensors of a safetensors file; with the prefix `bert.` where they have it there.

    Raises:
        ConfigError: one is missing, or the file is damaged.
    """
    try:
        with safe_open(str(file), framework="np") as data:
            prefix = "bert." if any(key.startswith("bert.") for key in data.keys()) else ""
            return {name: data.get_tensor(prefix + name) for name in names}
    except (SafetensorError, OSError, TypeError) as exc:
        # A type that numpy does not have, such as bfloat16, is a TypeError.
        raise ConfigError(f"{file} cannot be read as the tensors of a BERT: {exc}") from exc


def layer_shapes(shape: BertShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the layers, as transformers saves them."""
    d, wide = shape.hidden, shape.wide
    sizes = {name: (d, d) for name in _SQUARE} | {name: (d,) for name in _NORMS}
    sizes |= {"intermediate.dense": (wide, d), "output.dense": (d, wide)}
    return {
        f"encoder.layer.{n}.{part}.{kind}": size if kind == "weight" else size[:1]
        for n in range(shape.layers)
        for part, size in sizes.items()
        for kind in ("weight", "bias")
    }


def bert_graph(tensors: Mapping[str, Array], shape: BertShape) -> bytes:
    """An ONNX model: x (b, t, hidden), mask (b, t) -> hidden (b, t, hidden), all float32.

    Args:
        tensors: those of `layer_shapes`; cast to float32.
    """
    return _Graph(tensors, shape).built()


class _Graph:
    def __init__(self, tensors: Mapping[str, Array], shape: BertShape) -> None:
        self._tensors = tensors
        self._shape = shape
        self._nodes: list[bytes] = []
        self._kept: list[bytes] = []
        self._names = 0

    def built(self) -> bytes:
        shape = self._shape
        width, size = shape.hidden, shape.hidden // shape.heads
        # (b, t) -> (b, 1, 1, t): 0 for tokens, very low for padding
        mask = self._op("Unsqueeze", ["mask", self._ints([1, 2])])
        bias = self._op("Mul", [self._op("Sub", [mask, self._floats(1.0)]), self._floats(1e4)])
        x = "x"
        for n in range(shape.layers):
            at = f"encoder.layer.{n}."
            # The scale of the scores goes into the question's side, which is shorter.
            root = np.float32(size**-0.5)
            heads = []
            for part, factor in (("query", root), ("key", 1.0), ("value", 1.0)):
                y = self._dense(x, f"{at}attention.self.{part}", factor)
                y = self._op("Reshape", [y, self._ints([0, 0, shape.heads, size])])
                order = (0, 2, 3, 1) if part == "key" else (0, 2, 1, 3)
                heads.append(self._op("Transpose", [y], perm=order))
            query, key, value = heads
            scores = self._op("Add", [self._op("MatMul", [query, key]), bias])
            seen = self._op("MatMul", [self._op("Softmax", [scores], axis=-1), value])
            seen = self._op("Transpose", [seen], perm=(0, 2, 1, 3))
            seen = self._op("Reshape", [seen, self._ints([0, 0, width])])
            y = self._dense(seen, f"{at}attention.output.dense")
            x = self._norm(self._op("Add", [y, x]), f"{at}attention.output.LayerNorm")
            y = self._gelu(self._dense(x, f"{at}intermediate.dense"))
            y = self._dense(y, f"{at}output.dense")
            x = self._norm(self._op("Add", [y, x]), f"{at}output.LayerNorm")
        self._nodes.append(_node("Identity", [x], "hidden", {}))
        graph = b"".join(
            [
                *(_field(1, node) for node in self._nodes),
                _field(2, b"bert"),
                *(_field(5, kept) for kept in self._kept),
                _field(11, _value("x", ("b", "t", width))),
                _field(11, _value("mask", ("b", "t"))),
                _field(12, _value("hidden", ("b", "t", width))),
            ]
        )
        return _field(1, _IR) + _field(7, graph) + _field(8, _field(2, _OPSET))

    def _saved(self, name: str) -> Array:
        return np.asarray(self._tensors[name], dtype=np.float32)

    def _constant(self, values: Array) -> str:
        self._names += 1
        name = f"c{self._names}"
        kind = _INT64 if values.dtype == np.int64 else _FLOAT
        dims = b"".join(_field(1, size) for size in values.shape)
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        self._kept.append(
            dims + _field(2, kind) + _field(8, name.encode()) + _field(9, little.tobytes())
        )
        return name

    def _ints(self, values: Sequence[int]) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _floats(self, value: float) -> str:
        return self._constant(np.array(value, dtype=np.float32))

    def _op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._names += 1
        name = f"v{self._names}"
        self._nodes.append(_node(kind, inputs, name, attributes))
        return name

    def _dense(self, x: str, name: str, factor: Any = 1.0) -> str:
        weight = self._constant(self._saved(f"{name}.weight").T * np.float32(factor))
        bias = self._constant(self._saved(f"{name}.bias") * np.float32(factor))
        return self._op("Add", [self._op("MatMul", [x, weight]), bias])

    def _norm(self, x: str, name: str) -> str:
        parts = [self._constant(self._saved(f"{name}.{end}")) for end in ("weight", "bias")]
        return self._op("LayerNormalization", [x, *parts], axis=-1, epsilon=self._shape.epsilon)

    def _gelu(self, x: str) -> str:
        inner = self._op("Erf", [self._op("Div", [x, self._floats(2**0.5)])])
        grown = self._op("Mul", [x, self._op("Add", [inner, self._floats(1.0)])])
        return self._op("Mul", [grown, self._floats(0.5)])


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers are written as ten bytes
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _node(kind: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]) -> bytes:
    named = [_field(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(
        [*(_field(1, i.encode()) for i in inputs), _field(2, output.encode()),
         _field(3, output.encode()), _field(4, kind.encode()), *named]
    )  # fmt: skip


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, float):  # wire type 5: four bytes
        return _field(1, name.encode()) + b"\x15" + struct.pack("<f", value) + _field(20, 1)
    if isinstance(value, int):
        return _field(1, name.encode()) + _field(3, value) + _field(20, 2)
    return _field(1, name.encode()) + b"".join(_field(8, v) for v in value) + _field(20, 7)


def _value(name: str, dims: Iterable[str | int]) -> bytes:
    sizes = [_field(1, _field(1, d) if isinstance(d, int) else _field(2, d.encode())) for d in dims]
    tensor = _field(1, _FLOAT) + _field(2, b"".join(sizes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))
