"""A Job's spans, at a collector that a real process of the entry point sends them to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from trace_collector import Collector, collecting

from mopt_api.jobs.plan import PLAN_ADAPTER, PLAN_VARIABLE
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import ErrorSummary, PrepareSummary, Summary, decode
from mopt_api.jobs.traceparent import TraceContext
from mopt_api.reasons import Reason
from mopt_optimizer.deadline import TimeIsUp
from mopt_optimizer.errors import ModelError
from mopt_optimizer.progress import Log, step
from mopt_optimizer.tracing import traced

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, DROPPED = (f"00-{TRACE}-{PARENT}-0{flag}" for flag in (1, 0))

CONTEXT = TraceContext.parse(SAMPLED)

Run = Callable[..., tuple[Summary, str, str]]


class Exported:
    """The spans of one stage that does what a test lets it do."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.lines: list[str] = []

    def stage(self) -> AbstractContextManager[Log]:
        plan = PLAN_ADAPTER.validate_python(planned(Path("/nowhere")))
        return traced(plan, CONTEXT, self.log, self.provider)

    def log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002
        self.lines.append(f"{step}: {message}")

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    @property
    def parents(self) -> dict[str, str]:
        """Return of each span the name of the one that it is below."""
        names = {span.context.span_id: name for name, span in self.spans.items() if span.context}
        return {
            name: names.get(span.parent.span_id, "") if span.parent else ""
            for name, span in self.spans.items()
        }

    @property
    def failed(self) -> set[str]:
        spans = self.spans.items()
        return {name for name, span in spans if span.status.status_code is StatusCode.ERROR}


@pytest.fixture
def exported() -> Exported:
    return Exported()


def test_steps_within_steps(exported: Exported) -> None:
    with exported.stage() as log:
        with step(log, "outer", "at work", variant="a"), step(log, "inner", "too"):
            log("inner", "a word")
            log("variant", "b is too slow", reason="TooSlow")
        with step(log, "next", "at work"):
            pass
    assert exported.parents == {
        "prepare": "",
        "outer": "prepare",
        "inner": "outer",
        "next": "prepare",
    }
    assert exported.failed == set()
    assert dict(exported.spans["outer"].attributes or {}) == {
        "mopt.step": "outer",
        "mopt.message": "at work",
        "mopt.variant": "a",
    }
    (event,) = exported.spans["inner"].events
    assert (event.name, dict(event.attributes or {})) == (
        "b is too slow",
        {"mopt.reason": "TooSlow"},
    )
    assert exported.lines[:3] == ["outer: at work", "inner: too", "inner: a word"]


def test_a_step_that_fails_ends_there(exported: Exported) -> None:
    with exported.stage() as log:
        with suppress(ValueError), step(log, "first", "at work"):
            raise ValueError
        with step(log, "second", "at work"):
            pass
    assert exported.parents["second"] == "prepare"
    assert exported.failed == {"first"}


def test_a_step_whose_process_died_ends_with_the_one_around_it(exported: Exported) -> None:
    with exported.stage() as log:
        with step(log, "outer", "at work"):
            log("lost", "at work", state="begun")
        with step(log, "next", "at work"):
            pass
    assert exported.parents == {
        "prepare": "",
        "outer": "prepare",
        "lost": "outer",
        "next": "prepare",
    }
    assert exported.failed == {"lost"}


