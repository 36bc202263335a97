"""Detections, sequences and embeddings: by their definitions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from mopt_api.enums import Aggregate, Fallback, QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.jobs.plan import fallback_gates
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.data.references import Reference, check_reference
from mopt_optimizer.errors import DataError, SpecError
from mopt_optimizer.quality import (
    Comparison,
    Figure,
    NonFiniteOutput,
    NotDetections,
    NotEmbeddings,
    NotSequences,
    ShapeMismatch,
    check_sample_count,
    detection_f1,
    fitting_gates,
    neighbor_agreement,
    sequence_agreement,
)

Array = NDArray[Any]
F1, SEQUENCES = QualityMetric.DETECTION_F1, QualityMetric.SEQUENCE_AGREEMENT
NEIGHBORS = QualityMetric.NEIGHBOR_AGREEMENT

CAT = [10, 10, 50, 50, 0.9, 1]
DOG = [60, 20, 90, 80, 0.8, 2]
BIRD = [0, 0, 8, 8, 0.5, 3]
PADDING = [0, 0, 0, 0, 0, 0]
FAINT = [0, 0, 9, 9, 0.2, 1]


def rows(*found: list[float]) -> Array:
    return np.asarray(found, np.float32).reshape(len(found), 6)


def moved(row: list[float], right: float) -> list[float]:
    return [row[0] + right, row[1], row[2] + right, *row[3:]]


@pytest.mark.parametrize(
    ("reference", "output", "expected"),
    [
        ([CAT, DOG], [CAT, DOG], 1),
        ([CAT, DOG], [DOG, CAT], 1),
        ([CAT, DOG], [CAT], 2 / 3),
        ([CAT], [CAT, DOG], 2 / 3),
        ([CAT, DOG], [CAT, [*DOG[:5], 7]], 0.5),
        ([CAT], [CAT, CAT], 2 / 3),
        ([], [], 1),
        ([], [CAT], 0),
        ([CAT], [], 0),
        # The cat is 40 wide: 13 to the side leaves 27 / 53 of the union, 14 leaves 26 / 54.
        ([CAT], [moved(CAT, 13)], 1),
        ([CAT], [moved(CAT, 14)], 0),
        ([CAT, PADDING, PADDING], [CAT, FAINT], 1),
        # The surer of two takes the box; the other finds none.
        ([CAT, DOG, BIRD], [[*CAT[:4], 0.95, 1], [*CAT[:4], 0.6, 1], DOG], 2 / 3),
    ],
)
def test_f1_counts_what_finds_its_counterpart(
    reference: list[list[float]], output: list[list[float]], expected: float
) -> None:
    assert detection_f1(rows(*reference), rows(*output)) == pytest.approx(expected)


def test_pictures_of_a_batch_do_not_mix() -> None:
    here, there = np.stack([rows(CAT), rows(DOG)]), np.stack([rows(DOG), rows(CAT)])
    assert detection_f1(here, here) == 1
    assert detection_f1(here, there) == 0
    with pytest.raises(NotDetections, match="of 1 pictures, not 2"):
        detection_f1(here, there[:1])


@given(arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)), st.permutations(range(5)))
def test_f1_knows_no_order_and_is_symmetric(some: Array, order: list[int]) -> None:
    assert detection_f1(some, some[order], 0) == 1
    other = some.copy()
    other[:2, :4] = other[2:4, :4]
    value = detection_f1(some, other, 0)
    assert 0 <= value <= 1
    assert detection_f1(some[:3], other, 0) <= 2 * 3 / 8


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 7)])
def test_other_outputs_are_no_detections(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotDetections, match="rows of x1, y1, x2, y2"):
        detection_f1(np.zeros(shape), np.zeros(shape))


def test_a_row_with_nan_is_no_detection() -> None:
    with pytest.raises(NonFiniteOutput, match="1 of 6"):
        detection_f1(rows(CAT), rows([*CAT[:5], np.nan]))


def _compared(
    metric: QualityMetric, reference: list[Array], output: list[Array], *names: str
) -> QualityResult:
    comparison = Comparison({metric: None}, names=names)
    comparison.add(reference, output)
    (result,) = comparison.results()
    return result


def test_rows_of_another_number_are_compared() -> None:
    result = _compared(F1, [rows(CAT, DOG)], [rows(CAT)])
    assert result.worst == pytest.approx(2 / 3)
    with pytest.raises(ShapeMismatch):
        _compared(QualityMetric.COSINE, [rows(CAT, DOG)], [rows(CAT)])
    assert _compared(F1, [rows()], [rows()]).exact


def test_what_is_new_and_not_finite_is_refused_in_other_numbers_too() -> None:
    with pytest.raises(NonFiniteOutput):
        _compared(F1, [rows(CAT, DOG)], [rows([np.inf, *CAT[1:]])])


def split(found: Array, labels: Any = np.int64) -> list[Array]:
    return [found[:, :4], found[:, 4], found[:, 5].astype(labels)]


def test_boxes_scores_and_labels_of_their_own() -> None:
    here, there = split(rows(CAT, DOG, BIRD)), split(rows(CAT, moved(DOG, 30)))
    assert _compared(F1, here, there).worst == pytest.approx(2 / 5)
    boxes, scores, labels = split(rows(CAT, DOG), np.float32)
    # As TensorFlow exports them: the labels are no integers, the names say which is which.
    named = ("detection_boxes", "detection_classes", "detection_scores")
    assert _compared(F1, [boxes, labels, scores], [boxes, labels, scores], *named).worst == 1
    with pytest.raises(NotDetections, match=r"the model's are \(2, 4\), \(2,\), \(2,\)"):
        _compared(F1, [boxes, labels, scores], [boxes, labels, scores])


@pytest.mark.parametrize("count", [4, 5, 6])
def test_scores_of_as_many_boxes_as_a_row_has_columns_are_no_row(count: int) -> None:
    """As ground truth has them, in a batch of one; of four, they look like a box."""
    all_of_them = split(rows(*(moved(CAT, 40 * number) for number in range(count))))
    there = [array[None] for array in all_of_them]
    here = [array[None, :-1] for array in all_of_them]
    share = 2 * (count - 1) / (2 * count - 1)
    assert _compared(F1, here, there).worst == pytest.approx(share)
    assert _compared(F1, there, there).worst == 1


def test_the_declared_output_alone_is_judged() -> None:
    figure = Figure.of(QualityGate(metric=F1, minimum=0.9, output="dets"))
    comparison = Comparison({}, declared=[figure], names=["count", "dets"])
    comparison.add([np.array([2]), rows(CAT, DOG)], [np.array([1]), rows(CAT)])
    (result,) = comparison.results()
    assert result.output == "dets"
    assert result.worst == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [F1, SEQUENCES])
def test_a_gate_that_fits_no_output_is_the_specs(metric: QualityMetric) -> None:
    with pytest.raises(SpecError, match=rf"quality: .*leave .*{metric} out"), fitting_gates():
        _compared(metric, [np.zeros((1, 1))], [np.zeros((1, 1))])


def test_neither_steers_the_search_for_layers() -> None:
    gates = [
        QualityGate(metric=F1, minimum=0.9),
        QualityGate(metric=SEQUENCES, minimum=0.9),
        QualityGate(metric=QualityMetric.COSINE, minimum=0.9),
    ]
    assert fallback_gates(Quantization(fallback=Fallback.AUTO), gates) == gates[2:]


def _by_definition(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    @cache
    def distance(one: int, other: int) -> int:
        if not one or not other:
            return one + other
        return min(
            distance(one - 1, other) + 1,
            distance(one, other - 1) + 1,
            distance(one - 1, other - 1) + (first[one - 1] != second[other - 1]),
        )

    return distance(len(first), len(second))


IDS = st.lists(st.integers(0, 3), min_size=1, max_size=7).map(lambda ids: (*ids, 9))


@given(IDS, IDS)
def test_sequences_agree_by_their_edit_distance(first: Any, second: Any) -> None:
    expected = 1 - _by_definition(first, second) / max(len(first), len(second))
    found = sequence_agreement(np.array([first]), np.array([second]))
    assert found == pytest.approx(expected)
    # Scores say the same as the ids of their largest.
    scores = np.eye(10, dtype=np.float32)
    assert sequence_agreement(scores[[first]], scores[[second]]) == pytest.approx(expected)
    assert sequence_agreement(np.array([first]), scores[[second]]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([[5, 6, 7]], [[5, 6, 7]], 1),
        ([[5, 6, 7]], [[6, 7]], 2 / 3),
        ([[5, 6, 0, 0, 0, 0]], [[5, 6, 0]], 1),
        ([[5, 6, 0, 0, 0, 0]], [[5, 8, 0, 0, 0, 0]], 2 / 3),
        ([[5, 6], [5, 6]], [[5, 6], [7, 8]], 0),
        ([[]], [[]], 1),
        ([[5]], [[]], 0),
    ],
)
def test_padding_counts_once_and_the_worst_of_a_batch(
    first: Any, second: Any, expected: float
) -> None:
    pair = (np.array(ids, np.int64) for ids in (first, second))
    assert sequence_agreement(*pair) == pytest.approx(expected)


def test_long_sequences_take_no_time() -> None:
    one, other = np.random.default_rng(0).integers(0, 50, (2, 1, 3000))
    assert 0 < sequence_agreement(one, other) < 0.5


def test_what_is_no_sequence() -> None:
    with pytest.raises(NotSequences, match="scores of two ids"):
        sequence_agreement(np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32))
    with pytest.raises(ShapeMismatch):
        sequence_agreement(np.zeros((2, 3), int), np.zeros((1, 3), int))


def test_ground_truth_of_another_number() -> None:
    truth = Reference("a.npz", [rows(CAT, DOG)])
    check_reference(truth, [rows(CAT)], [F1])
    with pytest.raises(DataError, match=r"reference a\.npz is \(2, 6\)"):
        check_reference(truth, [rows(CAT)], [F1, QualityMetric.COSINE])
    comparison = Comparison({F1: None})
    comparison.add_truth(truth.outputs, [rows(CAT)])
    assert comparison.results()[0].worst == pytest.approx(2 / 3)


def vectors(count: int = 24, size: int = 8, seed: int = 0) -> list[Array]:
    return list(np.random.default_rng(seed).normal(size=(count, 1, size)).astype(np.float32))


def test_neighbors_are_those_of_scikit_learn() -> None:
    """Recall at 5, by a library's own search."""
    before, other = vectors(40), vectors(40, seed=1)
    after = [a + 0.4 * b for a, b in zip(before, other, strict=True)]

    def nearest(some: list[Array]) -> list[set[int]]:
        rows = np.concatenate(some)
        found = NearestNeighbors(n_neighbors=6, metric="cosine").fit(rows)
        return [set(near[1:]) for near in found.kneighbors(rows, return_distance=False)]

    pairs = zip(nearest(before), nearest(after), strict=True)
    expected = [len(one & other) / 5 for one, other in pairs]
    assert neighbor_agreement(before, after) == pytest.approx(expected)
    assert 0.3 < np.mean(expected) < 0.95


