"""LoadGen asks real instances of a real model, each runtime in its sandboxed process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mopt_api.enums import Precision, Runtime
from mopt_api.figures import Serving, VariantReason
from mopt_api.jobs.load_result import LoadStop
from mopt_api.load import LoadScenario
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.load.rules import Bound, Rules, rules_for
from mopt_optimizer.load.search import Found, Limits, Proposal, Steps
from mopt_optimizer.machine.cpu_stat import CpuStat
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.load_process import LoadProcess, Requests
from mopt_optimizer.stages.measure.load_trials import Form, LoadTrials, Place
from mopt_optimizer.stages.measure.setup import save_arrays

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

Start = Callable[..., LoadProcess]
PATIENT = Bound(90, 60_000)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what opens instances; they are ended after the test."""
    random = np.random.default_rng(3)
    samples = [
        save_arrays({"image": random.random((1, 3, 16, 16), np.float32)}, tmp_path / "in" / str(n))
        for n in range(3)
    ]
    (tmp_path / "work").mkdir()
    opened: list[LoadProcess] = []

    def start(
        runtime: Runtime, path: Path, serving: tuple[int, int, int], share: float | None = None
    ) -> LoadProcess:
        instances, threads, batch = serving
        process = LoadProcess(
            Opening(runtime=runtime, precision=Precision.FP32, path=path, threads=1),
            Serving(instances=instances, threads=threads, batch=batch),
            Requests(samples, tmp_path / "in", {"image": 0}, (1, 2, 4)),
            workdir=tmp_path / "work",
            environ=os.environ,
            memory_share=lambda: share,
        )
        opened.append(process)
        return process

    yield start
    for process in opened:
        process.close()


@pytest.mark.parametrize(
    ("runtime", "form", "serving"),
    [
        pytest.param(Runtime.ONNX_RUNTIME, "onnx", (2, 1, 4), id="onnxruntime-one-session"),
        pytest.param(Runtime.ONNX_RUNTIME, "onnx", (2, 2, 1), id="onnxruntime-two-sessions"),
        pytest.param(Runtime.OPENVINO, "onnx", (2, 1, 4), id="openvino-streams"),
        pytest.param(Runtime.PYTORCH, "program", (2, 1, 4), id="pytorch-copies"),
        pytest.param(Runtime.PYTORCH, "script", (1, 2, 2), id="torchscript"),
    ],
)
def test_instances_serve_both_scenarios(
    runtime: Runtime,
    form: str,
    serving: tuple[int, int, int],
    start: Start,
    model_files: ModelFiles,
) -> None:
    process = start(runtime, getattr(model_files, form), serving)
    assert process.rate > 0
    offline = process.test(rules_for(LoadScenario.OFFLINE, process.rate, 1, None, full=False))
    assert offline.throughput > 0
    assert offline.queries >= 1
    # A queue that is never empty: the last of it has waited for nearly all of the rest.
    assert offline.latency_ms.p50 < offline.latency_ms.p99
    rate = 0.3 * offline.throughput
    server = process.test(rules_for(LoadScenario.SERVER, rate, 1, PATIENT, full=True))
    assert server.queries >= 64
    assert (server.valid, server.objection) == (True, "")


def test_a_bound_that_cannot_be_kept_is_not_valid(start: Start, model_files: ModelFiles) -> None:
    process = start(Runtime.ONNX_RUNTIME, model_files.onnx, (1, 1, 1))
    bound = Bound(99, 0.001)
    outcome = process.test(rules_for(LoadScenario.SERVER, 50, 1, bound, full=False))
    assert not outcome.valid
    assert "the latency bound is not kept" in outcome.objection


def test_too_few_requests_are_not_valid(start: Start, model_files: ModelFiles) -> None:
    process = start(Runtime.ONNX_RUNTIME, model_files.onnx, (1, 1, 1))
    rules = Rules(scenario=LoadScenario.SERVER, rate=20, seconds=1, requests=1, bound_ms=60_000)
    outcome = process.test(rules)
    assert not outcome.valid
    assert outcome.objection == "there were too few requests to be sure of the percentile"


def test_a_refusal_while_loaded_ends_the_test(
    start: Start, model_files: ModelFiles, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(model_files.onnx.read_bytes()[:-200])
    with pytest.raises(VariantFailure) as caught:
        start(Runtime.ONNX_RUNTIME, wrong, (1, 1, 1))
    assert caught.value.reason is VariantReason.BUILD_FAILED


def test_it_is_ended_before_memory_is_full(start: Start, model_files: ModelFiles) -> None:
    with pytest.raises(VariantFailure) as caught:
        start(Runtime.ONNX_RUNTIME, model_files.onnx, (1, 1, 1), share=0.99)
    assert caught.value.reason is VariantReason.OUT_OF_MEMORY


def test_a_trial_says_in_how_many_periods_its_quota_ran_out(
    model_files: ModelFiles, tmp_path: Path
) -> None:
    saved = save_arrays({"image": np.zeros((1, 3, 16, 16), np.float32)}, tmp_path / "in" / "0")
    readings = iter([CpuStat(100, 5, 0.1), CpuStat(140, 15, 0.4), None, None])
    messages: list[str] = []

    def log(step: str, message: str, **fields: object) -> None:
        messages.append(message)

    def twice() -> Steps:
        yield Proposal(Serving(instances=1, threads=1, batch=1))
        return Found((yield Proposal(Serving(instances=1, threads=1, batch=1))), LoadStop.CONVERGED)

    opening = Opening(
        runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32, path=model_files.onnx, threads=1
    )
    limits = Limits(1, (1,), LoadScenario.OFFLINE, duration_seconds=1, budget_seconds=60)
    place = Place(tmp_path, os.environ, lambda: None, lambda: next(readings), log)
    requests = Requests([saved], tmp_path / "in", {"image": 0}, (1,))
    with LoadTrials(Form("form", opening), requests, limits, place) as trials:
        trials.run(twice())
    assert [trial.throttled for trial in trials.trials] == [0.25, None]
    assert messages[0].endswith("held back in 25 % of the quota's periods")
    assert "held back" not in messages[1]
