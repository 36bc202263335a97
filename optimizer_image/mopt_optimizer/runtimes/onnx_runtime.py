"""ONNX Runtime on the CPU: FP32, INT8 where the file holds Q/DQ nodes, FP16 where it holds FP16.

Of most operators the CPU has no FP16 kernel: ONNX Runtime then computes them in FP32, casting.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from ..sources import onnx_file
from ._base import BoundCall, Feeds, Outputs, RuntimeFailure, first_line, select_feeds

_NAME = "ONNX Runtime"
# Its exceptions have no common base of their own.
_ERRORS = (
    ort_state.EPFail,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
    ValueError,
)
_ONLY_ERRORS = 3


class OnnxRuntimeRunner:
    """A session of the CPU execution provider, all graph optimizations on."""

    compile_seconds = 0.0

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ONLY_ERRORS
        try:
            # Weights are in memory, or mapped, once the session is there.
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                self._session = ort.InferenceSession(
                    str(onnx_file(path, Path(folder) / "unpacked")),
                    options,
                    providers=["CPUExecutionProvider"],
                )
        except _ERRORS as error:
            raise RuntimeFailure(f"{_NAME} cannot open the model: {first_line(error)}") from error
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> Outputs:
        arrays = select_feeds(self._inputs, feeds, _NAME)
        try:
            values = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        except _ERRORS as error:
            raise RuntimeFailure(f"{_NAME} cannot run the model: {first_line(error)}") from error
        return dict(zip(self._outputs, values, strict=True))

    def bind(self, feeds: Feeds) -> BoundCall:
        # One plain run tells the outputs' shapes; they are then computed into fixed memory.
        outputs = self.run(feeds)
        binding = self._session.io_binding()
        held: list[Any] = []
        for name, array in zip(self._inputs, select_feeds(self._inputs, feeds, _NAME), strict=True):
            held.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, held[-1])
        for name, array in outputs.items():
            held.append(ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype))
            binding.bind_ortvalue_output(name, held[-1])
        session, run_options = self._session, ort.RunOptions()

        def call(_held: list[Any] = held) -> None:
            try:
                session.run_with_iobinding(binding, run_options)
            except _ERRORS as error:
                raise RuntimeFailure(f"{_NAME} cannot run: {first_line(error)}") from error

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._session