def test_what_a_process_makes_up_is_bounded(exported: Exported) -> None:
    with exported.stage() as log:
        for number in range(3000):
            log(f"step {number}", "x" * 5000, state="begun", **{"y" * 64: "z" * 5000})
            log("none such", "done", state="done")
    assert len(exported.spans) < 100
    assert len(exported.lines) == 6000
    longest = max(
        len(str(value)) for s in exported.spans.values() for value in (s.attributes or {}).values()
    )
    assert longest <= 1024


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("broken"), "InvalidModel"),
        (KeyError("x"), "InternalError"),
        (TimeIsUp(), "DeadlineExceeded"),
        (SystemExit(143), "SystemExit"),
    ],
)
def test_whatever_ends_a_stage_is_told(
    exported: Exported, error: BaseException, reason: str
) -> None:
    with pytest.raises(type(error)), exported.stage() as log:  # noqa: PT012
        log("fetch", "at work", state="begun")
        raise error
    assert exported.failed == {"prepare", "fetch"}
    for span in exported.spans.values():
        assert (span.attributes or {})["error.type"] == reason


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs the entry point to its end: its summary, what it logged and complained."""

    def run(plan: dict[str, Any], **environ: str) -> tuple[Summary, str, str]:
        message = tmp_path / "termination-log"
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        values = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        values |= {"MOPT_TERMINATION_LOG": str(message), PLAN_VARIABLE: json.dumps(plan)}
        stage = plan["stage"].lower()
        done = subprocess.run(
            [sys.executable, "-m", "mopt_optimizer.main", stage, "--workdir", work],
            env=values | environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return decode(message.read_text()), done.stdout, done.stderr

    return run


def planned(folder: Path, model: Path | None = None, **fields: object) -> dict[str, Any]:
    """Return the plan of a preparation; without a model, of one that is not there."""
    from mopt_optimizer.digests import file_digest

    digest = file_digest(model).removeprefix("sha256:") if model else "0" * 64
    uri = f"file://{model or folder / 'nowhere.pt2'}"
    size = {"min": 16, "opt": 32, "max": 64}
    kind = "ONNX" if model and model.suffix == ".onnx" else "ExportedProgram"
    return {
        "stage": "Prepare",
        "model": {"uri": uri, "sha256": digest, "format": kind},
        "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
        "dimensions": {"batch": {"min": 1, "opt": 1, "max": 4}, "height": size, "width": size},
        "variants": [
            {"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"},
            {"name": "half", "runtime": "ONNXRuntime", "precision": "FP16"},
        ],
        "outputUri": f"file://{folder}/out",
        **fields,
    }


def stored(summary: Summary, folder: Path) -> PrepareResult:
    assert isinstance(summary, PrepareSummary)
    blob = folder / "out" / "blobs" / summary.result.replace(":", "/")
    return PrepareResult.model_validate_json(blob.read_text())


@pytest.mark.optimizer
def test_a_preparation_is_a_tree_of_its_steps(
    run: Run, collector: Collector, upscaler_pt2: Path, tmp_path: Path
) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=team",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=team,mopt.name=sr",
    }
    plan = planned(tmp_path, upscaler_pt2, traceparent=SAMPLED)
    summary, _, errors = run(plan, **environ)
    assert isinstance(summary, PrepareSummary), errors
    ((stage, steps),) = collector.tree(PARENT).items()
    assert stage == "prepare"
    # `load` and what follows are told by the process that opens the model.
    assert {"fetch", "load", "reference", "export", "verify", "passes", "fp16", "upload"} <= {
        *steps
    }, steps
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert not any(span.failed for span in collector.spans)
    about = collector.the("export").about
    assert (about["k8s.namespace.name"], about["mopt.name"]) == ("team", "sr")
    assert (about["service.name"], about["mopt.step"]) == ("mopt-optimizer", "export")
    whole, export = collector.the("prepare"), collector.the("export")
    assert whole.about["mopt.stage"] == "prepare"
    assert whole.start <= export.start < export.end <= whole.end
    assert collector.headers["x-tenant"] == "team"


@pytest.mark.optimizer
def test_no_result_depends_on_a_trace(
    run: Run, collector: Collector, upscaler_pt2: Path, tmp_path: Path
) -> None:
    first, _, _ = run(planned(tmp_path, upscaler_pt2))
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    again, _, _ = run(planned(tmp_path, upscaler_pt2, traceparent=SAMPLED), **environ)
    assert collector.spans
    # All of it is found under the keys of the first.
    assert stored(first, tmp_path) == stored(again, tmp_path)
    assert first == again


@pytest.fixture
def small_onnx(tmp_path: Path) -> Path:
    """A model that opens without PyTorch: one convolution."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape: list[str | int | None] = ["batch", 3, "height", "width"]
    weights = np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["made"], pads=[1, 1, 1, 1])],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path / "small.onnx"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.optimizer
