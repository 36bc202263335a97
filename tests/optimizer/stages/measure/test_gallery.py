"""Pictures: which samples, which part, and what they show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mopt_api.enums import ImageColor, ImageLayout
from mopt_api.inputs import ImageTransform
from mopt_api.jobs.crops import Crops
from mopt_optimizer.stages.measure.gallery import MAX_SAMPLES, MAX_SIDE, Gallery

Pixels = NDArray[np.float32]


def picture(height: int, width: int, value: float = 0.5, batch: int = 1) -> Pixels:
    return np.full((batch, 3, height, width), value, np.float32)


def spoiled(reference: Pixels, top: int, left: int, by: float, image: int = 0) -> Pixels:
    output = reference.copy()
    output[image, :, top : top + 8, left : left + 8] += by
    return output


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def shown(
    outputs: dict[str, list[Pixels]],
    reference: Pixels,
    *,
    inputs: Pixels | None = None,
    gallery: Gallery | None = None,
) -> Crops | None:
    """Return the pictures of variants' outputs, one per sample, all of the same reference."""
    gallery = gallery or Gallery(1.0)
    given = {"image": reference if inputs is None else inputs}
    for name, samples in outputs.items():
        for number, output in enumerate(samples):
            gallery.observe(number, name, given, [reference], [output])
    for number in gallery.chosen():
        gallery.keep_reference(number, given, [reference])
        for name, samples in outputs.items():
            gallery.keep(number, name, [samples[number]])
    return gallery.crops()


def test_the_part_that_differs_most_is_cut_out() -> None:
    reference = picture(600, 900)
    crops = shown({"int8": [spoiled(reference, 500, 700, 0.1)]}, reference)
    assert crops is not None
    (sample,) = crops.samples
    assert (sample.width, sample.height) == (MAX_SIDE, MAX_SIDE)
    assert sample.top <= 500 < 508 <= sample.top + sample.height <= 600
    assert sample.left <= 700 < 708 <= sample.left + sample.width <= 900
    output = decoded(sample.variants[0].output).astype(int)
    changed = decoded(sample.reference).astype(int) != output
    assert changed.any(axis=2).sum() == 64
    assert output[500 - sample.top, 700 - sample.left, 0] == round(0.6 * 255)


def test_a_small_image_is_shown_whole() -> None:
    reference = picture(40, 30)
    crops = shown({"int8": [spoiled(reference, 0, 0, 0.1)]}, reference)
    assert crops is not None
    assert decoded(crops.samples[0].reference).shape == (40, 30, 3)


def test_each_variants_worst_sample_is_chosen_the_worst_variants_first() -> None:
    reference = picture(64, 64)
    near = [spoiled(reference, 0, 0, 0.001)] * 6

    def worst_at(sample: int, by: float) -> list[Pixels]:
        return [*near[:sample], spoiled(reference, 0, 0, by), *near[sample + 1 :]]

    outputs = {
        "a": worst_at(4, 0.1),
        "b": worst_at(2, 0.4),
        "c": worst_at(4, 0.2),
        "d": worst_at(5, 0.05),
        "e": worst_at(0, 0.01),
    }
    crops = shown(outputs, reference)
    assert crops is not None
    assert [sample.sample for sample in crops.samples] == [2, 4, 5]
    assert len(crops.samples) == MAX_SAMPLES
    assert [v.variant for v in crops.samples[0].variants] == list(outputs)


def test_samples_in_which_nothing_can_be_seen_do_not_fill_the_page() -> None:
    reference = picture(64, 64)
    outputs = {
        "fp32": [reference, spoiled(reference, 0, 0, 1e-7)],
        "int8": [spoiled(reference, 0, 0, 0.1), reference],
    }
    crops = shown(outputs, reference)
    assert crops is not None
    assert [sample.sample for sample in crops.samples] == [0]


