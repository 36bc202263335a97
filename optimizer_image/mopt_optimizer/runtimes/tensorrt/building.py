"""Builds a serialized engine from an ONNX file with TensorRT's parser and builder."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import EngineBuildError, ModelError, SpecError
from mopt_optimizer.machine.nvidia_gpus import Gpu, driver_version, visible_gpus
from mopt_optimizer.runtimes.shapes import ShapeRange

from .backends import Backend
from .caches import TIMING, TimingCache, cache_path, check_timing_cache
from .config import HardwareCompatibility, TensorRTConfig
from .fp8 import OLDEST, has_fp8
from .layers import EngineLayer, listed_layers
from .profiles import ShapeProfile, Tensor, profiles_for
from .refusals import ParserComplaint, build_error, gpu_error, parser_error

_COMPATIBILITY = {
    HardwareCompatibility.NONE: "NONE",
    HardwareCompatibility.SAME_COMPUTE_CAPABILITY: "SAME_COMPUTE_CAPABILITY",
    HardwareCompatibility.AMPERE_PLUS: "AMPERE_PLUS",
}
# TensorRT's DataType to numpy's name of it.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "FP8": "float8_e4m3fn",
}


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine and its metadata.

    Attributes:
        data: For Runtime.deserialize_cuda_engine.
        inputs, outputs: The network's, in its order.
        profiles: By input name.
        layers: As the builder listed them.
        warnings: The builder's.
        seconds: For parsing and building.
    """

    data: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: Mapping[str, ShapeProfile]
    layers: tuple[EngineLayer, ...]
    warnings: tuple[str, ...]
    seconds: float


class Messages:
    """TensorRT's log messages by severity; TensorRT is given `logger`."""

    def __init__(self, api: Any) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.details: list[str] = []
        self.logger = _logger(api, self)


# TensorRT keeps the first logger it is given until the process exits, and logs while its own
# statics are destroyed: a Python logger then sometimes hangs the exit. So the first one is
# TensorRT's own, which needs no interpreter, and is never freed.
_FIRST_LOGGERS: dict[str, tuple[Any, Any]] = {}


def _give_first_logger(api: Any) -> None:
    if api.__name__ in _FIRST_LOGGERS:
        return
    logger = api.Logger(api.ILogger.Severity.INTERNAL_ERROR)
    try:
        holder = api.Runtime(logger)
    except (TypeError, RuntimeError):  # No driver: no build will succeed either.
        holder = None
    for kept in (logger, holder):
        # Never freed, not even at interpreter exit.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    _FIRST_LOGGERS[api.__name__] = (logger, holder)


def _logger(api: Any, messages: Messages) -> Any:
    _give_first_logger(api)
    severe = (api.ILogger.Severity.INTERNAL_ERROR, api.ILogger.Severity.ERROR)

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in severe:
                messages.errors.append(message)
            elif severity == api.ILogger.Severity.WARNING:
                messages.warnings.append(message)
            elif severity == api.ILogger.Severity.VERBOSE:
                messages.details.append(message)

    return Logger()


def build_engine(
    model_path: Path,
    shapes: Mapping[str, ShapeRange],
    config: TensorRTConfig,
    backend: Backend,
) -> BuiltEngine:
    """Build an engine that computes in the data types of the ONNX file.

    Args:
        model_path: ONNX; its FP16, BF16 and Q/DQ nodes decide the types, config's modes do not.
        shapes: For each input with dynamic axes: one shape, or (smallest, most frequent, largest).

    Raises:
        SpecError: An option that this TensorRT lacks.
        DimensionError: Shapes that do not match the model's inputs.
        ModelError: The parser cannot read the file.
        ParserRefusal, EngineBuildError, EngineOutOfMemory: TensorRT's error, and what to do.
        GpuNotFound: This TensorRT builds only on a GPU, and finds none.
        DiskError: No space left for the timing cache.
    """
    check_options(config, backend)
    started = time.monotonic()
    api, messages, name = backend.api, Messages(backend.api), model_path.name
    try:
        builder = api.Builder(messages.logger)
    except (TypeError, RuntimeError) as error:  # No driver: pybind gets a null pointer.
        words = (messages.errors or [str(error)])[0]
        raise gpu_error(name, words, can_target=bool(backend.targets)) from error
    flags = 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    _parse(api, network, messages, model_path)
    inputs = tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs))
    _refuse_shape_inputs(network, name)
    _refuse_other_types(inputs, model_path)
    profiles = profiles_for(inputs, shapes)
    settings = _settings(builder, config, backend)
    settings.add_optimization_profile(_profile(builder, profiles))
    cache = _timing_cache(config, backend)
    if cache and (note := cache.attach(settings)):
        messages.warnings.append(note)
    messages.errors.clear()
    serialized = builder.build_serialized_network(network, settings)
    if serialized is None:
        raise build_error(name, messages.errors, can_target=bool(backend.targets))
    if cache:
        cache.save(settings)
    return BuiltEngine(
        data=bytes(serialized),
        inputs=inputs,
        outputs=tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
        profiles=profiles,
        layers=listed_layers(messages.details),
        warnings=tuple(dict.fromkeys(messages.warnings)),
        seconds=time.monotonic() - started,
    )