def test_a_measurement_is_a_tree_of_its_steps(
    run: Run, collector: Collector, small_onnx: Path, photographs: Path, tmp_path: Path
) -> None:
    plan = planned(tmp_path, small_onnx)
    plan["variants"] = plan["variants"][:1]
    prepared, _, _ = run(plan)
    assert isinstance(prepared, PrepareSummary)
    measured = {name: plan[name] for name in ("model", "inputs", "dimensions", "variants")}
    measured |= {
        "stage": "Measure",
        "target": "cpu",
        "prepared": prepared.result,
        "evaluation": {"uri": f"file://{photographs}", "samples": 2, "images": {}},
        "quality": [{"metric": "PSNR", "minimum": 20, "dataRange": 1.0}],
        "objective": {},
        "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1},
        "outputUri": plan["outputUri"],
        "traceparent": SAMPLED,
    }
    _, _, errors = run(measured, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    ((stage, steps),) = collector.tree(PARENT).items()
    assert stage == "measure", errors
    assert {"manifest", "evaluationData", "fetch", "peaks", "trials"} <= {*steps}
    assert {"open", "evaluate", "benchmark"} <= {*steps["trials"]}
    whole, benchmark = collector.the("measure"), collector.the("benchmark")
    assert (whole.about["mopt.target"], benchmark.about["mopt.point"]) == ("cpu", "opt")
    opened = {span.about["mopt.variant"] for span in collector.spans if span.name == "open"}
    assert opened == {"baseline", "ort"}


def test_what_fails_says_why(run: Run, collector: Collector, tmp_path: Path) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    summary, _, _ = run(planned(tmp_path, traceparent=SAMPLED), **environ)
    assert isinstance(summary, ErrorSummary)
    stage, step = collector.the("prepare"), collector.the("fetch")
    assert stage.failed
    assert step.failed
    assert stage.about["error.type"] == Reason.OBJECT_NOT_FOUND
    assert stage.message == summary.error.message


@pytest.mark.parametrize("traceparent", [None, DROPPED])
def test_what_is_not_traced_imports_nothing_of_it(
    run: Run, collector: Collector, tmp_path: Path, traceparent: str | None
) -> None:
    plan = planned(tmp_path) | ({"traceparent": traceparent} if traceparent else {})
    # python -v tells of each import.
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "PYTHONVERBOSE": "1"}
    summary, _, errors = run(plan, **environ)
    assert isinstance(summary, ErrorSummary)
    assert "import 'mopt_optimizer.main'" in errors or "mopt_optimizer/main" in errors
    assert "opentelemetry" not in errors
    assert collector.spans == []


def test_a_collector_that_refuses_is_told_of_once_and_changes_nothing(
    run: Run, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        plain, _, _ = run(planned(tmp_path))
        summary, _, errors = run(planned(tmp_path, traceparent=SAMPLED), **environ)
    assert summary == plain
    assert errors.count("the collector of traces does not take them") == 1
    assert "Traceback" not in errors


def test_a_collector_that_says_nothing_is_waited_for_a_few_seconds(
    run: Run, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        run(planned(tmp_path))
        usual = time.monotonic() - begun
        begun = time.monotonic()
        summary, _, errors = run(
            planned(tmp_path, traceparent=SAMPLED), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint
        )
        took = time.monotonic() - begun
    assert isinstance(summary, ErrorSummary)
    assert summary.error.reason is Reason.OBJECT_NOT_FOUND
    assert "Traceback" not in errors
    # 5 s, and what the import takes on a busy machine.
    assert took - usual < 15


def test_variables_that_opentelemetry_cannot_read_end_nothing(run: Run, tmp_path: Path) -> None:
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    summary, _, errors = run(planned(tmp_path, traceparent=SAMPLED), **environ)
    assert isinstance(summary, ErrorSummary)
    assert summary.error.reason is Reason.OBJECT_NOT_FOUND
    assert "there are no traces: " in errors


def test_a_traceparent_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    summary, _, _ = run(planned(tmp_path, traceparent=f"00-{'0' * 32}-{PARENT}-01"))
    assert isinstance(summary, ErrorSummary)
    assert "a traceparent of zeros names no span" in summary.error.message
