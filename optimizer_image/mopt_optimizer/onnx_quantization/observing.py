"""One pass over the calibration samples: the range and histogram of every activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import CalibrationError, RuntimeFailure, first_line
from mopt_optimizer.onnx_files.float_models import element_types, serialized
from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_files.verify import new_session, ort_errors

from .histograms import RangeObserver
from .unvaried import Watch, flags

if TYPE_CHECKING:
    import onnx

Sample = Mapping[str, NDArray[Any]]

# Bytes of intermediate values that one run may return. Above it, the tensors are split and the
# sample runs once per part.
_BYTES_PER_RUN = 512 * 1024 * 1024


@dataclass(frozen=True)
class Observations:
    """Values observed on the calibration samples.

    Attributes:
        observers: By tensor name.
        shapes: By tensor name, for the first sample.
        samples: Number of samples.
        constant: Inputs and tensors that had one value only, each with a reason for users.
        infinite: Tensors that held infinity or NaN, such as masked scores, likewise.
    """

    observers: Mapping[str, RangeObserver]
    shapes: Mapping[str, tuple[int, ...]]
    samples: int
    constant: Mapping[str, str] = field(default_factory=dict)
    infinite: Mapping[str, str] = field(default_factory=dict)


def float_activations(model: onnx.ModelProto, operators: Iterable[str] | None) -> list[str]:
    """Return the FP32 tensors, except weights, that nodes read or write, in graph order.

    Args:
        operators: Operator types of the nodes; None for all.
    """
    import onnx

    wanted = None if operators is None else set(operators)
    types = element_types(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    names: dict[str, None] = {}
    for node in model.graph.node:
        if wanted is None or node.op_type in wanted:
            for name in (*node.input, *node.output):
                if types.get(name) == onnx.TensorProto.FLOAT and name not in weights:
                    names[name] = None
    return list(names)


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    samples: Iterable[Sample],
    folder: Path | None = None,
) -> Observations:
    """Run each sample through the FP32 model once and record the tensors' values.

    Only one sample and its intermediate values are in memory at a time. Ranges are those of finite
    values.

    Args:
        folder: See verify.new_session.

    Raises:
        CalibrationError: No samples, one that the model does not accept, that is NaN or all
            infinite, or that a layer overflows on; or all tensors are empty in all samples.
        RuntimeFailure: ONNX Runtime cannot run the model.
    """
    session = _AugmentedSession(model, [*tensors, *flags(model)], folder)
    observers = {name: RangeObserver() for name in tensors}
    shapes: dict[str, tuple[int, ...]] = {}
    infinite: dict[str, str] = {}
    watch = Watch()
    for number, sample in enumerate(samples, start=1):
        what = f"calibration sample {number}"
        check_sample(session.inputs, sample, what)
        watch.add_inputs(sample)
        bad: set[str] = set()
        for name, values in session.run(sample, what):
            if name not in observers:
                watch.add_flag(name, values)
                continue
            shapes.setdefault(name, values.shape)
            if not observers[name].add(values):
                bad.add(name)
                infinite.setdefault(name, f"{name} holds infinity or NaN in {what}")
        _check_overflow(model, bad, what)
    if not watch.samples:
        raise CalibrationError("no calibration samples; give at least one, some tens are usual")
    if tensors and not any(observer.count for observer in observers.values()):
        raise CalibrationError(f"tensor {tensors[0]!r} was empty in all {watch.samples} samples")
    constant = watch.found(observers)
    return Observations(observers, shapes, watch.samples, constant, infinite)


def _check_overflow(model: onnx.ModelProto, bad: set[str], what: str) -> None:
    """Raise if a layer with weights makes NaN or infinity of finite values.

    What other nodes make of them is as meant: -inf where a mask is, NaN where it is everywhere.

    Args:
        bad: The tensors that hold NaN or infinity.
    """
    for node in model.graph.node if bad else ():
        if node.op_type in WEIGHTED and not bad.isdisjoint(node.output):
            if not bad.isdisjoint(node.input):
                continue
            raise CalibrationError(
                f"{what}: tensor {node.output[0]!r} holds NaN or infinity; the FP32 model "
                "overflows on it, or the sample is not what the model expects"
            )


@dataclass(frozen=True)
class ModelInput:
    """An input as the model declares it; dynamic dimensions are None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


