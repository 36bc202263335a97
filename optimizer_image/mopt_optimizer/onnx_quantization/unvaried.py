"""What calibration saw with one value only: attention masks, optional branches, ids.

Nothing is known of the range of such a value, nor of what it is mixed with.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.onnx_files.float_models import element_types

from .histograms import RangeObserver

if TYPE_CHECKING:
    import onnx

_TOO_FEW = 2
"""A tensor of fewer values has one value whatever it depends on."""


def flags(model: onnx.ModelProto) -> list[str]:
    """Return the tensors of truth values and integers that decide what floats are: conditions, and
    what is cast; in graph order, without weights and inputs."""
    import onnx

    types = element_types(model)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    known = {tensor.name for tensor in model.graph.initializer}
    known |= {value.name for value in model.graph.input}
    names: dict[str, None] = {}
    for node in model.graph.node:
        decides = node.op_type in ("Where", "If") or (
            node.op_type == "Cast" and any(a.i in floats for a in node.attribute if a.name == "to")
        )
        name = node.input[0] if decides else ""
        if name and name not in known and types.get(name) not in (None, *floats):
            names[name] = None
    return list(names)


@dataclass
class _Watched:
    """One input over all samples, none of which it holds.

    Attributes:
        digest: Of the first sample's values.
        size: Number of these.
        value: The only value of all samples so far; None if there are several, or none.
        same: Whether all samples have the values of the first.
    """

    digest: bytes
    size: int
    value: float | None
    same: bool = True

    @classmethod
    def of(cls, values: NDArray[Any]) -> _Watched:
        return cls(_digest(values), values.size, _only_value(values))

    def add(self, values: NDArray[Any]) -> None:
        if self.same:
            self.same = _digest(values) == self.digest
        if self.value is not None and values.size and _only_value(values) != self.value:
            self.value = None


def _digest(values: NDArray[Any]) -> bytes:
    found = hashlib.sha256(repr(values.shape).encode())
    # Text has no buffer that says what it is.
    found.update(repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes())
    return found.digest()


def _only_value(values: NDArray[Any]) -> float | None:
    """Return the value that all of an array have; None of text, and where there are several."""
    if values.dtype.kind not in "biuf" or not values.size:
        return None
    lowest, highest = float(values.min()), float(values.max())
    return lowest if lowest == highest else None


@dataclass
class Watch:
    """Finds what has one value only, sample by sample."""

    samples: int = 0
    _inputs: dict[str, _Watched] = field(default_factory=dict)
    _flags: dict[str, RangeObserver] = field(default_factory=dict)

    def add_inputs(self, sample: Mapping[str, NDArray[Any]]) -> None:
        """Take note of the next sample's inputs."""
        self.samples += 1
        for name, values in sample.items():
            if name in self._inputs:
                self._inputs[name].add(values)
            else:
                self._inputs[name] = _Watched.of(values)

    def add_flag(self, name: str, values: NDArray[Any]) -> None:
        """Take note of a tensor of truth values or integers."""
        self._flags.setdefault(name, RangeObserver()).add(values.astype(np.float32))

    def found(self, observers: Mapping[str, RangeObserver]) -> dict[str, str]:
        """Return the tensors with one value, each with a reason for users.

        An input of several values counts if it is the same in all samples and another is not: all
        are the same where there is one sample.

        Args:
            observers: Of float activations.
        """
        every = f"in all {self.samples} calibration samples"
        if self.samples == 1:
            every = "in the only calibration sample"
        known = {
            name: f"{name} is {observer.lowest:.4g} {every}"
            for name, observer in (*observers.items(), *self._flags.items())
            if observer.count >= _TOO_FEW and observer.lowest == observer.highest
        }
        known |= {
            name: f"{name} is empty {every}"
            for name, observer in observers.items()
            if not observer.count
        }
        return known | self._constant_inputs(every)

    def _constant_inputs(self, every: str) -> dict[str, str]:
        some_vary = not all(watched.same for watched in self._inputs.values())
        found = {}
        for name, watched in self._inputs.items():
            counts = self.samples > 1 or watched.size >= _TOO_FEW
            if watched.value is not None and counts:
                found[name] = f"{name} is {watched.value:.4g} {every}"
            elif watched.same and some_vary:
                found[name] = f"{name} is the same {every}"
        return found


def huge_tensors(
    constants: Iterable[tuple[str, NDArray[Any]]],
    observers: Mapping[str, RangeObserver],
    limit: float,
) -> dict[str, str]:
    """Return what holds a finite magnitude of limit or more, each with a reason for users."""
    found = {}
    for name, values in constants:
        peak = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        if peak >= limit:
            found[name] = f"{name} holds values of {peak:.3g}"
    for name, observer in observers.items():
        peak = max(-observer.lowest, observer.highest)
        if math.isfinite(peak) and peak >= limit:
            found[name] = f"{name} reaches {peak:.3g}"
    return found


def infinite_constants(constants: Iterable[tuple[str, NDArray[Any]]]) -> dict[str, str]:
    """Return the constants that hold infinity or NaN, each with a reason for users."""
    return {
        name: f"{name} holds infinity or NaN"
        for name, values in constants
        if not np.isfinite(values).all()
    }
