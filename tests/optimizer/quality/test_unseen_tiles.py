"""What evaluated tiles of photographs say of others, of a real network in INT8."""

from __future__ import annotations

import random
from itertools import compress
from statistics import fmean

import pytest
from super_resolution import tiles, write_network

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.jobs.gates import may_miss
from mopt_api.spec import QualityGate
from mopt_api.unseen import tolerance
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Scheme, StaticOptions, quantize_onnx_static
from mopt_optimizer.quality import evaluate

pytestmark = pytest.mark.optimizer

SIDE, TILES, EVALUATED, SPLITS = 24, 400, 100, 100
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The PSNR of each of 400 tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    network, quantized = write_network(folder), folder / "int8.onnx"
    calibration = tiles({"coffee.png": 2, "retina.jpg": 2}, folder / "calibration", 2 * SIDE)
    quantize_onnx_static(network, quantized, calibration, StaticOptions(scheme=Scheme.U8S8))
    counts = dict.fromkeys(PHOTOGRAPHS, TILES // len(PHOTOGRAPHS))
    fp32, int8 = (OnnxSession(path.read_bytes()) for path in (network, quantized))
    samples = tiles(counts, folder / "all", SIDE)
    (found,) = evaluate(
        lambda sample: fp32.run(dict(sample)),
        lambda sample: int8.run(dict(sample)),
        samples,
        metrics=[QualityMetric.PSNR],
    ).against_fp32
    assert found.per_sample is not None
    assert len(found.per_sample) == TILES
    return found.per_sample


def splits() -> list[list[bool]]:
    """Return which tiles are evaluated in each split."""
    rng = random.Random(4)
    chosen = [True] * EVALUATED + [False] * (TILES - EVALUATED)
    return [rng.sample(chosen, TILES) for _ in range(SPLITS)]


def test_of_100_splits_at_most_5_promise_more_than_the_tiles_keep(values: list[float]) -> None:
    broken = 0
    for split in splits():
        promised = tolerance(QualityMetric.PSNR, list(compress(values, split)))
        assert promised is not None
        broken += sum(value < promised for value in values) > 0.05 * TILES
    assert broken <= 5


def test_share_that_may_miss_is_more_than_misses_in_95_of_100_splits(values: list[float]) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=sorted(values)[TILES // 20])
    missing = sum(not gate.passes(value) for value in values) / TILES
    broken = 0
    for split in splits():
        seen = list(compress(values, split))
        found = QualityResult(
            metric=gate.metric, worst=min(seen), mean=fmean(seen), per_sample=seen
        )
        share = may_miss(gate, [found])
        assert share is not None
        broken += share < missing
    assert broken <= 5
