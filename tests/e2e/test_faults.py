"""What goes wrong for users ends, within a minute, in a named reason that says what to fix."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from demo_probe import KIND, ROOT, Demo, condition, listed, wait_for
from minio import Minio

from demo.__main__ import NAMESPACE, RESTRICTED, SYSTEM_NAMESPACE
from demo.console import STATE, DemoError, run, tool

pytestmark = pytest.mark.e2e

BOUND_SECONDS = 60
BUCKET = "models"
Change = Callable[[dict[str, Any]], Any]


def example() -> dict[str, Any]:
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    resource: dict[str, Any] = yaml.safe_load(text)
    return resource


@pytest.fixture
def submit(demo: Demo) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that applies a changed example and waits for its reason."""
    made: list[tuple[str, str]] = []

    def run_case(
        name: str,
        change: Change,
        reason: str,
        *,
        stalled: bool,
        namespace: str = NAMESPACE,
        keep: bool = False,
    ) -> dict[str, Any]:
        resource = copy.deepcopy(example())
        resource["metadata"]["name"] = name
        # Its own output: nothing is served from another test's results.
        resource["spec"]["output"]["uri"] = f"s3://optimized/{name}"
        change(resource["spec"])
        demo.kubectl.apply(resource | {"metadata": {"name": name, "namespace": namespace}})
        if not keep:
            made.append((name, namespace))
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(demo.kubectl.get(KIND, name, "-n", namespace))
            ready = condition(found, "Ready")
            stalls = condition(found, "Stalled") is not None
            return ready is not None and ready["reason"] == reason and stalls == stalled

        try:
            seconds = wait_for(reached, BOUND_SECONDS, reason)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {json.dumps(found.get('status'))}") from error
        ready = condition(found, "Ready")
        assert ready is not None
        print(f"{reason}: {seconds:.1f} s: {ready['message']}")
        assert ready["status"] == "False"
        return found

    yield run_case
    for name, namespace in made:
        demo.kubectl("delete", KIND, name, "-n", namespace, "--ignore-not-found", "--wait")


def put(minio: Minio, key: str, data: bytes) -> dict[str, str]:
    """Upload a model and return the fields of spec.model that name it."""
    minio.put_object(bucket_name=BUCKET, object_name=key, data=io.BytesIO(data), length=len(data))
    return {"uri": f"s3://{BUCKET}/{key}", "sha256": hashlib.sha256(data).hexdigest()}


def real_model() -> bytes:
    return (STATE / "super_resolution" / "model.pt2").read_bytes()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Return a .pt2 with its members changed."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copied,
    ):
        for item in source.infolist():
            copied.writestr(item.filename, change(item.filename, source.read(item)))
    return target.getvalue()


class Payload:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("the payload ran",)


def with_pickle(name: str, member: bytes) -> bytes:
    if not name.endswith("data/sample_inputs/model.pt"):
        return member
    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    return buffer.getvalue()


def with_expression(name: str, member: bytes) -> bytes:
    if not name.endswith("models/model.json"):
        return member
    program = json.loads(member)

    def poison(value: Any) -> bool:
        if isinstance(value, dict):
            if "expr_str" in value:
                value["expr_str"] = "__import__('os').system('touch /tmp/ran')"
                return True
            return any(poison(child) for child in value.values())
        return isinstance(value, list) and any(poison(child) for child in value)

    assert poison(program)
    return json.dumps(program).encode()


def no_job_is_retried(demo: Demo, name: str) -> None:
    """Check that the Job has failed for good after one Pod, and that it is the only one."""

    def failed() -> bool:
        (job,) = listed(demo.kubectl, "jobs", name)
        return condition(job, "Failed") is not None

    wait_for(failed, BOUND_SECONDS, "the Job has failed: its controller starts no Pod any more")
    assert len(listed(demo.kubectl, "pods", name)) == 1


def test_wrong_sha256(demo: Demo, submit: Any) -> None:
    found = submit(
        "wrong-digest",
        lambda spec: spec["model"].update(sha256="0" * 64),
        "DigestMismatch",
        stalled=True,
    )
    message = condition(found, "Ready")
    assert message is not None
    assert hashlib.sha256(real_model()).hexdigest() in message["message"]
    no_job_is_retried(demo, "wrong-digest")
    pods = [p["metadata"]["uid"] for p in listed(demo.kubectl, "pods", "wrong-digest")]
    time.sleep(3)
    assert [p["metadata"]["uid"] for p in listed(demo.kubectl, "pods", "wrong-digest")] == pods


def test_file_that_is_no_model(demo: Demo, minio: Minio, submit: Any) -> None:
    fields = put(minio, "faults/garbage.pt2", b"no model at all" * 100)
    submit("garbage", lambda spec: spec["model"].update(fields), "InvalidModel", stalled=True)
    no_job_is_retried(demo, "garbage")