@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
def test_neighbors_do_not_depend_on_length(seed: int, scale: float) -> None:
    before = vectors(20, seed=seed)
    assert neighbor_agreement(before, [scale * one for one in before]) == [1.0] * 20


def test_equal_embeddings_are_as_near_as_each_other() -> None:
    """Of ten copies any five are nearest, whichever a sort takes first."""
    copies = [np.ones((1, 4), np.float32)] * 10 + [-np.ones((1, 4), np.float32)] * 10
    moved = [one * (1 + 1e-7 * number) for number, one in enumerate(copies)]
    assert neighbor_agreement(copies, moved) == [1.0] * 20
    assert neighbor_agreement([np.zeros((1, 4), np.float32)] * 20, moved) == [1.0] * 20


def test_rows_of_a_batch_are_embeddings_of_their_own() -> None:
    before, after = vectors(24), vectors(24, seed=3)
    single = neighbor_agreement(before, after)
    starts = range(0, 24, 3)
    batches = ([np.concatenate(some[i : i + 3]) for i in starts] for some in (before, after))
    assert neighbor_agreement(*batches) == pytest.approx(
        [np.mean(single[i : i + 3]) for i in range(0, 24, 3)]
    )
    assert neighbor_agreement([one[0] for one in before], [one[0] for one in after]) == single


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.ones((1, 3, 8), np.float32), NotEmbeddings),
        (np.ones((2, 1), np.float32), NotEmbeddings),
        (np.ones((1, 8), np.int64), NotEmbeddings),
        (np.full((1, 8), np.nan, np.float32), NonFiniteOutput),
    ],
)
def test_what_is_no_embedding_is_refused(array: Array, error: type[Exception]) -> None:
    comparison = Comparison({NEIGHBORS: None})
    with pytest.raises(error):
        comparison.add([array], [array])
    assert comparison.results() == []
    with pytest.raises(SpecError, match=r"leave NeighborAgreement out"), fitting_gates():
        Comparison({NEIGHBORS: None}).add([np.ones(3, np.int64)], [np.ones(3, np.int64)])


