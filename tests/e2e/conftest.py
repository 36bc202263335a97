"""The demo, run once from scratch, and the ways in which tests look at what it left.

The cluster is the demo's (KUBECONFIG, kind or hack/devcluster). Everything that an earlier demo
left in it is removed first, so that nothing is served from an earlier run's store.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from demo_probe import KIND, NAME, Demo, listed, only_the_operator_creates_jobs, run_demo
from minio import Minio

from demo import clusters, images, store
from demo.__main__ import NAMESPACE
from demo.console import Kubectl


@pytest.fixture(scope="session")
def kubectl() -> Iterator[Kubectl]:
    """kubectl for the demo's cluster, emptied of earlier demos, with the policy in force."""
    kubectl = Kubectl(clusters.choose().up())
    run_demo("down", "--keep-cluster")
    policy = json.dumps(only_the_operator_creates_jobs())
    kubectl("apply", "-f", "-", stdin=policy)
    yield kubectl
    kubectl("delete", "-f", "-", "--ignore-not-found", stdin=policy)


@pytest.fixture(scope="session")
def demo(kubectl: Kubectl) -> Demo:
    """The demo, run to its end."""
    start = time.monotonic()
    optimizer = images.OPTIMIZER.reference()
    output = run_demo("up")
    return Demo(
        kubectl=kubectl,
        optimizer=optimizer,
        output=output,
        resource=kubectl.get(KIND, NAME, "-n", NAMESPACE),
        jobs=listed(kubectl, "jobs", NAME),
        pods=listed(kubectl, "pods", NAME),
        seconds=time.monotonic() - start,
    )


@pytest.fixture(scope="session")
def minio(demo: Demo) -> Iterator[Minio]:
    """A client of the demo's MinIO."""
    with store.connect(demo.kubectl, NAMESPACE) as client:
        yield client


@pytest.fixture(scope="session")
def read_object(minio: Minio) -> Callable[[str], bytes]:
    """Return a function that reads the object behind an s3:// uri."""

    def read(uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        response = minio.get_object(bucket_name=bucket, object_name=key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    return read
