"""Jobs on a ground: prepare and measure as real processes, their keys in their environment."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from attacker import ORIGINAL, Plan
from onnx import TensorProto, helper, numpy_helper

from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import JobPlan, measure_plan, prepare_plan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import ErrorSummary, PrepareSummary, Summary, decode
from mopt_api.reasons import Reason
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.folder import FileStore

from .ground import SECRET, Done, Ground, started

PREPARE = "mopt_optimizer.stages.prepare.worker"
VARIANT = "mopt_optimizer.stages.measure.process_worker"
ENGINE = "mopt_optimizer.stages.engines.worker"
DATA = "mopt_optimizer.data.worker"
PEAKS = "mopt_optimizer.stages.measure.peaks_worker"
DESCRIBE = "mopt_optimizer.formats.describe_worker"
COMPARE = "mopt_optimizer.compare.worker"
FIRST = "first-"
"""Begins the names of the folders of the variant that is attacked."""

_PLANTED = {"blobs/sha256/" + "0" * 64: "of another model", "index/another": "of another model"}
SPEC: dict[str, Any] = {
    "model": {"uri": "s3://models/model.onnx", "sha256": "0" * 64, "format": "ONNX"},
    "inputs": [{"name": "features", "shape": ["batch", 16]}],
    "dimensions": {"batch": {"min": 1, "opt": 2, "max": 4}},
    "variants": [{"name": "first", "runtime": "ONNXRuntime", "precision": "FP32"}],
    "quality": [{"metric": "PSNR", "minimum": 30, "dataRange": 20}],
    "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1},
}


@dataclass(frozen=True)
class Ended:
    """How a Job ended.

    Attributes:
        summary: Its termination message; None where it wrote none.
    """

    done: Done
    summary: Summary | None

    @property
    def reason(self) -> Reason | None:
        """Why it failed; None where it did not."""
        return self.summary.error.reason if isinstance(self.summary, ErrorSummary) else None


class Work:
    """A model, data and a store on a ground.

    Attributes:
        out: The store's folder, in which objects of another model lie.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.out = ground.root / "out"
        self.model = ground.given / "model.onnx"
        self.data = ground.root / "data"
        write_model(self.model)
        self.data.mkdir()
        for number in range(2):
            sample = np.random.default_rng(number).random((2, 16), np.float32)
            np.save(self.data / f"{number}.npy", sample)
        for name, text in _PLANTED.items():
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.out / name).write_text(text)
        ground.remember()

    @property
    def uri(self) -> str:
        return f"file://{self.out}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model.read_bytes()).hexdigest()

    def spec(self, **changes: Any) -> ModelOptimizationSpec:
        """Return a spec of this model, fields changed."""
        model = SPEC["model"] | {"sha256": self.sha256}
        data = {"evaluation": {"uri": "s3://data/x/", "samples": 2}}
        return ModelOptimizationSpec.model_validate(SPEC | {"model": model, "data": data} | changes)

    def local(self, plan: Any) -> Any:
        """Return a plan that reads from this ground."""
        model = plan.model.model_copy(update={"uri": f"file://{self.model}"})
        changes = {"model": model}
        if getattr(plan, "evaluation", None) is not None:
            changes["evaluation"] = plan.evaluation.model_copy(
                update={"uri": f"file://{self.data}"}
            )
        return plan.model_copy(update=changes)

    def prepare(self, attack: Plan | None, kind: TargetKind = TargetKind.CPU, **spec: Any) -> Ended:
        """Run a prepare Job."""
        return self.job(
            self.local(prepare_plan(self.spec(**spec), self.uri, kinds=(kind,))), attack
        )

    def measure(
        self,
        attack: Plan | None,
        prepared: str,
        *,
        kind: TargetKind = TargetKind.CPU,
        compute_capabilities: tuple[str, ...] = (),
        **spec: Any,
    ) -> Ended:
        """Run a measure Job of what was prepared."""
        plan = measure_plan(
            self.spec(**spec),
            target="default",
            prepared=prepared,
            output_uri=self.uri,
            kind=kind,
            compute_capabilities=compute_capabilities,
        )
        return self.job(self.local(plan), attack)

    def job(self, plan: JobPlan, attack: Plan | None) -> Ended:
        """Run a Job."""
        environ, arguments = self._command(plan, attack)
        done = self.ground.run(*arguments, environ=environ)
        message = self.ground.root / "message"
        return Ended(done, decode(message.read_text()) if message.exists() else None)

    def start_prepare(self, attack: Plan) -> subprocess.Popen[str]:
        """Start a prepare Job."""
        environ, arguments = self._command(self.local(prepare_plan(self.spec(), self.uri)), attack)
        return started(*arguments, environ=environ, cwd=self.ground.root)

    def wait_for(self, name: str) -> None:
        """Wait until a child has made a file of that name."""
        for _ in range(400):
            if list(self.ground.work.rglob(name)):
                return
            time.sleep(0.05)
        raise AssertionError(f"no {name}")

    def _command(
        self, plan: JobPlan, attack: Plan | None
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the environment and the arguments of a Job."""
        message = self.ground.root / "message"
        message.unlink(missing_ok=True)
        environ = self.ground.environ(attack) | {
            "MOPT_PLAN": json.dumps(plan.to_api()),
            "MOPT_TERMINATION_LOG": str(message),
        }
        stage = plan.stage.value.lower()
        workdir = str(self.ground.work)
        return environ, ("-m", "mopt_optimizer.main", stage, "--workdir", workdir)

    def prepared(self) -> str:
        """Prepare honestly; return the manifest's digest."""
        ended = self.prepare(None)
        assert isinstance(ended.summary, PrepareSummary), ended.done.err[-2000:]
        return ended.summary.result

    def manifest(self, digest: str) -> PrepareResult:
        return PrepareResult.model_validate_json(self.blobs.read(digest))

    @property
    def blobs(self) -> Blobs:
        return Blobs(FileStore(self.out), "")

    def take_store(self, other: Work) -> None:
        """Begin with a copy of another ground's store and model."""
        shutil.rmtree(self.out)
        shutil.copytree(other.out, self.out)

    def check_store(self) -> None:
        """Hold that nothing of another's changed, and nothing came in that nobody may see."""
        for name, text in _PLANTED.items():
            assert (self.out / name).read_text() == text
        for path in self.out.rglob("*"):
            assert not path.is_symlink(), path
            if path.is_file():
                held = path.read_bytes()
                assert SECRET.encode() not in held, path
                assert held != ORIGINAL.encode(), path

    def check_ended(self, ended: Ended) -> None:
        """Hold that a Job ended in order: in a reason that is no fault of mopt's, or with a result,
        without a trace of keys, and that it left nothing behind."""
        done = ended.done
        assert not done.hung, f"still there after {done.seconds:.0f} s"
        assert ended.summary is not None, done.err[-2000:]
        assert ended.reason is not Reason.INTERNAL_ERROR, done.err[-2000:]
        assert "Traceback" not in done.err, done.err[-2000:]
        assert SECRET not in done.out + done.err
        assert "\x1b" not in done.out + done.err
        assert list(self.ground.work.iterdir()) == []
        assert self.ground.left() == []
        assert self.ground.changed() == []
        self.check_store()


def write_model(path: Path) -> None:
    """Write a small classifier."""
    weight = np.random.default_rng(0).standard_normal((16, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weight"], ["scores"], name="classify")],
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)


def write_resource(path: Path, **changes: Any) -> Path:
    """Write a ModelOptimization for `mopt run`."""
    document = {"apiVersion": "mopt.dev/v1alpha1", "kind": "ModelOptimization"}
    path.write_text(yaml.safe_dump(document | {"spec": SPEC | changes}))
    return path


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an answer with fields changed, named by their paths: exported.file."""
    found: dict[str, Any] = json.loads(json.dumps(base))
    for path, value in changes.items():
        *way, last = path.split(".")
        at = found
        for name in way:
            at = at[name]
        at[last] = value
    return found
