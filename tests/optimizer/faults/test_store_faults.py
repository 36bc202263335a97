"""A Job whose store fails in the middle: it succeeds after a retry, or ends for one typed reason.

The prepare stage as its own process, a real MinIO, and a proxy between the two. Whatever happens,
no manifest names what is not there; and the next attempt of the Job, with the store well again,
succeeds on what the first one has left.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from aiohttp import web
from http_proxy import Broken, Call, Chunks, HttpProxy, Script
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio_process import MinioProcess

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.inputs import InputSpec
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import ErrorSummary, PrepareSummary, Summary, decode
from mopt_api.reasons import REASONS, Reason
from mopt_api.variants import Variant

pytestmark = pytest.mark.faults

BUCKET = "store"
ROOT_KEYS = ("root-access", "root-secret-key")
JOB_KEYS = ("job-access", "job-secret-key")
# A matrix of so many columns makes a file of 20 MiB: an upload of two parts.
WIDTH = 2304
BUSY = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def model_bytes() -> bytes:
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH
    node = onnx.helper.make_node("MatMul", ["x", "weights"], ["y"])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, WIDTH])
        for name in "xy"
    ]
    initializer = onnx.numpy_helper.from_array(weights, "weights")
    graph = onnx.helper.make_graph([node], "matrix", ends[:1], ends[1:], [initializer])
    opset = onnx.helper.make_opsetid("", 18)
    content: bytes = onnx.helper.make_model(graph, opset_imports=[opset]).SerializeToString()
    return content


class Bench:
    """A MinIO with a model, a proxy before it, and the Job that prepares the model."""

    def __init__(self, folder: Path, model: bytes) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        access, secret = ROOT_KEYS
        objects = folder / "objects"
        objects.mkdir()
        self.server = MinioProcess(objects, self.address, access_key=access, secret_key=secret)
        self.server.start()
        self.client = Minio(self.address, access, secret, secure=False, region="us-east-1")
        self.admin = MinioAdmin(
            endpoint=self.address, credentials=StaticProvider(access, secret), secure=False
        )
        self.admin.user_add(*JOB_KEYS)
        self.admin.attach_policy(["readwrite"], user=JOB_KEYS[0])
        self.proxy = HttpProxy(f"http://{self.address}")
        self._folder = folder
        self._model = model
        self._runs = 0

    def renew(self) -> None:
        """Begin with a bucket that holds the model alone."""
        if self.client.bucket_exists(BUCKET):
            for item in self.client.list_objects(BUCKET, recursive=True):
                self.client.remove_object(BUCKET, item.object_name or "")
        else:
            self.client.make_bucket(BUCKET)
        path = self._folder / "model.onnx"
        path.write_bytes(self._model)
        self.client.fput_object(BUCKET, "model.onnx", str(path))

    def prepare(self) -> tuple[Summary, int, str]:
        """Run the Job once: what it says at its end, its exit status, standard error."""
        self._runs += 1
        workdir = self._folder / f"run-{self._runs}"
        workdir.mkdir()
        message = workdir / "message"
        plan = PreparePlan(
            model=PlannedModel(
                uri=f"s3://{BUCKET}/model.onnx",
                sha256=hashlib.sha256(self._model).hexdigest(),
                format=ModelFormat.ONNX,
            ),
            inputs=[InputSpec(name="x", shape=[1, WIDTH])],
            dimensions={},
            variants=[
                Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
            ],
            output_uri=f"s3://{BUCKET}/out",
        )
        keys = {
            "AWS_ACCESS_KEY_ID": JOB_KEYS[0],
            "AWS_SECRET_ACCESS_KEY": JOB_KEYS[1],
            "AWS_ENDPOINT_URL": self.proxy.url,
        }
        environ = {key: value for key, value in os.environ.items() if "AWS" not in key} | {
            role.variable(key): value for role in Credentials for key, value in keys.items()
        }
        environ |= {
            PLAN_VARIABLE: plan.model_dump_json(by_alias=True, exclude_none=True),
            "MOPT_TERMINATION_LOG": str(message),
        }
        command = [sys.executable, "-m", "mopt_optimizer.main", "prepare"]
        ended = subprocess.run(
            [*command, "--workdir", str(workdir)],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return decode(message.read_text()), ended.returncode, ended.stderr

    def objects(self) -> dict[str, bytes]:
        """Return what the Job has stored."""
        found = {}
        for item in self.client.list_objects(BUCKET, prefix="out/", recursive=True):
            key = item.object_name or ""
            found[key] = self.client.get_object(BUCKET, key).data
        return found

    def check(self) -> int:
        """Check that all that is named is there, undamaged; return how many manifests there are."""
        objects, manifests = self.objects(), 0
        blobs = {key.rpartition("/")[2]: data for key, data in objects.items() if "/blobs/" in key}
        for digest, data in blobs.items():
            assert hashlib.sha256(data).hexdigest() == digest
        for key, data in objects.items():
            if "/index/" not in key:
                continue
            named = blobs[data.decode().removeprefix("sha256:")]
            if b'"artifacts"' not in named:
                continue
            manifests += 1
            for form in PrepareResult.model_validate_json(named).artifacts:
                assert form.artifact.digest.removeprefix("sha256:") in blobs
        return manifests


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("store"), model_bytes())
    yield bench
    bench.proxy.close()
    bench.server.stop()


@pytest.fixture
def bench(running: Bench) -> Bench:
    running.renew()
    return running


def transfers(call: Call) -> bool:
    """Whether a request brings or takes the content of an object."""
    return call.method in ("GET", "PUT") and call.path.startswith(f"/{BUCKET}/")


def is_upload(call: Call) -> bool:
    return call.method == "PUT" and call.path.startswith(f"/{BUCKET}/out/blobs/")


def sometimes(
    times: int | None, applies: Callable[[Call], bool], fault: Script
) -> Callable[[Bench], Script]:
    """Return a script by which some requests, or all of a kind, meet a fault."""

    def begin(_: Bench) -> Script:
        left = times

        async def script(call: Call) -> web.StreamResponse:
            nonlocal left
            if not applies(call) or left == 0:
                return await call.forward()
            if left is not None:
                left -= 1
            return await fault(call)

        return script

    return begin


async def busy(call: Call) -> web.StreamResponse:
    await call.body()
    return web.Response(status=503, text=BUSY, content_type="application/xml")


async def half(chunks: Chunks) -> Chunks:
    """Two chunks, and the connection breaks."""
    count = 0
    async for chunk in chunks:
        yield chunk
        count += 1
        if count == 2:
            raise Broken


async def reset_in_the_answer(call: Call) -> web.StreamResponse:
    return await call.forward(half)


async def reset_in_the_request(call: Call) -> web.StreamResponse:
    await call.request.content.readany()
    raise Broken


async def flipped(chunks: Chunks) -> Chunks:
    async for chunk in chunks:
        yield chunk[:-1] + bytes([chunk[-1] ^ 1])


async def wrong_bytes(call: Call) -> web.StreamResponse:
    return await call.forward(flipped)


def downloads_model(call: Call) -> bool:
    return call.method == "GET" and call.path.endswith("/model.onnx")


def revoked(bench: Bench) -> Script:
    """The keys are revoked as soon as something is to be stored."""

    async def script(call: Call) -> web.StreamResponse:
        if call.method in ("PUT", "POST"):
            bench.admin.user_disable(JOB_KEYS[0])
        return await call.forward()

    return script


def killed_in_an_upload(bench: Bench) -> Script:
    """MinIO is killed when the second part arrives, and started again."""
    killed = threading.Event()

    async def script(call: Call) -> web.StreamResponse:
        if call.request.query.get("partNumber") == "2" and not killed.is_set():
            killed.set()
            bench.server.kill()
            threading.Thread(target=bench.server.start).start()
            raise Broken
        return await call.forward()

    return script


RECOVERS = {
    "503 for a while": sometimes(2, transfers, busy),
    "reset in a download": sometimes(2, downloads_model, reset_in_the_answer),
    "reset in an upload": sometimes(2, is_upload, reset_in_the_request),
}
ENDS: dict[str, tuple[Callable[[Bench], Script], set[Reason]]] = {
    "503 for good": (sometimes(None, transfers, busy), {Reason.STORE_UNREACHABLE}),
    "503 for every upload": (sometimes(None, is_upload, busy), {Reason.STORE_UNREACHABLE}),
    "every upload reset": (
        sometimes(None, is_upload, reset_in_the_request),
        {Reason.STORE_UNREACHABLE},
    ),
    "wrong bytes": (sometimes(1, downloads_model, wrong_bytes), {Reason.DIGEST_MISMATCH}),
    "keys revoked": (revoked, {Reason.STORE_ACCESS_DENIED}),
    "killed in an upload": (killed_in_an_upload, {Reason.STORE_UNREACHABLE}),
}


@pytest.mark.parametrize("fault", RECOVERS, ids=[name.replace(" ", "-") for name in RECOVERS])
def test_store_that_fails_for_a_moment_costs_nothing(bench: Bench, fault: str) -> None:
    bench.proxy.play(RECOVERS[fault](bench))
    said, status, errors = bench.prepare()
    bench.proxy.heal()
    assert isinstance(said, PrepareSummary), errors
    assert status == 0
    assert bench.check() == 1


@pytest.mark.parametrize("fault", ENDS, ids=[name.replace(" ", "-") for name in ENDS])
def test_store_that_fails_ends_for_one_reason_and_the_next_attempt_succeeds(
    bench: Bench, fault: str
) -> None:
    script, reasons = ENDS[fault]
    bench.proxy.play(script(bench))
    said, status, errors = bench.prepare()
    bench.proxy.heal()
    assert "Traceback" not in errors, errors
    if status == 0:
        assert fault == "killed in an upload"  # It may be back in time.
    else:
        assert isinstance(said, ErrorSummary)
        assert said.error.reason in reasons, errors
        assert status == REASONS[said.error.reason].exit_code
    bench.admin.user_enable(JOB_KEYS[0])
    bench.check()
    said, status, errors = bench.prepare()
    assert isinstance(said, PrepareSummary), errors
    assert status == 0
    assert bench.check() == 1
