"""Optimization profiles: smallest, most frequent and largest shape of each input. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mopt_optimizer.errors import DimensionError, ProfileViolation
from mopt_optimizer.runtimes.shapes import ShapeRange

Shape = tuple[int, ...]

DYNAMIC = -1
"""Size of a dynamic axis in TensorRT."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network.

    Attributes:
        name: In the ONNX file.
        dtype: numpy's name, for example float32.
        shape: DYNAMIC for dynamic axes.
    """

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True)
class ShapeProfile:
    """The shapes that one input may have; the engine is tuned for `optimum`."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    @classmethod
    def of(cls, name: str, value: ShapeRange) -> ShapeProfile:
        """Return the profile of a user's shape, or of three.

        Raises:
            DimensionError: Neither, or the sizes are out of order.
        """
        try:
            shapes = [tuple(int(size) for size in shape) for shape in value]  # type: ignore[union-attr]
        except TypeError:
            try:
                fixed = tuple(int(size) for size in value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                raise DimensionError(f"input {name}: {_expected(value)}") from None
            shapes = [fixed] * 3
        except ValueError:
            raise DimensionError(f"input {name}: {_expected(value)}") from None
        if len(shapes) != 3 or len({len(shape) for shape in shapes}) != 1:
            raise DimensionError(f"input {name}: {_expected(value)}")
        minimum, optimum, maximum = shapes
        for axis, (low, best, high) in enumerate(zip(minimum, optimum, maximum, strict=True)):
            if not 1 <= low <= best <= high:
                raise DimensionError(
                    f"input {name}, axis {axis}: sizes {low}, {best}, {high} are not in the order "
                    "1 <= smallest <= most frequent <= largest"
                )
        return cls(minimum, optimum, maximum)

    def check(self, name: str, shape: Sequence[int]) -> None:
        """Check a shape against the profile.

        Raises:
            ProfileViolation: Names the axis, its size and what is allowed.
        """
        if len(shape) != len(self.minimum):
            raise ProfileViolation(
                f"input {name} has shape {tuple(shape)}; the engine takes "
                f"{len(self.minimum)} axes, {self}"
            )
        for axis, (size, low, high) in enumerate(
            zip(shape, self.minimum, self.maximum, strict=True)
        ):
            if not low <= size <= high:
                allowed = str(low) if low == high else f"{low} to {high}"
                raise ProfileViolation(
                    f"input {name}, axis {axis}: {size} is not {allowed}, which the engine was "
                    "built for; build it with a profile that holds this size, or resize the input"
                )

    def __str__(self) -> str:
        if self.minimum == self.maximum:
            return str(self.minimum)
        return f"{self.minimum} to {self.maximum}"


def _expected(value: object) -> str:
    return (
        f"{value!r} is neither a shape, such as (1, 3, 64, 64), nor three of one length: "
        "(smallest, most frequent, largest)"
    )


def profiles_for(
    inputs: Sequence[Tensor], given: Mapping[str, ShapeRange]
) -> dict[str, ShapeProfile]:
    """Return the profile of every network input; static inputs need no given shape.

    Raises:
        DimensionError: An unknown input name, no shape for an input with dynamic axes, a wrong
            rank, or a size that contradicts one fixed in the model.
    """
    names = [tensor.name for tensor in inputs]
    for name in given:
        if name not in names:
            raise DimensionError(
                f"{name!r} is no input of the model; its inputs are {', '.join(names)}"
            )
    return {tensor.name: _profile(tensor, given.get(tensor.name)) for tensor in inputs}


def _profile(tensor: Tensor, value: ShapeRange | None) -> ShapeProfile:
    if value is None:
        if DYNAMIC in tensor.shape:
            raise DimensionError(
                f"input {tensor.name} has free axes, {tensor.shape}: give its shape, or "
                "(smallest, most frequent, largest)"
            )
        return ShapeProfile(tensor.shape, tensor.shape, tensor.shape)
    profile = ShapeProfile.of(tensor.name, value)
    if len(profile.minimum) != len(tensor.shape):
        raise DimensionError(
            f"input {tensor.name}: {len(profile.minimum)} sizes for {len(tensor.shape)} axes, "
            f"{tensor.shape}"
        )
    for axis, size in enumerate(tensor.shape):
        low, high = profile.minimum[axis], profile.maximum[axis]
        if size != DYNAMIC and not low == high == size:
            raise DimensionError(
                f"input {tensor.name}, axis {axis}: the model fixes it to {size}, not {low}"
                + (f" to {high}" if high != low else "")
            )
    return profile
