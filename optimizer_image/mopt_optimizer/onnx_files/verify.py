"""Numerical verification of ONNX files against a reference, at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.jobs.prepare_result import Verification
from mopt_optimizer.errors import (
    ComparisonError,
    ExportError,
    ModelError,
    RuntimeFailure,
    RunTimeout,
    first_line,
)
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.quality.comparable import check_pair, finite_values, has_numbers

from .rounding import moved_by_rounding

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


Arrays = dict[str, NDArray[Any]]

# Of the largest reference value; FP32 differs by about 1e-6 per layer between runtimes.
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-6
_AMPLIFIED = 10.0
_FURTHER = 2.0


@dataclass(frozen=True)
class Case:
    """Inputs at given sizes, and their expected outputs, in order.

    Attributes:
        name: What messages call the inputs; empty for noise, and for samples fitted to the sizes.
        also: Other inputs at the same sizes; see reference_cases.
    """

    sizes: dict[str, int]
    inputs: Arrays
    expected: tuple[NDArray[Any], ...]
    name: str = ""
    also: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Deviation of an output from the expected one."""

    output: str
    max_abs_error: float
    tolerance: float
    message: str

    @property
    def passed(self) -> bool:
        """Whether the error is within tolerance; never true for NaN."""
        return self.max_abs_error <= self.tolerance


def sizes_in_words(sizes: Mapping[str, int]) -> str:
    """Return sizes formatted for messages, such as batch 1, height 64."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "its fixed sizes"


WRONG_IN_FP8 = ["ReluQuantRewrite", "ClipQuantRewrite"]
"""ONNX Runtime rewrites that remove a Relu or Clip whose result is quantized, since integer zero
points bound it. They do so in FP8 too, where zero points bound nothing (1.32)."""


def new_session(
    path: Path | bytes, *, optimized: bool, folder: Path | None = None
) -> InferenceSession:
    """Open a model, a file or its bytes, on the CPU with OMP_NUM_THREADS threads.

    By default ONNX Runtime takes one per core of the machine, even if the container may use only
    two. torch reads the same variable.

    Args:
        folder: Folder of the external data that a model's bytes refer to.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = granted_threads()
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    # Memory patterns help only runs at one shape.
    options.enable_mem_pattern = False
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    return onnxruntime.InferenceSession(
        path,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=WRONG_IN_FP8 if optimized and _holds_fp8(path) else None,
    )


def _holds_fp8(path: Path | bytes) -> bool:
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(path, bytes) and b"QuantizeLinear" not in path:
        return False  # Parsing takes 1 s per GB.
    try:
        if isinstance(path, bytes):
            model = onnx.load_model_from_string(path)
        else:
            model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError):
        return False  # The session reports the error.
    kind = onnx.TensorProto.FLOAT8E4M3FN
    return any(tensor.data_type == kind for tensor in model.graph.initializer)


class OnnxSession:
    """A model in ONNX Runtime on the CPU.

    Args:
        folder: See new_session.

    Raises:
        RuntimeFailure: The model cannot be loaded, or a run fails.
    """

    def __init__(
        self, path: Path | bytes, *, optimized: bool = True, folder: Path | None = None
    ) -> None:
        try:
            self._session = new_session(path, optimized=optimized, folder=folder)
        except ort_errors() as error:
            raise RuntimeFailure(first_line(error)) from error
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Arrays, seconds: float | None = None) -> list[NDArray[Any]]:
        """Return the outputs in the model's order.

        Args:
            seconds: That it may take; None bounds nothing. A Loop may go on until a value says so.

        Raises:
            RunTimeout: It took longer.
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        end = Timer(seconds or 0, setattr, (options, "terminate", True))
        if seconds is not None:
            end.start()
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, inputs, options)
        except ort_errors() as error:
            if options.terminate:
                raise RunTimeout(f"it did not end within {seconds:g} s") from error
            raise RuntimeFailure(first_line(error)) from error
        finally:
            end.cancel()
        return outputs


def lacks_kernel(error: RuntimeFailure) -> bool:
    """Return whether ONNX Runtime has no kernel for a node on the CPU, as most of BF16."""
    return "NOT_IMPLEMENTED" in str(error)


def ort_errors() -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's exceptions: they share no base class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.EngineError,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.ModelLoaded,
        state.NoModel,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
        # Its message quotes a corrupt name in the model.
        UnicodeDecodeError,
        # Of values in types that numpy does not have, such as float8.
        RuntimeError,
    )


def compare(session: OnnxSession, case: Case) -> list[Difference]:
    """Return the difference of each output in one case.

    Raises:
        RuntimeFailure: The model fails at these sizes.
    """
    outputs = session.run(case.inputs)
    if len(outputs) != len(case.expected):
        message = f"it has {len(outputs)} outputs instead of {len(case.expected)}"
        return [Difference("", np.inf, 0.0, message)]
    return [
        _of_one_type(name, found, expected)
        for name, found, expected in zip(session.outputs, outputs, case.expected, strict=True)
    ]


def _of_one_type(name: str, found: NDArray[Any], expected: NDArray[Any]) -> Difference:
    if found.dtype == expected.dtype:
        return difference(name, found, expected)
    message = f"output {name} is {found.dtype} instead of {expected.dtype}"
    return Difference(name, np.inf, 0.0, message)


def difference(name: str, found: NDArray[Any], expected: NDArray[Any]) -> Difference:
    """Return the deviation of one output; what cannot be compared is infinitely far.

    What can be is the rule of quality.comparable: equal shapes, NaN and infinity where the expected
    output has them, such as -inf of masked logits, and only there, and equal texts. Integers and
    booleans must be equal: a wrong index is not a rounding error.
    """
    try:
        check_pair(f"output {name}", expected, found)
    except ComparisonError as error:
        return Difference(name, np.inf, 0.0, str(error))
    if not has_numbers(expected):
        return Difference(name, 0.0, 0.0, f"output {name} holds no number")
    values, others = finite_values(expected, found)
    largest = float(np.abs(others - values).max())
    exact = expected.dtype.kind in "iub"
    peak = float(np.abs(values).max())
    tolerance = 0.0 if exact else RELATIVE_TOLERANCE * peak + ABSOLUTE_TOLERANCE
    message = f"output {name} differs by {largest:.3g}, more than {tolerance:.3g}"
    return Difference(name, largest, tolerance, message)


def check_stateless(
    run: Callable[[Arrays], Sequence[NDArray[Any]]],
    case: Case,
    written: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Refuse a model that returns something else when it is called again with the same inputs.

    Args:
        run: Calls the model that made the case, once more.
        written: Returns the names of the buffers that this call has changed.

    Raises:
        ModelError
    """
    outputs = run(case.inputs)
    if len(outputs) == len(case.expected) and all(
        difference(f"{number}", found, expected).passed
        for number, (found, expected) in enumerate(zip(outputs, case.expected, strict=True))
    ):
        return
    why = "it draws random numbers, or keeps state between calls: leave random layers out"
    if buffers := written():
        why = f"it keeps state in {', '.join(buffers)}: make that an input and an output"
    raise ModelError(
        f"the model returns something else when it is called again with the same inputs; {why}"
    )


