"""The other examples through the cluster: applied as they are, until Ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from demo_probe import KIND, Demo, condition, wait_for
from example_folders import NAMES, build_example
from minio import Minio

from demo import store
from demo.__main__ import NAMESPACE

pytestmark = pytest.mark.examples

READY_SECONDS = 2400


@pytest.mark.parametrize("folder", NAMES)
def test_example_ends_ready(folder: str, demo: Demo, minio: Minio, tmp_path: Path) -> None:
    example = build_example(folder, tmp_path)
    store.upload(minio, tmp_path, folder)
    name = yaml.safe_load(example.resource.read_text())["metadata"]["name"]

    def found() -> dict[str, Any]:
        return demo.kubectl.get(KIND, name, "-n", NAMESPACE)

    def has_ended() -> bool:
        said = [condition(found(), kind) for kind in ("Ready", "Stalled")]
        return any(one is not None and one["status"] == "True" for one in said)

    demo.kubectl("apply", "-n", NAMESPACE, "-f", str(example.resource))
    try:
        wait_for(has_ended, READY_SECONDS, f"{name} has ended")
        ready = condition(found(), "Ready")
        assert ready is not None
        assert ready["status"] == "True", ready["message"]
        (target,) = found()["status"]["targets"]
        assert not [v for v in target["variants"] if v["state"] == "Failed"]
    finally:
        demo.kubectl("delete", KIND, name, "-n", NAMESPACE, "--wait")
