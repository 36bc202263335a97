"""What a form's outputs are compared with, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trial_world import Behaviour, run, truth, world

from mopt_api.enums import QualityMetric
from mopt_api.figures import VariantReason, VariantState
from mopt_optimizer.errors import DataError
from mopt_optimizer.quality import Comparison, NotAnImage
from mopt_optimizer.stages.measure.gallery import Gallery


def test_ssim_on_outputs_that_are_no_images_is_told(tmp_path: Path) -> None:
    flat = Behaviour(shape=(1, 48))
    comparison = Comparison({QualityMetric.SSIM: 1.0})
    with pytest.raises(NotAnImage):
        run(tmp_path, world(flat, v=flat), comparison=comparison)


def test_with_ground_truth_quality_is_by_it_and_the_baseline_has_its_own(tmp_path: Path) -> None:
    there = world(Behaviour(error=0.09), v=Behaviour(error=0.19))
    results = run(tmp_path, there, truth=truth)
    baseline, v = results["baseline"], results["v"]
    assert baseline.quality[0].per_sample == pytest.approx([40, 40], abs=1e-3)
    assert baseline.agreement is None
    assert v.quality[0].per_sample == pytest.approx([20.915, 20.915], abs=1e-3)
    assert v.agreement is not None
    assert v.agreement[0].per_sample == pytest.approx([20, 20], abs=1e-3)


def test_without_ground_truth_there_is_no_second_comparison(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(error=0.1)))
    assert results["v"].quality[0].worst == pytest.approx(20, abs=1e-3)
    assert [r.agreement for r in results.values()] == [None, None]
    assert results["baseline"].quality == []


def test_the_baseline_meets_the_truth_once_however_many_groups_there_are(tmp_path: Path) -> None:
    there = world(**{name: Behaviour(memory=100) for name in "abcd"})
    results = run(tmp_path, there, budget=300, truth=truth)
    assert {len(r.quality[0].per_sample or ()) for r in results.values()} == {2}


def test_the_baseline_meets_the_truth_without_any_variant(tmp_path: Path) -> None:
    results = run(tmp_path, world(), truth=truth)
    assert results["baseline"].quality[0].worst == pytest.approx(20, abs=1e-3)


def test_ground_truth_that_does_not_fit_is_a_fault_of_the_data(tmp_path: Path) -> None:
    there = world(v=Behaviour())
    with pytest.raises(DataError, match=r"reference 0\.npy is \(1, 3, 8, 8\)"):
        run(tmp_path, there, truth=lambda index: truth(index, (1, 3, 8, 8)))
    assert there.open_now == set()


def test_a_variant_that_fails_shows_no_quality_of_either_kind(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(shape=(1, 3, 16))), truth=truth)
    assert results["v"].reason is VariantReason.BUILD_FAILED
    assert (results["v"].quality, results["v"].agreement) == ([], None)
    assert len(results["baseline"].quality[0].per_sample or ()) == 2


def test_pictures_cost_one_more_run_of_the_samples_shown(tmp_path: Path) -> None:
    gallery = Gallery(1.0)
    there = world(v=Behaviour(error=0.1), w=Behaviour(error=0.2, fails="bind"))
    results = run(tmp_path, there, samples=3, gallery=gallery, int8=("v",))
    assert results["v"].state is VariantState.PASSED
    crops = gallery.crops()
    assert crops is not None
    shown = crops.samples[0]
    assert [v.variant for v in shown.variants] == ["v", "w"]
    assert [v.psnr for v in shown.variants] == pytest.approx([20, 20 * np.log10(5)], abs=1e-3)
    # Opened, three samples, and those that are shown.
    assert there.events.count("evaluate v") == 1 + 3 + len(crops.samples)


def test_pictures_show_the_same_samples_in_every_group(tmp_path: Path) -> None:
    gallery = Gallery(1.0)
    behaviours = {name: Behaviour(error=0.1, memory=100) for name in "abc"}
    run(tmp_path, world(**behaviours), budget=250, gallery=gallery)
    crops = gallery.crops()
    assert crops is not None
    assert [[v.variant for v in s.variants] for s in crops.samples] == [["a", "b", "c"]]
