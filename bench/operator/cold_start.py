"""What a start costs an operator that finds many settled resources.

    .venv/bin/python -m bench.operator.cold_start [--resources 1000,2000,5000,10000] [--record FILE]

Starts an operator against an API server that serves so many settled resources, with the finished
Jobs and Pods that their ttl keeps, from memory (tests/support/settled_server.py), and one new
resource at the end of the list. Reads the operator's CPU time and memory from /proc.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
sys.path.insert(0, str(SUPPORT))

from settled_objects import IMAGE, NAMESPACE, templates  # noqa: E402 - found by the line above
from settled_server import kubeconfig  # noqa: E402

from .process import end_in_order, operator_process, until  # noqa: E402

PATIENCE_SECONDS = 1800.0
# Long enough for the last watch events to be handled, and for memory to be given back.
REST_SECONDS = 5.0

SETTINGS = {"optimizerImage": IMAGE, "leaderElection": {"namespace": NAMESPACE}}

Json = dict[str, Any]


@dataclass(frozen=True)
class Start:
    """One start.

    Attributes:
        cpu_seconds: User and system time until /readyz is 200, i.e. all have been looked at.
        ready_seconds: Until then, from the start of the process.
        first_job_seconds: Until the new resource's Job, from the start of the process.
        later_job_seconds: From the creation of another resource, after that, to its Job.
        longest_answer_seconds: Of /readyz, which the event loop answers: how long it was busy.
        compare_cpu_seconds: CPU time of a comparison of everything with the cluster, later on.
        flood_cpu_seconds, flood_peak_mib: Until all resources had been looked at once more, after
            each of them had changed within a moment; and resident memory at its highest then.
        peak_mib, settled_mib: Resident memory, at its highest and after the start.
        listed_mib: Bytes of all answers but those of the watches.
        requests: By verb and kind.
    """

    resources: int
    cpu_seconds: float
    ready_seconds: float
    first_job_seconds: float
    later_job_seconds: float
    longest_answer_seconds: float
    compare_cpu_seconds: float
    flood_cpu_seconds: float
    flood_peak_mib: float
    peak_mib: float
    settled_mib: float
    listed_mib: float
    requests: dict[str, int]


def get(address: str, page: str) -> tuple[int, bytes]:
    """Return status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/{page}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@contextmanager
def api_server(resources: int) -> Iterator[int]:
    """Run the API server as a process; yield its port."""
    command = [sys.executable, str(SUPPORT / "settled_server.py"), str(resources)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else "")
        finally:
            if process.stdin:
                process.stdin.close()


def create(api: str, name: str) -> None:
    """Create a resource that nobody has looked at."""
    raw = json.loads(templates()["modeloptimizations"][0].of(0, whole=True))
    new = {"spec": raw["spec"], "status": {"observedGeneration": -1}}
    body = new | {"metadata": {"name": name, "namespace": NAMESPACE}}
    connection = http.client.HTTPConnection(api, timeout=30)
    path = f"/apis/mopt.dev/v1alpha1/namespaces/{NAMESPACE}/modeloptimizations"
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()


def measure(resources: int) -> Start:
    """Start an operator and look at it."""
    with tempfile.TemporaryDirectory() as text, api_server(resources) as port:
        api = f"127.0.0.1:{port}"

        def told() -> Json:
            answer: Json = json.loads(get(api, "bench")[1])
            return answer

        def jobs() -> int:
            return int(told()["requests"].get("POST jobs", 0))

        create(api, "new")
        began = time.monotonic()
        with operator_process(kubeconfig(port), SETTINGS, Path(text)) as operator:
            answers: list[float] = []

            def is_ready() -> bool:
                asked = time.monotonic()
                status, _ = get(operator.address, "readyz")
                if status:
                    answers.append(time.monotonic() - asked)
                return status == 200

            until(is_ready, PATIENCE_SECONDS)
            ready, cpu = time.monotonic() - began, operator.cpu_seconds()
            first = until(lambda: told()["created"].get("jobs"), PATIENCE_SECONDS) - began
            create(api, "later")
            created = time.monotonic()
            until(lambda: jobs() == 2)
            later = time.monotonic() - created
            time.sleep(REST_SECONDS)
            settled, before = operator.memory_mib("VmRSS"), operator.cpu_seconds()
            get(api, "bench/expire")
            until(lambda: told()["requests"]["watch pods"] == 2)
            time.sleep(REST_SECONDS)
            compared, peak = operator.cpu_seconds() - before, operator.memory_mib("VmHWM")
            last, before = told(), operator.cpu_seconds()
            get(api, "bench/touch")
            create(api, "last")
            until(lambda: jobs() == 3)
            time.sleep(REST_SECONDS)
            flooded = operator.cpu_seconds() - before
            flood_peak = operator.memory_mib("VmHWM")
    return Start(
        resources=resources,
        cpu_seconds=round(cpu, 1),
        ready_seconds=round(ready, 1),
        first_job_seconds=round(first, 1),
        later_job_seconds=round(later, 2),
        longest_answer_seconds=round(max(answers), 2),
        compare_cpu_seconds=round(compared, 1),
        flood_cpu_seconds=round(flooded, 1),
        flood_peak_mib=round(flood_peak, 1),
        peak_mib=round(peak, 1),
        settled_mib=round(settled, 1),
        listed_mib=round(last["sent"] / 2**20, 1),
        requests=dict(sorted(last["requests"].items())),
    )


def table(starts: list[Start]) -> str:
    """Return the results in Markdown."""
    lines = [
        "| Settled resources | CPU s until ready | ready after s | the new one's Job after s "
        "| another's Job after s | longest wait for the event loop s "
        "| CPU s of a comparison | peak MiB | afterwards MiB | listed MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {start.resources:,} | {start.cpu_seconds} | {start.ready_seconds} "
        f"| {start.first_job_seconds} | {start.later_job_seconds} "
        f"| {start.longest_answer_seconds} | {start.compare_cpu_seconds} | {start.peak_mib:.0f} "
        f"| {start.settled_mib:.0f} | {start.listed_mib:.0f} |"
        for start in starts
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--resources", default="1000,2000,5000,10000", help="comma-separated")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    end_in_order()
    starts = []
    for count in map(int, arguments.resources.split(",")):
        starts.append(measure(count))
        print(json.dumps(asdict(starts[-1])), file=sys.stderr)
    print(table(starts))
    if arguments.record:
        record = {
            "measured": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "cpus": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
            "starts": [asdict(start) for start in starts],
        }
        arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
