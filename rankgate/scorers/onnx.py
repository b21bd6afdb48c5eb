"""Any exported cross-encoder, run by onnxruntime: no torch needed."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rankgate.encoders.locate import file_sha256
from rankgate.errors import BadScoresError, ConfigError, ModelNotFoundError
from rankgate.scorers.pairs import PairBatch, PairEncoder
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts

__all__ = ["OnnxScorer"]

_CHUNK = 8
_FILES = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_INT_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
# Operators that only a quantised graph has.
_INT8_OPERATORS = (b"DynamicQuantizeLinear", b"DequantizeLinear", b"QLinearMatMul")
_EXPORT = "Export one with: optimum-cli export onnx --model NAME --task text-classification FOLDER"
# Their position ids begin behind the padding id, so two positions are not for tokens.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"})
_DEFAULT_LENGTH = 512


class OnnxScorer:
    """Reads query and passage together and gives the graph's logit.

    Threads may share it. A forked child opens a session of its own at its first call, because
    the parent's worker threads do not exist there; pickling carries the folder, not the
    session. Scores do not depend on which other texts are scored beside: within 1e-5 for
    float32, exactly for int8, whose graphs are run pair by pair (they take their activation
    ranges from the whole batch, so a neighbour would move a score by a large part of the
    scores' spread; on a CPU one pair at a time is no slower).

    Args:
        folder: holds model.onnx, onnx/model.onnx, model_quantized.onnx or
            onnx/model_quantized.onnx (the first of them), tokenizer.json and config.json.
        file: another file in the folder, such as `onnx/model_qint8_avx512.onnx`.
        threads: of one run; None: onnxruntime's choice (all cores).
        max_length: tokens of query and passage together; None: the model's own limit.
        providers: onnxruntime execution providers, best first; None: the CPU.

    Raises:
        ModelNotFoundError: a file is missing.
        ConfigError: the graph is not a cross-encoder with one output a pair, or a setting
            cannot be used.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        file: str | None = None,
        threads: int | None = None,
        max_length: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be 1 or more, or None for all cores, got {threads}")
        self._threads = threads
        self._providers = ["CPUExecutionProvider"] if providers is None else list(providers)
        self._settings: dict[str, Any] = {
            "folder": self.folder,
            "file": file,
            "threads": threads,
            "max_length": max_length,
            "providers": providers,
        }
        self._file = _found(self.folder, file)
        config = _config(self.folder / "config.json")
        limit = _limit(self.folder, config)
        if max_length is not None and not 1 <= max_length <= limit:
            raise ConfigError(f"max_length must be within 1..{limit}, got {max_length}")
        self._pairs = PairEncoder(
            self.folder / "tokenizer.json",
            max_length=limit if max_length is None else max_length,
            pad_id=_whole(config.get("pad_token_id"), 0),
        )
        self._sessions: dict[int, Any] = {}
        session = self._session()
        self._inputs = _checked_inputs(session, self._file)
        self._output = _checked_output(session, self._file)
        self._run(self._pairs.encode("query", ["passage"]))  # fails here rather than later
        # Its dtype is int8 where the graph holds quantisation operators.
        self.info = ScorerInfo(
            id=f"onnx/{self.folder.resolve().name}",
            scale="logit",
            weights=_weights_sha256(self._file),
            backend="onnxruntime",
            dtype=_dtype(self._file, session, self._output),
            max_length=self._pairs.max_length,
        )
        self._chunk = 1 if self.info.dtype == "int8" else _CHUNK

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; `Windowed.for_scorer` cuts by it."""
        return self._pairs.tokenizer

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, special ones not counted."""
        return self._pairs.count_tokens(checked_texts(text, [])[0])

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Logits, unbounded; chunks of 8 texts (int8: 1), the clock is read between them.

        Raises:
            InputError: query or texts are not strings.
            BadScoresError: the graph failed on this input.
        """
        ctx = ScoreContext() if context is None else context
        query, clean = checked_texts(query, texts)
        values = np.zeros(len(clean), dtype=np.float32)
        scored = np.zeros(len(clean), dtype=np.bool_)
        stats = ScoreStats(calls=1)
        for start in range(0, len(clean), self._chunk):
            if ctx.should_stop:
                break
            part = slice(start, min(start + self._chunk, len(clean)))
            batch = self._pairs.encode(query, clean[part])
            values[part], scored[part] = self._run(batch), True
            n = part.stop - part.start
            stats += ScoreStats(pairs=n, windows=n, truncated=batch.truncated, tokens=batch.tokens)
        return Scores(values=values, scale="logit", scored=scored, stats=stats)

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """`score` for several queries, one after the other."""
        return [self.score(job.query, job.texts, context) for job in jobs]

    def _run(self, batch: PairBatch) -> npt.NDArray[np.float32]:
        feed = {name: getattr(batch, name).astype(kind) for name, kind in self._inputs.items()}
        try:
            (raw,) = self._session().run([self._output], feed)
        except Exception as exc:  # onnxruntime's errors share no base but Exception
            raise BadScoresError(f"{self._file} failed on this input: {exc}") from exc
        n = batch.input_ids.shape[0]
        if raw.shape not in ((n,), (n, 1)):
            raise ConfigError(
                f"{self._file} gives an output of shape {raw.shape} for {n} pairs; a reranker "
                f"needs one score a pair, ({n}, 1). {_EXPORT}"
            )
        return np.asarray(raw, dtype=np.float32).reshape(-1)

    def _session(self) -> Any:
        session = self._sessions.get(os.getpid())
        if session is None:
            # No lock, which a fork could leave locked for ever: two threads may both open one.
            session = self._sessions.setdefault(os.getpid(), self._opened())
        return session

    def _opened(self) -> Any:
        import onnxruntime

        known = onnxruntime.get_available_providers()
        absent = [p for p in self._providers if p not in known]
        if absent:
            raise ConfigError(
                f"onnxruntime has no provider {absent[0]!r} here; it has {', '.join(known)}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors are raised; warnings would go to stderr
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            return onnxruntime.InferenceSession(
                str(self._file), sess_options=options, providers=self._providers
            )
        except Exception as exc:  # onnxruntime's errors share no base but Exception
            raise ConfigError(
                f"onnxruntime cannot load {self._file}: {exc}. The file is damaged, or newer "
                "than this onnxruntime."
            ) from exc

    def __getstate__(self) -> dict[str, Any]:
        return dict(self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        OnnxScorer.__init__(self, **state)


def _found(folder: Path, file: str | None) -> Path:
    """The graph's file, once all that is needed is known to be there."""
    names = _FILES if file is None else (file,)
    graph = next((folder / name for name in names if (folder / name).is_file()), None)
    if graph is None:
        raise ModelNotFoundError(f"no {' or '.join(names)} in {folder}. {_EXPORT}")
    for name in ("tokenizer.json", "config.json"):
        if not (folder / name).is_file():
            raise ModelNotFoundError(
                f"{graph} is there, but no {name} in {folder}. Copy it from the model that was "
                f"exported. {_EXPORT}"
            )
    return graph


def _config(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{file} cannot be read as JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"{file} must hold a JSON object, got {type(data).__name__}")
    return data


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _limit(folder: Path, config: Mapping[str, Any]) -> int:
    """Tokens that the model can read, by its own files; 512 where they do not say."""
    known = []
    positions = _whole(config.get("max_position_embeddings"), 0)
    if positions > 2:
        known.append(positions - 2 if config.get("model_type") in _OFFSET_POSITIONS else positions)
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        # Where there is no limit, transformers writes an enormous number.
        length = _whole(_config(tokenizer).get("model_max_length"), 0)
        if 0 < length < 10**6:
            known.append(length)
    return min(known, default=_DEFAULT_LENGTH)


def _checked_inputs(session: Any, file: Path) -> dict[str, Any]:
    inputs = {i.name: i.type for i in session.get_inputs()}
    strange = sorted(set(inputs) - _INPUTS)
    if strange or "input_ids" not in inputs or "attention_mask" not in inputs:
        raise ConfigError(
            f"{file} wants the inputs {', '.join(sorted(inputs))}; a cross-encoder takes "
            f"input_ids, attention_mask and, for some, token_type_ids. {_EXPORT}"
        )
    for name, kind in inputs.items():
        if kind not in _INT_TYPES:
            raise ConfigError(f"{file} wants {name} as {kind}; only int64 and int32 are known")
    return {name: _INT_TYPES[kind] for name, kind in inputs.items()}


def _checked_output(session: Any, file: Path) -> str:
    outputs = session.get_outputs()
    named = [o for o in outputs if o.name == "logits"] or (outputs if len(outputs) == 1 else [])
    if not named:
        raise ConfigError(
            f"{file} has the outputs {', '.join(o.name for o in outputs)} and none is called "
            f"logits. {_EXPORT}"
        )
    shape = named[0].shape
    if len(shape) not in (1, 2) or (
        len(shape) == 2 and isinstance(shape[1], int) and shape[1] != 1
    ):
        raise ConfigError(
            f"{file} gives an output of shape {shape}; a reranker needs one score a pair, "
            f"(n, 1). {_EXPORT}"
        )
    return str(named[0].name)


def _weights_sha256(file: Path) -> str:
    """Of the file; of its and its external data's digests, where weights lie beside it."""
    beside = [file.with_name(file.name + end) for end in ("_data", ".data")]
    digests = [file_sha256(f) for f in (file, *beside) if f.is_file()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode("ascii")).hexdigest()


def _dtype(file: Path, session: Any, output: str) -> str:
    """int8 where the graph holds a quantisation operator, float16 by its output, or float32.

    Operator names stand in the file as plain bytes, so no ONNX parser is needed.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if any(data.find(operator) >= 0 for operator in _INT8_OPERATORS):
            return "int8"
    kind = next(o.type for o in session.get_outputs() if o.name == output)
    return "float16" if kind == "tensor(float16)" else "float32"
