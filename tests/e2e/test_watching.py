"""`mopt watch` beside real Jobs: their logs are told while they run."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cli_process import clean_environ
from demo_probe import KIND, ROOT, Demo, listed, wait_for

from demo.__main__ import NAMESPACE

pytestmark = pytest.mark.e2e

NAME = "watched"
VARIANTS = [
    {"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"},
    {"name": "openvino", "runtime": "OpenVINO", "precision": "FP32"},
]
READY_SECONDS = 300


@pytest.fixture
def applied(demo: Demo) -> Iterator[dict[str, Any]]:
    """The example with two variants and an output of its own: all its Jobs run."""
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    resource: dict[str, Any] = yaml.safe_load(text)
    resource["metadata"] = {"name": NAME, "namespace": NAMESPACE}
    resource["spec"]["variants"] = VARIANTS
    # How exact the figures are is nothing to this test.
    resource["spec"]["benchmark"] |= {"warmupSeconds": 0, "minDurationSeconds": 0.5}
    resource["spec"]["data"] = {"evaluation": resource["spec"]["data"]["evaluation"]}
    # Another run of these tests is not served from this one's results.
    resource["spec"]["output"]["uri"] = f"s3://optimized/{NAME}-{time.time_ns()}"
    demo.kubectl.apply(resource)
    yield resource
    demo.kubectl("delete", KIND, NAME, "-n", NAMESPACE, "--ignore-not-found", "--wait")
    wait_for(lambda: not listed(demo.kubectl, "jobs", NAME), 60, "no Job is left")


def test_watch_tells_the_steps_the_variants_and_the_end(
    demo: Demo, applied: dict[str, Any]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mopt_cli.main", "watch", NAME, "-n", NAMESPACE],
        env=clean_environ() | {"KUBECONFIG": str(demo.kubectl.kubeconfig)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n")
    lines = done.stderr.splitlines()
    assert done.returncode in (0, 3), "the Jobs ended with a verdict"
    assert "Traceback" not in done.stderr
    for pattern in (
        rf"{NAME}: Preparing \(0 of 1 targets\): .*",
        rf"prepare: Pod {NAME}-prepare-\S+: Running",
        r"prepare export: \d+\.\d s",
        r"prepare prepare: done: .*",
        rf"{NAME}: Measuring \(0 of 1 targets\): .*",
        *(rf"measure default open: {v['name']} is open" for v in VARIANTS),
        *(rf"measure default benchmark: {v['name']}: p50 \S+ ms at .*" for v in VARIANTS),
        r"measure default measure: selected .*",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    for variant in VARIANTS:
        assert lines.count(f"measure default open: {variant['name']} is open") == 1
        assert variant["name"] in done.stdout
    assert re.search(r"^Ready=(True|False) ", done.stdout)
