"""Labels of a scatter: free places only."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from mopt_optimizer.stages.report.page.labels import Box, place, text_width

AREA = Box(50, 10, 750, 360)
SMALL = Box(50, 10, 318, 318)
RADIUS = 5.0
SIZE = 11.0


def _points(area: Box) -> st.SearchStrategy[list[tuple[float, float]]]:
    x = st.floats(area.left + RADIUS, area.right - RADIUS)
    y = st.floats(area.top + RADIUS, area.bottom - RADIUS)
    return st.lists(st.tuples(x, y), min_size=1, max_size=12)


def _check(points: list[tuple[float, float]], texts: list[str], area: Box) -> None:
    lines = [Box(area.left, 120, area.right, 123), Box(200, area.top, 203, area.bottom)]
    placed = place(points, texts, area=area, size=SIZE, radius=RADIUS, obstacles=lines)
    labels = [label for label in placed if label is not None]
    assert [label.text for label in labels] == texts
    markers = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    assert all(area.holds(label.box) for label in labels)
    assert not any(a.box.overlaps(b.box) for a, b in combinations(labels, 2))
    assert not any(label.box.overlaps(box) for label in labels for box in [*markers, *lines])


@settings(deadline=None)
@given(_points(AREA), st.integers(3, 28))
def test_names_never_cover_anything(points: list[tuple[float, float]], length: int) -> None:
    _check(points, [f"{'v' * length}{n}" for n in range(len(points))], AREA)


@settings(deadline=None)
@given(_points(SMALL))
def test_numbers_never_cover_anything_on_a_small_screen(
    points: list[tuple[float, float]],
) -> None:
    _check(points, [str(n) for n in range(len(points))], SMALL)


def test_equal_points_get_labels_of_their_own() -> None:
    _check([(300.0, 200.0)] * 12, [f"variant-{n:02}" for n in range(12)], AREA)


def test_alone_it_stands_right_beside_the_marker() -> None:
    (label,) = place([(300, 200)], ["int8"], area=AREA, size=SIZE, radius=RADIUS)
    assert label is not None
    assert (label.box.left, label.led) == (300 + RADIUS + 3, False)
    assert label.box.right == label.box.left + text_width("int8", SIZE)


def test_where_nothing_is_free_there_is_no_label() -> None:
    assert place([(60, 20)], ["x" * 500], area=AREA, size=SIZE, radius=RADIUS) == [None]
