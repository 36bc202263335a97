"""Which variants Auto tries where spec.variants is omitted, and why. Pure.

The same function is used at every stage, with the facts known there: format, data and objective
when the plan is made, the operators once the model is exported, the hardware where it is measured.
Unknown facts rule nothing out, and later facts only remove candidates, so every variant that is
measured was prepared. Each kind of target has its own variants; those of one name are the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pkgutil import resolve_name

from mopt_api.enums import Precision, QuantizationMode, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.targets import KINDS
from mopt_api.variants import Quantization, Variant

from .facts import SearchAim, SearchFacts
from .int8 import CpuClass, cpu_class
from .rules import NATIVE_BF16, Entry, not_outrun, room

# What its features tell apart from ARM.
_X86 = "x86_64"

__all__ = [
    "NATIVE_BF16",
    "Candidate",
    "SearchAim",
    "SearchFacts",
    "contenders",
    "contenders_on",
    "pool",
    "search",
]


@dataclass(frozen=True)
class Candidate:
    """A variant that Auto knows.

    Attributes:
        taken: Whether it is tried.
        reason: Why it is tried, or why not.
        lacks: Set for a contender that is only missing something that can be supplied. It is
            then part of the result, Skipped for this reason; a candidate that is ruled out is
            not.
    """

    variant: Variant
    taken: bool
    reason: str
    lacks: VariantReason | None = None

    @property
    def shown(self) -> bool:
        """Whether it is a row of the result."""
        return self.taken or self.lacks is not None


def _candidate(entry: Entry, facts: SearchFacts) -> Candidate:
    # Rules before needs: a variant that is ruled out stays so, whatever it is missing.
    for rule in (*entry.rules, not_outrun(entry.variant.name)):
        if (objection := rule(facts)) is not None:
            return Candidate(entry.variant, taken=False, reason=objection)
    for need in (*entry.needs, room(entry.variant.name)):
        if (unmet := need(facts)) is not None:
            return Candidate(entry.variant, taken=False, reason=unmet.message, lacks=unmet.reason)
    return Candidate(entry.variant, taken=True, reason=f"{entry.why}{_in_seven_bits(entry, facts)}")


def _in_seven_bits(entry: Entry, facts: SearchFacts) -> str:
    """Return what a CPU that adds products in 16 bits changes of a variant; "" where nothing."""
    variant = entry.variant
    mode = (variant.quantization or Quantization()).mode
    if (
        facts.kind is not TargetKind.CPU
        or variant.precision is not Precision.INT8
        or mode is QuantizationMode.WEIGHT_ONLY
        or not facts.cpu_features  # Not known, as on macOS.
        or cpu_class(_X86, facts.cpu_features) is not CpuClass.NARROW_X86
    ):
        return ""
    return "; weights in 7 bits, since this CPU adds their products in 16"


def pool(kind: TargetKind) -> tuple[Entry, ...]:
    """Return the entries that Auto knows for a kind of target, in the order of the result."""
    entries: tuple[Entry, ...] = resolve_name(KINDS[kind].pool)
    return entries


def search(facts: SearchFacts) -> list[Candidate]:
    """Return the verdict on each variant that Auto knows for a kind of target, in that order.

    At most 12 are shown, as many as spec.variants may hold.
    """
    return [_candidate(entry, facts) for entry in pool(facts.kind)]


def contenders(facts: SearchFacts) -> list[Variant]:
    """Return the variants of an Auto plan: those tried, and those only missing something."""
    return [candidate.variant for candidate in search(facts) if candidate.shown]


def contenders_on(facts: SearchFacts, kinds: Collection[TargetKind]) -> list[Variant]:
    """Return the contenders on any of several kinds of targets, each once.

    Args:
        facts: Of all of them; its own kind does not matter.
    """
    found: dict[str, Variant] = {}
    for kind in KINDS:
        if kind in kinds:
            for variant in contenders(facts.model_copy(update={"kind": kind})):
                found.setdefault(variant.name, variant)
    return list(found.values())