def check_options(config: TensorRTConfig, backend: Backend, gpus: Sequence[Gpu] = ()) -> None:
    """Reject options that a backend or GPU lacks, before any work.

    Args:
        gpus: This machine's; the first is the target if no compute capability is named.

    Raises:
        SpecError: Names the field and what the backend has instead.
    """
    targets = backend.targets
    _check_fp8(config, targets, gpus)
    for capability in config.compute_capabilities:
        if not targets:
            raise SpecError(
                f"compute_capabilities {capability}: {backend} builds for the GPU at hand only; "
                "leave it empty, or use backend='tensorrt_rtx'"
            )
        if capability not in targets:
            raise SpecError(
                f"compute_capabilities {capability}: {backend} builds for {', '.join(targets)}"
            )
    if config.timing_cache is not None:
        check_timing_cache(backend)
    if not targets:
        return
    if config.hardware_compatibility is not HardwareCompatibility.NONE:
        raise SpecError(
            f"hardware_compatibility {config.hardware_compatibility}: {backend} has "
            "compute_capabilities instead"
        )
    if config.version_compatible:
        raise SpecError(
            f"version_compatible: {backend} has no such engines; build again for each version"
        )


def _check_fp8(config: TensorRTConfig, targets: Collection[str], gpus: Sequence[Gpu]) -> None:
    if not config.fp8_mode:
        return
    known = [target for target in targets if has_fp8(target)]
    having = ", ".join(known) or f"{'.'.join(map(str, OLDEST))} and newer"
    remedy = f"FP8 is in GPUs of compute capability {having}: use int8_mode for the others"
    for capability in config.compute_capabilities:
        if not has_fp8(capability):
            raise SpecError(f"fp8_mode: compute_capabilities {capability} has no FP8; {remedy}")
    if gpus and not config.compute_capabilities and not has_fp8(gpus[0].compute_capability):
        raise SpecError(f"fp8_mode: the GPU here, {gpus[0]}, has no FP8; {remedy}")


def _parse(api: Any, network: Any, messages: Messages, path: Path) -> None:
    parser = api.OnnxParser(network, messages.logger)
    if parser.parse_from_file(str(path)):
        # The parser reads an empty file as an empty graph.
        if not network.num_outputs:
            raise ModelError(f"{path.name} is not an ONNX model: it has no output")
        return
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    raise parser_error(
        path.name,
        [
            ParserComplaint(
                code=error.code().name,
                description=error.desc(),
                node=error.node_name(),
                operator=error.node_operator(),
                index=error.node(),
            )
            for error in found
        ],
    )


def _tensor(tensor: Any) -> Tensor:
    dtype = tensor.dtype.name
    return Tensor(tensor.name, _DTYPES.get(dtype, dtype.lower()), tuple(tensor.shape))


def _refuse_shape_inputs(network: Any, name: str) -> None:
    """Reject shape tensors as inputs: their profile is one of values, not of shapes."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise EngineBuildError(
                f"{name}: the values of input {tensor.name} are sizes of other tensors; make them "
                "constants, or compute them from an input's shape"
            )


def _refuse_other_types(inputs: Sequence[Tensor], path: Path) -> None:
    """Reject inputs that TensorRT takes in another type than the file: float64 as float32."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    for tensor in inputs:
        if tensor.name not in kinds:
            continue
        own = onnx.helper.tensor_dtype_to_np_dtype(kinds[tensor.name]).name
        if own != tensor.dtype:
            raise EngineBuildError(
                f"{path.name}: input {tensor.name} is {own}, and TensorRT would take "
                f"{tensor.dtype}: give the model a {tensor.dtype} input and cast it"
            )


def _settings(builder: Any, config: TensorRTConfig, backend: Backend) -> Any:
    api = backend.api
    settings = builder.create_builder_config()
    # The builder then lists layers with their types.
    settings.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    if config.tf32:
        settings.set_flag(api.BuilderFlag.TF32)
    else:
        settings.clear_flag(api.BuilderFlag.TF32)
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level
    if config.version_compatible:
        settings.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    if config.hardware_compatibility is not HardwareCompatibility.NONE:
        level = _COMPATIBILITY[config.hardware_compatibility]
        settings.hardware_compatibility_level = api.HardwareCompatibilityLevel.__members__[level]
    if config.compute_capabilities:
        settings.num_compute_capabilities = len(config.compute_capabilities)
        for index, capability in enumerate(config.compute_capabilities):
            settings.set_compute_capability(backend.targets[capability], index)
    return settings


def _timing_cache(config: TensorRTConfig, backend: Backend) -> TimingCache | None:
    if config.timing_cache is None:
        return None
    folder = Path(config.timing_cache)
    return TimingCache(cache_path(folder, TIMING, backend, visible_gpus(), driver_version()))


def _profile(builder: Any, profiles: Mapping[str, ShapeProfile]) -> Any:
    profile = builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, shapes.minimum, shapes.optimum, shapes.maximum)
    return profile
