"""`mopt pin` and `mopt rollback`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import selected
from cli_process import Mopt
from listing_server import ListingServer, listing
from selected import REPOSITORY, digest, uri

from mopt_cli._errors import CliError
from mopt_cli.selections import before, previous

REFERENCE = f"{REPOSITORY}@{digest(503)}"
PATH = ".spec.predictor.model.storageUri"
SERVICE = """\
# Kept.
kind: InferenceService
spec:
  predictor:
    model:
      storageUri: 's3://old'   # by mopt pin
"""
HISTORY = [selected.record(n) for n in (3, 2, 1)]
SERVED = selected.target(artifact=selected.artifact(3), published=selected.published(3))


@pytest.fixture
def service(tmp_path: Path) -> Path:
    path = tmp_path / "isvc.yaml"
    path.write_text(SERVICE)
    return path


def text(raw: Any) -> str:
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ((), REFERENCE),
        (("--as", "oci"), f"oci://{REFERENCE}"),
        (("--as", "digest"), digest(503)),
        (("--as", "uri"), uri(3)),
        (("--as", "artifact"), digest(3)),
    ],
)
def test_what_is_published_is_written_in_place(
    mopt_here: Mopt, service: Path, how: tuple[str, ...], value: str
) -> None:
    service.chmod(0o640)
    raw = text(selected.resource(SERVED))
    arguments = ("pin", "-f", "-", "--file", service, "--path", PATH, *how)
    behind = mopt_here(*arguments, "--check", stdin=raw)
    assert (behind.returncode, service.read_text()) == (1, SERVICE)
    assert behind.stdout == f"{service}:6: {PATH} is s3://old, behind {value}\n"
    done = mopt_here(*arguments, stdin=raw)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{service}:6: {PATH}: s3://old -> {value}\n"
    assert service.read_text() == SERVICE.replace("s3://old", value)
    assert service.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in service.parent.iterdir()) == ["isvc.yaml"]
    again = mopt_here(*arguments, "--check", "-o", "json", stdin=raw)
    assert again.returncode == 0
    assert json.loads(again.stdout) == {
        "file": str(service),
        "line": 6,
        "path": PATH,
        "before": value,
        "value": value,
        "equal": True,
        "written": False,
    }


def test_a_link_stays_one(mopt_here: Mopt, service: Path, tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(service)
    raw = text(selected.resource(SERVED))
    done = mopt_here("pin", "-f", "-", "--file", "link.yaml", "--path", PATH, stdin=raw)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link.yaml").is_symlink()
    assert REFERENCE in service.read_text()


def test_what_is_published_in_place_of_the_selected_is_pinned(
    mopt_here: Mopt, service: Path
) -> None:
    instead = {"variant": "onnxruntime-fp32", "insteadOf": selected.digest(4)}
    target = selected.target(
        artifact=selected.artifact(4), published=selected.published(3) | instead
    )
    raw = text(selected.resource(target))
    done = mopt_here("pin", "-f", "-", "--file", service, "--path", PATH, stdin=raw)
    assert done.returncode == 0
    assert "not published yet" not in done.stderr


def test_what_is_selected_and_not_published_yet_is_said(mopt_here: Mopt, service: Path) -> None:
    target = selected.target(artifact=selected.artifact(4), published=selected.published(3))
    raw = text(selected.resource(target))
    done = mopt_here("pin", "-f", "-", "--file", service, "--path", PATH, stdin=raw)
    assert done.returncode == 0
    assert "variant-4" in done.stderr
    assert "not published yet" in done.stderr
    assert REFERENCE in service.read_text()


@pytest.mark.parametrize(
    ("targets", "arguments", "code", "said"),
    [
        ([], (), 1, "sr has no result yet"),
        ([selected.target()], (), 1, "nothing is selected"),
        ([selected.target(artifact=selected.artifact(3))], (), 1, "published to no registry"),
        ([SERVED, SERVED | {"name": "gpu"}], (), 2, "default, gpu: choose one with --target"),
        ([SERVED], ("--target", "tpu"), 2, "no result for a target tpu: there is default"),
        ([SERVED], ("--path", ".spec.x"), 2, "isvc.yaml:4: .spec.x: no such field"),
        ([SERVED], ("--path", ".spec"), 2, ".spec is a mapping"),
        ([SERVED], ("--file", "nowhere.yaml"), 2, "nowhere.yaml cannot be read"),
        ([SERVED], ("other",), 2, "- holds no ModelOptimization other"),
    ],
)
def test_what_cannot_be_pinned_is_one_line(
    mopt_here: Mopt,
    service: Path,
    targets: list[dict[str, Any]],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    given = ("pin", "-f", "-", "--file", service, "--path", PATH, *arguments)
    done = mopt_here(*given, stdin=text(selected.resource(*targets)))
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert service.read_text() == SERVICE


def test_one_of_a_list_is_chosen_by_name(mopt_here: Mopt, service: Path) -> None:
    others = [selected.resource(name="a"), selected.resource(SERVED)]
    raw = text({"kind": "List", "apiVersion": "v1", "items": others})
    given = ("-f", "-", "--file", service, "--path", PATH)
    assert "holds 2" in mopt_here("pin", *given, stdin=raw).stderr
    assert mopt_here("pin", "sr", *given, stdin=raw).returncode == 0
    assert REFERENCE in service.read_text()


def test_a_cluster_is_asked_by_name(mopt_here: Mopt, service: Path, tmp_path: Path) -> None:
    given = ("--file", service, "--path", PATH)
    with listing(ListingServer([selected.resource(SERVED)])) as server:
        access = ("--kubeconfig", server.kubeconfig(tmp_path))
        assert mopt_here("pin", "sr", *given, *access).returncode == 0
        assert REFERENCE in service.read_text()
        missing = mopt_here("pin", "other", *given, *access)
        assert (missing.returncode, missing.stderr) == (
            2,
            "mopt: there is no ModelOptimization other in namespace team\n",
        )
        server.refuses = 403
        refused = mopt_here("pin", "sr", *given, *access)
        assert (refused.returncode, refused.stderr) == (
            1,
            "mopt: the API server refuses the request: not for you; ask for this right, or choose "
            "another --context or --namespace\n",
        )
    assert mopt_here("pin", *given).stderr.startswith("mopt: give the NAME")


def test_the_selection_before_is_named(mopt_here: Mopt) -> None:
    raw = text(selected.resource(SERVED, history=HISTORY))
    done = mopt_here("rollback", "-f", "-", stdin=raw)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "default: variant-2, selected 2026-11-02T10:00:00Z for generation 2",
        f"pin: {REPOSITORY}@{digest(502)}",
        f"uri: {uri(2)}",
        f"artifact: {digest(2)}",
        f"result: {digest(802)}",
    ]
    printed = mopt_here("rollback", "-f", "-", "-o", "json", "--to", "2", stdin=raw)
    assert json.loads(printed.stdout) == HISTORY[2]


def test_the_selection_before_is_pinned(mopt_here: Mopt, service: Path) -> None:
    raw = text(selected.resource(SERVED, history=HISTORY))
    given = ("rollback", "-f", "-", "--file", service, "--path", PATH)
    assert mopt_here(*given, "--check", stdin=raw).returncode == 1
    assert mopt_here(*given, "--as", "oci", stdin=raw).returncode == 0
    value = f"oci://{REPOSITORY}@{digest(502)}"
    assert service.read_text() == SERVICE.replace("s3://old", value)
    assert mopt_here(*given, "--as", "oci", "--check", stdin=raw).returncode == 0
    for alone in (("--file", service), ("--check",), ("--as", "uri")):
        assert mopt_here("rollback", "-f", "-", *alone, stdin=raw).returncode == 2


OTHER = selected.record(9, "gpu")
AGAIN = [selected.record(1), selected.record(2), selected.record(1, time="2026-10-01T10:00:00Z")]


@pytest.mark.parametrize(
    ("history", "served", "to", "artifact"),
    [
        (HISTORY, 3, None, 2),
        (HISTORY, 3, "2", 1),
        (HISTORY, None, None, 3),
        (HISTORY, 4, None, 3),
        ([OTHER, *HISTORY], 3, None, 2),
        (HISTORY, 3, digest(1), 1),
        (HISTORY, 3, digest(801).removeprefix("sha256:"), 1),
        (HISTORY, 3, digest(502), 2),
        (AGAIN, 1, None, 2),
        (AGAIN, 1, "2", 1),
    ],
    ids=[
        "the last one",
        "two back",
        "nothing is served: the newest",
        "history does not have what is served yet",
        "other targets do not count",
        "by a file's digest",
        "by a result's",
        "by an image's",
        "a form that won twice: the one between",
        "a form that won twice: its first time",
    ],
)
def test_earlier_selections(
    history: list[dict[str, Any]], served: int | None, to: str | None, artifact: int
) -> None:
    target = selected.target(artifact=served and selected.artifact(served))
    raw = selected.resource(target, history=history)
    assert previous(raw, None, to).artifact == digest(artifact)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("3", "no selection 3 before the present one: status.history has 2 earlier"),
        ("0", "no selection 0"),
        (digest(3), "no earlier selection is"),
        ("sha256:00", "give 7 digits"),
        ("sha256:" + "0" * 40, "several selections begin with"),
    ],
)
def test_selections_that_are_not_there(to: str, said: str) -> None:
    raw = selected.resource(SERVED, history=HISTORY)
    with pytest.raises(CliError, match=said):
        previous(raw, None, to)


def test_without_a_history_there_is_nothing_before() -> None:
    assert before([], "default", digest(1)) == []
    with pytest.raises(CliError, match="there is none"):
        previous(selected.resource(SERVED), None, None)


def test_a_selection_that_was_not_published_is_pinned_by_its_file(
    mopt_here: Mopt, service: Path
) -> None:
    history = [HISTORY[0], selected.record(2, published=None)]
    raw = text(selected.resource(SERVED, history=history))
    given = ("rollback", "-f", "-", "--file", service, "--path", PATH)
    refused = mopt_here(*given, stdin=raw)
    assert refused.returncode == 1
    assert "published to no registry" in refused.stderr
    assert mopt_here(*given, "--as", "uri", stdin=raw).returncode == 0
    assert service.read_text() == SERVICE.replace("s3://old", uri(2))
