"""`mopt-optimizer publish` as the Job runs it: a process, an S3 store and a registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import web
from free_ports import free_address
from http_proxy import Call, HttpProxy
from published_forms import publish_plan, stored_form
from registry import PASSWORD, Registry, running_registry

from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, PublishPlan
from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE, SIGNING_KEY_VARIABLE
from mopt_api.jobs.termination import ErrorSummary, PublishSummary, Summary, decode
from mopt_api.reasons import REASONS, Reason
from mopt_optimizer.proofs.referrer import BUNDLE, CYCLONEDX, IN_TOTO
from mopt_optimizer.publishing.registry import open_registry
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.optimizer


class Minio(Protocol):
    def environ(self, *roles: Credentials) -> dict[str, str]: ...

    def bucket(self) -> str: ...


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Started:
    """Start the process."""

    def start(plan: PublishPlan, environ: dict[str, str]) -> subprocess.Popen[str]:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        own = {
            PLAN_VARIABLE: plan.model_dump_json(by_alias=True),
            "MOPT_TERMINATION_LOG": str(tmp_path / "termination-log"),
            REGISTRY_AUTH_VARIABLE: str(tmp_path / "none" / "config.json"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "mopt_optimizer.main", "publish", "--workdir", str(work)],
            env=os.environ | own | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def run(start: Started, tmp_path: Path) -> Callable[..., tuple[Summary, int, str]]:
    """Run the process; return its summary, exit status and output."""

    def run(plan: PublishPlan, **environ: str) -> tuple[Summary, int, str]:
        with start(plan, environ) as process:
            output, _ = process.communicate()
        return decode((tmp_path / "termination-log").read_text()), process.returncode, output

    return run


Run = Callable[..., tuple[Summary, int, str]]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A signing key as an administrator makes it."""
    path = tmp_path / "signing" / "key.pem"
    path.parent.mkdir()
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ["openssl", "genpkey", *curve, "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_model_in_s3_is_published_with_what_proves_it(
    minio: Minio, registry: Registry, model: Path, key: Path, run: Run
) -> None:
    environ = minio.environ(Credentials.OUTPUT)
    uri = f"s3://{minio.bucket()}/optimized"
    blobs = Blobs(*open_store(uri, Credentials.OUTPUT, environ))
    form = stored_form(blobs, model)
    blobs.put_page(form.result, b"<html>the report</html>")
    plan = publish_plan([form], registry.repository("team/linear"), uri)
    plan = plan.model_copy(update={"signed": True})
    environ |= {SIGNING_KEY_VARIABLE: str(key)}

    summary, code, output = run(plan, **environ)
    assert code == 0, output
    assert isinstance(summary, PublishSummary)
    assert summary.signed
    steps = [json.loads(line)["step"] for line in output.splitlines() if line.startswith("{")]
    # The first line says who begins.
    order = list(dict.fromkeys(steps[1:]))
    wanted = [step for step in order if step in ("fetch", "push", "attach", "tag", "publish")]
    assert wanted == ["fetch", "push", "attach", "tag", "publish"]
    assert registry.crane("digest", f"{plan.oci.repository}:latest").decode().strip() == (
        summary.index
    )
    assert kinds(registry, plan, summary.images[0].digest) == {
        CYCLONEDX: 1,
        "application/vnd.mopt.report.v1+html": 1,
        BUNDLE: 4,
    }
    assert kinds(registry, plan, summary.index) == {BUNDLE: 1}

    before = registry.uploads()
    again, code, output = run(plan, **environ)
    assert (again, code) == (summary, 0), output
    assert registry.uploads() == before


def kinds(registry: Registry, plan: PublishPlan, subject: str) -> dict[str, int]:
    """Return how many referrers of each type a manifest has."""
    nowhere = {REGISTRY_AUTH_VARIABLE: str(registry.folder / "none" / "config.json")}
    with open_registry(plan.oci.repository, nowhere, insecure=True) as opened:
        found = json.loads(opened.referrers(subject) or b"{}")["manifests"]
    types = [entry["artifactType"] for entry in found]
    return {kind: types.count(kind) for kind in types}


def test_without_a_key_the_statements_are_not_signed(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, run: Run
) -> None:
    plan = publish_plan([stored_form(blobs, model)], registry.repository(), output_uri)
    summary, code, output = run(plan)
    assert code == 0, output
    assert isinstance(summary, PublishSummary)
    assert not summary.signed
    assert kinds(registry, plan, summary.images[0].digest) == {CYCLONEDX: 1, IN_TOTO: 2}