def check_sample(inputs: Sequence[ModelInput], sample: Sample, what: str) -> None:
    """Check that a sample matches the model's inputs.

    Infinity is data where it is beside other values: an additive mask.

    Raises:
        CalibrationError: A name, element type, rank or fixed dimension differs; NaN, or nothing
            but infinity.
    """
    names = [i.name for i in inputs]
    if set(names) != set(sample):
        raise CalibrationError(
            f"{what} feeds the inputs {sorted(sample)}; the model's inputs are {sorted(names)}"
        )
    for declared in inputs:
        array = sample[declared.name]
        if array.dtype != declared.dtype:
            raise CalibrationError(
                f"{what}: input {declared.name!r} is {array.dtype}, the model takes "
                f"{declared.dtype}"
            )
        fits = len(array.shape) == len(declared.shape) and all(
            size in (None, given) for size, given in zip(declared.shape, array.shape, strict=True)
        )
        if not fits:
            takes = ", ".join("any" if size is None else str(size) for size in declared.shape)
            raise CalibrationError(
                f"{what}: input {declared.name!r} has shape {array.shape}, the model takes "
                f"({takes})"
            )
        is_float = array.dtype.kind == "f" and array.size
        if is_float and (np.isnan(array).any() or np.isinf(array).all()):
            raise CalibrationError(
                f"{what}: input {declared.name!r} holds NaN or infinity; give finite values"
            )


def model_inputs(model: onnx.ModelProto) -> list[ModelInput]:
    """Return the inputs of a model that are fed, without weights."""
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        ModelInput(
            value.name,
            np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            tuple(
                d.dim_value if d.HasField("dim_value") else None
                for d in value.type.tensor_type.shape.dim
            ),
        )
        for value in model.graph.input
        if value.name not in weights
    ]


class KeptSamples(Iterable[Sample]):
    """Passes samples through, and keeps the first few if the source can be read only once."""

    def __init__(self, source: Iterable[Sample], count: int) -> None:
        self._source, self._count = source, count
        self._first: list[Sample] = []

    def __iter__(self) -> Iterator[Sample]:
        repeatable = isinstance(self._source, Sequence)
        for sample in self._source:
            if not repeatable and len(self._first) < self._count:
                self._first.append(sample)
            yield sample

    def some(self, count: int | None = None) -> list[Sample]:
        """Return up to `count` samples: spread over a sequence, the first of any other source."""
        return [*self.again(count)]

    def again(self, count: int | None = None) -> Iterable[Sample]:
        """Return the samples that `some` does; each is read when it is its turn."""
        count = self._count if count is None else min(count, self._count)
        if not isinstance(self._source, Sequence):
            return self._first[:count]
        return _Spread(self._source, min(count, len(self._source)))


@dataclass(frozen=True)
class _Spread(Iterable[Sample]):
    """So many samples, spread over a sequence."""

    source: Sequence[Sample]
    count: int

    def __iter__(self) -> Iterator[Sample]:
        total = len(self.source)
        return (self.source[index * total // self.count] for index in range(self.count))


class _AugmentedSession:
    """The FP32 model, unoptimized, with inner tensors as outputs."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str], folder: Path | None) -> None:
        import onnx
        from onnx import helper

        augmented = onnx.ModelProto()
        augmented.CopyFrom(model)
        self.inputs = model_inputs(model)
        self._fed = {i.name for i in self.inputs}
        outputs = {output.name for output in model.graph.output}
        types = element_types(model)
        augmented.graph.output.extend(
            helper.make_tensor_value_info(name, types[name], None)
            for name in tensors
            if name not in outputs and name not in self._fed
        )
        self._tensors = list(tensors)
        self._parts: list[list[str]] | None = None
        try:
            self._session = new_session(serialized(augmented), optimized=False, folder=folder)
        except ort_errors() as error:
            raise RuntimeFailure(first_line(error)) from error

    def run(self, sample: Sample, what: str) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield each observed tensor's name and values."""
        computed = []
        for name in self._tensors:
            if name in self._fed:
                yield name, sample[name]
            else:
                computed.append(name)
        sizes: dict[str, int] = {}
        for part in self._parts or [computed]:
            try:
                values = self._session.run(part, dict(sample)) if part else []
            except ort_errors() as error:
                raise CalibrationError(
                    f"{what}: the model cannot run on this input: {first_line(error)}"
                ) from error
            sizes |= {name: v.nbytes for name, v in zip(part, values, strict=True)}
            yield from zip(part, values, strict=True)
        self._parts = split_by_bytes(sizes, _BYTES_PER_RUN)


def split_by_bytes(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Group the names into parts of at most `limit` bytes; a larger tensor has its own part."""
    parts: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not parts or size > room:
            parts.append([])
            room = limit
        parts[-1].append(name)
        room -= size
    return parts
