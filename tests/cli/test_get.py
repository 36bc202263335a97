"""`mopt get` and `mopt describe`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import selected
import yaml
from cli_process import Mopt
from listing_server import ListingServer, listing
from rich.console import Console

from mopt_api.objective import Objective
from mopt_api.status import TargetStatus
from mopt_cli.description import Description
from mopt_cli.durations import age
from mopt_cli.judgements import Bounds, why
from mopt_cli.listing import news, render_list
from mopt_cli.model_optimization import ModelOptimization

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CREATED = "2026-11-30T08:40:00Z"
GATE = {"metric": "PSNR", "minimum": 40}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    since = "2026-11-30T11:00:00Z"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }


def form(name: str, state: str = "Passed", psnr: float = 42, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "runtime": "OpenVINO",
        "precision": "INT8",
        "state": state,
        "quality": [{"metric": "PSNR", "worst": psnr, "mean": psnr + 1}],
        "sizeBytes": 2**20,
    } | fields


MISSED = {"reason": "QualityGate", "message": "worst PSNR 31.00 is below 40", "speedup": 3.0}
TARGET = selected.target(
    point="opt",
    baseline=form("baseline", psnr=90, speedup=1.0),
    variants=[
        form("fast", speedup=2.0, speedupInterval=[1.9, 2.1]),
        form("small", "Rejected", 31, **MISSED),
        form("slow", speedup=1.2),
    ],
    selected="fast",
    artifact=selected.artifact(3),
    published=selected.published(3),
)


def optimized(*targets: dict[str, Any], name: str = "sr", **spec: Any) -> dict[str, Any]:
    """Return a resource that is Ready, and outdated."""
    raw = selected.resource(*targets, name=name)
    raw["metadata"] |= {"creationTimestamp": CREATED, "managedFields": [{"manager": "kubectl"}]}
    raw["spec"] |= {"quality": [GATE], **spec}
    raw["status"] |= {
        "conditions": [
            condition("Ready", "True", "Optimized", "default: fast"),
            condition("Outdated", "True", "OlderOptimizer", "measured by 0.0.9"),
        ],
        "summary": {"selected": "fast", "quality": "42 dB", "size": "1.0Mi", "targets": "1/1"},
    }
    return raw


def shown(rendered: Any, width: int = 220) -> list[str]:
    printed = io.StringIO()
    Console(file=printed, width=width).print(rendered)
    return [line.rstrip() for line in printed.getvalue().splitlines()]


class Recording(ListingServer):
    """An API server that remembers what it was asked, and lists Events on request."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__(items)
        self.asked: list[str] = []
        self.events: list[dict[str, Any]] | int = []

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if not urlsplit(path).path.endswith("/events"):
            return super().answer(path)
        if isinstance(self.events, int):
            return self.events, {"message": "events are not for you"}
        return 200, {"items": self.events, "metadata": {}}


@pytest.fixture
def server() -> Iterator[Recording]:
    other = optimized(name="super-resolution")
    other["metadata"]["namespace"] = "else"
    with listing(Recording([optimized(TARGET), optimized(TARGET, name="classifier"), other])) as it:
        assert isinstance(it, Recording)
        yield it


@pytest.fixture
def access(server: Recording, tmp_path: Path) -> tuple[str, Path]:
    return ("--kubeconfig", server.kubeconfig(tmp_path))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (310, "5m10s"),
        (3600, "60m"),
        (3 * 3600, "3h0m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (52 * 3600, "2d4h"),
        (800 * 3600, "33d"),
        (-5, "0s"),
    ],
)
def test_ages_read_as_kubectls(seconds: int, text: str) -> None:
    since = datetime.fromtimestamp(NOW.timestamp() - seconds, UTC).isoformat()
    assert age(since, NOW) == text


@pytest.mark.parametrize("since", [None, "", "yesterday", "2026-11-30T12:00:00"])
def test_what_is_no_time_has_no_age(since: str | None) -> None:
    assert age(since, NOW) == "unknown"


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ([("Ready", "False"), ("Reconciling", "True")], []),
        ([("Published", "True"), ("ArtifactAvailable", "True")], []),
        ([("Outdated", "True")], ["Outdated=Why"]),
        ([("Stalled", "True"), ("Published", "False")], ["Stalled=Why", "Published=False Why"]),
        ([("example.com/Other", "False")], []),
    ],
)
def test_conditions_that_are_news(conditions: list[tuple[str, str]], told: list[str]) -> None:
    raw = selected.resource()
    raw["status"]["conditions"] = [condition(kind, status, "Why") for kind, status in conditions]
    assert news(ModelOptimization(raw).status.conditions) == told


