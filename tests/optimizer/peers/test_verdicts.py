"""What the record of verdicts says of rounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts import AGAIN, BASELINE, BEST, LAYERS, SLOWER, figures

from mopt_optimizer.timing.interleave import Rounds

MS = 1_000_000


def recorded(seed: int, spread: float, again: float = 1.0) -> Rounds:
    """Return rounds of five calls, each as long as its form has layers."""
    generator = np.random.default_rng(seed)
    times = {name: float(layers) for name, layers in LAYERS.items()}
    times[AGAIN] *= again
    return {
        name: [
            [int(MS * time * factor) for factor in np.exp(generator.normal(0, spread, 5))]
            for _ in range(150)
        ]
        for name, time in times.items()
    }


def test_on_a_quiet_machine_every_verdict_is_right_and_costs_little() -> None:
    found = figures(0, [recorded(2, 0.02), recorded(3, 0.02)])
    assert (found.called_faster, found.right, found.wrong) == (0, 1, 0)
    assert found.covered >= 0.95
    assert found.calls <= 0.25
    assert found.tied > 0.9


def test_what_differs_is_called_faster() -> None:
    found = figures(0, [recorded(seed, 0.02, again=1.3) for seed in range(2)])
    assert found.called_faster == 1


def test_openings_that_differ_show() -> None:
    alike = figures(0, [recorded(seed, 0.02) for seed in range(12)])
    assert 0.5 < alike.apart / alike.expected < 2
    lucky = [recorded(seed, 0.02, again=1 + 0.02 * (seed % 3)) for seed in range(12)]
    assert figures(0, lucky).apart == pytest.approx(0.0167, rel=0.2)


def test_an_interval_does_not_cover_what_has_changed() -> None:
    slower = recorded(1, 0.02)
    slower[BEST] = [[10 * call for call in turn] for turn in slower[BEST]]
    assert figures(0, [recorded(0, 0.02), slower]).covered == 0


def test_in_much_noise_it_is_silent() -> None:
    found = figures(2, [recorded(0, 1.5), recorded(1, 1.5)])
    assert found.wrong == 0
    assert found.called_faster <= 0.01
    assert found.right < 1
    # The variance of the median of five is 0.287 of a single one.
    assert found.spread == pytest.approx(1.5 * (2 * 0.287) ** 0.5, rel=0.2)
    assert {BASELINE, SLOWER} < set(LAYERS)
