"""A layer above 2 GB is pushed without ever being in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from registry import running_registry

pytestmark = pytest.mark.large

SIZE = 5 * (1 << 29)
MOST_MIB = 200

PUSH = """
import json, resource, sys
from pathlib import Path
from mopt_optimizer.publishing.archive import Archive, Stored
from mopt_optimizer.publishing.registry import open_registry

path, repository = Path(sys.argv[1]), sys.argv[2]
made = Archive({"model.onnx.data": Stored(path, path.stat().st_size)}, folder="models")
environ = {"MOPT_REGISTRY_AUTH_FILE": "/nonexistent/config.json"}
with open_registry(repository, environ, insecure=True) as registry:
    registry.push_blob(made.digest, made)
    there = registry.has_blob(made.digest)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"there": there, "bytes": registry.counts.bytes, "mib": peak}))
"""


def test_a_large_layer_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.data"
    with path.open("wb") as file:
        file.truncate(SIZE)
    with running_registry(tmp_path / "registry") as registry:
        command = [sys.executable, "-c", PUSH, str(path), registry.repository()]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(ended.stdout)
    assert found["there"]
    assert found["bytes"] > SIZE
    assert found["mib"] < MOST_MIB