def test_pickle_payload(demo: Demo, minio: Minio, submit: Any) -> None:
    fields = put(minio, "faults/pickle.pt2", rewritten(real_model(), with_pickle))
    submit("pickle", lambda spec: spec["model"].update(fields), "UnsafeModel", stalled=True)
    (pod,) = listed(demo.kubectl, "pods", "pickle")
    logs = demo.kubectl("logs", pod["metadata"]["name"], "-n", NAMESPACE)
    assert "the payload ran" not in logs
    no_job_is_retried(demo, "pickle")


def test_expression_that_would_run_code(demo: Demo, minio: Minio, submit: Any) -> None:
    fields = put(minio, "faults/expression.pt2", rewritten(real_model(), with_expression))
    submit("expression", lambda spec: spec["model"].update(fields), "UnsafeModel", stalled=True)
    no_job_is_retried(demo, "expression")


def test_missing_object(submit: Any) -> None:
    submit(
        "no-object",
        lambda spec: spec["model"].update(uri="s3://models/there-is-none.pt2"),
        "ObjectNotFound",
        stalled=True,
    )


def test_unreachable_store(demo: Demo, submit: Any) -> None:
    # Nothing listens on the discard port inside the Pod.
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "nowhere", "namespace": NAMESPACE},
        "stringData": {
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none-at-all",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        },
    }
    demo.kubectl.apply(secret)
    # A retry may help: the resource is not Stalled while the Job has retries left.
    found = submit(
        "unreachable",
        lambda spec: spec["output"].update(credentialsSecretRef={"name": "nowhere"}),
        "StoreUnreachable",
        stalled=False,
    )
    message = condition(found, "Ready")
    assert message is not None
    assert "127.0.0.1:9" in message["message"]


def test_missing_secret(demo: Demo, submit: Any) -> None:
    found = submit(
        "no-secret",
        lambda spec: spec["output"].update(credentialsSecretRef={"name": "there-is-none"}),
        "SecretNotFound",
        stalled=False,
    )
    message = condition(found, "Ready")
    assert message is not None
    assert "there-is-none" in message["message"]


def test_dimension_that_the_model_lacks(demo: Demo, submit: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["inputs"][0]["shape"] = ["batch", "channels", "height", "width"]
        spec["dimensions"]["channels"] = {"min": 1, "opt": 3, "max": 4}

    submit("bad-dimension", change, "InvalidDimension", stalled=True)
    no_job_is_retried(demo, "bad-dimension")


def test_forbidden_pod(demo: Demo, submit: Any) -> None:
    namespace = "mopt-demo-quota"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    metadata = {"name": namespace, "labels": RESTRICTED}
    demo.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, quota)
    try:
        found = submit(
            "forbidden",
            lambda _: None,
            "PodForbidden",
            stalled=False,
            namespace=namespace,
            keep=True,
        )
        message = condition(found, "Ready")
        assert message is not None
        assert "exceeded quota" in message["message"]
    finally:
        demo.kubectl("delete", "namespace", namespace)


def helm_set(demo: Demo, *values: str) -> None:
    settings = [argument for value in values for argument in ("--set", value)]
    run(
        [
            tool("helm"), "upgrade", "mopt", ROOT / "helm" / "mopt", "-n", SYSTEM_NAMESPACE,
            "--values", STATE / "values.json", *settings, "--wait", "--timeout", "2m",
        ],
        environment={"KUBECONFIG": str(demo.kubectl.kubeconfig)},
        quiet=True,
    )  # fmt: skip


def test_missing_image_heals_when_corrected(demo: Demo, submit: Any) -> None:
    helm_set(demo, "optimizerImage.tag=there-is-none")
    try:
        found = submit(
            "no-image",
            lambda spec: spec["model"].update(sha256="1" * 64),
            "ImagePullFailed",
            stalled=False,
        )
        message = condition(found, "Ready")
        assert message is not None
        assert "there-is-none" in message["message"]
    finally:
        helm_set(demo)

    def healed() -> bool:
        ready = condition(demo.kubectl.get(KIND, "no-image", "-n", NAMESPACE), "Ready")
        return ready is not None and ready["reason"] == "DigestMismatch"

    wait_for(healed, BOUND_SECONDS, "the corrected image is used")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dimensions", {"batch": {"min": 4, "opt": 1, "max": 8}}, "min <= opt <= max must hold"),
        ("qualty", [], "unknown field"),
    ],
)
def test_bad_spec_is_refused_at_the_door(
    demo: Demo, field: str, value: Any, message: str, tmp_path: Path
) -> None:
    resource = example()
    resource["metadata"]["name"] = "refused"
    resource["spec"][field] = value
    path = tmp_path / "resource.yaml"
    path.write_text(yaml.safe_dump(resource))
    with pytest.raises(DemoError, match=message):
        demo.kubectl("apply", "-n", NAMESPACE, "-f", path)
