"""Every option of an image transform: what it does, and which values it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mopt_api.enums import ImageLayout
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_optimizer.data.images import check_fit, decode, local_images
from mopt_optimizer.data.preprocessing import Preprocessing
from mopt_optimizer.errors import DataError, SpecError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def apply(pixels: Any = PIXELS, **options: Any) -> Any:
    return Preprocessing(**options).apply("a.png", Image.fromarray(np.asarray(pixels, np.uint8)))


def test_plain_pixels_become_channels_of_a_batch_of_one() -> None:
    expected = PIXELS.astype(np.float32).transpose(2, 0, 1)[np.newaxis] / 255
    np.testing.assert_allclose(apply(), expected, rtol=1e-6)


def test_bgr_turns_the_channels_around() -> None:
    assert np.array_equal(apply(color="BGR"), apply()[:, ::-1])


def test_gray_is_luma_in_one_channel() -> None:
    found = apply(color="Gray", scale=1.0)
    assert found.shape == (1, 1, 6, 9)
    luma = PIXELS.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(found[0, 0] - luma).max() <= 1


@pytest.mark.parametrize("color", ["RGB", "BGR", "Gray"])
def test_channels_last_is_the_same_picture(color: str) -> None:
    first, last = apply(color=color), apply(color=color, layout="NHWC")
    assert np.array_equal(last.transpose(0, 3, 1, 2), first)
    assert last.flags.c_contiguous


def test_mean_and_std_follow_the_order_of_the_channels() -> None:
    found = apply(color="BGR", scale=1.0, mean=[1, 2, 3], std=[1, 2, 4])
    bgr = PIXELS[..., ::-1].astype(np.float64)
    expected = (bgr - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), expected, rtol=1e-6)


def test_resize_to_a_size_ignores_proportions() -> None:
    assert apply(resize=(4, 20)).shape == (1, 3, 4, 20)


@pytest.mark.parametrize(("shape", "expected"), [((6, 9), (12, 18)), ((10, 5), (24, 12))])
def test_resize_to_a_shorter_side_keeps_proportions(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert apply(np.zeros((*shape, 3)), resize=12).shape[2:] == expected


def test_crop_is_central_and_comes_after_resizing() -> None:
    assert np.array_equal(apply(crop=(2, 3)), apply()[:, :, 2:4, 3:6])
    assert np.array_equal(apply(resize=12, crop=(12, 12)), apply(resize=12)[:, :, :, 3:15])


@pytest.mark.parametrize("crop", [(7, 3), (3, 10)])
def test_crop_beyond_the_picture_names_it(crop: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"a\.png: 6x9 pixels .*smaller than the crop"):
        apply(crop=crop)


def test_imagenet_transform_gives_what_classifiers_take() -> None:
    picture = Image.fromarray(np.full((300, 400, 3), 255, np.uint8))
    found = Preprocessing.imagenet().apply("a.png", picture)
    assert found.shape == (1, 3, 224, 224)
    assert found[0, :, 0, 0] == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )


def test_resource_transform_computes_the_same(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    declared = ImageTransform(resize=[4, 5], scale=0.5, mean=[1, 2, 3], std=[1, 2, 4])
    own = Preprocessing(resize=(4, 5), scale=0.5, mean=(1, 2, 3), std=(1, 2, 4))
    assert Preprocessing.of(declared) == own
    found = decode("a.png", tmp_path / "a.png", declared)
    assert np.array_equal(found, decode("a.png", tmp_path / "a.png", own))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "CMYK"}, "color 'CMYK' is none of RGB, BGR, Gray"),
        ({"layout": "CHW"}, "layout 'CHW' is none of NCHW, NHWC"),
        ({"resize": 0}, "resize"),
        ({"resize": (4,) * 3}, "resize"),
        ({"resize": (4, 1.5)}, "resize"),
        ({"resize": (4, 65537)}, "resize"),
        ({"crop": (0, 4)}, "crop"),
        ({"crop": (4,)}, "crop"),
        ({"scale": 0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"mean": [1, 2]}, "mean has 2 values; RGB needs none or 3"),
        ({"mean": [1, 2, 3], "color": "Gray"}, "Gray needs none or 1"),
        ({"mean": [1, 2, float("inf")]}, "mean"),
        ({"std": [1]}, "std has 1 values"),
        ({"std": [1, 0, 1]}, "above 0"),
        ({"std": [1, -1, 1]}, "above 0"),
        ({"std": [1, float("nan"), 1]}, "std"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Preprocessing(**options)


def test_local_images_are_in_order_and_bounded(photographs: Path) -> None:
    images = local_images(photographs, "image", Preprocessing(color="Gray", layout="NHWC"), limit=3)  # type: ignore[arg-type]
    assert [sample["image"].shape for sample in images] == [(1, 48, 64, 1)] * 3
    whole = local_images(photographs, "image")
    assert len(whole) == 4
    assert len(whole[1:3]) == 2


@pytest.mark.parametrize("make", [True, False])
def test_local_folder_without_images_is_named(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
        (folder / "a.txt").write_text("no image")
    message = "no images under .*data: 1 objects" if make else "data is no folder"
    with pytest.raises(DataError, match=message):
        local_images(folder, "image")


def test_local_image_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"b\.png: not a PNG"):
        list(local_images(tmp_path, "image"))


DIMENSIONS = {"n": DimensionRange(min=1, opt=1, max=4)}


def test_input_must_have_the_channels_of_the_color_and_layout() -> None:
    gray_last = Preprocessing(color="Gray", layout=ImageLayout.NHWC)  # type: ignore[arg-type]
    spec = InputSpec(name="x", shape=["n", 6, 9, 1])
    check_fit("a.png", (1, 6, 9, 1), spec, DIMENSIONS, gray_last)
    with pytest.raises(DataError, match=r"takes 6 channels; images have 3 \(RGB, NCHW\)"):
        check_fit("a.png", (1, 3, 6, 9), spec, DIMENSIONS)
    with pytest.raises(DataError, match=r"takes 1 channels; images have 3 \(RGB, NHWC\)"):
        check_fit("a.png", (1, 6, 9, 3), spec, DIMENSIONS, Preprocessing(layout=ImageLayout.NHWC))