def test_a_row_has_what_kubectl_has_no_column_for() -> None:
    two = optimized(TARGET, selected.target("gpu", selected="baseline"))
    unseen = {"metadata": {"name": "[red]new", "namespace": "team"}}
    resources = [ModelOptimization(raw) for raw in (two, unseen)]
    header, first, second = shown(render_list(resources, NOW, wide=False, namespaces=False))
    assert header.split() == [
        *("NAME", "READY", "STATUS", "CONDITIONS", "WINNER", "SPEEDUP", "AGE"),
    ]
    winners = ["default=fast", "gpu=baseline", "default=2.00x", "gpu=-"]
    assert first.split() == [
        "sr",
        "True",
        "Optimized",
        "Outdated=OlderOptimizer",
        *winners,
        "3h20m",
    ]
    assert second.startswith("[red]new")
    assert "not seen by the operator yet" in second


def test_one_line_each_in_every_format(
    mopt_here: Mopt, server: Recording, access: tuple[str, Path]
) -> None:
    done = mopt_here("get", *access)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "classifier", "sr"]
    assert "limit=500" in server.asked[-1]
    wide = mopt_here("get", "-o", "wide", "-A", *access).stdout.splitlines()
    assert wide[0].split()[0] == "NAMESPACE"
    assert [line.split()[0] for line in wide[1:]] == ["else", "team", "team"]
    assert "42 dB" in wide[2]
    assert "default: fast" in wide[2]
    assert mopt_here("get", "-o", "name", *access).stdout.splitlines() == [
        "modeloptimization.mopt.dev/classifier",
        "modeloptimization.mopt.dev/sr",
    ]


def test_json_is_what_other_commands_read(
    mopt_here: Mopt, access: tuple[str, Path], tmp_path: Path
) -> None:
    found = json.loads(mopt_here("get", "sr", "-o", "json", *access).stdout)
    expected = optimized(TARGET)
    del expected["metadata"]["managedFields"]
    assert found == expected
    listed = yaml.safe_load(mopt_here("get", "-o", "yaml", *access).stdout)
    assert (listed["kind"], len(listed["items"])) == ("List", 2)
    (tmp_path / "all.json").write_text(json.dumps(listed))
    again = mopt_here("rollback", "sr", "-f", "all.json")
    assert "no selection 1 before the present one" in again.stderr


def test_a_selector_goes_to_the_server(
    mopt_here: Mopt, server: Recording, access: tuple[str, Path]
) -> None:
    mopt_here("get", "-l", "team=vision,stage!=test", *access)
    assert parse_qs(urlsplit(server.asked[-1]).query)["labelSelector"] == [
        "team=vision,stage!=test"
    ]


@pytest.mark.parametrize(
    ("arguments", "refuses", "code", "said"),
    [
        (("clasifier",), None, 2, "in namespace team: did you mean classifier?"),
        (("nothing-like-it",), None, 2, "no ModelOptimization nothing-like-it in namespace team"),
        (("sr", "-A"), None, 2, "give a NAME, or all of them"),
        ((), 403, 1, "not for you; ask for this right, or choose another --context"),
        ((), 404, 1, "mopt is not installed there"),
        (("--context", "y"), None, 1, "the API server does not answer"),
        (("-n", "empty"), None, 0, "there are no such ModelOptimizations; -A looks further"),
    ],
)
def test_what_is_not_there_is_one_line_with_what_to_do(
    mopt_here: Mopt,
    server: Recording,
    access: tuple[str, Path],
    arguments: tuple[str, ...],
    refuses: int | None,
    code: int,
    said: str,
) -> None:
    server.refuses = refuses
    done = mopt_here("get", *arguments, *access)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("fast", {}, "selected"),
        ("small", {}, "Rejected: QualityGate: worst PSNR 31.00 is below 40"),
        ("baseline", {}, "the source model: the others are measured against it"),
        ("slow", {}, "fast is better: 2.00x [1.90, 2.10] over the baseline"),
        (
            "slow",
            {"verdict": {"stopped": "Tie", "ties": ["slow"]}},
            "as good as fast within 2%, which comes first in a tie",
        ),
        (
            "slow",
            {"verdict": {"stopped": "Budget", "undecided": ["slow"]}},
            "whether it is better than fast is undecided",
        ),
        (
            "baseline",
            {"selected": "baseline"},
            "kept: nothing within the bounds is certainly better",
        ),
        ("slow", {"selected": "baseline"}, "not certainly better than the baseline"),
        ("slow", {"selected": None}, "not certainly better than the baseline"),
        ("plain", {"variants": [form("plain")]}, "what the objective compares was not measured"),
        ("built", {"variants": [form("built", "Built")]}, "Built"),
    ],
)
def test_why_each_form_lost(name: str, changes: dict[str, Any], told: str) -> None:
    target = TargetStatus.model_validate(TARGET | changes)
    found = next(each for each in target.everyone if each.name == name)
    assert why(found, target, Objective()) == told


