from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.data.decoding import LocalDecoder
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import DataError, DimensionError, SpecError

if TYPE_CHECKING:
    from ..conftest import MinioServer

INPUT = InputSpec(name="image", shape=["batch", 3, "height", "width"])
DIMENSIONS = {
    "batch": DimensionRange(min=1, opt=1, max=8),
    "height": DimensionRange(min=4, opt=8, max=64, multiple_of=4),
    "width": DimensionRange(min=4, opt=8, max=64),
}

Load = Callable[..., Samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Load:
    def load(
        *,
        inputs: list[InputSpec] | None = None,
        dimensions: dict[str, DimensionRange] | None = None,
        samples: int = 64,
        **transform: object,
    ) -> Samples:
        data = PlannedData(
            uri=f"file://{folder}", samples=samples, images=ImageTransform(**transform)
        )
        (tmp_path / "work").mkdir(exist_ok=True)
        return load_data(
            data,
            Credentials.CALIBRATION,
            inputs or [INPUT],
            dimensions or DIMENSIONS,
            tmp_path / "work",
            {},
            LocalDecoder(),
        )

    return load


def _save(path: Path, pixels: object, mode: str | None = None, **options: Any) -> None:
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(path, **options)


def test_pixels_become_scaled_channels(load: Load, folder: Path) -> None:
    pixels = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    _save(folder / "a.png", pixels)
    (sample,) = load(scale=0.5, mean=[1, 2, 3], std=[1, 2, 4]).inputs
    array = sample["image"]
    assert array.shape == (1, 3, 4, 8)
    assert array.dtype == np.float32
    expected = (pixels.astype(np.float64) * 0.5 - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(array[0].transpose(1, 2, 0), expected, rtol=1e-6)


def test_default_transform_maps_white_to_one(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.full((4, 4, 3), 255))
    (sample,) = load().inputs
    assert sample["image"].max() == np.float32(1)


def test_resize_takes_height_before_width(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((30, 20, 3)))
    (sample,) = load(resize=[8, 12]).inputs
    assert sample["image"].shape == (1, 3, 8, 12)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_color_modes_become_rgb(load: Load, folder: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    _save(folder / f"a.{suffix}", np.full((4, 4, 3), 255), mode)
    (sample,) = load(scale=1).inputs
    assert (sample["image"] == 255).all()


def test_opaque_alpha_is_dropped(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.full((4, 4, 4), 255))
    assert load().inputs[0]["image"].shape == (1, 3, 4, 4)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_whatever_lies_behind(
    load: Load, folder: Path, mode: str, suffix: str
) -> None:
    pixels = np.full((4, 4, 4), 90)
    pixels[..., 3] = [[0, 1, 128, 255]] * 4
    _save(folder / f"a.{suffix}", pixels, mode, exact=True, lossless=True)
    (sample,) = load(scale=1).inputs
    assert (sample["image"] == 90).all()


def test_a_transparent_colour_of_a_palette_is_itself(load: Load, folder: Path) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.save(folder / "a.png", transparency=1)
    (sample,) = load(scale=1).inputs
    assert sample["image"][0, :, 0, 0].tolist() == [200, 100, 50]


def test_gray_is_the_same_in_three_channels_and_itself_in_one(load: Load, folder: Path) -> None:
    pixels = np.arange(32, dtype=np.uint8).reshape(4, 8)
    _save(folder / "a.png", pixels)
    (sample,) = load(scale=1).inputs
    assert (sample["image"] == pixels).all()
    one = [InputSpec(name="image", shape=["batch", 1, "height", "width"])]
    (sample,) = load(inputs=one, scale=1, color="Gray").inputs
    assert (sample["image"] == pixels).all()


def test_cmyk_is_converted_without_a_profile(load: Load, folder: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "a.jpg", quality=100)
    (sample,) = load(scale=1).inputs
    np.testing.assert_allclose(sample["image"][0, :, 0, 0], [255, 0, 0], atol=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_the_high_eight(load: Load, folder: Path, channels: int) -> None:
    pixels = np.arange(4 * 8 * channels, dtype=np.uint16).reshape(4, 8, channels) * 521 + 70
    (folder / "a.png").write_bytes(_sixteen_bits(pixels))
    (sample,) = load(scale=1).inputs
    expected = np.broadcast_to(pixels >> 8, (4, 8, 3)).transpose(2, 0, 1)
    assert pixels.max() > 2**13
    np.testing.assert_array_equal(sample["image"][0], expected)


def _sixteen_bits(pixels: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    """Return a PNG of 16 bits per channel, which Pillow writes for gray alone."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


# As EXIF 2.3 draws them: what a viewer shows of a file whose pixels are an F.
_TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("orientation", _TURNS)
def test_pictures_are_upright(load: Load, folder: Path, orientation: int, suffix: str) -> None:
    stored = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12) * 2
    tags = Image.Exif()
    tags[0x0112] = orientation
    options: dict[str, dict[str, Any]] = {
        "webp": {"lossless": True},
        "jpg": {"quality": 100, "subsampling": 0},
    }
    _save(folder / f"a.{suffix}", stored, "RGB", exif=tags, **options.get(suffix, {}))
    (sample,) = load(scale=1).inputs
    expected = _TURNS[orientation](stored)
    assert sample["image"].shape == (1, 3, *expected.shape)
    np.testing.assert_allclose(sample["image"][0, 0], expected, atol=0 if suffix != "jpg" else 3)


@pytest.mark.parametrize("tags", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 40])
def test_damaged_tags_are_passed_over(load: Load, folder: Path, tags: bytes) -> None:
    _save(folder / "a.png", np.full((4, 8, 3), 7), exif=tags)
    assert load().inputs[0]["image"].shape == (1, 3, 4, 8)


def test_of_a_cameras_two_pictures_the_first_counts(load: Load, folder: Path) -> None:
    first, preview = Image.new("RGB", (8, 8), (250, 250, 250)), Image.new("RGB", (4, 4))
    first.save(folder / "a.jpg", "MPO", save_all=True, append_images=[preview])
    (sample,) = load(scale=1).inputs
    np.testing.assert_allclose(sample["image"], np.full((1, 3, 8, 8), 250), atol=2)


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg", "webp"])
def test_suffixes_of_images(load: Load, folder: Path, suffix: str) -> None:
    _save(folder / f"a.{suffix}", np.zeros((4, 4, 3)))
    assert load().names == [f"a.{suffix}"]


def test_other_files_are_passed_over_and_order_is_by_key(load: Load, folder: Path) -> None:
    (folder / "sub").mkdir()
    for name in ("b.png", "a.png", "sub/c.png"):
        _save(folder / name, np.zeros((4, 4, 3)))
    (folder / "LICENSE.txt").write_text("text")
    assert load().names == ["a.png", "b.png", "sub/c.png"]
    assert load(samples=2).names == ["a.png", "b.png"]


def test_sibling_folder_with_the_same_beginning_is_not_read(
    minio: MinioServer, tmp_path: Path
) -> None:
    from mopt_optimizer.store.registry import open_store

    bucket = minio.bucket()
    store, _ = open_store(f"s3://{bucket}", Credentials.CALIBRATION, minio.environ())
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    for key in ("cal/1.png", "calibration2/2.png"):
        store.put_bytes(key, image.getvalue())
    for uri in (f"s3://{bucket}/cal", f"s3://{bucket}/cal/"):
        data = PlannedData(uri=uri, samples=8, images=ImageTransform())
        samples = load_data(
            data,
            Credentials.CALIBRATION,
            [INPUT],
            DIMENSIONS,
            tmp_path,
            minio.environ(),
            LocalDecoder(),
        )
        assert samples.names == ["1.png"]


def test_digest_tells_names_pixels_and_transform_apart(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((4, 4, 3)))
    first = load().digest
    assert load().digest == first
    assert load(scale=0.5).digest != first
    (folder / "a.png").rename(folder / "b.png")
    renamed = load().digest
    assert renamed != first
    _save(folder / "b.png", np.ones((4, 4, 3)))
    assert load().digest not in (first, renamed)


def test_empty_folder_says_what_is_taken(load: Load, folder: Path) -> None:
    (folder / "a.bmp").write_bytes(b"BM")
    with pytest.raises(DataError, match=r"no samples under .*data: 1 objects, none of them \.png"):
        load()


def test_file_that_is_no_image_is_named(load: Load, folder: Path) -> None:
    (folder / "a.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.png: not a PNG, JPEG or WebP image"):
        load()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_truncated_image_is_named(load: Load, folder: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    _save(folder / f"a.{suffix}", noise)
    whole = (folder / f"a.{suffix}").read_bytes()
    (folder / f"a.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"a\.{suffix}: "):
        load()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_decompression_bomb_is_refused_before_decoding(load: Load, folder: Path, side: int) -> None:
    (folder / "a.png").write_bytes(_png_header(side, side))
    with pytest.raises(DataError, match=r"a\.png: .*more than the 64000000"):
        load()


def test_animation_is_refused(load: Load, folder: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="an animation"):
        load()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 65, 3), r"size 65 at axis 3 of input image is outside width 4\.\.64"),
        ((6, 8, 3), r"size 6 at axis 2 of input image is not a multiple of 4"),
    ],
)
def test_size_outside_the_dimensions_is_named(
    load: Load, folder: Path, shape: tuple[int, ...], message: str
) -> None:
    _save(folder / "a.png", np.zeros(shape))
    with pytest.raises(DimensionError, match=message):
        load()


def test_size_unlike_a_fixed_one_is_named(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((8, 8, 3)))
    fixed = InputSpec(name="image", shape=[1, 3, 8, 16])
    with pytest.raises(
        DimensionError, match="size 8 at axis 3 of input image, which is fixed to 16"
    ):
        load(inputs=[fixed])


def test_one_name_for_two_axes_needs_squares(load: Load, folder: Path) -> None:
    square = InputSpec(name="image", shape=["batch", 3, "height", "height"])
    _save(folder / "a.png", np.zeros((8, 8, 3)))
    assert len(load(inputs=[square]).inputs) == 1
    _save(folder / "a.png", np.zeros((8, 12, 3)))
    with pytest.raises(DimensionError, match="but height is 8"):
        load(inputs=[square])


def test_batch_that_never_is_one_cannot_take_images(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((8, 8, 3)))
    batches = DIMENSIONS | {"batch": DimensionRange(min=2, opt=2, max=8)}
    with pytest.raises(DimensionError, match="axis 0"):
        load(dimensions=batches)


def test_input_of_other_channels_cannot_take_images(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((8, 8, 3)))
    gray = InputSpec(name="image", shape=["batch", 1, "height", "width"])
    with pytest.raises(DataError, match="takes 1 channels; images have 3"):
        load(inputs=[gray])


def test_input_of_other_rank_cannot_take_images(load: Load, folder: Path) -> None:
    _save(folder / "a.png", np.zeros((8, 8, 3)))
    flat = InputSpec(name="tokens", shape=["batch", 3])
    with pytest.raises(DataError, match="images need 4"):
        load(inputs=[flat])


def test_several_inputs_are_refused(load: Load, folder: Path) -> None:
    (folder / "a.png").write_bytes(b"never opened")
    with pytest.raises(SpecError, match="the model has 2: image, image2"):
        load(inputs=[INPUT, InputSpec(name="image2", shape=[1])])
