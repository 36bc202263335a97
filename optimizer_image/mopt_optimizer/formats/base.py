"""What every source format offers: a model as ONNX with what it computes, and what its file holds.

All of it opens the file: call it from a process without credentials (sandbox).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mopt_api.base import ObservedModel
from mopt_api.enums import ModelFormat
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.onnx_files.verified_inputs import VerifiedInputs, verified_inputs
from mopt_optimizer.onnx_files.verify import Case
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.progress import Timings

if TYPE_CHECKING:
    import torch


class DescribedAxis(ObservedModel):
    """As opening.inputs.Axis."""

    size: int | None = None
    symbol: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None
    sum_of: list[str] = []
    plus: int = 0


class Seen(ObservedModel):
    """What an output held when the model ran on noise.

    Attributes:
        minimum, maximum: None where it holds no numbers, or NaN or infinity.
        sums_to_one, unit_length: Whether each row along the last axis is of positive numbers whose
            sum is 1, and whether its Euclidean length is 1.
    """

    shape: list[int]
    minimum: float | None = None
    maximum: float | None = None
    sums_to_one: bool = False
    unit_length: bool = False


class DescribedValue(ObservedModel):
    """An input or output; dtype as in numpy, None with axes where the format does not say."""

    name: str
    dtype: str | None = None
    axes: list[DescribedAxis] | None = None
    seen: Seen | None = None


class ModelDescription(ObservedModel):
    """What a model file holds.

    flops counts twice the multiply-adds at `dimensions`; None where a size is not known. failure
    is why it does not run on noise, where it was run.
    """

    format: ModelFormat
    size_bytes: int
    inputs: list[DescribedValue]
    outputs: list[DescribedValue] = []
    parameters: int
    nodes: int
    operators: dict[str, int]
    opset: int | None = None
    dimensions: dict[str, int] = {}
    flops: int | None = None
    external_data: list[str] = []
    failure: str | None = None


class DescribeRequest(ObservedModel):
    """A file on the local disk; sizes to count at, by the model's own names.

    Attributes:
        run: Whether to run it on noise too: see dry_run.dry_run.
        shapes: Of inputs that the file does not tell, as TorchScript.
        types: Of these, where it is not float32.
    """

    path: str
    run: bool = False
    shapes: dict[str, list[int]] = {}
    types: dict[str, str] = {}
    format: ModelFormat | None = None
    dimensions: dict[str, int] = {}


def described(value: ModelInput) -> DescribedValue:
    """Return an input as a description has it."""
    return DescribedValue(
        name=value.name,
        dtype=value.dtype,
        axes=[DescribedAxis.model_validate(vars(axis)) for axis in value.axes],
    )


@dataclass(frozen=True)
class Source:
    """A model file, and what its user says of it.

    Attributes:
        inputs: As in spec.inputs.
        dimensions: The sizes that it is verified at.
        workdir: Gets copies while it is opened.
        timings: Takes the time of each step.
        samples: The user's, which it is verified on; empty for noise.
    """

    path: Path
    inputs: Sequence[InputSpec]
    dimensions: Mapping[str, DimensionRange]
    workdir: Path
    timings: Timings
    samples: Sequence[Inputs] = ()

    @property
    def verified_inputs(self) -> list[VerifiedInputs]:
        """Inputs at each verified size, made of the samples."""
        return verified_inputs(self.inputs, self.dimensions, self.samples)


class SourceFormat(Protocol):
    """One format that a model may come in."""

    def recognizes(self, path: Path) -> bool:
        """Return whether a file's content looks like it; opening it says whether it is.

        Raises:
            ModelError: The file looks like it, and is damaged.
        """
        ...

    def cases(self, source: Source) -> list[Case]:
        """Return verified_inputs with what the source model makes of them.

        Raises:
            ModelError, UnsafeModelError: It cannot be opened.
            DimensionError: It has other inputs or sizes than the spec declares.
            BaselineError: It does not run at a size that the spec declares, or on a sample.
            DiskError: No space for the checked copy.
        """
        ...

    def to_onnx(self, source: Source, target: Path) -> list[Case]:
        """Write it as ONNX, its dimensions named as in the spec; return what cases returns.

        Raises:
            ExportError: An operator that ONNX or the exporter does not have.
            ModelError, UnsafeModelError, DimensionError, BaselineError, DiskError: As cases.
        """
        ...

    def describe(self, path: Path, sizes: Mapping[str, int], workdir: Path) -> ModelDescription:
        """Return what a file holds, and its arithmetic at these sizes.

        Raises:
            ModelError, UnsafeModelError, DiskError: As cases.
            DimensionError: A dimension that it does not have, or a size it does not take.
        """
        ...

    def dry_run(self, path: Path, description: ModelDescription, workdir: Path) -> ModelDescription:
        """Return a description of the file with what running it on noise shows: see dry_run.py.

        Raises:
            ModelError, UnsafeModelError, DiskError: As cases.
        """
        ...

    def torch_module(
        self, path: Path, ranks: Mapping[str, int], workdir: Path
    ) -> tuple[torch.nn.Module, list[ModelInput]]:
        """Return it as a PyTorch module with its inputs.

        Args:
            ranks: Number of axes of each input, of a format that does not say.

        Raises:
            SpecError: It is none of PyTorch's formats.
            ModelError, UnsafeModelError, DiskError: As cases.
        """
        ...
