"""Looks for slips in calibration and evaluation data, and says what it found. Pure.

Warnings only: data that looks odd may be right. What is looked at: the statistics of each set, how
images are declared to become inputs, the two sets side by side, and the model's first layer (see
expectation). docs/optimizer/data.md lists what this can and cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from mopt_api.jobs.data_statistics import DataFault, DataStatistics, DataWarning, FirstLayer
from mopt_api.jobs.data_statistics import InputStatistics as Input
from mopt_api.normalization import slip
from mopt_optimizer.progress import Log

from .comparing_sets import set_differences
from .expectation import mismatch
from .samples import Patches

FEWEST = 8
"""Calibration samples: ranges of fewer say little of the next one."""
_CLIPPED_TOGETHER, _CLIPPED_EACH = 0.25, 0.05
# White noise has 1.13 (normal) or 1.15 (uniform), photographs 0.05 to 0.5.
_NOISE = 0.95
_MIXED = 20.0


class Role(StrEnum):
    """Which data."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"

    @property
    def field(self) -> str:
        """Path in the resource."""
        return f"spec.data.{self.value}"


def review(
    role: Role, data: DataStatistics, patches: Patches, layers: Sequence[FirstLayer]
) -> list[DataWarning]:
    """Return what looks wrong with one set of samples.

    Args:
        patches: Pieces of its images, see SetStatistics.
        layers: The model's first layers, as far as they tell what it was trained on.
    """
    found = [*_of_the_set(role, data), *_of_the_transform(data)]
    for entry in data.inputs:
        where = f"input {entry.name}: " if len(data.inputs) > 1 else ""
        for fault, message in _of_an_input(entry, data):
            found.append((fault, where + message))
        for layer in layers:
            if layer.input == entry.name and entry.name in patches:
                seen = mismatch(layer, patches[entry.name])
                if seen is not None:
                    found.append((seen.fault, where + seen.message))
    return [DataWarning(fault=f, field=role.field, message=m[:512]) for f, m in found]


def review_both(calibration: DataStatistics, evaluation: DataStatistics) -> list[DataWarning]:
    """Return how the two sets differ, where that looks like a slip."""
    return [
        DataWarning(fault=fault, field=Role.CALIBRATION.field, message=message[:512])
        for fault, message in set_differences(calibration, evaluation)
    ]


def log_warnings(found: Sequence[DataWarning], log: Log) -> None:
    """Log each, under a step of its own."""
    for warning in found:
        log("data", f"warning: {warning.text}", fault=warning.fault.value)


def _of_the_set(role: Role, data: DataStatistics) -> Iterator[tuple[DataFault, str]]:
    count = data.samples
    if role is Role.CALIBRATION and count < FEWEST:
        yield (
            DataFault.FEW_SAMPLES,
            f"{count} sample{'' if count == 1 else 's'}: the ranges for INT8 come from these "
            f"alone; give {FEWEST} or more, as varied as what is served",
        )
    if copies := count - data.distinct:
        yield (
            DataFault.DUPLICATES,
            f"{copies} of {count} samples equal an earlier one, so {data.distinct} differ; "
            "replace the copies",
        )


def _of_the_transform(data: DataStatistics) -> Iterator[tuple[DataFault, str]]:
    said = data.images and slip(data.images)
    if said:
        yield DataFault.NORMALIZATION, f"images: {said}"


def _of_an_input(entry: Input, data: DataStatistics) -> Iterator[tuple[DataFault, str]]:
    odd = entry.image or entry.constant < data.samples
    if entry.constant and odd and entry.dtype.startswith("float"):
        yield (
            DataFault.CONSTANT,
            f"{entry.constant} of {data.samples} samples hold one value throughout; such a "
            "sample tells nothing of the ranges: replace it",
        )
    if not entry.image:
        return
    ends = entry.at_low, entry.at_high
    # All of two values: black on white.
    if _CLIPPED_TOGETHER < sum(ends) < 1 and min(ends) > _CLIPPED_EACH:
        yield (
            DataFault.CLIPPED,
            f"{entry.at_low:.0%} of the values are {entry.low:.4g} and {entry.at_high:.0%} "
            f"{entry.high:.4g}, the two ends: they look clipped; check scale, mean and std",
        )
    if entry.roughness is not None and entry.roughness > _NOISE:
        yield (
            DataFault.NOISE,
            f"neighbouring values differ by {entry.roughness:.2f} standard deviations, as in "
            "white noise: these are no pictures, or their axes are in another order",
        )
    if entry.peak_ratio > _MIXED:
        yield (
            DataFault.MIXED_SCALES,
            f"the largest values of samples differ {entry.peak_ratio:.3g}-fold: some may be "
            "scaled, others not",
        )