def test_neighbors_are_compared_beside_other_metrics() -> None:
    before = [[a, b] for a, b in zip(vectors(), vectors(seed=1), strict=True)]
    after = [[a, b + c] for (a, b), c in zip(before, vectors(seed=2), strict=True)]
    named = Figure(NEIGHBORS, None, output="kept")
    comparison = Comparison(
        {QualityMetric.COSINE: None, NEIGHBORS: None}, declared=[named], names=["kept", "noisy"]
    )
    for expected, found in zip(before, after, strict=True):
        comparison.add(expected, found)
    assert {figure.metric for figure in comparison.latest()} == {QualityMetric.COSINE}
    cosine, everything, kept = comparison.results()
    assert (cosine.metric, everything.metric, kept.metric) == (
        QualityMetric.COSINE,
        *[NEIGHBORS] * 2,
    )
    noisy = ([outputs[1] for outputs in some] for some in (before, after))
    assert everything.per_sample == neighbor_agreement(*noisy)
    assert (everything.part, everything.exact) == ("noisy", False)
    assert (kept.worst, kept.output, kept.exact) == (1.0, "kept", True)


def test_too_few_samples_are_refused_before_anything_runs() -> None:
    gates = [QualityGate(metric=NEIGHBORS, minimum=0.9, aggregate=Aggregate.MEAN)]
    with pytest.raises(SpecError, match=r"NeighborAgreement is of all .* needs 20 .* there are 19"):
        check_sample_count(gates, 19)
    check_sample_count(gates, 20)
    check_sample_count([QualityGate(metric=QualityMetric.COSINE, minimum=0.9)], 1)
    tolerance = QualityGate(metric=QualityMetric.COSINE, minimum=0.9, aggregate=Aggregate.TOLERANCE)
    with pytest.raises(SpecError, match=r"Tolerance .* needs 59 samples; there are 58; add some"):
        check_sample_count([tolerance], 58)
    check_sample_count([tolerance], 59)
    with pytest.raises(DataError, match="5 nearest among all samples; there are 5 embeddings"):
        neighbor_agreement(vectors(5), vectors(5))


def test_the_search_leaves_neighbors_to_the_evaluation() -> None:
    gates = [
        QualityGate(metric=NEIGHBORS, minimum=0.9),
        QualityGate(metric=QualityMetric.COSINE, minimum=0.9),
    ]
    searching = Quantization(fallback=Fallback.AUTO)
    assert fallback_gates(searching, gates) == gates[1:]
