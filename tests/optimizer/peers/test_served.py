"""What throttling.py serves is really served, ours and with the runtime's defaults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from load import Runs, Subject, encoder
from served import DEFAULT_SERVER, MOPT_SERVER, Asker, exported, running

from mopt_api.enums import Runtime
from mopt_api.figures import Latency, Serving
from mopt_api.jobs.load_result import LoadTrial
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.machine.cpu_stat import CpuStat

pytestmark = pytest.mark.optimizer

BEST = LoadTrial(
    serving=Serving(instances=2, threads=1, batch=4),
    offered=40,
    throughput=40,
    latency_ms=Latency(p50=5, p90=9, p99=20),
    queries=700,
    seconds=9,
    valid=True,
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return encoder(tokens=4)


@pytest.fixture(scope="module")
def folder(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("served")
    model = Runs(subject, work, seconds=1, budget=1).forms[Runtime.ONNX_RUNTIME]
    return exported(work / "exported", model, subject, BEST)


def test_the_folder_says_what_was_best(folder: Path) -> None:
    told = json.loads((folder / "mopt.json").read_text())
    assert told["serving"] == {"instances": 2, "threads": 1, "batch": 4}
    assert (told["options"]["threads"], told["batch"]) == (1, 8)


class Held:
    """A quota that runs out in one of two periods."""

    def __init__(self) -> None:
        self._read = 0

    def stat(self) -> CpuStat:
        self._read += 1
        return CpuStat(10 * self._read, 5 * self._read, 0.5 * self._read)


@pytest.mark.parametrize("program", [MOPT_SERVER, DEFAULT_SERVER], ids=["mopt", "defaults"])
def test_every_request_is_answered(
    program: Sequence[str], subject: Subject, folder: Path, tmp_path: Path
) -> None:
    with (
        running(folder, program) as server,
        Asker(server.address, subject, tmp_path) as asker,
    ):
        assert server.threads > 1
        step = asker.step(Held(), Bound(99, 60_000), 1, 40)
    assert step.requests >= 50
    assert (step.failures, step.periods, step.throttled, step.share) == (0, 10, 5, 0.5)
    assert step.keeps(60_000)
