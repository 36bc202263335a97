"""`mopt report`: the page of a result, from a store whose objects are verified."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import selected
import served_forms
from cli_process import Mopt
from html_page import HtmlPage

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_api.status import Report
from mopt_cli.reports import page_path
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

POINT = {
    "point": "opt",
    "latencyMs": {"p50": 2.0, "p90": 2.5, "p99": 3.0},
    "throughput": 500,
    "runs": 9,
    "coefficientOfVariation": 0.1,
}
BASELINE = {
    "name": "baseline",
    "runtime": "ONNXRuntime",
    "precision": "FP32",
    "state": "Passed",
    "points": [POINT],
}


def measured(**changes: Any) -> MeasureResult:
    """Return a result whose baseline is kept."""
    kept: dict[str, Any] = {"baseline": BASELINE, "selected": "baseline", "objectivePoint": "opt"}
    return served_forms.result(**kept, **changes)


def stored(output: str, result: MeasureResult) -> tuple[dict[str, Any], str]:
    """Store a result; return a resource that has it, and the digest."""
    store, prefix = open_store(output, Credentials.OUTPUT, {})
    digest = Blobs(store, prefix).put_bytes(result_bytes(result))
    report = Report.under(output, digest).to_api()
    return selected.resource(selected.target(report=report)), digest


@pytest.fixture
def output(tmp_path: Path) -> str:
    return (tmp_path / "out").as_uri()


def test_the_page_is_drawn_from_what_was_verified(
    mopt_here: Mopt, output: str, tmp_path: Path
) -> None:
    raw, digest = stored(output, measured())
    done = mopt_here("report", "-f", "-", stdin=json.dumps(raw))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sr-default.html\n"
    assert f"drawn from {digest}, verified" in done.stderr
    page = (tmp_path / "sr-default.html").read_text()
    assert HtmlPage(page).faults == []
    assert digest in page
    assert [path.name for path in tmp_path.glob("*.html")] == ["sr-default.html"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(b"{}"), "DigestMismatch: "),
        (lambda path: path.unlink(), "ObjectNotFound: "),
    ],
    ids=["other bytes", "gone"],
)
def test_a_result_that_is_not_the_one_in_status_draws_nothing(
    mopt_here: Mopt,
    output: str,
    tmp_path: Path,
    change: Callable[[Path], object],
    said: str,
) -> None:
    raw, digest = stored(output, measured())
    change(tmp_path / "out" / "blobs" / digest.replace(":", "/"))
    done = mopt_here("report", "-f", "-", stdin=json.dumps(raw))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr.splitlines()[-1]
    assert list(tmp_path.glob("*.html")) == []


def test_a_result_of_a_version_that_kept_no_plan_is_not_guessed(
    mopt_here: Mopt, output: str
) -> None:
    raw, _ = stored(output, measured(plan=None))
    done = mopt_here("report", "-f", "-", stdin=json.dumps(raw))
    assert done.returncode == 1
    assert "is of another version of mopt" in done.stderr
    assert raw["status"]["targets"][0]["report"]["page"] in done.stderr


def test_without_a_result_it_says_what_to_do(mopt_here: Mopt) -> None:
    done = mopt_here("report", "-f", "-", stdin=json.dumps(selected.resource()))
    assert (done.returncode, done.stderr) == (
        1,
        "mopt: sr has no result yet: mopt watch sr waits for it\n",
    )


@pytest.mark.parametrize("opens", [True, False])
def test_it_is_opened_where_there_is_a_browser(
    mopt_here: Mopt, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return opens

    monkeypatch.setattr("webbrowser.open", browse)
    raw, _ = stored(output, measured())
    done = mopt_here("report", "-f", "-", "-o", "pages/", "--open", stdin=json.dumps(raw))
    assert done.returncode == 0, done.stderr
    assert opened == [(tmp_path / "pages" / "sr-default.html").as_uri()]
    assert ("no browser can be opened here" in done.stderr) is not opens


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (None, "sr", "sr-cpu.html"),
        ("a.html", "sr", "a.html"),
        ("pages/", "sr", "pages/sr-cpu.html"),
        (None, "../../outside", "report.html"),
    ],
)
def test_where_the_page_goes(given: str | None, name: str, expected: str) -> None:
    assert page_path(given, name, "cpu") == Path(expected)


def test_a_folder_that_may_not_be_written_is_one_line(
    mopt_here: Mopt, output: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    raw, _ = stored(output, measured())
    done = mopt_here("report", "-f", "-", "-o", "file/x.html", stdin=json.dumps(raw))
    assert done.returncode == 1
    assert "file/x.html cannot be written" in done.stderr


def test_it_needs_jinja_alone_of_all_that_the_optimizer_does(output: str, tmp_path: Path) -> None:
    raw, _ = stored(output, measured())
    (tmp_path / "raw.json").write_text(json.dumps(raw))
    heavy = ["torch", "onnx", "onnxruntime", "openvino", "numpy", "PIL", "minio", "kubernetes"]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({heavy!r}))\n"
        f"sys.argv = ['mopt', 'report', '-f', {str(tmp_path / 'raw.json')!r}]\n"
        "from mopt_cli.entry import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sr-default.html").exists()


@pytest.mark.optimizer
def test_it_is_the_page_that_the_job_drew(
    mopt: Mopt, small_onnx: Path, write_small: Callable[..., Path], tmp_path: Path
) -> None:
    """A real run; the same version draws the same page, byte by byte."""
    file = write_small()
    run = mopt("run", file, "--model", small_onnx, "--output", "out", "-o", "json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)["report"]
    (tmp_path / "raw.json").write_text(
        json.dumps(selected.resource(selected.target(report=report)))
    )
    done = mopt("report", "-f", "raw.json", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    drawn = next((tmp_path / "out" / "reports").iterdir())
    assert (tmp_path / "page.html").read_bytes() == drawn.read_bytes()