def test_a_speedup_below_the_least_one_is_told() -> None:
    target = TargetStatus.model_validate(TARGET | {"selected": "baseline"})
    slow = next(each for each in target.variants if each.name == "slow")
    assert why(slow, target, Objective(minimum_speedup=1.5)) == "below minimumSpeedup 1.5"


def test_bounds_are_judged_as_they_are_written() -> None:
    spec = {
        "quality": [GATE, {"metric": "SSIM", "minimum": 0.9, "aggregate": "Mean"}],
        "objective": {"constraints": [{"metric": "SizeBytes", "maximum": "1Mi"}]},
    }
    bounds = Bounds.of(spec)
    assert bounds.names == ["worst PSNR ≥ 40 dB", "mean SSIM ≥ 0.9", "SizeBytes ≤ 1Mi"]
    target = TargetStatus.model_validate(TARGET)
    small = next(each for each in target.variants if each.name == "small")
    found = [(each.text, each.passed) for each in bounds.judge(small)]
    assert found == [("31.00 dB", False), ("-", None), ("1.00 MiB", True)]


def test_bounds_of_a_newer_version_are_not_guessed() -> None:
    assert not Bounds.of({"quality": [GATE | {"metric": "Beauty"}]}).known


def described(raw: dict[str, Any], events: list[dict[str, Any]] | None) -> Description:
    return Description(ModelOptimization(raw), events, NOW)


def test_a_description_has_gates_reasons_files_and_events() -> None:
    event = {
        "type": "Normal",
        "reason": "Optimized",
        "message": "default:\nfast [red]",
        "lastTimestamp": "2026-11-30T11:59:00Z",
        "count": 2,
    }
    lines = shown(described(optimized(TARGET), [event]).render())
    text = " ".join(" ".join(lines).split())
    for words in (
        "team/sr",
        "3h20m",
        "OlderOptimizer 60m measured by 0.0.9",
        "fast 42.00 dB selected",
        "small 31.00 dB MISSED Rejected: QualityGate, as said above",
        "small: QualityGate: worst PSNR 31.00 is below 40",
        f"artifact: {selected.digest(3)}: variant-3, ONNX, 0.00 MiB, selected 10d ago",
        f"published: {selected.REPOSITORY}@{selected.digest(503)}, not signed, 10d ago",
        "60s Normal Optimized 2 default: fast [red]",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("events", "told"),
    [(None, "you may not list events"), ([], "none; the API server keeps them for an hour")],
)
def test_a_description_without_events_says_why(
    events: list[dict[str, Any]] | None, told: str
) -> None:
    lines = shown(described({"metadata": {"name": "new", "namespace": "team"}}, events).render())
    assert told in lines[-1]
    assert any("the operator has not seen it yet" in line for line in lines)


def test_a_description_for_programs_has_each_judgement(
    mopt_here: Mopt, server: Recording, access: tuple[str, Path]
) -> None:
    server.events = [
        {"reason": "Late", "eventTime": "2"},
        {"reason": "First", "lastTimestamp": "1"},
    ]
    done = mopt_here("describe", "sr", "-o", "json", *access)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [event["reason"] for event in found["events"]] == ["First", "Late"]
    assert "involvedObject.uid%3Duid-sr" in server.asked[-1]
    small = next(each for each in found["judgements"]["default"] if each["variant"] == "small")
    assert small["bounds"] == [
        {"bound": "worst PSNR ≥ 40 dB", "value": "31.00 dB", "passed": False}
    ]
    assert small["why"].startswith("Rejected: QualityGate")
    server.events = 403
    assert json.loads(mopt_here("describe", "sr", "-o", "json", *access).stdout)["events"] is None
    assert "may not list events" in mopt_here("describe", "sr", *access).stdout