def verify(
    path: Path,
    cases: Sequence[Case],
    *,
    constants_within: float = 1.0,
    before: Path | None = None,
) -> tuple[list[Verification], str | None]:
    """Return the result of each case, and the message of the first failure.

    Args:
        constants_within: How many times the tolerance errors on constant inputs may be.
        before: The file that this one was made from. What it makes of rounding errors of constant
            inputs is no difference; None takes that of the file itself.

    Raises:
        RuntimeFailure: The model cannot be loaded, or fails at a case's sizes.
    """
    session = OnnxSession(path)
    verifications, failure = [], None
    for case in cases:
        differences = compare(session, case)
        if _amplified(differences):
            differences = compare(OnnxSession(path, optimized=False), case)
        bad = next((d for d in differences if not d.passed), None)
        worst = max(d.max_abs_error for d in differences)
        found = _failure(case, bad.message) if bad else None
        for other in case.also if found is None else ():
            found = found or _constant_failure(session, other, constants_within, before)
        verifications.append(
            Verification(
                dimensions=case.sizes,
                # JSON has no infinity; passed marks it as not a measured error.
                max_abs_error=worst if np.isfinite(worst) else float(np.finfo(np.float32).max),
                passed=found is None,
            )
        )
        failure = failure or found
    return verifications, failure


def _amplified(differences: Sequence[Difference]) -> bool:
    """Return whether a difference may be rounding that the model amplifies, as a logarithm does of
    what is nearly zero: then what counts is the file without the runtime's optimizations."""
    return any(not d.passed for d in differences) and all(
        d.max_abs_error <= d.tolerance * _AMPLIFIED for d in differences
    )


def _constant_failure(
    session: OnnxSession, case: Case, within: float, before: Path | None
) -> str | None:
    suspects = [
        (index, found)
        for index, found in enumerate(compare(session, case))
        # What is equal everywhere has no largest element: ids of it differ with a rounding error.
        if not (within > 1 and found.tolerance == 0 and np.isfinite(found.max_abs_error))
        and not found.max_abs_error <= found.tolerance * within
    ]
    if not suspects:
        return None
    for _, found in suspects:
        if not np.isfinite(found.max_abs_error):
            return _failure(case, found.message)
    amplifying = session if before is None else OnnxSession(before)
    moved = moved_by_rounding(amplifying.run, case.inputs)
    for index, found in suspects:
        if not found.max_abs_error <= _FURTHER * moved[index]:
            return _failure(case, found.message)
    return None


def _failure(case: Case, message: str) -> str:
    at = ", ".join(f"{name} {size}" for name, size in case.sizes.items())
    on = f" on {case.name}" if case.name else ""
    return f"{message}{on} at {at}" if at else f"{message}{on}"


# Normalization divides the rounding errors of constant inputs by epsilon.
_CONSTANTS_WITHIN = 100.0


def verify_export(path: Path, cases: Sequence[Case]) -> list[Verification]:
    """Compare an exported model with eager in every case.

    Raises:
        ExportError: It does not run, or an output differs; names the output and the error.
    """
    try:
        verifications, failure = verify(path, cases, constants_within=_CONSTANTS_WITHIN)
    except RuntimeFailure as error:
        raise ExportError(f"the exported model does not run: {error}") from error
    if failure:
        raise ExportError(f"the exported model computes something else: {failure}")
    return verifications
