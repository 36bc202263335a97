"""What a folder of a form says of it: mopt.json, which `mopt serve` reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from mopt_api.base import Digest, ObservedModel
from mopt_api.enums import ExecutionProvider, FloatPrecision, Precision, Runtime, TorchMode
from mopt_api.figures import Serving
from mopt_api.inputs import AnyDimension
from mopt_optimizer.runtimes.shapes import ShapeRange

from .batching import most_batched
from .form import ServedForm, ServedTensor

DESCRIPTION = "mopt.json"
"""The file, in the folder's root."""
SCHEMA_VERSION = 1


def _inside(path: str) -> str:
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("not a path in the folder")
    return path


class DescribedFile(ObservedModel):
    """A file of the form.

    Attributes:
        path: In the folder, with /.
    """

    path: Annotated[str, Field(max_length=512), AfterValidator(_inside)]
    digest: Digest


class DescribedTensor(ObservedModel):
    """An input or output, as ServedTensor."""

    name: str
    dtype: str
    dims: list[int | str | None]


class DescribedOptions(ObservedModel):
    """The options that it was measured with and that are not the runtime's and precision's own."""

    gpu: bool = False
    threads: int | None = Field(default=None, ge=1)
    provider: ExecutionProvider | None = None
    shapes: dict[str, ShapeRange] = {}
    wide_sums: bool = False


class Description(ObservedModel):
    """A form in a folder: what is to be opened, and how.

    Attributes:
        files: First, what is opened; the others lie beside it.
        batch: Most samples that may be computed together; 0 where requests are not to be merged.
        serving: What was found to be best under load.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    name: str = Field(max_length=253)
    variant: str = Field(max_length=64)
    runtime: Runtime
    precision: Precision
    torch_mode: TorchMode | None = None
    float_precision: FloatPrecision | None = None
    files: list[DescribedFile] = Field(min_length=1, max_length=1024)
    inputs: list[DescribedTensor] = Field(min_length=1)
    outputs: list[DescribedTensor] = []
    dimensions: dict[str, AnyDimension] = {}
    options: DescribedOptions = DescribedOptions()
    batch: int = Field(default=0, ge=0)
    serving: Serving | None = None

    @property
    def title(self) -> str:
        """The form in messages."""
        return f"{self.variant} ({self.runtime} {self.precision})"

    def written(self) -> bytes:
        """Return mopt.json: the same bytes for the same form."""
        return json.dumps(self.to_api(), indent=2, sort_keys=True).encode() + b"\n"


def description_of(form: ServedForm, digests: Mapping[str, str]) -> Description:
    """Return the description of a form.

    Args:
        digests: Of the objects in its folder, by path.
    """
    opened = form.artifact.digest
    # What is opened comes first.
    files = sorted(digests.items(), key=lambda item: (item[1] != opened, item[0]))
    options = form.options
    return Description(
        name=form.name,
        variant=form.variant,
        runtime=form.runtime,
        precision=form.precision,
        torch_mode=form.torch_mode,
        float_precision=form.float_precision,
        files=[DescribedFile(path=path, digest=digest) for path, digest in files],
        inputs=[_tensor(tensor) for tensor in form.inputs],
        outputs=[_tensor(tensor) for tensor in form.outputs],
        dimensions=dict(form.dimensions),
        options=DescribedOptions(
            gpu=options.gpu,
            threads=options.threads,
            provider=options.provider,
            shapes=dict(options.shapes),
            wide_sums=options.wide_sums,
        ),
        batch=most_batched(form),
        serving=form.serving,
    )


def _tensor(tensor: ServedTensor) -> DescribedTensor:
    return DescribedTensor(name=tensor.name, dtype=tensor.dtype, dims=list(tensor.dims))
