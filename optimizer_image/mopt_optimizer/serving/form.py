"""A measured form of a model as a server loads it: its file, signature and options. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from mopt_api.artifacts import Artifact
from mopt_api.enums import (
    ExecutionProvider,
    FloatPrecision,
    Precision,
    Runtime,
    TargetKind,
    TorchMode,
)
from mopt_api.figures import Serving, VariantState
from mopt_api.inputs import AnyDimension, InputSpec
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.targets import KINDS
from mopt_api.variants import uses_bf16
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.forms.needs import needs_wide_sums
from mopt_optimizer.machine.system import has_native_bf16
from mopt_optimizer.runtimes.openvino.settings import properties
from mopt_optimizer.runtimes.shapes import ShapeRange
from mopt_optimizer.runtimes.tensorrt.plan import engine_shapes

from .signature import EngineSignature, Signature, TensorSignature

# It names a folder, and a model in URLs; names of resources are among these.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_SERVED = (VariantState.PASSED, VariantState.REJECTED, VariantState.BUILT)


@dataclass(frozen=True)
class ServedTensor:
    """An input or output.

    Attributes:
        dtype: As numpy names it.
        dims: Of each axis its size; or the name of a dimension in ServedForm.dimensions; or None
            for another size that varies.
    """

    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


@dataclass(frozen=True)
class MeasuredOptions:
    """How the form was run when it was measured; what was not measured is None or empty.

    Attributes:
        gpu: Whether it ran on a GPU, or was built for one.
        threads: Compute threads of each copy.
        provider: ONNX Runtime's execution provider.
        properties: OpenVINO's, by their names.
        shapes: TensorRT's (smallest, most frequent, largest) shape of each input, where ONNX
            Runtime's TensorRT provider built for them.
        native_bf16: Whether the CPU computes in bf16.
        wide_sums: Whether its INT8 overflows on x86 CPUs that add products in 16 bits.
    """

    gpu: bool = False
    threads: int | None = None
    provider: ExecutionProvider | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)
    native_bf16: bool = False
    wide_sums: bool = False


@dataclass(frozen=True)
class ServedForm:
    """A form to serve.

    Attributes:
        name: The model's, as clients name it.
        variant: The form's name; baseline for the source model.
        state: Passed, Rejected (it misses a gate), or Built (an engine that was never run).
        torch_mode: How PyTorch runs it.
        float_precision: Of what is not INT8, where that is not FP32.
        artifact: Its file, and the files that lie beside it.
        dimensions: Ranges of the named dimensions.
        archive: Whether the file is a tar of an ONNX file with its weights.
        engine: What is known of a TensorRT engine.
        serving: Instances, threads and batch that were found to be best under load.
    """

    name: str
    variant: str
    state: VariantState
    runtime: Runtime
    precision: Precision
    torch_mode: TorchMode | None
    artifact: Artifact
    inputs: tuple[ServedTensor, ...]
    outputs: tuple[ServedTensor, ...]
    dimensions: Mapping[str, AnyDimension]
    options: MeasuredOptions
    float_precision: FloatPrecision | None = None
    archive: bool = False
    engine: EngineSignature | None = None
    serving: Serving | None = None

    @property
    def title(self) -> str:
        """The form in messages."""
        return f"{self.variant} ({self.runtime} {self.precision})"

    @property
    def uses_bf16(self) -> bool:
        """Whether it computes in BF16, or does so beside INT8."""
        return uses_bf16(self.precision, self.float_precision)

    @property
    def copies(self) -> int:
        """How many compute at the same time."""
        return _copies(self.serving)


def served_variant(result: MeasureResult, variant: str | None = None) -> VariantResult:
    """Return the form to serve, which has an artifact.

    Args:
        variant: Its name; None is the selected one.

    Raises:
        UnservableForm: Nothing is selected; no such form, or one that was not made or did not run.
    """
    known = ", ".join(entry.name for entry in result.everyone if _served(entry)) or "none"
    wanted = variant or result.selected
    if wanted is None:
        raise UnservableForm(
            f"nothing is selected for target {result.target}; name a variant, of: {known}"
        )
    entry = next((entry for entry in result.everyone if entry.name == wanted), None)
    if entry is None:
        raise UnservableForm(f"the result has no variant {wanted!r}; it has files of: {known}")
    if not _served(entry):
        why = entry.message or entry.reason or "it has no file"
        raise UnservableForm(
            f"variant {wanted} cannot be served: {entry.state}, {why}; there are files of: {known}"
        )
    return entry


def _served(entry: VariantResult) -> bool:
    return entry.artifact is not None and entry.state in _SERVED


def served_form(
    result: MeasureResult, variant: str | None, signature: Signature, *, name: str
) -> ServedForm:
    """Return a form of a result as it is served.

    Args:
        variant: Its name; None is the selected one.
        signature: Of its file.
        name: The model's, as clients name it.

    Raises:
        UnservableForm: As served_variant; or the name cannot name a folder; or the result has no
            plan, as of older versions; or the file has another signature than what was measured.
    """
    if not _NAME.fullmatch(name):
        raise UnservableForm(
            f"{name!r} cannot name a model: take letters, digits, and -, . or _ between them"
        )
    entry = served_variant(result, variant)
    if entry.artifact is None:  # served_variant has checked it.
        raise UnservableForm(f"variant {entry.name} has no file")
    plan = plan_of(result)
    declared = {spec.name: spec for spec in plan.inputs}
    names = _dimension_names(signature.inputs, declared)
    return ServedForm(
        name=name,
        variant=entry.name,
        state=entry.state,
        runtime=entry.runtime,
        precision=entry.precision,
        torch_mode=entry.torch_mode,
        float_precision=entry.float_precision,
        artifact=entry.artifact,
        inputs=tuple(_input(tensor, declared.get(tensor.name)) for tensor in signature.inputs),
        outputs=tuple(_output(tensor, names) for tensor in signature.outputs),
        dimensions=plan.dimensions,
        options=_options(result, plan, entry),
        archive=signature.archive,
        engine=signature.engine,
        serving=entry.load.serving if entry.load is not None else None,
    )


def declared_signature(result: MeasureResult) -> Signature:
    """Return what is known of a file's signature before it is fetched: the names of its inputs.

    A form with it has no outputs; a layout refuses it for what it would refuse the whole form for.

    Raises:
        UnservableForm: As plan_of.
    """
    return Signature(inputs=[TensorSignature(name=spec.name) for spec in plan_of(result).inputs])


def plan_of(result: MeasureResult) -> MeasurePlan:
    """Return the plan that a result was measured by.

    Raises:
        UnservableForm: It has none, or one of another version.
    """
    again = "run the measurement again with this version of mopt"
    if result.plan is None:
        raise UnservableForm(f"the result of target {result.target} holds no plan; {again}")
    try:
        return MeasurePlan.model_validate(result.plan)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnservableForm(
            f"the plan in the result of target {result.target} is of another version of mopt: "
            f"{where}: {first['msg']}; {again}"
        ) from error


def _dimension_names(
    inputs: Sequence[TensorSignature], declared: Mapping[str, InputSpec]
) -> dict[str, str]:
    """Return the spec's name of each of the file's symbols."""
    return {
        axis: size
        for tensor in inputs
        if (spec := declared.get(tensor.name)) is not None
        for axis, size in zip(tensor.dims or (), spec.shape, strict=False)
        if isinstance(axis, str) and isinstance(size, str)
    }


def _input(tensor: TensorSignature, spec: InputSpec | None) -> ServedTensor:
    """Return an input: as the file has it; what the file leaves open, as it was declared."""
    if spec is None:
        raise UnservableForm(
            f"the file has an input {tensor.name!r} that was not measured: it is another model's"
        )
    dtype = tensor.dtype or spec.dtype.value
    if tensor.dims is None:
        return ServedTensor(tensor.name, dtype, tuple(spec.shape))
    if len(tensor.dims) != len(spec.shape):
        raise UnservableForm(
            f"input {tensor.name} has {len(tensor.dims)} dimensions in the file, and was measured "
            f"with {len(spec.shape)}: it is another model's"
        )
    dims = tuple(
        axis if isinstance(axis, int) else size if isinstance(size, str) else None
        for axis, size in zip(tensor.dims, spec.shape, strict=True)
    )
    return ServedTensor(tensor.name, dtype, dims)


def _output(tensor: TensorSignature, names: Mapping[str, str]) -> ServedTensor:
    if tensor.dtype is None or tensor.dims is None:
        raise UnservableForm(f"the file does not tell the type and rank of output {tensor.name}")
    dims = tuple(axis if isinstance(axis, int) else names.get(axis or "") for axis in tensor.dims)
    return ServedTensor(tensor.name, tensor.dtype, dims)


def _copies(serving: Serving | None) -> int:
    return serving.instances if serving is not None else 1


def _options(result: MeasureResult, plan: MeasurePlan, entry: VariantResult) -> MeasuredOptions:
    if entry.state is VariantState.BUILT:
        return MeasuredOptions(gpu=True)
    gpu = plan.kind is TargetKind.GPU
    serving = entry.load.serving if entry.load is not None else None
    threads = serving.threads if serving is not None else result.hardware.threads or None
    provider, shapes = None, dict[str, ShapeRange]()
    if entry.runtime is Runtime.ONNX_RUNTIME:
        asked = next((v.execution_provider for v in plan.variants if v.name == entry.name), None)
        provider = asked or KINDS[plan.kind].providers[0]
        if provider is ExecutionProvider.TENSORRT:
            shapes = engine_shapes(plan.inputs, plan.dimensions)
    compiled = entry.runtime is Runtime.OPENVINO
    return MeasuredOptions(
        gpu=gpu,
        threads=threads,
        provider=provider,
        properties=(
            properties(entry.precision, threads, _copies(serving), entry.float_precision)
            if compiled
            else {}
        ),
        shapes=shapes,
        native_bf16=has_native_bf16(result.hardware.cpu_features),
        wide_sums=needs_wide_sums(result, entry),
    )
