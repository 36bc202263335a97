"""TensorRTOptimizer: from an ONNX file to an engine and its manifest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from mopt_optimizer.digests import bytes_digest, file_digest
from mopt_optimizer.errors import GpuNotFound, ModelError, SpecError
from mopt_optimizer.machine.nvidia_clocks import nvidia_driver
from mopt_optimizer.machine.nvidia_gpus import driver_version, visible_gpus
from mopt_optimizer.onnx_quantization import FloatReport, StaticReport
from mopt_optimizer.onnx_quantization.observing import Sample
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.runtimes.shapes import ShapeRange

from .backends import Backend, find_backend
from .building import BuiltEngine, build_engine, check_options
from .config import TensorRTConfig
from .fp8 import Fp8Report, fp8_report
from .layers import EngineLayer, datatype_counts
from .loading import LoadedEngine, load_engine
from .manifest import EngineManifest, TensorEntry, write_engine
from .memory import DeviceMemory
from .running import EngineRunner
from .timing import EngineTiming, benchmark_engine
from .typed_models import keep_typed, typed_model


@dataclass(frozen=True)
class EngineReport:
    """What was built.

    Attributes:
        path: The engine; its manifest is PATH.json.
        manifest: Content of PATH.json.
        layers: As the builder listed them, with the types they compute in.
        int8: How it was quantized; None if it was not, or from a calibration cache.
        half: What became FP16 or BF16, and what stayed FP32 and why; None if nothing was converted.
        fp8: Which layers compute in FP8, and why others do not; None in other precisions.
        warnings: The builder's.
        seconds: From the ONNX file to the engine, calibration included.
    """

    path: Path
    manifest: EngineManifest
    layers: tuple[EngineLayer, ...]
    int8: StaticReport | None
    half: FloatReport | None
    fp8: Fp8Report | None
    warnings: tuple[str, ...]
    seconds: float


class TensorRTOptimizer:
    """Builds, loads and measures TensorRT engines.

    Args:
        config: None builds FP32.
    """

    def __init__(self, config: TensorRTConfig | None = None) -> None:
        self.config = config or TensorRTConfig()

    def backend(self) -> Backend:
        """Return the TensorRT in use.

        Raises:
            TensorRTNotInstalled: There is none.
        """
        return find_backend(self.config.backend)

    def optimize_from_onnx(
        self,
        onnx_path: Path | str,
        engine_path: Path | str,
        input_shapes: Mapping[str, ShapeRange],
        calibration_data: Iterable[Sample] | None = None,
        *,
        calibration_cache: Path | str | None = None,
        typed_onnx: Path | str | None = None,
    ) -> EngineReport:
        """Build an engine and write it with its manifest.

        Args:
            onnx_path: FP32; for int8_mode and fp8_mode also one with Q/DQ nodes, which is used
                unchanged.
            engine_path: Output file, written atomically.
            input_shapes: For each input with dynamic axes: one shape, or (smallest, most frequent,
                largest).
            calibration_data: Dicts of input name to array. INT8 and FP8 take their ranges from
                them; FP16 and BF16 leave in FP32 what overflows on them.
            calibration_cache: Written by an older TensorRT, instead of calibration_data.
            typed_onnx: Where to keep the ONNX file that the engine is built from. ONNX Runtime
                computes the same with it, so quality can be checked without a GPU.

        Raises:
            TensorRTNotInstalled: No TensorRT.
            SpecError: An option that this TensorRT or GPU lacks, or the engine's folder is missing.
            DimensionError: Shapes that do not match the model.
            ModelError, CalibrationError, QuantizationError, ExportError: As quantize_onnx_static
                and convert_float.
            ParserRefusal, EngineBuildError, EngineOutOfMemory: TensorRT's error.
            GpuNotFound: This TensorRT builds only on a GPU, and finds none.
            DiskError: No space left.
        """
        source = Path(onnx_path)
        cache = Path(calibration_cache) if calibration_cache is not None else None
        started = time.monotonic()
        self._check(source, Path(engine_path))
        with TemporaryDirectory(prefix="mopt-tensorrt-") as folder:
            typed = typed_model(source, Path(folder), self.config, calibration_data, cache)
            built = self._build(typed.path, Path(engine_path), input_shapes, file_digest(source))
            if typed_onnx is not None:
                keep_typed(typed.path, Path(typed_onnx))
        seconds = time.monotonic() - started
        if built.fp8 is not None:
            fp8 = replace(built.fp8, quantized=typed.eight_bits)
            return replace(built, fp8=fp8, half=typed.half, seconds=seconds)
        return replace(built, int8=typed.eight_bits, half=typed.half, seconds=seconds)

    def build_typed(
        self,
        typed_path: Path | str,
        engine_path: Path | str,
        input_shapes: Mapping[str, ShapeRange],
        *,
        source_digest: str | None = None,
    ) -> EngineReport:
        """Build an engine from an already typed file, as written by write_typed_model.

        Args:
            source_digest: Digest of the source model, for the manifest; None is the file's own.

        Raises:
            As optimize_from_onnx, but nothing is converted or calibrated.
        """
        typed = Path(typed_path)
        self._check(typed, Path(engine_path))
        open_onnx(typed)
        digest = source_digest or file_digest(typed)
        return self._build(typed, Path(engine_path), input_shapes, digest)

    def _check(self, model: Path, engine: Path) -> None:
        """Reject early what would fail after minutes of work."""
        check_options(self.config, self.backend(), visible_gpus())
        if not model.is_file():
            raise ModelError(f"{model} is no file; give the path of an ONNX model")
        if not engine.parent.is_dir():
            raise SpecError(f"engine_path {engine}: its folder does not exist; make it first")

    def _build(
        self, typed: Path, target: Path, shapes: Mapping[str, ShapeRange], source_digest: str
    ) -> EngineReport:
        backend = self.backend()
        built = build_engine(typed, shapes, self.config, backend)
        manifest = self._manifest(built, backend, source_digest)
        reached = fp8_report(open_onnx(typed), built.layers) if self.config.fp8_mode else None
        write_engine(target, built.data, manifest)
        return EngineReport(
            path=target,
            manifest=manifest,
            layers=built.layers,
            int8=None,
            half=None,
            fp8=reached,
            warnings=built.warnings,
            seconds=built.seconds,
        )

    def load_engine(self, path: Path | str) -> LoadedEngine:
        """Check an engine and load it onto the GPU; see loading.load_engine."""
        chosen = self.backend() if self.config.backend is not None else None
        return load_engine(path, chosen)

    def open(self, path: Path | str, memory: DeviceMemory[Any] | None = None) -> EngineRunner:
        """Load an engine and return its runner; raises as load_engine and EngineRunner."""
        return EngineRunner(self.load_engine(path), memory)

    def benchmark(
        self, path: Path | str, feeds: Mapping[str, NDArray[Any]], **options: Any
    ) -> EngineTiming:
        """Time an engine as trtexec does; options as timing.benchmark_engine."""
        return benchmark_engine(self.open(path), feeds, **options)

    def _manifest(self, built: BuiltEngine, backend: Backend, source_digest: str) -> EngineManifest:
        config, gpus = self.config, visible_gpus()
        capabilities = list(config.compute_capabilities)
        if not backend.targets:
            if not gpus:
                raise GpuNotFound(f"{backend} built an engine, and the driver shows no GPU")
            capabilities = [gpus[0].compute_capability]
        return EngineManifest(
            digest=bytes_digest(built.data),
            size_bytes=len(built.data),
            backend=backend.name,
            tensorrt_version=backend.version,
            version_compatible=config.version_compatible,
            hardware_compatibility=config.hardware_compatibility,
            compute_capabilities=capabilities,
            gpu=gpus[0].name if gpus and not backend.targets else None,
            cuda=driver_version(),
            driver=nvidia_driver(),
            precision=config.precision,
            tf32=config.tf32,
            inputs=[TensorEntry.of(t, built.profiles[t.name]) for t in built.inputs],
            outputs=[TensorEntry.of(tensor) for tensor in built.outputs],
            layer_datatypes=datatype_counts(built.layers),
            source_digest=source_digest,
        )


def optimize_tensorrt(
    onnx_path: Path | str,
    engine_path: Path | str,
    input_shapes: Mapping[str, ShapeRange],
    precision: str = "fp16",
    calibration_data: Iterable[Sample] | None = None,
    **options: Any,
) -> EngineReport:
    """Build an engine in one call; see TensorRTOptimizer.optimize_from_onnx.

    Args:
        precision: fp32, fp16, bf16, int8, int8+fp16, fp8 or fp8+fp16.
        options: TensorRTConfig's other fields.

    Raises:
        SpecError: Unknown precision or field.
        And as optimize_from_onnx.
    """
    config = TensorRTConfig.of(precision, **options)
    return TensorRTOptimizer(config).optimize_from_onnx(
        onnx_path, engine_path, input_shapes, calibration_data
    )
