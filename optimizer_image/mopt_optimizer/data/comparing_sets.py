"""Compares calibration data with evaluation data. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mopt_api.inputs import ImageTransform
from mopt_api.jobs.data_statistics import ChannelStatistics, DataFault, DataStatistics
from mopt_api.jobs.data_statistics import InputStatistics as Input

Finding = tuple[DataFault, str]

_VALUES = ("scale", "mean", "std", "color", "layout")
"""Fields of a transform that a model fixes: both sets need the same."""
# Two sets of photographs of other things differ by 1.5 standard deviations in a channel's mean.
_ERRORS = 4.0
_APART = 2.0
_FEWEST = 4
_STRETCH = 2.5
_ROUGHER = 3.0
_MORE_AT_ENDS = 0.2
_BELOW_ZERO = -0.2
# How much of the usual slip, a factor of 255, may be missing.
_BYTE_SCALE = (60.0, 1000.0)


def set_differences(calibration: DataStatistics, evaluation: DataStatistics) -> Iterator[Finding]:
    """Yield how calibration data differ from evaluation data, beyond chance.

    Of each input the first that explains the difference: declared otherwise, another scale,
    channels reversed, clipped, another distribution.
    """
    first, second = calibration.images, evaluation.images
    if first is not None and second is not None:
        declared = [*_declared_differences(first, second)]
        yield from declared
        if declared:
            return
    others = {entry.name: entry for entry in evaluation.inputs}
    counts = calibration.samples, evaluation.samples
    for entry in calibration.inputs:
        other = others.get(entry.name)
        if other is None or len(entry.channels) != len(other.channels):
            continue
        where = f"input {entry.name}: " if len(calibration.inputs) > 1 else ""
        if (found := _difference(entry, other, counts)) is not None:
            yield found[0], where + found[1]


def _declared_differences(first: ImageTransform, second: ImageTransform) -> Iterator[Finding]:
    for field in _VALUES:
        mine, other = getattr(first, field), getattr(second, field)
        if mine != other:
            fault = DataFault.COLOR_ORDER if field == "color" else DataFault.TRANSFORMS_DIFFER
            yield (
                fault,
                f"images.{field} is {_shown(mine)} here and {_shown(other)} for evaluation; one "
                "model takes one of them: give both the same",
            )


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "empty" if value == [] else str(value)


def _difference(entry: Input, other: Input, counts: tuple[int, int]) -> Finding | None:
    if entry.image and (found := _other_scale(entry, other)) is not None:
        return found
    if entry.image and (found := _other_normalization(entry, other)) is not None:
        return found
    if entry.image and (found := _reversed(entry, other, counts)) is not None:
        return found
    if entry.image and (found := _clipped(entry, other)) is not None:
        return found
    return _unlike(entry, other, counts)


def _other_scale(entry: Input, other: Input) -> Finding | None:
    mine, theirs = (max(abs(e.low), abs(e.high)) for e in (entry, other))
    if not mine or not theirs:
        return None
    ratio = mine / theirs
    low, high = _BYTE_SCALE
    if not low < max(ratio, 1 / ratio) < high:
        return None
    return (
        DataFault.SCALE,
        f"values are {_span(entry)}, those of evaluation {_span(other)}: one of the two is "
        "scaled by 1/255 and the other is not",
    )


def _other_normalization(entry: Input, other: Input) -> Finding | None:
    """Return that one set has had a mean subtracted: it is well below 0, the other never."""
    lows = [e.low / max(abs(e.low), abs(e.high), 1e-30) for e in (entry, other)]
    if max(lows) < 0 or min(lows) > _BELOW_ZERO:
        return None
    return (
        DataFault.NORMALIZATION,
        f"values are {_span(entry)}, those of evaluation {_span(other)}: one of the two has a "
        "mean subtracted and the other has not",
    )


def _reversed(entry: Input, other: Input, counts: tuple[int, int]) -> Finding | None:
    """Return that the channels are in reverse order, by the difference of first and last."""
    if len(entry.channels) != 3:
        return None
    tilts = [e.channels[0].mean - e.channels[2].mean for e in (entry, other)]
    errors = [_tilt_error(e, count) for e, count in zip((entry, other), counts, strict=True)]
    sure = all(abs(tilt) > 3 * error for tilt, error in zip(tilts, errors, strict=True))
    apart = abs(tilts[0] - tilts[1]) > _ERRORS * math.hypot(*errors)
    if not sure or not apart or tilts[0] * tilts[1] >= 0:
        return None
    # Reversed they agree, at least much better than as they are.
    if abs(tilts[0] + tilts[1]) > 0.5 * abs(tilts[0] - tilts[1]):
        return None
    return (
        DataFault.COLOR_ORDER,
        f"the means of the three channels are {_means(entry.channels)}, those of evaluation "
        f"{_means(other.channels)}: one of the two is in reverse order (BGR for RGB)",
    )


def _tilt_error(entry: Input, count: int) -> float:
    if entry.tilt_spread is None or count < 2:
        return math.inf
    return entry.tilt_spread / math.sqrt(count)


def _clipped(entry: Input, other: Input) -> Finding | None:
    for end, mine, theirs in (
        (entry.high, entry.at_high, other.at_high),
        (entry.low, entry.at_low, other.at_low),
    ):
        if mine - theirs > _MORE_AT_ENDS:
            return (
                DataFault.CLIPPED,
                f"{mine:.0%} of the values are {end:.4g}, an end of their range; of evaluation's "
                f"{theirs:.0%} are at theirs: they look clipped",
            )
    return None


def _unlike(entry: Input, other: Input, counts: tuple[int, int]) -> Finding | None:
    shifted = any(
        _shifted(mine, theirs, counts)
        for mine, theirs in zip(entry.channels, other.channels, strict=True)
    )
    rough = entry.roughness, other.roughness
    rougher = None not in rough and _ratio(rough[0] or 0, rough[1] or 0) > _ROUGHER
    stretched = any(
        _ratio(mine.std, theirs.std) > _STRETCH
        for mine, theirs in zip(entry.channels, other.channels, strict=True)
    )
    if not shifted and not stretched and not rougher:
        return None
    what = "neighbouring values differ otherwise" if rougher and not shifted else "the values do"
    if rougher and not shifted:
        detail = f"{rough[0]:.2f} for {rough[1]:.2f} standard deviations"
    else:
        detail = (
            f"means {_means(entry.channels)} for {_means(other.channels)}, standard deviations "
            f"{_stds(entry.channels)} for {_stds(other.channels)}"
        )
    return (
        DataFault.SETS_DIFFER,
        f"calibration data are unlike evaluation data: {what} ({detail}); ranges for INT8 will "
        "not fit what is evaluated: take both from what is served, prepared alike",
    )


def _shifted(mine: ChannelStatistics, theirs: ChannelStatistics, counts: tuple[int, int]) -> bool:
    """Return whether the means are apart: in standard errors, beside what the samples' own means
    differ by, and beside all values' spread."""
    if min(counts) < _FEWEST:
        return False
    difference = abs(mine.mean - theirs.mean)
    spreads = mine.spread, theirs.spread
    errors = [spread / math.sqrt(count) for spread, count in zip(spreads, counts, strict=True)]
    return (
        difference > _ERRORS * math.hypot(*errors)
        and difference > _APART * math.hypot(*spreads)
        and difference > max(mine.std, theirs.std)
    )


def _ratio(first: float, second: float) -> float:
    """Return how many times one of two is the other."""
    low, high = sorted((first, second))
    if high == 0:
        return 1.0
    return math.inf if low == 0 else high / low


def _span(entry: Input) -> str:
    return f"{entry.low:.4g} to {entry.high:.4g}"


def _means(channels: Sequence[ChannelStatistics]) -> str:
    return ", ".join(f"{channel.mean:.3g}" for channel in channels)


def _stds(channels: Sequence[ChannelStatistics]) -> str:
    return ", ".join(f"{channel.std:.3g}" for channel in channels)
