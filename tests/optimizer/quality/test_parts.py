"""Parts of different scale, channels that became constant, and declared outputs and slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import SpecError
from mopt_optimizer.quality import Comparison, Profile, declared_figures

Array = NDArray[Any]
Outputs = list[Array]
COSINE = {QualityMetric.COSINE: None}


def detector(samples: int = 6, rows: int = 40) -> list[Outputs]:
    """Return for each sample one output: 4 columns of 0 to 640 beside 80 of 0 to 1."""
    random = np.random.default_rng(0)
    return [
        [
            np.concatenate(
                [random.random((1, rows, 4)) * 640, random.random((1, rows, 80)) ** 4], axis=2
            ).astype(np.float32)
        ]
        for _ in range(samples)
    ]


def profile_of(samples: Sequence[Outputs], names: Sequence[str] = ("boxes",)) -> Profile:
    profile = Profile(names)
    for outputs in samples:
        profile.add(outputs)
    return profile


def compared(
    samples: Sequence[Outputs], form: Callable[[Array], Array], **options: Any
) -> Comparison:
    comparison = Comparison(COSINE, profile=profile_of(samples), **options)
    for outputs in samples:
        comparison.add(outputs, [form(array) for array in outputs])
    return comparison


def result(comparison: Comparison) -> QualityResult:
    (found,) = comparison.results()
    return found


def without_scores(array: Array) -> Array:
    return np.where(np.arange(84) < 4, array, np.float32(0))


@pytest.mark.parametrize("axis", [1, 2])
def test_scores_beside_boxes_are_a_part_on_whichever_axis(axis: int) -> None:
    samples = [[np.moveaxis(outputs[0], 2, axis)] for outputs in detector()]
    labels = [part.label for part in profile_of(samples).parts]
    shown = ("0:4", "4:84")
    assert labels == [f"boxes[:, {s}]" if axis == 1 else f"boxes[..., {s}]" for s in shown]


def test_three_scales_are_three_parts() -> None:
    random = np.random.default_rng(1)
    scales = np.array([1e3] * 3 + [1.0] * 2 + [1e-3] * 4)
    samples: list[Outputs] = [[random.normal(0, 1, (8, 9)) * scales] for _ in range(5)]
    labels = [part.label for part in profile_of(samples).parts]
    assert labels == ["boxes[..., 0:3]", "boxes[..., 3:5]", "boxes[..., 5:9]"]


def relu(samples: int = 5) -> list[Outputs]:
    """Return features behind a Relu, some of which are hardly ever active."""
    random = np.random.default_rng(2)
    bias = np.where(np.arange(32) % 5 == 0, -3.0, 0.5)
    return [[np.maximum(random.normal(0, 1, (8, 32)) + bias, 0)] for _ in range(samples)]


def classes(samples: int = 5) -> list[Outputs]:
    """Return shares of three classes, the last of which is hardly ever seen."""
    random = np.random.default_rng(3)
    scores = [random.normal(0, 3, (4, 3)) - [0, 0, 25] for _ in range(samples)]
    return [[np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)] for s in scores]


def picture(samples: int = 3) -> list[Outputs]:
    """Return pictures with dark borders."""
    random = np.random.default_rng(4)
    wide = [random.random((1, 3, 16, 16)) * 255 for _ in range(samples)]
    return [[np.where(np.arange(16)[:, None] < 4, w * 1e-4, w)] for w in wide]


def embedding(samples: int = 5) -> list[Outputs]:
    """Return vectors of length 1 in which three values of 384 are dead, as all-MiniLM-L6-v2's."""
    random = np.random.default_rng(5)
    scales = np.full(384, 0.05)
    scales[[127, 223]], scales[319] = 1e-33, 1e-8
    return [[(random.normal(0, 1, (1, 384)) * scales).astype(np.float32)] for _ in range(samples)]


def test_dead_channels_of_an_embedding_are_no_part_and_may_be_constant() -> None:
    samples = embedding()
    assert profile_of(samples).parts == ()
    dead = np.isin(np.arange(384), [127, 223, 319])
    comparison = compared(samples, lambda array: np.where(dead, np.float32(0), array))
    assert comparison.constant_channel() is None
    assert result(comparison).worst > 0.999999


def test_two_quantities_of_which_one_is_minute_are_two_parts() -> None:
    random = np.random.default_rng(6)
    samples: list[Outputs] = [[random.normal(0, 1, (8, 2)) * [1e5, 1e-3]] for _ in range(5)]
    labels = [part.label for part in profile_of(samples).parts]
    assert labels == ["boxes[..., 0:1]", "boxes[..., 1:2]"]


