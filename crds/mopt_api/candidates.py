"""What Auto tries where spec.variants is omitted, and why. Pure.

The same function answers at every stage, from what is known there: format, data and objective when
the plan is made, the operators once the model is exported, the hardware where it is measured. What
is not known yet decides nothing, and what is known later only ever takes candidates away, so every
variant that is measured was prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .base import ApiModel
from .enums import (
    Calibrator,
    ModelFormat,
    ObjectiveMetric,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
    TargetKind,
    TorchMode,
)
from .result import VariantReason
from .variants import Quantization, Variant

NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
"""CPU features with which OpenVINO really computes in bf16."""

# What ONNX Runtime computes in 8 bits with ranges found at run time, and what with fixed ones.
_MATRIX = ("MatMul", "Gemm")
_CONVOLUTION = ("Conv", "ConvTranspose")


class SearchAim(StrEnum):
    """What a search looks for."""

    SPEED = "Speed"
    SIZE = "Size"
    MEMORY = "Memory"

    @classmethod
    def of(cls, metric: ObjectiveMetric) -> SearchAim:
        """Return the aim of an objective's metric."""
        others = {ObjectiveMetric.SIZE_BYTES: cls.SIZE, ObjectiveMetric.PEAK_MEMORY: cls.MEMORY}
        return others.get(metric, cls.SPEED)


class SearchFacts(ApiModel):
    """What a search knows; None is not known yet.

    Attributes:
        calibrated: Whether there is calibration data.
        kind: Of the target.
        operators: ONNX operator types of the exported FP32 model, each with its number of nodes.
        cpu_features: As Hardware has them.
        compiler: Whether there is a C++ compiler where it is measured.
        memory_bytes: Of the container or machine that measures.
        file_bytes: Size of each variant's file, by the variant's name.
    """

    model_format: ModelFormat
    calibrated: bool
    kind: TargetKind = TargetKind.CPU
    aim: SearchAim = SearchAim.SPEED
    operators: dict[str, int] | None = None
    cpu_features: list[str] | None = None
    compiler: bool | None = None
    memory_bytes: int | None = None
    file_bytes: dict[str, int] | None = None


@dataclass(frozen=True)
class Candidate:
    """A variant that Auto knows of.

    Attributes:
        taken: Whether it is tried.
        reason: Why, or why not, in a sentence.
        lacks: Set where it would be a contender, but for something that can be supplied. It is
            then part of the result, as Skipped for this reason; a candidate that is no contender
            is not.
    """

    variant: Variant
    taken: bool
    reason: str
    lacks: VariantReason | None = None

    @property
    def shown(self) -> bool:
        """Whether it is a row of the result."""
        return self.taken or self.lacks is not None


@dataclass(frozen=True)
class _Lack:
    reason: VariantReason
    message: str


# Why a variant is no contender; None where nothing known says so.
_Rule = Callable[[SearchFacts], str | None]
# What a contender lacks.
_Need = Callable[[SearchFacts], _Lack | None]


@dataclass(frozen=True)
class _Entry:
    """A variant, why it may win, and what speaks against it: the first rule that does counts."""

    variant: Variant
    why: str
    rules: tuple[_Rule, ...] = ()
    needs: tuple[_Need, ...] = ()


def _nodes(facts: SearchFacts, kinds: tuple[str, ...]) -> int:
    return sum((facts.operators or {}).get(kind, 0) for kind in kinds)


def _has_weighted_layers(facts: SearchFacts) -> str | None:
    if facts.operators is None or _nodes(facts, _MATRIX + _CONVOLUTION):
        return None
    return "the model has no Conv, ConvTranspose, MatMul or Gemm to compute in INT8"


def _is_mostly_matrices(facts: SearchFacts) -> str | None:
    if facts.operators is None:
        return None
    matrices, convolutions = _nodes(facts, _MATRIX), _nodes(facts, _CONVOLUTION)
    if facts.aim is SearchAim.SIZE:
        if matrices or facts.operators.get("Conv", 0):
            return None
        return "the model has no MatMul, Gemm or Conv whose weights dynamic INT8 would shrink"
    if not matrices:
        return "the model has no MatMul or Gemm; dynamic INT8 makes Conv slower"
    if matrices < convolutions:
        return (
            f"{matrices} MatMul and Gemm beside {convolutions} convolutions, which dynamic INT8 "
            "leaves in FP32"
        )
    return None


def _is_for_size(facts: SearchFacts) -> str | None:
    if facts.aim is SearchAim.SIZE:
        return None
    return "CPUs compute FP16 in FP32, with casts; it is tried where the objective is SizeBytes"


def _is_exported_program(facts: SearchFacts) -> str | None:
    if facts.model_format is ModelFormat.EXPORTED_PROGRAM:
        return None
    return f"PyTorch's forms are made from an ExportedProgram; the model is {facts.model_format}"


def _is_for_speed(facts: SearchFacts) -> str | None:
    if facts.aim is SearchAim.SPEED:
        return None
    return "compiling saves time, neither bytes nor memory"


def _has_no_reduced_rival(facts: SearchFacts) -> str | None:
    if facts.calibrated:
        return "with calibration data OpenVINO's INT8 is faster than what PyTorch compiles"
    if facts.cpu_features is not None and NATIVE_BF16 & set(facts.cpu_features):
        return "on this CPU OpenVINO's BF16 is faster than what PyTorch compiles"
    return None


def _behind_openvino(_facts: SearchFacts) -> str | None:
    return (
        "OpenVINO computes this precision faster, without compiling; name it in spec.variants "
        "where PyTorch is to serve"
    )


