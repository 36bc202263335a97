"""The runtimes: one row each. The CRD's rules, names, versions and keys are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .artifacts import ArtifactFormat
from .enums import (
    Calibrator,
    ExecutionProvider,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    Runtime,
    TargetKind,
    TorchMode,
)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables from which numerical libraries take the size of their thread pools; without
them that is the number of the node's CPUs, whatever the container's limit."""


@dataclass(frozen=True)
class RuntimeInfo:
    """One runtime.

    Attributes:
        title: Its display name.
        libraries: The modules that execute a variant, each with the distributions that may provide
            it. The first module says whether the runtime is installed.
        preparing: Distributions that its files are made with; their versions are part of cache
            keys.
        precisions: Precisions it computes in, on at least one kind of target.
        kinds: Kinds of targets that run it, or build for it.
        lacking: Precisions that it does not compute in on a kind of target.
        quantized: Precisions that take spec.quantization.
        dynamic: Whether it has quantization mode Dynamic.
        weight_only: Whether it has quantization mode WeightOnly.
        methods: Methods of static quantization.
        float_precisions: Precisions of what is not INT8 in an INT8 variant.
        calibrators: Ways to choose a range; none where it chooses ranges itself.
        torch_modes: How PyTorch runs a variant; none elsewhere.
        compiled: Precisions that are compiled unless the variant says otherwise.
        providers: Its execution providers; none where there is no such choice.
        built: Format that is built from the file when it is opened, and served instead; None where
            the file itself is served.
        oldest_gpu: Compute capability of the oldest NVIDIA GPUs that it computes on, such as 8.9;
            None where there is no known limit.
    """

    title: str
    libraries: Mapping[str, tuple[str, ...]]
    precisions: tuple[Precision, ...]
    kinds: tuple[TargetKind, ...]
    preparing: tuple[str, ...] = ()
    lacking: Mapping[TargetKind, tuple[Precision, ...]] = field(default_factory=dict)
    quantized: tuple[Precision, ...] = (Precision.INT8,)
    dynamic: bool = False
    weight_only: bool = False
    methods: tuple[QuantizationMethod, ...] = (QuantizationMethod.QDQ,)
    float_precisions: tuple[FloatPrecision, ...] = (FloatPrecision.FP32,)
    calibrators: tuple[Calibrator, ...] = tuple(Calibrator)
    torch_modes: tuple[TorchMode, ...] = ()
    compiled: tuple[Precision, ...] = ()
    providers: tuple[ExecutionProvider, ...] = ()
    built: ArtifactFormat | None = None
    oldest_gpu: str | None = None

    @property
    def module(self) -> str:
        """The module whose presence says that the runtime is installed."""
        return next(iter(self.libraries))

    @property
    def baseline_title(self) -> str:
        """Name of the baseline in messages, where the runtime runs the source model."""
        return f"{self.title} FP32{' eager' if TorchMode.EAGER in self.torch_modes else ''}"

    def computes(self, precision: Precision, kind: TargetKind) -> bool:
        """Return whether it computes in a precision on a kind of target."""
        lacking = self.lacking.get(kind, ())
        return kind in self.kinds and precision in self.precisions and precision not in lacking


RUNTIMES: dict[Runtime, RuntimeInfo] = {
    Runtime.PYTORCH: RuntimeInfo(
        title="PyTorch",
        libraries={"torch": ("torch",)},
        preparing=("torch", "torchao"),
        precisions=tuple(Precision),
        kinds=(TargetKind.CPU, TargetKind.GPU),
        # Eager FP16 is some 30 times slower on CPUs, and Inductor has no FP8 kernels for them.
        lacking={TargetKind.CPU: (Precision.FP16, Precision.FP8)},
        dynamic=True,
        calibrators=(),
        torch_modes=tuple(TorchMode),
        compiled=(Precision.INT8, Precision.FP8),
    ),
    Runtime.ONNX_RUNTIME: RuntimeInfo(
        title="ONNX Runtime",
        libraries={"onnxruntime": ("onnxruntime", "onnxruntime-gpu")},
        preparing=("onnx", "onnxruntime", "onnxscript", "onnx-ir"),
        precisions=(Precision.FP32, Precision.FP16, Precision.INT8),
        kinds=(TargetKind.CPU, TargetKind.GPU),
        dynamic=True,
        weight_only=True,
        providers=tuple(ExecutionProvider),
    ),
    Runtime.OPENVINO: RuntimeInfo(
        title="OpenVINO",
        libraries={"openvino": ("openvino",)},
        preparing=("openvino", "nncf"),
        # No FP16: it takes the hint on any CPU, and computes in FP32 where there is no FP16
        # arithmetic, which is on nearly all.
        precisions=(Precision.FP32, Precision.BF16, Precision.INT8),
        kinds=(TargetKind.CPU,),
        weight_only=True,
        methods=(QuantizationMethod.QDQ, QuantizationMethod.NNCF),
        float_precisions=tuple(FloatPrecision),
    ),
    Runtime.TENSORRT: RuntimeInfo(
        title="TensorRT",
        libraries={
            "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
            "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
        },
        precisions=tuple(Precision),
        kinds=(TargetKind.GPU, TargetKind.BUILD_ONLY),
        quantized=(Precision.INT8, Precision.FP8),
        built=ArtifactFormat.TENSORRT_ENGINE,
        oldest_gpu="7.5",
    ),
}


def runtime_title(runtime: str) -> str:
    """Return a runtime's name for people; the value itself where no row has it, as in results of a
    newer version."""
    return next((info.title for one, info in RUNTIMES.items() if one == runtime), runtime)


def baseline_title(runtime: str) -> str:
    """Return what a speedup is told over, where a runtime runs the source model."""
    titles = {one.value: info.baseline_title for one, info in RUNTIMES.items()}
    return titles.get(runtime, runtime)


def runtimes_on(kind: TargetKind) -> dict[Runtime, RuntimeInfo]:
    """Return the runtimes that a kind of target runs or builds for."""
    return {runtime: info for runtime, info in RUNTIMES.items() if kind in info.kinds}


def runtime_distributions() -> dict[str, tuple[str, ...]]:
    """Return the modules that execute variants, each with the distributions that may provide it."""
    return {module: found for info in RUNTIMES.values() for module, found in info.libraries.items()}


def preparing_distributions() -> tuple[str, ...]:
    """Return the distributions that make the files of variants."""
    return tuple(name for info in RUNTIMES.values() for name in info.preparing)
