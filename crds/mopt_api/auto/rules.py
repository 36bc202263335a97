"""Why Auto rules out a variant, and what a contender may be missing. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mopt_api.enums import ModelFormat
from mopt_api.figures import VariantReason
from mopt_api.variants import Variant

from .facts import SearchAim, SearchFacts
from .unsupported import NO_BF16, NO_COMPILER, Unsupported, unsupported_on_gpu

NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
"""CPU features with which OpenVINO really computes in bf16."""

# What ONNX Runtime computes in 8 bits with ranges found at run time, and what with fixed ones.
_MATRIX = ("MatMul", "Gemm")
_CONVOLUTION = ("Conv", "ConvTranspose")
_TABLE = "Gather"

Rule = Callable[[SearchFacts], str | None]
"""Why a variant is ruled out; None where no known fact rules it out."""
Need = Callable[[SearchFacts], Unsupported | None]
"""What a contender is missing."""


@dataclass(frozen=True)
class Entry:
    """A variant, why it may win, and what rules it out: the first rule that does counts."""

    variant: Variant
    why: str
    rules: tuple[Rule, ...] = ()
    needs: tuple[Need, ...] = ()


def left_out(reason: str) -> Rule:
    """Return a rule that always rules a variant out."""

    def rule(_facts: SearchFacts) -> str:
        return reason

    return rule


def _nodes(facts: SearchFacts, kinds: tuple[str, ...]) -> int:
    return sum((facts.operators or {}).get(kind, 0) for kind in kinds)


def has_weighted_layers(facts: SearchFacts) -> str | None:
    """Rule out static INT8 and FP8 where no layer has weights."""
    if facts.operators is None or _nodes(facts, _MATRIX + _CONVOLUTION):
        return None
    return "the model has no Conv, ConvTranspose, MatMul or Gemm to compute in INT8"


def is_mostly_matrices(facts: SearchFacts) -> str | None:
    """Rule out dynamic INT8 where convolutions prevail."""
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


def is_for_size(facts: SearchFacts) -> str | None:
    """Rule out what only saves bytes, unless size is the objective."""
    if facts.aim is SearchAim.SIZE:
        return None
    return "CPUs compute FP16 in FP32, with casts; it is tried where the objective is SizeBytes"


def has_own_bytes(facts: SearchFacts) -> str | None:
    """Rule out what only computes another variant's file otherwise, where its size counts."""
    if facts.aim is not SearchAim.SIZE:
        return None
    return "the file is that of the same runtime without BF16: no byte is saved"


def is_for_bytes(facts: SearchFacts) -> str | None:
    """Rule out what saves bytes and no time, unless size or memory is the objective."""
    if facts.aim is not SearchAim.SPEED:
        return None
    return (
        "integer weights alone save bytes, and arithmetic stays FP32; it is tried where the "
        "objective is SizeBytes or PeakMemory"
    )


def restores_weights(facts: SearchFacts) -> str | None:
    """Rule out 8-bit weights that a runtime turns into FP32 ones, where memory counts."""
    if facts.aim is not SearchAim.MEMORY:
        return None
    return (
        "ONNX Runtime restores 8-bit weights of Gemm in FP32 on each call, and OpenVINO does not "
        "with the same file, which is tried; it is tried too where the objective is SizeBytes"
    )


def has_large_weights(facts: SearchFacts) -> str | None:
    """Rule out integer weights where no layer has any."""
    if facts.operators is None or _nodes(facts, (*_MATRIX, "Conv", _TABLE)):
        return None
    return "the model has no Conv, MatMul, Gemm or Gather whose weights would shrink"


def has_large_matrices(facts: SearchFacts) -> str | None:
    """Rule out weights of matrices in few bits where convolutions prevail."""
    if facts.operators is None:
        return None
    matrices, convolutions = _nodes(facts, _MATRIX), _nodes(facts, _CONVOLUTION)
    if matrices and matrices >= convolutions:
        return None
    return (
        f"{matrices} MatMul and Gemm beside {convolutions} convolutions, whose weights runtimes "
        "restore in FP32"
    )


def has_large_matrices_for_memory(facts: SearchFacts) -> str | None:
    """As has_large_matrices, where memory counts: of a file's bytes any weight is some."""
    return has_large_matrices(facts) if facts.aim is SearchAim.MEMORY else None


def is_exported_program(facts: SearchFacts) -> str | None:
    """Rule out PyTorch's forms for other source formats."""
    if facts.model_format is ModelFormat.EXPORTED_PROGRAM:
        return None
    return f"PyTorch's forms are made from an ExportedProgram; the model is {facts.model_format}"


def is_for_speed(facts: SearchFacts) -> str | None:
    """Rule out compiling where speed is not the objective."""
    if facts.aim is SearchAim.SPEED:
        return None
    return "compiling saves time, neither bytes nor memory"


def has_no_reduced_rival(facts: SearchFacts) -> str | None:
    """Rule out compiled FP32 where OpenVINO has a lower precision."""
    if facts.calibrated:
        return "with calibration data OpenVINO's INT8 is faster than what PyTorch compiles"
    if facts.cpu_features is not None and NATIVE_BF16 & set(facts.cpu_features):
        return "on this CPU OpenVINO's BF16 is faster than what PyTorch compiles"
    return None


def is_mostly_linear(facts: SearchFacts) -> str | None:
    """Rule out what only makes Linear faster, where convolutions prevail."""
    if facts.operators is None:
        return None
    matrices, convolutions = _nodes(facts, _MATRIX), _nodes(facts, _CONVOLUTION)
    if not matrices:
        return "the model has no MatMul or Gemm, and PyTorch's 8 bits are for Linear only"
    if matrices < convolutions:
        return (
            f"{matrices} MatMul and Gemm beside {convolutions} convolutions, which PyTorch's 8 "
            "bits do not convert"
        )
    return None


def calibration(facts: SearchFacts) -> Unsupported | None:
    """Require calibration data."""
    if facts.calibrated:
        return None
    return Unsupported(
        VariantReason.NO_CALIBRATION_DATA, "static INT8 and FP8 need data.calibration"
    )


def native_bf16(facts: SearchFacts) -> Unsupported | None:
    """Require a CPU with BF16."""
    if facts.cpu_features is None or NATIVE_BF16 & set(facts.cpu_features):
        return None
    return NO_BF16


def compiler(facts: SearchFacts) -> Unsupported | None:
    """Require a compiler for PyTorch."""
    if facts.compiler is not False:
        return None
    return NO_COMPILER


def room(name: str) -> Need:
    """Return the requirement that memory holds a variant's weights, as every runtime needs."""

    def need(facts: SearchFacts) -> Unsupported | None:
        size = (facts.file_bytes or {}).get(name)
        if size is None or facts.memory_bytes is None or size <= facts.memory_bytes:
            return None
        return Unsupported(
            VariantReason.OUT_OF_MEMORY,
            f"its file alone, {size} bytes, exceeds the memory, {facts.memory_bytes} bytes",
        )

    return need


def not_outrun(name: str) -> Rule:
    """Return the rule that rules a variant out which lost with other weights of the same graph."""

    def rule(facts: SearchFacts) -> str | None:
        return (facts.outrun or {}).get(facts.kind, {}).get(name)

    return rule


def on_gpu(variant: Variant) -> Need:
    """Return the requirement of a GPU that computes in a variant's precision."""

    def need(facts: SearchFacts) -> Unsupported | None:
        if not facts.compute_capabilities:
            return None
        return unsupported_on_gpu(variant, facts.compute_capabilities, facts.kind)

    return need
