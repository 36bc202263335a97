"""Calibration caches, as TensorRT 8 wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mopt_optimizer.errors import CalibrationError
from mopt_optimizer.runtimes.tensorrt import read_calibration_cache
from mopt_optimizer.runtimes.tensorrt.calibration_cache import parse_calibration_cache

# 0x3c010204 is 1/127 to float32's precision; zeros in front are not written.
CACHE = """TRT-8601-EntropyCalibration2
image: 3c010204
(Unnamed Layer* 0) [Convolution]_output: 3f800000
/body/1: out: 0
"""


def test_steps_and_the_ranges_they_cover(tmp_path: Path) -> None:
    path = tmp_path / "calibration.cache"
    path.write_text(CACHE)
    cache = read_calibration_cache(path)
    assert (cache.version, cache.method) == ("8601", "EntropyCalibration2")
    assert list(cache.steps) == ["image", "(Unnamed Layer* 0) [Convolution]_output", "/body/1: out"]
    low, high = cache.ranges["image"]
    assert high == pytest.approx(1.0, rel=1e-6)
    assert low == -high
    assert cache.ranges["(Unnamed Layer* 0) [Convolution]_output"] == (-127.0, 127.0)
    assert cache.ranges["/body/1: out"] == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no calibration cache of TensorRT"),
        ("image: 3c010204\n", "no calibration cache of TensorRT"),
        ("TRT-8601-MinMaxCalibration\n", "holds no tensor"),
        (CACHE + "mask 3c010204\n", "line 5: 'mask 3c010204' is not 'TENSOR: HEX'"),
        (CACHE + "mask: 3c0102043\n", "line 5"),
        (CACHE + "mask: 7fc00000\n", "line 5: the step of 'mask' is nan"),
        (CACHE + "mask: bf800000\n", "line 5: the step of 'mask' is -1.0"),
    ],
)
def test_what_is_no_cache_names_the_line(text: str, words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        parse_calibration_cache(text)


def test_a_missing_or_binary_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="does not exist"):
        read_calibration_cache(tmp_path / "none")
    path = tmp_path / "engine"
    path.write_bytes(b"\xff\xfe\x00ftrt")
    with pytest.raises(CalibrationError, match="is no text"):
        read_calibration_cache(path)
