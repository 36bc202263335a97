"""Calibration caches of TensorRT's own calibrators, which version 11 removed.

Text: a first line such as `TRT-8601-EntropyCalibration2`, then `TENSOR: HEX`, where HEX is the
tensor's step as a big-endian float32. The range is 127 steps in both directions.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_optimizer.errors import CalibrationError

_HEADER = re.compile(r"TRT-(?P<version>\d+)-(?P<method>\w+)")
_LINE = re.compile(r"(?P<name>.+): (?P<step>[0-9a-fA-F]{1,8})")
_LEVELS = 127
# 1 MiB is about 20,000 tensors.
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class CalibrationCache:
    """Quantization steps of a network's tensors.

    Attributes:
        version: TensorRT version that wrote it, for example 8601.
        method: Its calibrator, for example EntropyCalibration2.
        steps: Tensor name to step, in the tensor's unit per integer; 0 for a tensor that was all 0.
    """

    version: str
    method: str
    steps: Mapping[str, float]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The (low, high) range of each tensor's steps."""
        return {name: (-_LEVELS * step, _LEVELS * step) for name, step in self.steps.items()}


def read_calibration_cache(path: Path) -> CalibrationCache:
    """Read a calibration cache file.

    Raises:
        CalibrationError: No such file, or not TensorRT's format; names the line.
    """
    if not path.is_file():
        raise CalibrationError(f"calibration cache {path} does not exist")
    if path.stat().st_size > _MAX_BYTES:
        raise CalibrationError(f"{path.name} has {path.stat().st_size} bytes: no calibration cache")
    try:
        return parse_calibration_cache(path.read_text("utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{path.name} is no text, as a calibration cache is") from error


def parse_calibration_cache(text: str, name: str = "calibration cache") -> CalibrationCache:
    """Parse the text of a calibration cache. Pure.

    Args:
        name: File name, for messages.

    Raises:
        CalibrationError: See read_calibration_cache.
    """
    lines = text.splitlines()
    header = _HEADER.fullmatch(lines[0].strip()) if lines else None
    if header is None:
        raise CalibrationError(
            f"{name} is no calibration cache of TensorRT: its first line must be like "
            f"TRT-8601-EntropyCalibration2, not {lines[0][:60] if lines else ''!r}"
        )
    steps: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise CalibrationError(f"{name}, line {number}: {line[:60]!r} is not 'TENSOR: HEX'")
        (step,) = struct.unpack("!f", bytes.fromhex(found["step"].zfill(8)))
        if not math.isfinite(step) or step < 0:
            raise CalibrationError(
                f"{name}, line {number}: the step of {found['name']!r} is {step}; calibrate again"
            )
        # TensorRT writes 0 for tensors that were all 0.
        steps[found["name"]] = step
    if not steps:
        raise CalibrationError(f"{name} holds no tensor")
    return CalibrationCache(header["version"], header["method"], steps)
