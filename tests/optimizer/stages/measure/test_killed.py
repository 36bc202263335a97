"""A container that is killed while a variant is opened: the Job's next Pod knows which it was.

Everything is killed at once, as the kernel does on cgroup v2, at the entry point that Jobs have.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, Runtime, TargetKind
from mopt_api.figures import SourceInfo, VariantReason, VariantState
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, MeasurePlan, PlannedModel
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.jobs.termination import MeasureSummary, decode
from mopt_api.objective import Objective
from mopt_api.variants import Variant
from mopt_optimizer.stages.measure.attempts import JOB_UID_VARIABLE, Record
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

UID = "4d1cbb30-07fb-4a0e-8d4b-2f9a6d7a0c11"
PATIENCE = 120
CULPRIT = "culprit"


@dataclass
class Job:
    """One Job's Pods, one after the other, on a folder as store."""

    folder: Path
    plan: MeasurePlan
    blobs: Blobs
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def _message(self) -> Path:
        return self.folder / "termination-log"

    @property
    def _record(self) -> Path:
        return self.folder / "out" / "attempts" / f"{UID}.json"

    @property
    def workdir(self) -> Path:
        return self.folder / "work"

    def record(self) -> Record:
        if not self._record.is_file():
            return Record()
        return Record.model_validate_json(self._record.read_text())

    def leave(self, record: Record) -> None:
        self._record.parent.mkdir(parents=True)
        self._record.write_text(record.model_dump_json(by_alias=True))

    def pod(self) -> subprocess.Popen[bytes]:
        """Start the container's process, at the head of a group of its own."""
        self.workdir.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "mopt_optimizer.main", "measure"]
        process = subprocess.Popen(
            [*command, "--workdir", str(self.workdir)],
            env=os.environ
            | {
                PLAN_VARIABLE: json.dumps(self.plan.to_api()),
                JOB_UID_VARIABLE: UID,
                "MOPT_TERMINATION_LOG": str(self._message),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def pod_that_ends(self, number: signal.Signals, when: Callable[[Record], bool]) -> int:
        """Run a Pod until a moment, end it by a signal, and return its exit status."""
        process = self.pod()
        deadline = time.monotonic() + PATIENCE
        while not when(self.record()):
            assert process.poll() is None, "it ended before that moment"
            assert time.monotonic() < deadline, f"never so: {self.record()}"
            time.sleep(0.002)
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        return process.wait(PATIENCE)

    def finish(self) -> dict[str, VariantResult]:
        """Run a Pod to its end and return the variants."""
        assert self.pod().wait(PATIENCE) == 0
        summary = decode(self._message.read_text())
        assert isinstance(summary, MeasureSummary)
        result = MeasureResult.model_validate_json(self.blobs.read(summary.result))
        return {variant.name: variant for variant in result.variants}

    def survivors(self) -> list[str]:
        """Return the processes that work in the Job's folder."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if link.readlink().is_relative_to(self.workdir):
                    found.append(link.parent.name)
            except OSError:
                continue  # Gone meanwhile, or not ours.
        return found


@pytest.fixture
def job(tmp_path: Path, model_files: ModelFiles) -> Iterator[Job]:
    output = f"file://{tmp_path}/out"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    source = model_files.onnx
    digest, size = blobs.put_file(source), source.stat().st_size
    names = ("before", CULPRIT, "after")
    manifest = PrepareResult(
        source=SourceInfo(
            sha256=digest.removeprefix("sha256:"), format=ModelFormat.ONNX, size_bytes=size
        ),
        artifacts=[
            PreparedArtifact(
                name="fp32",
                artifact=Artifact(digest=digest, size_bytes=size, format=ArtifactFormat.ONNX),
            )
        ],
        artifacts_by_kind={TargetKind.CPU: KindArtifacts(artifacts=dict.fromkeys(names, "fp32"))},
    )
    sizes = DimensionRange(min=8, opt=16, max=64)
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(
            uri=f"file://{source}",
            sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            format=ModelFormat.ONNX,
        ),
        prepared=blobs.put_bytes(json.dumps(manifest.to_api()).encode()),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        variants=[
            Variant(name=name, runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32)
            for name in names
        ],
        quality=[],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
        output_uri=output,
    )
    there = Job(tmp_path, plan, blobs)
    yield there
    for process in there.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_variant_that_kills_the_container_twice_is_not_opened_again(job: Job) -> None:
    for death in (1, 2):
        status = job.pod_that_ends(
            signal.SIGKILL,
            lambda record, death=death: (  # type: ignore[misc]
                record.working == [CULPRIT] and record.deaths.get(CULPRIT, 0) == death - 1
            ),
        )
        assert status == -signal.SIGKILL
    variants = job.finish()
    culprit = variants[CULPRIT]
    assert (culprit.state, culprit.reason) == (VariantState.FAILED, VariantReason.CRASHED)
    assert culprit.message == "the container was killed 2 times while it was at work"
    for name in ("before", "after"):
        assert variants[name].state is VariantState.PASSED
        assert variants[name].points[0].runs >= 10
    assert job.record().working == []
    assert job.survivors() == []


def test_memory_nearly_full_at_the_death_is_enough(job: Job) -> None:
    job.leave(Record(working=[CULPRIT], memory_share=0.97))
    variants = job.finish()
    culprit = variants[CULPRIT]
    assert (culprit.state, culprit.reason) == (VariantState.FAILED, VariantReason.OUT_OF_MEMORY)
    assert "97%" in (culprit.message or "")
    assert variants["after"].state is VariantState.PASSED


def test_an_eviction_counts_for_nothing(job: Job) -> None:
    status = job.pod_that_ends(signal.SIGTERM, lambda record: record.working == [CULPRIT])
    assert status == 128 + signal.SIGTERM
    assert job.record() == Record()
    assert {v.state for v in job.finish().values()} == {VariantState.PASSED}