def test_differences_are_amplified_alike_and_as_far_as_they_fit() -> None:
    reference = picture(16, 16)
    outputs = {"int8": [reference + np.float32(0.1)], "bf16": [reference + np.float32(0.025)]}
    crops = shown(outputs, reference)
    assert crops is not None
    (sample,) = crops.samples
    assert sample.amplification == 8
    levels = {v.variant: int(decoded(v.difference)[0, 0, 0]) for v in sample.variants}
    assert levels == {"int8": round(0.8 * 255), "bf16": round(0.2 * 255)}
    assert sample.variants[0].psnr == pytest.approx(20, abs=1e-3)


def test_identical_outputs_are_still_shown() -> None:
    reference = picture(16, 16)
    crops = shown({"fp32": [reference]}, reference)
    assert crops is not None
    (sample,) = crops.samples
    assert sample.amplification == 1
    assert decoded(sample.variants[0].difference).max() == 0


def test_the_input_is_shown_as_it_was_before_the_transform() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    bgr = rgb[..., ::-1].astype(np.float32) / 255
    values = ((bgr - np.asarray(mean)) / np.asarray(std)).astype(np.float32)[np.newaxis]
    transform = ImageTransform(mean=mean, std=std, color=ImageColor.BGR, layout=ImageLayout.NHWC)
    # The output is twice as large, blue where the input's file was blue.
    reference = np.zeros((1, 3, 40, 48), np.float32)
    reference[0, 0] = 1.0
    crops = shown({"int8": [reference]}, reference, inputs=values, gallery=Gallery(1.0, transform))
    assert crops is not None
    (sample,) = crops.samples
    assert np.abs(decoded(sample.input).astype(int) - rgb).max() <= 1
    assert decoded(sample.reference)[0, 0].tolist() == [0, 0, 255]


def test_the_image_of_a_batch_that_differs_is_shown() -> None:
    reference = picture(32, 32, batch=3)
    reference[2] = 0.25
    crops = shown({"int8": [spoiled(reference, 0, 0, 0.1, image=2)]}, reference)
    assert crops is not None
    assert decoded(crops.samples[0].input)[20, 20, 0] == round(0.25 * 255)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_grey_is_grey_in_either_range(low: float) -> None:
    reference = np.linspace(low, 1, 3 * 16 * 16, dtype=np.float32).reshape(1, 3, 16, 16)
    crops = shown({"int8": [reference]}, reference, gallery=Gallery(1.0 - low))
    assert crops is not None
    levels = decoded(crops.samples[0].reference)
    assert (levels.min(), levels.max()) == (0, 255)


@pytest.mark.parametrize("shape", [(1, 10), (1, 21, 32, 32), (4, 8, 16, 16, 2)])
def test_outputs_that_are_no_pictures_give_none(shape: tuple[int, ...]) -> None:
    output = np.zeros(shape, np.float32)
    assert shown({"int8": [output]}, output, inputs=picture(32, 32)) is None


def test_without_a_picture_as_input_there_are_none() -> None:
    embedding = np.zeros((1, 16, 384), np.float32)
    tokens = np.zeros((1, 16), np.int64)
    gallery = Gallery(1.0)
    gallery.observe(0, "int8", {"tokens": tokens}, [embedding], [embedding])
    assert (gallery.chosen(), gallery.crops()) == ([], None)


def test_variants_that_come_later_show_the_same_samples() -> None:
    reference = picture(64, 64)
    gallery = Gallery(1.0)
    inputs = {"image": reference}
    gallery.observe(3, "first", inputs, [reference], [spoiled(reference, 0, 0, 0.1)])
    assert gallery.chosen() == [3]
    gallery.keep_reference(3, inputs, [reference])
    gallery.observe(5, "later", inputs, [reference], [spoiled(reference, 0, 0, 0.9)])
    assert gallery.chosen() == [3]


def test_pictures_survive_json() -> None:
    reference = picture(16, 16)
    crops = shown({"int8": [spoiled(reference, 0, 0, 0.2)]}, reference)
    assert crops is not None
    assert Crops.model_validate_json(crops.model_dump_json(by_alias=True)) == crops
