"""Array files as samples: read bit by bit, or refused with file and array named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.data import arrays as array_samples
from mopt_optimizer.data.arrays import local_arrays, read_sample
from mopt_optimizer.data.decoding import LocalDecoder
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import DataError, DimensionError, OptimizerError
from mopt_optimizer.opening.inputs import Axis, ModelInput

BATCH, LENGTH = Axis(symbol="batch", maximum=4), Axis(symbol="length", minimum=2, multiple_of=2)
TOKENS = ModelInput("tokens", "int64", (BATCH, LENGTH))
MASK = ModelInput("mask", "float32", (BATCH, LENGTH))
FIXED = ModelInput("x", "float32", (Axis(size=1), Axis(size=3)))
PAIR = (TOKENS, MASK)


def good(batch: int = 2, length: int = 4) -> dict[str, Any]:
    tokens = np.arange(batch * length, dtype=np.int64).reshape(batch, length)
    return {"mask": np.ones((batch, length), np.float32), "tokens": tokens}


def test_npz_gives_each_input_its_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **good())
    np.savez_compressed(tmp_path / "b.npz", **good(1, 2))
    first, second = local_arrays(tmp_path, PAIR)
    assert list(first) == ["tokens", "mask"]
    assert first["tokens"].dtype == np.int64
    assert np.array_equal(first["tokens"], good()["tokens"])
    assert second["mask"].shape == (1, 2)
    assert len(local_arrays(tmp_path, PAIR, limit=1)) == 1


def test_npy_serves_a_model_with_one_input(tmp_path: Path) -> None:
    array = np.array([[1, 2, 3]], np.float32)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array.astype(">f4"))
    np.save(tmp_path / "c.npy", np.asfortranarray(array))
    for sample in local_arrays(tmp_path, [FIXED]):
        assert np.array_equal(sample["x"], array)
        assert sample["x"].dtype == np.dtype("=f4")
        assert sample["x"].flags.c_contiguous


def test_scalar_inputs_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", t=np.float32(0.5))
    (sample,) = local_arrays(tmp_path, [ModelInput("t", "float32", ())])
    assert sample["t"].shape == ()


def changed(**arrays: Any) -> dict[str, Any]:
    return {k: v for k, v in (good() | arrays).items() if v is not None}


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (changed(mask=None), DataError, "no array 'mask'; it has tokens"),
        (changed(extra=np.zeros(1)), DataError, "array 'extra' is no input"),
        (changed(tokens=np.zeros((2, 4), np.int32)), DataError, "'tokens' is int32, .*int64"),
        (changed(mask=np.zeros((2, 4))), DataError, r"is float64.*astype\('float32'\)"),
        (changed(mask=np.zeros(4, np.float32)), DataError, "has 1 dimensions"),
        (changed(mask=np.zeros((0, 4), np.float32)), DataError, "is empty"),
        (changed(mask=np.full((2, 4), np.nan, np.float32)), DataError, "8 of 8 values are NaN"),
        (changed(mask=np.full((2, 4), np.inf, np.float32)), DataError, "8 of 8 values are NaN"),
        (changed(mask=np.array([["a"]])), DataError, "array 'mask': <U1 values"),
        (changed(mask=np.zeros(2, [("a", "f4")])), DataError, "nothing is unpickled"),
        (good(5, 4), DimensionError, "'tokens': size 5 at axis 0; batch takes 4 down"),
        (good(2, 3), DimensionError, "length takes multiples of 2"),
        (good(2, 0) | {"mask": np.zeros((2, 2), np.float32)}, DataError, "is empty"),
        (
            changed(mask=np.zeros((2, 6), np.float32)),
            DimensionError,
            "size 6 at axis 1, but length is 4 at tokens 1",
        ),
    ],
)
def test_wrong_arrays_are_refused_by_name(
    tmp_path: Path, arrays: dict[str, Any], error: type[Exception], message: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=rf"bad\.npz: .*{message}"):
        list(local_arrays(tmp_path, PAIR))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 4), "fixed to 3"), ((2, 3), "size 2 at axis 0, which is fixed to 1")],
)
def test_fixed_sizes_hold(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    with pytest.raises(DimensionError, match=message):
        list(local_arrays(tmp_path, [FIXED]))


def test_minimum_holds(tmp_path: Path) -> None:
    wide = ModelInput("x", "float32", (Axis(symbol="w", minimum=4),))
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    with pytest.raises(DimensionError, match="w takes 4 up"):
        list(local_arrays(tmp_path, [wide]))


def test_npy_cannot_feed_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 2), np.float32))
    with pytest.raises(DataError, match=r"2 inputs \(tokens, mask\); save them in one \.npz"):
        list(local_arrays(tmp_path, PAIR))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (marker,)

    np.save(tmp_path / "a.npy", np.array([Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.array([Evil()], object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match="nothing is unpickled"):
            read_sample(name, tmp_path / name, [FIXED])
    (tmp_path / "c.npy").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"c\.npy: damaged"):
        read_sample("c.npy", tmp_path / "c.npy", [FIXED])
    assert not marker.exists()


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("shape", "message"),
    [("(1, 3)", "0 bytes of values instead of 12"), ("(99999999999,)", "more than the 1073741824")],
)
def test_a_header_that_promises_too_much_takes_no_memory(
    tmp_path: Path, shape: str, message: str
) -> None:
    (tmp_path / "a.npy").write_bytes(npy_header(shape))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", npy_header(shape))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match=message):
            read_sample(name, tmp_path / name, [FIXED])


def test_npz_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 100), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    monkeypatch.setattr(array_samples, "MAX_SAMPLE_BYTES", 100_000)
    with pytest.raises(DataError, match="unpacked, more than the 100000"):
        read_sample("a.npz", tmp_path / "a.npz", [FIXED])


def test_doubled_array_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 3), np.float32))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("x", buffer.getvalue())
    with pytest.raises(DataError, match="two arrays 'x'"):
        read_sample("a.npz", tmp_path / "a.npz", [FIXED])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    np.save(folder / "a.npy", np.ones((1, 3), np.float32))
    np.savez_compressed(folder / "a.npz", x=np.ones((1, 3), np.float32))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@settings(deadline=None)
@given(data=st.data())
def test_damage_is_told_or_harmless(
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data: st.DataObject,
) -> None:
    """A flipped byte or a cut gives a typed error that names the file, or a well-formed sample."""
    whole = files[name]
    position = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        spoiled = whole[:position]
    else:
        flip = data.draw(st.integers(1, 255))
        spoiled = whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :]
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(spoiled)
    told: OptimizerError | None = None
    try:
        sample = read_sample(name, path, [FIXED])
    except OptimizerError as error:
        told = error
    if told is None:
        assert sample["x"].shape == (1, 3)
    else:
        assert str(told).startswith(name)
        assert not told.retryable


def test_folder_without_arrays_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no samples under .*none of them \.npz, \.npy"):
        local_arrays(tmp_path, PAIR)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.pkl: not a \.npz or \.npy"):
        read_sample("a.pkl", tmp_path / "a.pkl", PAIR)


def test_fetched_arrays_have_a_digest_of_their_contents(tmp_path: Path) -> None:
    spec = [InputSpec(name="x", shape=["n", 3])]
    dimensions = {"n": DimensionRange(min=1, opt=2, max=2)}
    (tmp_path / "data").mkdir()

    def fetch(value: float, rows: int = 1) -> Samples:
        np.save(tmp_path / "data" / "a.npy", np.full((rows, 3), value, np.float32))
        data = PlannedData(uri=f"file://{tmp_path}/data", samples=8, images=ImageTransform())
        role, decoder = Credentials.EVALUATION, LocalDecoder()
        return load_data(data, role, spec, dimensions, tmp_path, {}, decoder)

    one = fetch(1.0)
    assert one.names == ["a.npy"]
    assert one.inputs[0]["x"].tolist() == [[1, 1, 1]]
    assert fetch(1.0).digest == one.digest
    assert fetch(2.0).digest != one.digest
    with pytest.raises(DimensionError, match="n takes 2 down"):
        fetch(1.0, rows=3)
