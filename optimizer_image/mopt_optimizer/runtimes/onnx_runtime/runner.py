"""ONNX Runtime: FP32, INT8 if the file has Q/DQ nodes, FP16 if the file is in FP16.

Most operators have no FP16 kernel on the CPU: ONNX Runtime casts and computes them in FP32. On a
GPU its defaults apply: FP32 in TF32, and copies to the device and back within each call.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from mopt_api.enums import ExecutionProvider, Precision, TargetKind
from mopt_api.targets import KINDS
from mopt_optimizer.errors import RuntimeFailure, first_line
from mopt_optimizer.onnx_files.verify import WRONG_IN_FP8
from mopt_optimizer.opening.free_axes import with_free_axes
from mopt_optimizer.opening.loading import onnx_file
from mopt_optimizer.runtimes.base import (
    BoundCall,
    Feeds,
    Opening,
    Outputs,
    Runner,
    failure,
    select_feeds,
)
from mopt_optimizer.runtimes.executed import ExecutedGraph

from .executed import executed_graph
from .settings import PROVIDERS, SessionSettings, tensorrt_options

_NAME = "ONNX Runtime"
# Its exceptions share no base class of their own.
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

_CPU = "CPUExecutionProvider"
# Compute nodes. ONNX Runtime places sizes and indices on the CPU on purpose, since they are needed
# there; these operators belong on the GPU.
_HEAVY = ("Conv", "Gemm", "MatMul", "Attention", "LSTM", "GRU", "RNN")


class OnnxRuntimeRunner(Runner):
    """A session on one execution provider, with all graph optimizations."""

    def __init__(self, opening: Opening) -> None:
        provider = _provider(opening)
        self._opening = opening
        try:
            self._session = _opened(provider, opening)
        except _ERRORS as error:
            raise failure(f"{_NAME} cannot open the model: {first_line(error)}") from error
        if provider is not ExecutionProvider.CPU:
            _check_on_gpu(self._session, PROVIDERS[provider][0])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> Outputs:
        arrays = select_feeds(self._inputs, feeds, _NAME)
        try:
            values = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        except _ERRORS as error:
            raise failure(f"{_NAME} cannot run the model: {first_line(error)}") from error
        # Text comes as Python objects, which no other process would take.
        plain = (v.astype(str) if v.dtype.kind == "O" else v for v in values)
        return dict(zip(self._outputs, plain, strict=True))

    def executed(self, feeds: Feeds) -> ExecutedGraph | None:
        if self._opening.gpu:
            return None
        # A session that is timed writes no profile. This one takes its place, not memory beside it.
        del self._session
        with tempfile.TemporaryDirectory(dir=self._opening.workdir) as folder:
            try:
                self._session = _opened(_provider(self._opening), self._opening, Path(folder))
                self.run(feeds)
                profile = Path(self._session.end_profiling())
                return executed_graph(profile.read_text(encoding="utf-8"))
            except _ERRORS as error:
                raise failure(f"{_NAME} gives no profile: {first_line(error)}") from error

    def bind(self, feeds: Feeds) -> BoundCall:
        # One plain run gives the output shapes; outputs then go to preallocated memory.
        outputs = self.run(feeds)
        binding = self._session.io_binding()
        held: list[Any] = []
        for name, array in zip(self._inputs, select_feeds(self._inputs, feeds, _NAME), strict=True):
            held.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, held[-1])
        for name, array in outputs.items():
            if array.dtype.kind == "U":
                binding.bind_output(name)  # No memory of its own for text.
                continue
            held.append(ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype))
            binding.bind_ortvalue_output(name, held[-1])
        session, run_options = self._session, ort.RunOptions()

        def call(_held: list[Any] = held) -> None:
            try:
                session.run_with_iobinding(binding, run_options)
            except _ERRORS as error:
                raise failure(f"{_NAME} cannot run: {first_line(error)}") from error

        return call


def _provider(opening: Opening) -> ExecutionProvider:
    kind = TargetKind.GPU if opening.gpu else TargetKind.CPU
    return opening.provider or KINDS[kind].providers[0]


def _opened(provider: ExecutionProvider, opening: Opening, profile: Path | None = None) -> Any:
    """Return a session.

    Args:
        profile: Folder that it writes a profile to.
    """
    # Once the session exists, weights are in memory or mapped.
    with tempfile.TemporaryDirectory(dir=opening.workdir) as folder:
        file = onnx_file(opening.path, Path(folder) / "unpacked")
        session = _session(file, provider, opening, profile=profile)
        if any(0 in value.shape for value in session.get_inputs()):
            # An axis of size 0 that means any size: only source models have it.
            model = with_free_axes(file)
            session = _session(model, provider, opening, file.parent, profile=profile)
        return session


def _session(
    model: Path | bytes,
    provider: ExecutionProvider,
    opening: Opening,
    folder: Path | None = None,
    *,
    profile: Path | None = None,
) -> Any:
    """Open a file, or the bytes of one whose external data is in folder."""
    if provider is not ExecutionProvider.CPU:
        # The CUDA libraries come with torch's wheels.
        ort.preload_dlls()
        if missing := [p for p in PROVIDERS[provider] if p not in _available()]:
            raise RuntimeFailure(
                f"{_NAME} {ort.__version__} has no {missing[0]}: it needs onnxruntime-gpu"
            )
    settings = _session_options(SessionSettings(opening.threads))
    settings.log_severity_level = _ONLY_ERRORS
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile / "run")
    if provider is not ExecutionProvider.CPU:
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if folder is not None:
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        settings,
        providers=_with_options(provider, opening),
        disabled_optimizers=WRONG_IN_FP8 if opening.precision is Precision.FP8 else None,
    )


def _session_options(wanted: SessionSettings) -> Any:
    options = ort.SessionOptions()
    if wanted.intra_op_threads is not None:
        options.intra_op_num_threads = wanted.intra_op_threads
    options.inter_op_num_threads = wanted.inter_op_threads
    if wanted.sequential:
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if wanted.all_optimizations:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(wanted.spinning)))
    return options


def _available() -> list[str]:
    found: list[str] = ort.get_available_providers()
    return found


def _with_options(provider: ExecutionProvider, opening: Opening) -> list[Any]:
    names = PROVIDERS[provider]
    if provider is not ExecutionProvider.TENSORRT:
        return list(names)
    return [(names[0], tensorrt_options(opening.precision, opening.shapes)), *names[1:]]


def _check_on_gpu(session: Any, wanted: str) -> None:
    """Reject a silent fallback to the CPU.

    Raises:
        RuntimeFailure
    """
    if wanted not in session.get_providers():
        raise RuntimeFailure(
            f"{_NAME} does not start {wanted}, and would compute on the CPU: a library of CUDA, "
            "cuDNN or TensorRT is missing, or is of another version than it was built for"
        )
    assigned = [
        (part.ep_name, node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    if left := left_on_cpu(assigned):
        raise RuntimeFailure(
            f"{_NAME} has no kernel in {wanted} for {', '.join(left[:4])}"
            + (f" and {len(left) - 4} more nodes" if len(left) > 4 else "")
            + ", and would compute them on the CPU"
        )


def left_on_cpu(assigned: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the compute nodes assigned to the CPU, each with its operator. Pure.

    Args:
        assigned: Provider, operator and name of each node.
    """
    return [
        f"{name} ({operator})"
        for provider, operator, name in assigned
        if provider == _CPU and any(heavy in operator for heavy in _HEAVY)
    ]
