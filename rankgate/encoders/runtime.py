"""Runs a graph: by OpenVINO where it is installed, by onnxruntime otherwise."""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Runtime", "backend"]

FloatArray = npt.NDArray[np.float32]
_Run = Callable[[FloatArray, FloatArray], FloatArray]


@functools.cache
def backend() -> str:
    """`openvino` or `onnxruntime`: which of them runs the encoders of this process."""
    return "onnxruntime" if importlib.util.find_spec("openvino") is None else "openvino"


class Runtime:
    """A graph of `bert_graph` that can be run by any thread, and in a forked child.

    Args:
        graph: makes the graph; called once a process, because threads do not survive a fork.
        by: `openvino` or `onnxruntime`; None: as `backend` says.
    """

    def __init__(self, graph: Callable[[], bytes], by: str | None = None) -> None:
        self._graph = graph
        self._by = backend() if by is None else by
        self._runs: dict[int, _Run] = {}
        self._mine()

    def __call__(self, x: FloatArray, mask: FloatArray) -> FloatArray:
        """(b, t, d) hidden states of (b, t, d) inputs; mask (b, t): 1 for tokens, 0 for padding."""
        return self._mine()(x, mask)

    def _mine(self) -> _Run:
        run = self._runs.get(os.getpid())
        if run is None:
            # No lock, which a fork could leave locked for ever: two threads may both open one.
            # A parent's is never let go: its end would wait for threads that are not there.
            opened = _openvino if self._by == "openvino" else _onnxruntime
            run = self._runs.setdefault(os.getpid(), opened(self._graph()))
        return run


def _onnxruntime(graph: bytes) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors are raised; warnings would go to stderr
    # Threads that wait for work in a loop take it from whoever else has some.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        graph, sess_options=options, providers=["CPUExecutionProvider"]
    )

    def run(x: FloatArray, mask: FloatArray) -> FloatArray:
        hidden: FloatArray = session.run(["hidden"], {"x": x, "mask": mask})[0]
        return hidden

    return run


def _openvino(graph: bytes) -> _Run:
    import openvino

    core = openvino.Core()
    # bfloat16 is chosen by the CPU plugin where the CPU has it, and float32 elsewhere.
    compiled = core.compile_model(core.read_model(graph), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    own = threading.local()  # a request is for one thread at a time

    def run(x: FloatArray, mask: FloatArray) -> FloatArray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        answer: Any = own.request.infer({"x": x, "mask": mask}, share_inputs=True)
        return np.array(answer[0], dtype=np.float32)

    return run
