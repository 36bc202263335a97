"""Ground truth: a file for each sample, found by its name and checked against the output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mopt_api.enums import QualityMetric
from mopt_api.inputs import ImageTransform
from mopt_api.jobs.plan import Credentials, PlannedData, PlannedReferences
from mopt_optimizer.data.decoding import LocalDecoder
from mopt_optimizer.data.references import (
    Reference,
    References,
    check_reference,
    load_references,
    paired,
)
from mopt_optimizer.errors import DataError, SpecError

Load = Callable[..., References]
PSNR = [QualityMetric.PSNR]
TOP1 = [QualityMetric.TOP1_AGREEMENT]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "low").mkdir()
    (tmp_path / "high").mkdir()
    return tmp_path / "high"


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Load:
    """Return what loads the references of samples that it puts beside them."""

    def load(*samples: str, used: int | None = None, **transform: Any) -> References:
        for name in samples:
            (tmp_path / "low" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "low" / name).write_bytes(b"")
        planned = PlannedReferences(uri=f"file://{folder}", images=ImageTransform(**transform))
        return load_references(
            planned,
            Credentials.EVALUATION,
            PlannedData(uri=f"file://{tmp_path}/low", samples=64, images=ImageTransform()),
            samples[:used],
            tmp_path / "work",
            {},
            LocalDecoder(),
        )

    return load


def picture(path: Path, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_images_are_paired_by_name_and_transformed(load: Load, folder: Path) -> None:
    second, first = picture(folder / "b.png", 1), picture(folder / "a.png", 2)
    (folder / "README.txt").write_text("passed over")
    found = load("a.jpg", "b.webp", scale=0.5, layout="NHWC")
    for index, pixels in enumerate((first, second)):
        (output,) = found.read(index).outputs
        assert np.array_equal(output, pixels[np.newaxis] * np.float32(0.5))


def test_names_below_the_folder_count(load: Load, folder: Path) -> None:
    for name, value in (("x", 1), ("y", 2)):
        (folder / name).mkdir()
        np.save(folder / name / "1.npy", np.full((1, 2), value))
    found = load("x/1.png", "y/1.png")
    assert [found.read(i).outputs[0].max() for i in range(2)] == [1, 2]


def test_an_npz_holds_the_outputs_in_its_order(load: Load, folder: Path) -> None:
    np.savez(folder / "a.npz", np.zeros((1, 2)), np.ones((1, 3), np.int64))
    np.savez(folder / "b.npz", second=np.zeros((1, 2)), first=np.ones((1, 3)))
    found = load("a.npz", "b.npz")
    for index in range(2):
        assert [array.shape for array in found.read(index).outputs] == [(1, 2), (1, 3)]


def test_samples_that_are_left_out_may_keep_their_references(load: Load, folder: Path) -> None:
    for name in "abc":
        np.save(folder / f"{name}.npy", np.full((1, 2), ord(name)))
    found = load("a.png", "b.png", "c.png", used=2)
    assert [Path(name).name for name in found.names] == ["a.npy", "b.npy"]


def test_the_digest_is_of_contents_names_and_transform(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    before = load("a.png").digest
    assert load("a.png").digest == before
    assert load("a.png", scale=0.5).digest != before
    picture(folder / "a.png", seed=1)
    assert load("a.png").digest != before


def test_a_sample_without_a_reference_is_named(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    with pytest.raises(
        DataError,
        match=r"1 of 2 samples under .*/low have no reference, first b\.png: there is no b\.\* "
        r"under .*/high; upload it or remove the sample",
    ):
        load("a.png", "b.png")


def test_a_reference_without_a_sample_is_named(load: Load, folder: Path) -> None:
    for name in "abc":
        picture(folder / f"{name}.png")
    with pytest.raises(
        DataError,
        match=r"2 of 3 references under .*/high have no sample, first b\.png: there is no b\.\* "
        r"under .*/low; rename or remove it",
    ):
        load("a.png")


@pytest.mark.parametrize(
    ("samples", "references", "where"),
    [(["a.png", "a.jpg"], ["a.npy"], "low"), (["a.png"], ["a.npy", "a.npz"], "high")],
)
def test_two_files_of_one_name_are_refused(
    samples: list[str], references: list[str], where: str
) -> None:
    first, second = samples if len(samples) > 1 else references
    with pytest.raises(DataError, match=rf"{first} and {second} under {where} differ in the"):
        paired(samples, samples, references, folder="high", samples_folder="low")


def test_a_folder_without_references_is_told(load: Load, folder: Path) -> None:
    (folder / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"no references under .*high.*: 1 objects.*\.npz"):
        load("a.png")


def test_a_mixed_folder_is_refused(load: Load, folder: Path) -> None:
    picture(folder / "a.png")
    np.save(folder / "b.npy", np.zeros((1, 2)))
    with pytest.raises(SpecError, match="both arrays and images"):
        load("a.png", "b.png")


def test_a_transform_of_arrays_is_refused(load: Load, folder: Path) -> None:
    np.save(folder / "a.npy", np.zeros((1, 2)))
    with pytest.raises(SpecError, match="leave images out"):
        load("a.png", scale=1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", b"no image", r"a\.png: not a PNG"),
        ("a.npy", b"no array", r"a\.npy: damaged \.npy"),
        ("a.npz", b"no archive", r"a\.npz: damaged \.npz"),
    ],
)
def test_a_damaged_reference_is_named(
    load: Load, folder: Path, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load("a.png")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[0.5, np.nan]]), r"its array: 1 of 2 values are NaN or Inf"),
        (np.zeros((1, 0)), r"its array is \(1, 0\): it holds no value"),
        (np.array([{}], object), "object values; give plain numbers"),
    ],
)
def test_what_is_no_ground_truth_is_refused(
    load: Load, folder: Path, array: np.ndarray, words: str
) -> None:
    np.save(folder / "a.npy", array)
    with pytest.raises(DataError, match=rf"a\.npy.*{words}"):
        load("a.png")


def truth(*arrays: np.ndarray) -> Reference:
    return Reference("s3://data/high/a.npz", list(arrays))


SCORES = np.zeros((2, 7), np.float32)


@pytest.mark.parametrize(
    ("reference", "outputs", "metrics"),
    [
        (truth(np.ones((2, 7))), [SCORES], PSNR),
        (truth(np.ones((2, 7), np.uint8), np.zeros(3)), [SCORES, np.ones(3)], PSNR),
        (truth(np.array([0, 6])), [SCORES], TOP1),
    ],
)
def test_what_fits_is_accepted(
    reference: Reference, outputs: list[np.ndarray], metrics: list[QualityMetric]
) -> None:
    check_reference(reference, outputs, metrics)


@pytest.mark.parametrize(
    ("reference", "metrics", "words"),
    [
        (truth(SCORES, SCORES), PSNR, "holds 2 arrays, the model has 1 outputs; save one array"),
        (
            truth(np.ones((1, 7))),
            PSNR,
            r"is \(1, 7\), the model's output 0 \(2, 7\); give values of the output's shape, or "
            r"labels of shape \(2,\)",
        ),
        (truth(np.ones((7, 2))), PSNR, r"is \(7, 2\), the model's output 0 \(2, 7\)"),
        (truth(np.ones(2)), TOP1, r"is \(2,\).*or labels of shape \(2,\)"),
        (truth(np.ones((), int)), TOP1, r"is \(\), the model's output 0 \(2, 7\)"),
        (
            truth(np.array([0, 1])),
            [*TOP1, *PSNR],
            "labels serve Top1Agreement and SequenceAgreement only, not PSNR; give scores",
        ),
        (truth(np.array([0, 7])), TOP1, "has labels from 0 to 7; the model has 7 classes"),
        (truth(np.array([-1, 1])), TOP1, "has labels from -1 to 1; the model has 7 classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    reference: Reference, metrics: list[QualityMetric], words: str
) -> None:
    with pytest.raises(DataError, match=rf"^reference s3://data/high/a\.npz .*{words}"):
        check_reference(reference, [SCORES], metrics)
