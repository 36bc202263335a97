"""The forms of a model that are timed on a GPU, and what cannot be there. Pure; loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mopt_api.auto.unsupported import capability
from mopt_api.enums import Precision, TargetKind
from mopt_api.targets import KINDS

from .schedule import Work

_OLDEST = KINDS[TargetKind.GPU].oldest


class Type(StrEnum):
    """What a form computes in."""

    FP32 = "FP32"
    TF32 = "FP32 with TF32"
    FP16 = "FP16"
    BF16 = "BF16"
    INT8 = "Linear in INT8"
    FP8 = "Linear in FP8"

    @property
    def of_linear(self) -> bool:
        """Whether Linear alone is in 8 bits."""
        return self in (Type.INT8, Type.FP8)


class Mode(StrEnum):
    """How PyTorch runs it."""

    EAGER = "eager"
    COMPILED = "compiled"
    """torch.compile as it is by itself."""
    GRAPHS = "compiled, CUDA graphs"
    """mode="reduce-overhead"."""
    TUNED = "compiled, max-autotune"
    """mode="max-autotune", which replays CUDA graphs too."""

    @property
    def torch_mode(self) -> str | None:
        """Return torch.compile's name of it; None where that is its default, or nothing is
        compiled."""
        return {Mode.GRAPHS: "reduce-overhead", Mode.TUNED: "max-autotune"}.get(self)


@dataclass(frozen=True)
class Form:
    """One way to run a model.

    Attributes:
        channels_last: Weights and images with the channels innermost.
    """

    type: Type
    mode: Mode = Mode.EAGER
    channels_last: bool = False

    @property
    def name(self) -> str:
        """Return what tells it from the others, for people."""
        parts = [str(self.type), str(self.mode), *["channels last"] * self.channels_last]
        return ", ".join(parts)


BASELINE = Form(Type.FP32)
"""What quality is compared with, and the first of the two that speed is."""
BASELINE_TF32 = Form(Type.TF32)
BASELINES = (BASELINE, BASELINE_TF32)


@dataclass(frozen=True)
class Facts:
    """What decides which forms there are.

    Attributes:
        compute_capability: Of the GPU, such as 9.0.
        linear: The model's Linear layers.
        convolutions: Its convolutions.
    """

    compute_capability: str
    linear: int
    convolutions: int


def forms_of(work: Work, facts: Facts) -> tuple[list[Form], list[tuple[Form, str]]]:
    """Return the forms that a part times, the cheapest first, and those it cannot, each with why.

    Args:
        work: FIGURES or TUNED.
    """
    found: list[Form] = []
    without: list[tuple[Form, str]] = []
    for form in _figures(facts) if work is Work.FIGURES else _tuned():
        why = _objection(form, facts)
        if why is None:
            found.append(form)
        else:
            without.append((form, why))
    return found, without


def _figures(facts: Facts) -> Iterator[Form]:
    halves = (Type.FP16, Type.BF16)
    yield from (Form(one) for one in (Type.FP32, Type.TF32, *halves))
    if facts.convolutions:
        yield from (Form(one, channels_last=True) for one in (Type.TF32, *halves))
    yield from (Form(one, Mode.COMPILED) for one in (Type.FP16, Type.BF16, Type.TF32))
    yield from (Form(one, Mode.COMPILED) for one in (Type.FP8, Type.INT8))
    if facts.convolutions:
        yield Form(Type.FP16, Mode.COMPILED, channels_last=True)
    yield Form(Type.FP32, Mode.COMPILED)


def _tuned() -> Iterator[Form]:
    for mode in (Mode.GRAPHS, Mode.TUNED):
        yield from (Form(one, mode) for one in (Type.FP16, Type.BF16, Type.TF32))


# GPUs have TF32 since they have BF16.
_SINCE = {Type.TF32: Precision.BF16, Type.BF16: Precision.BF16, Type.FP8: Precision.FP8}


def _objection(form: Form, facts: Facts) -> str | None:
    here = facts.compute_capability
    precision = _SINCE.get(form.type)
    oldest = None if precision is None else KINDS[TargetKind.GPU].oldest[precision]
    if oldest is not None and capability(here) < capability(oldest):
        return f"needs compute capability {oldest}; here is {here}"
    if form.type.of_linear and not facts.linear:
        return "the model has no Linear"
    return None
