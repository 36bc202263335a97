"""What forms are tried on: samples or noise, constants, extremes, masks that are never all 0."""

from __future__ import annotations

import numpy as np
import pytest

from mopt_api.enums import DType
from mopt_optimizer.data.noise import noise
from mopt_optimizer.data.probes import probes
from mopt_optimizer.data.samples import Inputs

NOISE = {
    "image": np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 8),
    "mask": np.array([[1, 0, 1, 1]]),
    "flag": np.array(True),
}


def test_without_samples_noise_is_what_distances_are_judged_on() -> None:
    found = probes(NOISE, [])
    assert [p.name for p in found] == ["noise", "noise, half masked", "zeros", "ones"]
    assert [p.likely for p in found] == [True, True, False, False]
    assert found[1].inputs["mask"].tolist() == [[1, 1, 0, 0]]
    assert [float(p.inputs["image"].max()) for p in found[2:]] == [0, 1]
    assert NOISE["mask"].tolist() == [[1, 0, 1, 1]]


def _samples(*values: float) -> list[Inputs]:
    return [
        {**NOISE, "image": np.full((1, 16), value, np.float32), "mask": np.ones((1, 5), np.int64)}
        for value in values
    ]


def test_samples_take_the_place_of_noise_and_give_the_extremes() -> None:
    found = {p.name: p for p in probes(NOISE, _samples(3, -7, 2, 5))}
    assert [name for name, probe in found.items() if probe.likely] == [
        *("sample 1", "sample 3", "samples at the smallest sizes", "sample 1, half masked"),
    ]
    assert found["sample 1, half masked"].inputs["mask"].tolist() == [[1, 1, 1, 0, 0]]
    for name, value in (
        ("zeros", 0),
        ("ones", 1),
        ("the samples' lowest values", -7),
        ("the samples' highest values", 5),
    ):
        image = found[name].inputs["image"]
        assert (image == value).all()
        assert image.shape == NOISE["image"].shape
        assert found[name].inputs["mask"] is NOISE["mask"], "an id or a size stays a sample's"


def test_nothing_is_tried_twice() -> None:
    assert [p.name for p in probes(NOISE, _samples(0, 1)) if not p.likely] == ["zeros", "ones"]
    samples = [{"ids": np.array([[7, 3]])}, {"ids": np.array([[2, 5]])}]
    assert [p.name for p in probes(samples[0], samples)] == ["sample 1", "sample 2"]


def test_ids_are_no_mask() -> None:
    ids = {"ids": np.array([[5, 1, 7]])}
    assert [p.name for p in probes(ids, [])] == ["noise", "ones"]
    assert all(p.inputs["ids"].all() for p in probes(ids, []))


@pytest.mark.parametrize("dtype", [d for d in DType if np.dtype(d.value).kind != "f"])
def test_each_row_of_noise_has_a_one(dtype: DType) -> None:
    made = noise(np.random.default_rng(0), (200, 3), dtype)
    assert made.any(axis=-1).all()
    assert not made.all()
    assert {int(noise(np.random.default_rng(seed), (), dtype)) for seed in range(9)} == {1}
    assert noise(np.random.default_rng(0), (2, 0), dtype).shape == (2, 0)