def _calibration(facts: SearchFacts) -> _Lack | None:
    if facts.calibrated:
        return None
    return _Lack(VariantReason.NO_CALIBRATION_DATA, "static INT8 needs data.calibration")


def _native_bf16(facts: SearchFacts) -> _Lack | None:
    if facts.cpu_features is None or NATIVE_BF16 & set(facts.cpu_features):
        return None
    return _Lack(
        VariantReason.NO_NATIVE_BF16,
        "the CPU has neither avx512_bf16 nor amx_bf16; FP32 would run under that name",
    )


def _compiler(facts: SearchFacts) -> _Lack | None:
    if facts.compiler is not False:
        return None
    return _Lack(
        VariantReason.NO_COMPILER,
        "PyTorch compiles with a C++ compiler: neither g++ nor what CXX names is here",
    )


def _room(name: str) -> _Need:
    """Return the need of memory for a variant's weights, which every runtime holds at least."""

    def need(facts: SearchFacts) -> _Lack | None:
        size = (facts.file_bytes or {}).get(name)
        if size is None or facts.memory_bytes is None or size <= facts.memory_bytes:
            return None
        return _Lack(
            VariantReason.OUT_OF_MEMORY,
            f"its file alone, {size} bytes, exceeds the memory, {facts.memory_bytes} bytes",
        )

    return need


_STATIC_RULES, _STATIC_NEEDS = (_has_weighted_layers,), (_calibration,)


def _onnxruntime(name: str, why: str, quantization: Quantization) -> _Entry:
    static = quantization.mode is QuantizationMode.STATIC
    variant = Variant(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        quantization=quantization,
    )
    if static:
        return _Entry(variant, why, _STATIC_RULES, _STATIC_NEEDS)
    return _Entry(variant, why, (_is_mostly_matrices,))


def _openvino_int8(name: str, why: str, quantization: Quantization) -> _Entry:
    variant = Variant(
        name=name, runtime=Runtime.OPENVINO, precision=Precision.INT8, quantization=quantization
    )
    return _Entry(variant, why, _STATIC_RULES, _STATIC_NEEDS)


# Of equals the first wins.
_POOL = (
    _Entry(
        Variant(name="onnxruntime-fp32", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
        "FP32 without loss, its graph optimized",
    ),
    _onnxruntime("onnxruntime-int8", "INT8 with the whole range seen", Quantization()),
    _onnxruntime(
        "onnxruntime-int8-percentile",
        "INT8 without outliers: finer steps where a few values are far out",
        Quantization(calibrator=Calibrator.PERCENTILE),
    ),
    _onnxruntime(
        "onnxruntime-int8-dynamic",
        "INT8 with ranges found at run time, which suits MatMul and Gemm and needs no data",
        Quantization(mode=QuantizationMode.DYNAMIC),
    ),
    _Entry(
        Variant(name="onnxruntime-fp16", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP16),
        "half the bytes, close to FP32",
        (_is_for_size,),
    ),
    _Entry(
        Variant(name="openvino-fp32", runtime=Runtime.OPENVINO, precision=Precision.FP32),
        "FP32 without loss, OpenVINO's kernels",
    ),
    _Entry(
        Variant(name="openvino-bf16", runtime=Runtime.OPENVINO, precision=Precision.BF16),
        "half the bits in arithmetic, FP32's range, no data needed",
        needs=(_native_bf16,),
    ),
    _openvino_int8("openvino-int8", "ONNX Runtime's INT8 file, OpenVINO's kernels", Quantization()),
    _openvino_int8(
        "openvino-int8-nncf",
        "INT8 by OpenVINO's own quantizer",
        Quantization(method=QuantizationMethod.NNCF),
    ),
    _Entry(
        Variant(
            name="pytorch-compiled",
            runtime=Runtime.PYTORCH,
            precision=Precision.FP32,
            torch_mode=TorchMode.COMPILED,
        ),
        "neither INT8 nor BF16 can be had here, and among FP32 runtimes it is sometimes fastest",
        (_is_exported_program, _is_for_speed, _has_no_reduced_rival),
        (_compiler,),
    ),
    _Entry(
        Variant(name="pytorch-bf16", runtime=Runtime.PYTORCH, precision=Precision.BF16),
        "",
        (_is_exported_program, _behind_openvino),
    ),
    _Entry(
        Variant(name="pytorch-int8", runtime=Runtime.PYTORCH, precision=Precision.INT8),
        "",
        (_is_exported_program, _behind_openvino),
    ),
)


def _candidate(entry: _Entry, facts: SearchFacts) -> Candidate:
    # Rules before needs: what lacks something stays ruled out once it is no contender.
    for rule in entry.rules:
        if (objection := rule(facts)) is not None:
            return Candidate(entry.variant, taken=False, reason=objection)
    for need in (*entry.needs, _room(entry.variant.name)):
        if (lack := need(facts)) is not None:
            return Candidate(entry.variant, taken=False, reason=lack.message, lacks=lack.reason)
    return Candidate(entry.variant, taken=True, reason=entry.why)


def search(facts: SearchFacts) -> list[Candidate]:
    """Return every variant that Auto knows of, in the order of the result, each with its verdict.

    At most 12 are shown, as many as spec.variants may hold.
    """
    return [_candidate(entry, facts) for entry in _POOL]


def contenders(facts: SearchFacts) -> list[Variant]:
    """Return the variants of an Auto plan: what is taken, and what only lacks something."""
    return [candidate.variant for candidate in search(facts) if candidate.shown]
