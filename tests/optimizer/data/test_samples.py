"""What a folder of a Job holds: images or arrays, never both; and what the resource says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mopt_api.enums import DType
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.data.decoding import LocalDecoder, open_samples
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.noise import noise
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import DataError, DimensionError, SpecError

IMAGE = InputSpec(name="image", shape=[1, 3, 4, 6])
PAIR = [
    InputSpec(name="tokens", dtype=DType.INT64, shape=["batch", 4]),
    InputSpec(name="mask", dtype=DType.BOOL, shape=["batch", 4]),
]
DIMENSIONS = {"batch": DimensionRange(min=1, opt=1, max=2)}

Load = Callable[..., Samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Load:
    def load(*inputs: InputSpec, samples: int = 64, **transform: Any) -> Samples:
        data = PlannedData(
            uri=f"file://{folder}", samples=samples, images=ImageTransform(**transform)
        )
        return load_data(
            data,
            Credentials.EVALUATION,
            list(inputs),
            DIMENSIONS,
            tmp_path / "work",
            {},
            LocalDecoder(),
        )

    return load


def picture(path: Path, height: int = 4, width: int = 6) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def pair(path: Path, batch: int = 1) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "tokens": np.arange(batch * 4).reshape(batch, 4),
        "mask": np.ones((batch, 4), np.bool_),
    }
    np.savez(path, **arrays)
    return arrays


def test_arrays_feed_several_inputs(load: Load, folder: Path) -> None:
    first, second = pair(folder / "a.npz"), pair(folder / "b.npz", batch=2)
    (folder / "README.txt").write_text("passed over")
    found = load(*PAIR)
    assert found.names == ["a.npz", "b.npz"]
    for sample, arrays in zip(found.inputs, (first, second), strict=True):
        assert list(sample) == ["tokens", "mask"]
        for name, array in arrays.items():
            assert sample[name].dtype == array.dtype
            assert np.array_equal(sample[name], array)
    assert load(*PAIR, samples=1).names == ["a.npz"]


def test_a_single_input_takes_npy(load: Load, folder: Path) -> None:
    np.save(folder / "a.npy", np.ones((1, 3, 4, 6), np.float32))
    (sample,) = load(IMAGE).inputs
    assert sample["image"].shape == (1, 3, 4, 6)


def test_images_still_feed_one_float_input(load: Load, folder: Path) -> None:
    pixels = picture(folder / "a.png")
    (sample,) = load(IMAGE, scale=1).inputs
    assert np.array_equal(sample["image"][0].transpose(1, 2, 0), pixels)


def test_a_mixed_folder_is_refused_with_one_of_each(load: Load, folder: Path) -> None:
    picture(folder / "b.png")
    np.save(folder / "a.npy", np.ones((1, 3, 4, 6), np.float32))
    with pytest.raises(SpecError, match=r"both arrays and images, such as .*a\.npy and .*b\.png"):
        load(IMAGE)


def test_a_transform_of_arrays_is_refused(load: Load, folder: Path) -> None:
    pair(folder / "a.npz")
    with pytest.raises(SpecError, match="taken as they are; leave images out"):
        load(*PAIR, resize=[4, 4])


def test_images_for_several_inputs_are_refused(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    with pytest.raises(SpecError, match=r"has 2: tokens, mask; give \.npz files"):
        load(*PAIR)


def test_images_for_integers_are_refused(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    with pytest.raises(SpecError, match=r"input image takes int32: give \.npy"):
        load(IMAGE.model_copy(update={"dtype": DType.INT32}))


def test_a_folder_without_samples_is_told(load: Load, folder: Path) -> None:
    (folder / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"no samples under .*\.png.*\.npz"):
        load(IMAGE)


def test_an_array_outside_the_dimensions_is_named(load: Load, folder: Path) -> None:
    pair(folder / "a.npz", batch=3)
    with pytest.raises(DimensionError, match=r"a\.npz: array 'tokens'.* batch takes 2 down"):
        load(*PAIR)


@pytest.mark.parametrize("kind", ["arrays", "images"])
def test_fetched_files_open_again_elsewhere(load: Load, folder: Path, kind: str) -> None:
    inputs, transform = ([IMAGE], {"scale": 0.5}) if kind == "images" else (PAIR, {})
    if kind == "images":
        picture(folder / "a.png")
    else:
        pair(folder / "a.npz")
    found = load(*inputs, **transform)
    again = open_samples(
        found.names, found.files, inputs, DIMENSIONS, ImageTransform.model_validate(transform)
    )
    (expected,), (sample,) = found.inputs, again
    assert {k: v.tolist() for k, v in sample.items()} == {
        k: v.tolist() for k, v in expected.items()
    }


def test_crop_colour_and_layout_are_carried_out(load: Load, folder: Path) -> None:
    pixels = picture(folder / "a.png", 6, 10)
    nhwc = InputSpec(name="image", shape=[1, 4, 6, 3])
    (sample,) = load(
        nhwc, crop=[4, 6], color="BGR", layout="NHWC", scale=1, mean=[1, 2, 3], std=[1, 2, 4]
    ).inputs
    expected = (pixels[1:5, 2:8, ::-1].astype(np.float32) - [1, 2, 3]) / [1, 2, 4]
    assert np.array_equal(sample["image"][0], expected)


def test_gray_has_one_channel(load: Load, folder: Path) -> None:
    pixels = picture(folder / "a.png")
    gray = InputSpec(name="image", shape=[1, 1, 4, 6])
    (sample,) = load(gray, color="Gray", scale=1, mean=[1], std=[2]).inputs
    luma = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    assert np.array_equal(sample["image"][0, 0], (luma - 1) / 2)


@pytest.mark.parametrize(
    ("shape", "transform", "message"),
    [
        ([1, 3, 4, 6], {"color": "Gray"}, "takes 3 channels; images have 1"),
        ([1, 3, 4, 6], {"layout": "NHWC"}, "takes 6 channels; images have 3"),
        ([1, 1, 4, 6], {"color": "BGR"}, "takes 1 channels; images have 3"),
    ],
)
def test_channels_follow_the_transform(
    load: Load, folder: Path, shape: list[int], transform: dict[str, Any], message: str
) -> None:
    picture(folder / "a.png")
    with pytest.raises(DataError, match=message):
        load(InputSpec(name="image", shape=list(shape)), **transform)


def test_an_image_below_the_crop_is_named(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 4x6 pixels .* smaller than the crop 8x8"):
        load(InputSpec(name="image", shape=[1, 3, 8, 8]), crop=[8, 8])


def test_another_transform_is_another_digest(load: Load, folder: Path) -> None:
    picture(folder / "a.png", 8, 8)
    square = InputSpec(name="image", shape=[1, 3, 4, 4])
    digests = {
        load(square, crop=[4, 4]).digest,
        load(square, crop=[4, 4], color="BGR").digest,
        load(square, resize=[4, 4]).digest,
    }
    assert len(digests) == 3


@pytest.mark.parametrize("dtype", DType)
def test_noise_is_of_the_type_and_always_the_same(dtype: DType) -> None:
    made = [noise(np.random.default_rng(3), (50, 4), dtype) for _ in range(2)]
    assert made[0].dtype == np.dtype(dtype.value)
    assert made[0].shape == (50, 4)
    assert np.array_equal(made[0], made[1])
    assert 0 <= made[0].min() < made[0].max() <= 1
    if made[0].dtype.kind != "f":
        assert set(np.unique(made[0]).tolist()) == {0, 1}