@pytest.mark.parametrize("samples", [relu(), classes(), picture()], ids=["relu", "rare", "dark"])
def test_channels_of_one_quantity_are_no_parts(samples: list[Outputs]) -> None:
    assert profile_of(samples).parts == ()


def test_cosine_of_lost_scores_is_that_of_the_scores() -> None:
    samples = detector()
    whole = Comparison(COSINE)
    for outputs in samples:
        whole.add(outputs, [without_scores(outputs[0])])
    assert result(whole).worst > 0.99999
    comparison = compared(samples, without_scores)
    assert (result(comparison).worst, result(comparison).part) == (0, "boxes[..., 4:84]")
    message = comparison.constant_channel() or ""
    assert message.startswith("boxes[..., 4:84] is constant, 0; in FP32 it varies from ")


def test_a_part_without_anything_in_a_sample_is_judged_by_the_others() -> None:
    samples = detector()
    for outputs in samples[1:]:
        outputs[0][..., 4:] *= 1e-3
    small = compared(samples, lambda a: np.where(np.arange(84) < 4, a, np.round(a, 2)))
    assert result(small).worst > 0.999


def test_eight_bits_with_a_scale_of_their_own_for_each_part_pass() -> None:
    scale = np.where(np.arange(84) < 4, 640 / 255, 1 / 255).astype(np.float32)
    comparison = compared(detector(), lambda a: np.round(a / scale) * scale)
    assert result(comparison).worst > 0.999
    assert comparison.constant_channel() is None


def test_one_scale_for_both_is_found_out() -> None:
    comparison = compared(detector(), lambda a: np.round(a / 2.5) * np.float32(2.5))
    assert result(comparison).worst < 0.9
    assert comparison.constant_channel() is not None


@pytest.mark.parametrize("samples", [relu(), classes()], ids=["relu", "rare"])
def test_a_weak_channel_may_become_constant(samples: list[Outputs]) -> None:
    weak = np.array([outputs[0].max(axis=0) for outputs in samples]).max(axis=0)
    kept = weak > 0.04 * weak.max()
    assert not kept.all()
    assert compared(samples, lambda a: np.where(kept, a, 0)).constant_channel() is None


def test_one_dead_channel_among_many_is_named() -> None:
    comparison = compared(detector(), lambda a: np.where(np.arange(84) == 17, 0.25, a))
    assert (comparison.constant_channel() or "").startswith("boxes[..., 17:18] is constant, 0.25")


def test_what_never_varies_in_fp32_may_be_constant() -> None:
    samples: list[Outputs] = [[np.array([[1.0, value]])] for value in (0.1, 0.9)]
    assert compared(samples, lambda a: a).constant_channel() is None


def test_of_several_outputs_the_worst_is_named() -> None:
    large, small = np.arange(8.0) * 100, np.arange(8.0)
    comparison = Comparison(COSINE, names=["large", "small"])
    comparison.add([large, small], [large, small[::-1]])
    assert result(comparison).part == "small"


def gate(**fields: Any) -> QualityGate:
    return QualityGate.model_validate({"metric": "Cosine", "minimum": 0.9} | fields)


SCORES = {"name": "scores", "axis": -1, "range": [4, 84]}


def test_a_declared_slice_is_judged_by_itself() -> None:
    declared = declared_figures([gate(output="boxes", slice=SCORES), gate()])
    comparison = Comparison({}, declared=declared, names=["boxes"])
    for outputs in detector():
        comparison.add(outputs, [without_scores(outputs[0])])
    found = result(comparison)
    assert (found.output, found.slice, found.part) == ("boxes", "scores", None)
    assert found.worst == 0


@pytest.mark.parametrize(
    ("fields", "names", "message"),
    [
        ({"output": "mask"}, ["boxes"], "output mask is none of the model's: boxes"),
        ({"slice": SCORES | {"range": [4, 85]}}, ["boxes"], r"slice scores is 4:85 of axis -1"),
        ({"slice": SCORES | {"axis": 3}}, ["boxes"], r"axis 3; the output is \(1, 40, 84\)"),
    ],
)
def test_what_is_not_there_is_refused(
    fields: dict[str, Any], names: list[str], message: str
) -> None:
    comparison = Comparison({}, declared=declared_figures([gate(**fields)]), names=names)
    (outputs, *_) = detector()
    with pytest.raises(SpecError, match=message):
        comparison.add(outputs, outputs)
