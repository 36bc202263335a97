"""A model served as mopt exports it, and asked by LoadGen through Triton's client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
from load import BATCH, Subject
from serving_steps import Step

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import Precision, Runtime
from mopt_api.figures import LoadFigures
from mopt_api.jobs.load_result import LoadTrial
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.load import LoadScenario
from mopt_api.runtimes import THREAD_VARIABLES
from mopt_optimizer.digests import file_digest
from mopt_optimizer.endpoint.grpc import without_arguments
from mopt_optimizer.load import loadgen
from mopt_optimizer.load.batching import Request
from mopt_optimizer.load.rules import SHORT_REQUESTS, Bound, Rules
from mopt_optimizer.machine.cpu_stat import CpuStat
from mopt_optimizer.machine.system import System
from mopt_optimizer.serving import (
    Layout,
    read_signature,
    served_form,
    signature_request,
    tree_of,
)

MOPT_SERVER = ("-P", "-m", "mopt_optimizer.server")
DEFAULT_SERVER = (str(Path(__file__).with_name("default_server.py")),)
_READY_SECONDS = 120.0


def exported(folder: Path, model: Path, subject: Subject, found: LoadTrial) -> Path:
    """Write what mopt export --as files writes of a result with such figures under load.

    Args:
        model: An ONNX file, in FP32, that ONNX Runtime is to compute.
    """
    artifact = Artifact(
        digest=file_digest(model), size_bytes=model.stat().st_size, format=ArtifactFormat.ONNX
    )
    load = LoadFigures(
        scenario=LoadScenario.SERVER,
        serving=found.serving,
        throughput=found.throughput,
        latency_ms=found.latency_ms,
        queries=found.queries,
    )
    variant = {"name": "form", "runtime": Runtime.ONNX_RUNTIME, "precision": Precision.FP32}
    sha256 = artifact.digest.removeprefix("sha256:")
    result = MeasureResult.model_validate(
        {
            "target": "here",
            "source": {"sha256": sha256, "format": "ONNX", "sizeBytes": artifact.size_bytes},
            "prepared": artifact.digest,
            "hardware": System().hardware({}).to_api(),
            "software": {},
            "variants": [
                variant | {"state": "Passed", "artifact": artifact.to_api(), "load": load.to_api()}
            ],
            "selected": "form",
            "plan": {
                "target": "here",
                "kind": "CPU",
                "model": {"uri": f"s3://bench/{model.name}", "sha256": sha256, "format": "ONNX"},
                "prepared": artifact.digest,
                "inputs": [spec.to_api() for spec in subject.inputs],
                "dimensions": {"batch": BATCH.to_api()},
                "variants": [variant],
                "quality": [],
                "objective": {},
                "benchmark": {},
                "outputUri": "s3://bench/x",
            },
        }
    )
    signature = read_signature(signature_request(result, artifact, model))
    form = served_form(result, None, signature, name=subject.name)
    for path, content in tree_of(Layout.FILES, form).items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else model.read_bytes())
    return folder


@dataclass(frozen=True)
class Server:
    """A running server; its address is that of gRPC."""

    pid: int
    address: str

    @property
    def threads(self) -> int:
        """How many threads its process has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))


@contextmanager
def running(folder: Path, program: Sequence[str], options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a server of a folder until it is ready, and end it.

    Args:
        program: What Python is to run: MOPT_SERVER or DEFAULT_SERVER.
    """
    http, grpc = _free_port(), _free_port()
    environ = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    ports = [f"--http-port={http}", f"--grpc-port={grpc}"]
    command = [sys.executable, *program, str(folder), *ports, *options]
    with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL) as process:
        try:
            _wait(process, http)
            yield Server(process.pid, f"127.0.0.1:{grpc}")
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            url = f"http://127.0.0.1:{port}/v2/health/ready"
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server is not ready")


class Counted(Protocol):
    """What counts how often a server is held back."""

    def stat(self) -> CpuStat:
        """Return its counters now."""
        ...


class Asker:
    """KServe's stubs, which have no part in mopt's server, asked by LoadGen to ask."""

    def __init__(self, address: str, subject: Subject, folder: Path) -> None:
        with without_arguments():
            from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc

        self._channel = grpc.insecure_channel(address)
        self._stub: Any = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._folder = folder
        self._failures = 0
        (spec,) = subject.inputs
        shape = [1 if size == "batch" else int(size) for size in spec.shape]
        array = np.random.default_rng(0).random(shape, np.float32)
        kind = grpc_predict_v2_pb2.ModelInferRequest
        self._request: Any = kind(
            model_name=subject.name,
            inputs=[kind.InferInputTensor(name=spec.name, datatype="FP32", shape=shape)],
            raw_input_contents=[array.tobytes()],
        )

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def step(self, limit: Counted, bound: Bound, seconds: float, rate: float) -> Step:
        """Ask at a rate."""
        rules = Rules(
            scenario=LoadScenario.SERVER,
            rate=rate,
            seconds=seconds,
            requests=SHORT_REQUESTS,
            bound_ms=bound.milliseconds,
        )
        self._failures = 0
        before = limit.stat()
        found = loadgen.run(self._put, 1, rules, self._folder)
        held = limit.stat().since(before)
        return Step(
            offered=rate,
            throughput=found.throughput,
            p50_ms=found.latency_ms.p50,
            p99_ms=found.latency_ms.p99,
            requests=found.queries,
            failures=self._failures,
            periods=held.periods,
            throttled=held.throttled,
            throttled_seconds=round(held.throttled_seconds, 3),
        )

    def _put(self, requests: Sequence[Request]) -> None:
        for number, _ in requests:
            call = self._stub.ModelInfer.future(self._request)
            call.add_done_callback(partial(self._answered, number))

    def _answered(self, number: int, call: grpc.Future) -> None:
        self._failures += call.exception() is not None
        loadgen.answer([number])
