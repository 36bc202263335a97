"""What a machine reaches at most: really measured, in an enclosed process, once for its kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from present import present

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, TargetKind
from mopt_api.figures import Hardware
from mopt_api.jobs.limits import Peaks
from mopt_api.jobs.plan import MeasurePlan, PlannedModel
from mopt_api.objective import Objective
from mopt_optimizer.errors import MemoryExceeded, ModelError
from mopt_optimizer.machine.system import Counters, System, has_native_bf16
from mopt_optimizer.sandbox import ChildDied, run_child
from mopt_optimizer.stages.measure import peaks
from mopt_optimizer.stages.measure.job import Job
from mopt_optimizer.stages.measure.key import runtime_versions
from mopt_optimizer.stages.measure.peaks_request import PeaksRequest
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.timing.disturbance import REPETITIONS

pytestmark = pytest.mark.optimizer

HERE = System().hardware({}, threads=1)
FOUND = Peaks(products={"FP32": 1e9})


def job(
    folder: Path, kind: TargetKind = TargetKind.CPU, environ: Mapping[str, str] | None = None
) -> Job:
    plan = MeasurePlan(
        target="default",
        kind=kind,
        model=PlannedModel(uri="file:///m.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
        prepared=f"sha256:{'0' * 64}",
        inputs=[],
        dimensions={},
        variants=[],
        quality=[],
        objective=Objective(),
        benchmark=Benchmark(),
        output_uri=f"file://{folder}/out",
    )
    (work := folder / "work").mkdir(exist_ok=True)
    return Job(plan, dict(os.environ) | dict(environ or {}), work, lambda *_, **__: None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PeaksRequest]:
    """Count what would be measured; nothing disturbs it."""
    requests: list[PeaksRequest] = []

    def ask(_job: Job, request: PeaksRequest) -> Peaks:
        requests.append(request)
        return FOUND

    monkeypatch.setattr(peaks, "_asked", ask)
    monkeypatch.setattr(System, "counters", lambda *_: Counters(0, 0.0, 0.0))
    return requests


def test_the_machine_is_really_measured_in_an_enclosed_process(tmp_path: Path) -> None:
    found = present(peaks.peaks_of(job(tmp_path), HERE))
    native = {"BF16"} if has_native_bf16(HERE.cpu_features) else set()
    assert {"FP32"} <= set(found.products) <= {"FP32", "INT8"} | native
    assert native <= set(found.products)
    assert [one.data_bytes for one in found.bandwidths] == list(peaks.EFFORT.data_bytes)
    assert list((tmp_path / "work").iterdir()) == []


def test_its_process_ends_where_memory_does(tmp_path: Path) -> None:
    def full() -> None:
        raise MemoryExceeded("no more")

    request = PeaksRequest(threads=1, bf16=False, effort=peaks.EFFORT)
    (folder := tmp_path / "child").mkdir()
    with pytest.raises(MemoryExceeded):
        run_child(peaks.PEAKS_WORKER, request.to_api(), folder, watch=full)


def test_one_kind_of_machine_is_measured_once(tmp_path: Path, asked: list[PeaksRequest]) -> None:
    assert peaks.peaks_of(job(tmp_path), HERE) == FOUND
    other_node = HERE.model_copy(update={"node": "another", "memory_bytes": 2**40})
    assert peaks.peaks_of(job(tmp_path), other_node) == FOUND
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"cpu": "another CPU"}, id="another CPU"),
        pytest.param({"threads": 7}, id="threads"),
        pytest.param({"cpus": 0.5}, id="CPU limit"),
        pytest.param({"cpu_features": ["avx2", "amx_int8"]}, id="instructions"),
    ],
)
def test_another_kind_of_machine_is_measured(
    tmp_path: Path, asked: list[PeaksRequest], change: dict[str, Any]
) -> None:
    peaks.peaks_of(job(tmp_path), HERE)
    peaks.peaks_of(job(tmp_path), HERE.model_copy(update=change))
    assert len(asked) == 2


def test_a_request_to_measure_again_measures_this_too(
    tmp_path: Path, asked: list[PeaksRequest]
) -> None:
    peaks.peaks_of(job(tmp_path), HERE)
    for _ in range(2):
        asked_again = job(tmp_path, environ={REQUESTED_AT_VARIABLE: "2026-11-30"})
        peaks.peaks_of(asked_again, HERE)
    assert len(asked) == 2


def test_another_openvino_is_another_machine() -> None:
    software = runtime_versions()
    keys = {peaks.peaks_key(HERE, software | {"openvino": version}, None) for version in ("1", "2")}
    keys.add(peaks.peaks_key(HERE, software | {"openvino": "1", "torch": "9"}, None))
    assert len(keys) == 2


def test_what_is_damaged_in_the_store_is_measured_anew(
    tmp_path: Path, asked: list[PeaksRequest]
) -> None:
    here = job(tmp_path)
    key = peaks.peaks_key(HERE, runtime_versions(), None)
    here.blobs.index_put(key, here.blobs.put_bytes(b'{"products": {"FP32": -1}}'))
    assert peaks.peaks_of(here, HERE) == FOUND
    assert peaks.peaks_of(here, HERE) == FOUND
    assert len(asked) == 1


def test_a_disturbed_figure_is_used_but_not_kept(
    tmp_path: Path, asked: list[PeaksRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    periods = iter(range(0, 10**6, 10**4))
    monkeypatch.setattr(System, "counters", lambda *_: Counters(next(periods), 0.0, 0.0))
    for runs in (1, 2):
        found = present(peaks.peaks_of(job(tmp_path), HERE))
        assert found == FOUND.model_copy(update={"unstable": True})
        assert len(asked) == runs * (REPETITIONS + 1)


def test_what_is_disturbed_once_is_measured_again_and_kept(
    tmp_path: Path, asked: list[PeaksRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    periods = iter([0, 10**4, *[10**4] * 10])
    monkeypatch.setattr(System, "counters", lambda *_: Counters(next(periods), 0.0, 0.0))
    assert peaks.peaks_of(job(tmp_path), HERE) == FOUND
    assert peaks.peaks_of(job(tmp_path), HERE) == FOUND
    assert len(asked) == 2


@pytest.mark.parametrize("error", [ChildDied(-9), ModelError("no answer"), MemoryExceeded("full")])
def test_where_measuring_fails_nothing_is_known_and_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_job: Job, _request: PeaksRequest) -> Peaks:
        raise error

    monkeypatch.setattr(peaks, "_asked", fails)
    assert peaks.peaks_of(job(tmp_path), HERE) is None


@pytest.mark.parametrize("kind", [kind for kind in TargetKind if kind is not TargetKind.CPU])
def test_other_targets_tell_nothing(
    tmp_path: Path, asked: list[PeaksRequest], kind: TargetKind
) -> None:
    assert peaks.peaks_of(job(tmp_path, kind), HERE) is None
    assert not asked


def test_data_takes_part_of_the_memory_alone(tmp_path: Path, asked: list[PeaksRequest]) -> None:
    for size in (None, 2**30):
        peaks.peaks_of(job(tmp_path), Hardware(threads=3, memory_bytes=size, cpu=str(size)))
    assert [request.memory_bytes for request in asked] == [None, 2**27]
    assert [request.threads for request in asked] == [3, 3]


def test_sizes_beyond_the_memory_are_left_out(tmp_path: Path) -> None:
    request = PeaksRequest(threads=1, bf16=False, memory_bytes=2**20, effort=peaks.EFFORT)
    ask: Callable[..., Peaks] = peaks._asked
    found = ask(job(tmp_path), request)
    assert [one.data_bytes for one in found.bandwidths] == [2**20]