def test_a_key_that_is_none_ends_it_before_anything_is_pushed(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, key: Path, run: Run
) -> None:
    key.write_text("no key")
    plan = publish_plan([stored_form(blobs, model)], registry.repository(), output_uri)
    signed = plan.model_copy(update={"signed": True})
    summary, code, _ = run(signed, **{SIGNING_KEY_VARIABLE: str(key)})
    assert isinstance(summary, ErrorSummary)
    assert summary.error.reason is Reason.INVALID_SIGNING_KEY
    assert code == REASONS[Reason.INVALID_SIGNING_KEY].exit_code
    assert registry.uploads() == []


def failure(summary: Summary) -> tuple[Reason, str]:
    assert isinstance(summary, ErrorSummary)
    return summary.error.reason, summary.error.message


def test_the_reasons_of_a_registry_that_takes_nothing(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, run: Run, tmp_path: Path
) -> None:
    """Each with its exit code, which tells the operator that a retry may help."""
    form = stored_form(blobs, model)
    registry.restart(read_only=True)
    found = {}
    summary, code, _ = run(publish_plan([form], registry.repository(), output_uri))
    found["read-only"] = (failure(summary)[0], code)
    summary, code, _ = run(publish_plan([form], f"{free_address()}/models/a", output_uri))
    found["down"] = (failure(summary)[0], code)
    with running_registry(tmp_path / "secured", tls=True, login=True) as secured:
        auth = secured.write_auth(tmp_path / "auth" / "config.json", password="not-the-password")
        plan = publish_plan([form], secured.repository(), output_uri, insecure=False)
        summary, code, output = run(plan, **{REGISTRY_AUTH_VARIABLE: str(auth)})
        found["401"] = (failure(summary)[0], code)
        assert "not-the-password" not in output + failure(summary)[1]
        secured.write_auth(auth)
        summary, code, output = run(plan, **{REGISTRY_AUTH_VARIABLE: str(auth)})
        assert code == 0, output
        assert PASSWORD not in output
    assert found == {
        "read-only": (Reason.REGISTRY_REFUSED, 87),
        "down": (Reason.REGISTRY_UNREACHABLE, 85),
        "401": (Reason.REGISTRY_ACCESS_DENIED, 86),
    }


def test_killed_between_blobs_and_manifest_and_then_again_it_is_whole(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    start: Started,
    run: Run,
) -> None:
    proxy = HttpProxy(f"http://{registry.address}")
    reached = threading.Event()

    async def stop_at_a_manifest(call: Call) -> web.StreamResponse:
        if call.method == "PUT" and "/manifests/" in call.path:
            reached.set()
            return await call.answer(503)
        return await call.forward()

    try:
        repository = f"127.0.0.1:{proxy.port}/models/test"
        plan = publish_plan([stored_form(blobs, model)], repository, output_uri)
        proxy.play(stop_at_a_manifest)
        with start(plan, {}) as process:
            assert reached.wait(120)
            process.send_signal(signal.SIGKILL)
        sent = [path for method, path in proxy.calls if method == "PUT" and "/blobs/" in path]
        assert sent
        assert not any(r.writes and "/manifests/" in r.path for r in registry.requests())
        proxy.heal()
        before = len(proxy.calls)
        summary, code, output = run(plan)
        assert code == 0, output
        assert isinstance(summary, PublishSummary)
        again = [path for method, path in proxy.calls[before:] if method == "PUT"]
        blobs_again = [path for path in again if "/blobs/" in path]
        # What is attached comes after the manifest; of the image nothing is sent again.
        assert len(blobs_again) == 4
        exported = registry.crane("export", f"{registry.repository()}:latest", "-")
        assert b"models/test/1/model.onnx" in exported
    finally:
        proxy.close()


def test_a_gpu_s_form_is_said_to_be_one(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, run: Run
) -> None:
    form = stored_form(blobs, model, target="gpu").model_copy(update={"kind": TargetKind.GPU})
    plan = publish_plan([form], registry.repository(), output_uri)
    summary, code, output = run(plan)
    assert code == 0, output
    assert isinstance(summary, PublishSummary)
    (entry,) = registry.manifest(f"{registry.repository()}@{summary.index}")["manifests"]
    assert entry["annotations"]["dev.mopt.target-kind"] == "GPU"
    assert "dev.mopt.compute-capabilities" not in entry["annotations"]
