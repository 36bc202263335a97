"""Slips planted in real photographs are found and named; good sets raise no warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import build
import numpy as np
import onnx
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mopt_api.enums import QualityMetric
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.data_statistics import DataFault, DataStatistics, DataWarning, FirstLayer
from mopt_api.jobs.measure_result import OutputSpan
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_api.spec import QualityGate
from mopt_optimizer.data.decoding import LocalDecoder
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.review import Role, review, review_both
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.data.statistics import SetStatistics
from mopt_optimizer.onnx_files.first_layer import first_layers
from mopt_optimizer.quality import range_warnings

pytestmark = pytest.mark.optimizer

Array = NDArray[np.float32]
Images = list[Array]

SIDE = 64
CALIBRATION = ("astronaut.png", "coffee.png", "motorcycle_left.png", "chelsea.png")
EVALUATION = ("rocket.jpg", "color.png", "motorcycle_right.png", "grass.png")
MEAN, STD = (np.reshape(v, (3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SPEC = [InputSpec(name="image", shape=["n", 3, "h", "w"])]
DIMENSIONS = {
    "n": DimensionRange(min=1, opt=1, max=8),
    "h": DimensionRange(min=8, opt=SIDE, max=512),
    "w": DimensionRange(min=8, opt=SIDE, max=512),
}


@cache
def photograph(name: str) -> Array:
    """Return a photograph, shape (256, 256, 3), values 0 to 1."""
    with Image.open(Path(skimage.data.__file__).parent / name) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((256, 256)), np.float32)
    return pixels / np.float32(255)


def tiles(names: Sequence[str], each: int, seed: int) -> Images:
    """Return squares cut from photographs, values 0 to 1, shape (1, 3, SIDE, SIDE)."""
    generator = np.random.default_rng(seed)
    found: Images = []
    for name in names:
        for top, left in generator.integers(0, 256 - SIDE, (each, 2)):
            tile = photograph(name)[top : top + SIDE, left : left + SIDE]
            found.append(np.ascontiguousarray(tile.transpose(2, 0, 1)[np.newaxis]))
    return found


def normalized(images: Images) -> Images:
    return [((image - MEAN) / STD).astype(np.float32) for image in images]


def reversed_channels(images: Images) -> Images:
    return [image[:, ::-1].copy() for image in images]


def trained(folder: Path, prepare: Callable[[Images], Images]) -> list[FirstLayer]:
    """Train a small classifier of photographs for a moment; return what its ONNX file tells."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    labels = torch.arange(8).repeat_interleave(4)
    names = CALIBRATION + EVALUATION
    for step in range(30):
        batch = torch.tensor(np.concatenate(prepare(tiles(names, 4, 100 + step))))
        loss = nn.functional.cross_entropy(network(batch), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.onnx.export(
            network.eval(),
            (batch[:1],),
            str(path),
            dynamo=False,
            input_names=["image"],
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return first_layers(onnx.load(path), folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[FirstLayer]:
    """Of a network trained on 0 to 1."""
    return trained(tmp_path_factory.mktemp("plain"), lambda images: images)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> list[FirstLayer]:
    """Of a network trained on images normalized as torchvision does."""
    return trained(tmp_path_factory.mktemp("imagenet"), normalized)


def loaded(folder: Path, role: Credentials, images: ImageTransform | None = None) -> Samples:
    data = PlannedData(uri=f"file://{folder}", samples=64, images=images or ImageTransform())
    work = folder.with_name(f"{folder.name}-work")
    return load_data(data, role, SPEC, DIMENSIONS, work, {}, LocalDecoder())


def arrays(folder: Path, role: Credentials, images: Images) -> Samples:
    folder.mkdir()
    for number, image in enumerate(images):
        np.save(folder / f"{number:03}.npy", image)
    return loaded(folder, role)


def pictures(folder: Path, role: Credentials, images: Images, **transform: object) -> Samples:
    folder.mkdir()
    for number, image in enumerate(images):
        pixels = (image[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return loaded(folder, role, ImageTransform.model_validate(transform))


def found(first: Samples, second: Samples, layers: list[FirstLayer]) -> list[DataWarning]:
    """Return all warnings of a calibration and an evaluation set, as the two stages do."""
    return [
        *review(Role.CALIBRATION, first.statistics, first.patches, layers),
        *review(Role.EVALUATION, second.statistics, second.patches, layers),
        *review_both(first.statistics, second.statistics),
    ]


def spoiled(images: Images, spoil: Callable[[Array], NDArray[Any]], count: int) -> Images:
    return [spoil(i).astype(np.float32) if n < count else i for n, i in enumerate(images)]


C, E = tiles(CALIBRATION, 4, 1), tiles(EVALUATION, 4, 2)
NOISE = np.random.default_rng(0)

# What is planted: calibration, evaluation, the network's training, the fault that names it.
PLANTED: dict[str, tuple[Images, Images, str, DataFault, str]] = {
    "too few": (C[:5], E, "plain", DataFault.FEW_SAMPLES, "5 samples"),
    "copies": (C[:10] + C[:6], E, "plain", DataFault.DUPLICATES, "6 of 16"),
    "black frames": (
        spoiled(C, np.zeros_like, 3),
        E,
        "plain",
        DataFault.CONSTANT,
        "3 of 16 samples hold one value",
    ),
    "clipped at both ends": (
        spoiled(C, lambda i: np.clip(6 * (i - 0.4), 0, 1), 16),
        E,
        "none",
        DataFault.CLIPPED,
        "the two ends",
    ),
    "overexposed beside evaluation": (
        spoiled(C, lambda i: np.clip(4 * i, 0, 1), 16),
        E,
        "none",
        DataFault.CLIPPED,
        "of evaluation's",
    ),
    "bytes never scaled, in both": (
        spoiled(C, lambda i: 255 * i, 16),
        spoiled(E, lambda i: 255 * i, 16),
        "plain",
        DataFault.SCALE,
        "255 times as large",
    ),
    "scaled twice, in both": (
        spoiled(C, lambda i: i / 255, 16),
        spoiled(E, lambda i: i / 255, 16),
        "plain",
        DataFault.SCALE,
        "255 times as small",
    ),
    "bytes in calibration alone": (
        spoiled(C, lambda i: 255 * i, 16),
        E,
        "none",
        DataFault.SCALE,
        "the other is not",
    ),
    "half of the files scaled": (
        spoiled(C, lambda i: 255 * i, 8),
        E,
        "none",
        DataFault.MIXED_SCALES,
        "some may be scaled",
    ),
    "mean and std missing, in both": (C, E, "imagenet", DataFault.NORMALIZATION, "are missing"),
    "mean and std too many, in both": (
        normalized(C),
        normalized(E),
        "plain",
        DataFault.NORMALIZATION,
        "leave mean and std out",
    ),
    "mean and std in calibration alone": (
        normalized(C),
        E,
        "none",
        DataFault.NORMALIZATION,
        "the other has not",
    ),
    "BGR in both": (
        reversed_channels(C),
        reversed_channels(C[::-1]),
        "plain",
        DataFault.COLOR_ORDER,
        "reverse order",
    ),
    "BGR before mean and std, in both": (
        normalized(reversed_channels(C)),
        normalized(reversed_channels(C[::-1])),
        "imagenet",
        DataFault.COLOR_ORDER,
        "reverse order",
    ),
    "BGR in calibration alone": (
        reversed_channels(C),
        tiles(CALIBRATION, 4, 5),
        "none",
        DataFault.COLOR_ORDER,
        "those of evaluation",
    ),
    "noise for pictures": (
        [NOISE.random((1, 3, SIDE, SIDE), np.float32) for _ in range(16)],
        E,
        "none",
        DataFault.NOISE,
        "white noise",
    ),
    "night for day": (
        spoiled(C, lambda i: 0.2 * i, 16),
        E,
        "none",
        DataFault.SETS_DIFFER,
        "unlike evaluation",
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_fault_is_named(
    case: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first, second, network, fault, words = PLANTED[case]
    layers = [] if network == "none" else request.getfixturevalue(network)
    calibration = arrays(tmp_path / "c", Credentials.CALIBRATION, first)
    evaluation = arrays(tmp_path / "e", Credentials.EVALUATION, second)
    all_of_it = found(calibration, evaluation, layers)
    assert [w for w in all_of_it if w.fault is fault and words in w.message], all_of_it


@pytest.mark.parametrize(
    ("transform", "other", "fault", "words"),
    [
        ({"mean": [123.7, 116.3, 103.5]}, {}, DataFault.NORMALIZATION, "-123.70"),
        ({"color": "BGR"}, {}, DataFault.COLOR_ORDER, "images.color is BGR here and RGB"),
        ({"scale": 1}, {}, DataFault.TRANSFORMS_DIFFER, "images.scale is 1 here and 0.00392"),
    ],
)
def test_a_declared_slip_is_named(
    tmp_path: Path,
    transform: dict[str, object],
    other: dict[str, object],
    fault: DataFault,
    words: str,
) -> None:
    calibration = pictures(tmp_path / "c", Credentials.CALIBRATION, C, **transform)
    evaluation = pictures(tmp_path / "e", Credentials.EVALUATION, E, **other)
    all_of_it = found(calibration, evaluation, [])
    assert [w for w in all_of_it if w.fault is fault and words in w.message], all_of_it


@pytest.mark.parametrize("field", ["calibration", "evaluation"])
def test_each_set_is_named_by_its_field(field: str, tmp_path: Path) -> None:
    good = arrays(tmp_path / "g", Credentials.CALIBRATION, C)
    bad = arrays(tmp_path / "b", Credentials.EVALUATION, spoiled(E, np.zeros_like, 2))
    both = (bad, good) if field == "calibration" else (good, bad)
    assert {w.field for w in found(*both, []) if w.fault is DataFault.CONSTANT} == {
        f"spec.data.{field}"
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("network", ["plain", "imagenet"])
def test_photographs_as_trained_raise_nothing(
    seed: int, network: str, request: pytest.FixtureRequest
) -> None:
    layers = request.getfixturevalue(network)
    names = [str(n) for n in np.random.default_rng(seed).permutation(CALIBRATION + EVALUATION)]
    sets = tiles(names[:4], 4, seed), tiles(names[4:], 3, seed + 50)
    first, second = (s if network == "plain" else normalized(s) for s in sets)
    a, b = statistics(first), statistics(second)
    assert [
        *review(Role.CALIBRATION, a.result(), a.patches(), layers),
        *review(Role.EVALUATION, b.result(), b.patches(), layers),
        *review_both(a.result(), b.result()),
    ] == []


def test_the_example_raises_nothing(tmp_path: Path) -> None:
    build.cut_tiles(build.CALIBRATION, tmp_path / "c")
    build.cut_tiles(build.EVALUATION, tmp_path / "e")
    first = loaded(tmp_path / "c", Credentials.CALIBRATION)
    second = loaded(tmp_path / "e", Credentials.EVALUATION)
    assert found(first, second, []) == []


def statistics(images: Sequence[Any], name: str = "image") -> SetStatistics:
    result = SetStatistics(len(images), None)
    for image in images:
        result.add({name: image})
    return result


def _page(seed: int) -> Images:
    source = Path(skimage.data.__file__).parent / "page.png"
    with Image.open(source) as picture:
        pixels = np.asarray(picture.convert("L"), np.float32) / np.float32(255)
    tops = np.random.default_rng(seed).integers(0, pixels.shape[0] - SIDE, 10)
    return [(pixels[top : top + SIDE, : 2 * SIDE] > 0.6)[None, None].astype("f4") for top in tops]


def _ids(seed: int) -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 30000, (1, 12)) for _ in range(16)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(_page(0), _page(1), id="black on white"),
        pytest.param(_ids(0), _ids(1), id="token ids"),
        pytest.param([np.ones((1, 12), np.int64) * n for n in range(9)], _ids(1)[:0], id="masks"),
        pytest.param([np.zeros((1, 1, 8, 8), bool)] * 1 + _ids(2), [], id="other types"),
        pytest.param([np.float32(0.1 * n).reshape(1) for n in range(9)], [], id="scalars"),
    ],
)
def test_other_inputs_raise_nothing(first: Sequence[Any], second: Sequence[Any]) -> None:
    a = statistics(first)
    warned = review(Role.CALIBRATION, a.result(), a.patches(), [])
    if second:
        warned += review_both(a.result(), statistics(second).result())
    assert warned == []


def test_only_trained_statistics_count(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(1, 3, 8, 8),),
            str(path),
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    assert first_layers(onnx.load(path), tmp_path) == []


def test_arithmetic_in_the_graph_is_part_of_the_expectation(tmp_path: Path) -> None:
    """A network that divides bytes by 255 itself, channels last, takes bytes."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weight = generator.normal(size=(4, 3, 3, 3)).astype(np.float32)
    constants = {
        "w": weight,
        "white": np.float32(255),
        "mean": np.array([0.4, 0.5, 0.6], np.float32).reshape(1, 1, 1, 3),
        "one": np.ones(4, np.float32),
        "mu": np.full(4, 0.5, np.float32),
        "var": np.full(4, 2, np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Div", ["x", "white"], ["a"]),
            helper.make_node("Sub", ["a", "mean"], ["b"]),
            helper.make_node("Transpose", ["b"], ["c"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["c", "w"], ["d"]),
            helper.make_node("BatchNormalization", ["d", "one", "one", "mu", "var"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    (layer,) = first_layers(helper.make_model(graph), tmp_path)
    assert layer.input == "x"
    np.testing.assert_allclose(layer.scale, [1 / 255] * 3, rtol=1e-5)
    np.testing.assert_allclose(layer.offset, [-0.4, -0.5, -0.6], rtol=1e-5)
    np.testing.assert_allclose(layer.weights, weight.reshape(4, -1), rtol=1e-5)


def _gate(**fields: object) -> QualityGate:
    return QualityGate.model_validate({"metric": QualityMetric.PSNR, "minimum": 30, **fields})


@pytest.mark.parametrize(
    ("gate", "low", "high", "count"),
    [
        (_gate(dataRange=255), 0.0, 1.0, 1),
        (_gate(dataRange=1), 0.0, 250.0, 1),
        (_gate(metric="SSIM", minimum=0.9, dataRange=255), 0.01, 0.98, 1),
        (_gate(dataRange=1), 0.0, 0.98, 0),
        (_gate(dataRange=1), 0.2, 0.4, 0),
        (_gate(dataRange=255), 3.0, 251.0, 0),
        (_gate(metric="SQNR", dataRange=255), 0.0, 1.0, 0),
        (_gate(dataRange=255, output="other"), 0.0, 1.0, 0),
        (_gate(dataRange=255), 0.5, 0.5, 0),
    ],
)
def test_a_data_range_far_from_the_outputs_is_said(
    gate: QualityGate, low: float, high: float, count: int
) -> None:
    said = range_warnings([gate], [OutputSpan(name="y", low=low, high=high)])
    assert [w.fault for w in said] == [DataFault.DATA_RANGE] * count
    assert all(f"dataRange {gate.data_range:g}" in w.message for w in said)


def test_statistics_are_those_of_numpy() -> None:
    images = [i * np.float32(0.5) for i in tiles(CALIBRATION[:2], 3, 9)]
    (entry,) = statistics(images).result().inputs
    everything = np.concatenate(images)
    for channel, figures in enumerate(entry.channels):
        values = everything[:, channel].astype(np.float64)
        assert figures.mean == pytest.approx(values.mean())
        assert figures.std == pytest.approx(values.std())
        assert figures.spread == pytest.approx(values.mean((1, 2)).std(ddof=1))
    assert (entry.low, entry.high) == (everything.min(), everything.max())
    assert entry.at_low == pytest.approx((everything == everything.min()).mean())
    assert entry.at_high == pytest.approx((everything == everything.max()).mean())
    assert (
        DataStatistics.model_validate_json(
            statistics(images).result().model_dump_json(by_alias=True)
        )
        == statistics(images).result()
    )
