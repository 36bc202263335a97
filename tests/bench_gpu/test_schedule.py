"""What is started next, and what is not reached."""

from __future__ import annotations

import pytest
from bench.gpu.schedule import LIMIT_SECONDS, PARTS, Part, Step, Work, next_step

LONG = Part(Work.FIGURES, "a", seconds=100, least=50)
SHORT = Part(Work.TESTS, None, seconds=60, least=20)


@pytest.mark.parametrize(
    ("waiting", "elapsed", "expected"),
    [
        ([LONG, SHORT], 0, Step(LONG, 100)),
        ([SHORT, LONG], 0, Step(SHORT, 60)),
        ([LONG, SHORT], 140, Step(LONG, 60)),
        ([LONG, SHORT], 150, Step(LONG, 50)),
        ([LONG, SHORT], 151, Step(SHORT, 49)),
        ([LONG, SHORT], 180, Step(SHORT, 20)),
        ([LONG, SHORT], 181, None),
        ([LONG, SHORT], 900, None),
        ([], 0, None),
    ],
)
def test_the_next_part_is_the_first_that_fits(
    waiting: list[Part], elapsed: float, expected: Step | None
) -> None:
    assert next_step(waiting, elapsed, 200) == expected


def test_every_box_used_up_ends_below_eight_minutes_with_the_rest_not_reached() -> None:
    waiting, elapsed, reached = list(PARTS), 10.0, list[str]()
    while (step := next_step(waiting, elapsed)) is not None:
        waiting.remove(step.part)
        elapsed += step.seconds
        reached.append(step.part.name)
    assert elapsed <= LIMIT_SECONDS < 8 * 60
    assert reached[:3] == [
        "figures-super_resolution",
        "figures-transformer",
        "stage-super_resolution",
    ]
    assert waiting


def test_parts_that_need_less_than_their_boxes_are_all_reached() -> None:
    waiting, elapsed = list(PARTS), 10.0
    while (step := next_step(waiting, elapsed)) is not None:
        waiting.remove(step.part)
        elapsed += min(step.seconds, 50)
    assert waiting == []


def test_every_part_can_use_its_box() -> None:
    assert all(part.least <= part.seconds for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)
