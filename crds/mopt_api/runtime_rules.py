"""The rules of a variant that follow from the rows of the runtimes, in CEL and in Python.

CEL and messages name the runtimes that have a row when this is imported, as the CRD does; what
Python checks also holds for those that an extension adds later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .base import Rule
from .enums import (
    Calibrator,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
)
from .runtimes import RUNTIMES, RuntimeInfo


class Quantized(Protocol):
    """How a variant is quantized, as far as runtimes have rules on it."""

    @property
    def mode(self) -> QuantizationMode: ...

    @property
    def method(self) -> QuantizationMethod: ...

    @property
    def float_precision(self) -> FloatPrecision: ...

    @property
    def calibrator(self) -> Calibrator: ...

    @property
    def search_budget_seconds(self) -> int | None: ...


class Run(Protocol):
    """A variant: a runtime, and how it is quantized."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def quantization(self) -> Quantized | None: ...


def precision_rule() -> Rule:
    """Return the rule on which precisions each runtime computes in."""
    rest, *others = _by_precisions()
    choices = "".join(f"{_is(of)} ? {_quoted(found)} : " for found, of in others)
    supported = (f"{_listed(of, 'and')} {_listed(found, 'and')}" for found, of in (rest, *others))
    return Rule(
        f"self.precision in ({choices}{_quoted(rest[0])})",
        f"supported: {'; '.join(supported)}",
        lambda v: v.precision in RUNTIMES[v.runtime].precisions,
    )


def quantization_rule() -> Rule:
    """Return the rule on which variants take quantization."""
    cel, message = ["!has(self.quantization)"], []
    for precision in Precision:
        runtimes = _having(lambda info, one=precision: one in info.quantized)  # type: ignore[misc]
        if len(runtimes) == len(RUNTIMES):
            cel.append(f"self.precision == '{precision}'")
            message.append(f"to precision {precision}")
        elif runtimes:
            cel.append(f"(self.precision == '{precision}' && {_is(runtimes)})")
            owners = _listed([f"{name}'s" for name in runtimes], "and")
            message.append(f"to {owners} {precision}")
    return Rule(
        " || ".join(cel),
        f"quantization belongs {', and '.join(message)}",
        lambda v: v.quantization is None or v.precision in RUNTIMES[v.runtime].quantized,
    )


def mode_rule() -> Rule:
    """Return the rule on which runtimes have mode Dynamic."""
    runtimes = _having(lambda info: info.dynamic)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.mode) || "
        f"self.quantization.mode != 'Dynamic' || {_is(runtimes)}",
        f"quantization mode Dynamic needs runtime {_listed(runtimes, 'or')}",
        _of_quantization(lambda q, info: q.mode is not QuantizationMode.DYNAMIC or info.dynamic),
    )


def weight_only_rule() -> Rule:
    """Return the rule on which runtimes have mode WeightOnly."""
    runtimes = _having(lambda info: info.weight_only)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.mode) || "
        f"self.quantization.mode != 'WeightOnly' || {_is(runtimes)}",
        f"quantization mode WeightOnly needs runtime {_listed(runtimes, 'or')}",
        _of_quantization(
            lambda q, info: q.mode is not QuantizationMode.WEIGHT_ONLY or info.weight_only
        ),
    )


def method_rule() -> Rule:
    """Return the rule on which runtimes have method NNCF."""
    runtimes = _having(lambda info: QuantizationMethod.NNCF in info.methods)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.method) || "
        f"self.quantization.method != 'NNCF' || {_is(runtimes)}",
        f"quantization method NNCF needs runtime {_listed(runtimes, 'or')}",
        _of_quantization(lambda q, info: q.method in info.methods),
    )


def float_precision_rule() -> Rule:
    """Return the rule on which runtimes compute in BF16 what is not INT8."""
    runtimes = _having(lambda info: FloatPrecision.BF16 in info.float_precisions)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.floatPrecision) || "
        f"self.quantization.floatPrecision == 'FP32' || {_is(runtimes)}",
        f"quantization floatPrecision BF16 needs runtime {_listed(runtimes, 'or')}",
        _of_quantization(lambda q, info: q.float_precision in info.float_precisions),
    )


def calibrator_rule() -> Rule:
    """Return the rule on which runtimes leave the choice of ranges to a calibrator."""
    runtimes = _having(lambda info: not info.calibrators)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.calibrator) || "
        f"self.quantization.calibrator == 'MinMax' || {_is_not(runtimes)}",
        f"runtime {_listed(runtimes, 'or')} chooses ranges itself: leave calibrator out",
        _of_quantization(
            lambda q, info: q.calibrator is Calibrator.MIN_MAX or bool(info.calibrators)
        ),
    )


def budget_rule() -> Rule:
    """Return the rule on which runtimes have layers that are searched for gates."""
    runtimes = _having(lambda info: not info.calibrators)
    return Rule(
        "!has(self.quantization) || !has(self.quantization.searchBudgetSeconds) || "
        f"{_is_not(runtimes)}",
        f"runtime {_listed(runtimes, 'or')} keeps no layers in FP32 for gates: leave "
        "searchBudgetSeconds out",
        _of_quantization(lambda q, info: q.search_budget_seconds is None or bool(info.calibrators)),
    )


def torch_mode_rule() -> Rule:
    """Return the rule on which runtimes take torchMode."""
    runtimes = _having(lambda info: info.torch_modes)
    return Rule(
        f"!has(self.torchMode) || {_is(runtimes)}",
        f"torchMode belongs to runtime {_listed(runtimes, 'or')}",
        lambda v: v.torch_mode is None or bool(RUNTIMES[v.runtime].torch_modes),
    )


def provider_rule() -> Rule:
    """Return the rule on which runtimes take executionProvider."""
    runtimes = _having(lambda info: info.providers)
    return Rule(
        f"!has(self.executionProvider) || {_is(runtimes)}",
        f"executionProvider belongs to runtime {_listed(runtimes, 'or')}",
        lambda v: v.execution_provider is None or bool(RUNTIMES[v.runtime].providers),
    )


def _of_quantization(
    check: Callable[[Quantized, RuntimeInfo], bool],
) -> Callable[[Run], bool]:
    def checked(variant: Run) -> bool:
        if variant.quantization is None:
            return True
        return check(variant.quantization, RUNTIMES[variant.runtime])

    return checked


def _having(which: Callable[[RuntimeInfo], object]) -> list[str]:
    """Return the runtimes whose row is such, in alphabetical order."""
    return sorted(runtime.value for runtime, info in RUNTIMES.items() if which(info))


def _by_precisions() -> list[tuple[tuple[Precision, ...], list[str]]]:
    """Return the sets of precisions, the largest first, each with its runtimes."""
    found: dict[tuple[Precision, ...], list[str]] = {}
    for runtime in _having(lambda info: info.precisions):
        found.setdefault(RUNTIMES[Runtime(runtime)].precisions, []).append(runtime)
    return sorted(found.items(), key=lambda group: -len(group[0]))


def _listed(values: Sequence[str], last: str) -> str:
    """Return values as a sentence lists them: A, B and C, where `last` is "and"."""
    *first, final = values
    return f"{', '.join(first)} {last} {final}" if first else final


def _quoted(values: Iterable[str]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _is(runtimes: Sequence[str]) -> str:
    if len(runtimes) == 1:
        return f"self.runtime == '{runtimes[0]}'"
    return f"self.runtime in {_quoted(runtimes)}"


def _is_not(runtimes: Sequence[str]) -> str:
    if len(runtimes) == 1:
        return f"self.runtime != '{runtimes[0]}'"
    return f"!(self.runtime in {_quoted(runtimes)})"
