"""`mopt gc` beside clusters: what it asks them, and runs that start and end meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import selected
from cli_process import Mopt
from listing_server import ListingServer
from swept_output import NOW, WORKING, Output

from mopt_cli.garbage import sweeping


def test_a_cluster_is_read_page_after_page(
    mopt_here: Mopt, local: Output, server: ListingServer, tmp_path: Path
) -> None:
    server.page = 1
    other = selected.resource(name="other", metadata={"name": "b", "namespace": "c"})
    other["status"] = {"observedGeneration": 4}
    other["metadata"]["generation"] = 4
    server.items = [local.served("second"), other, local.served("first")]
    given = ("gc", "--output", local.uri, "--kubeconfig", server.kubeconfig(tmp_path), *NOW)
    found = json.loads(mopt_here(*given, "--context", "x", "-o", "json").stdout)
    assert (found["resources"], found["objects"]) == (3, [])
    server.items.pop()
    assert mopt_here(*given, "--delete").returncode == 0
    assert local.keys() == local.keys_of("second")


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "refuses the request: not for you"), (404, "mopt is not installed there")],
)
def test_a_cluster_that_does_not_list_keeps_everything(
    mopt_here: Mopt, local: Output, server: ListingServer, tmp_path: Path, status: int, said: str
) -> None:
    server.refuses = status
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x")
    done = mopt_here("gc", "--output", local.uri, *access, *NOW, "--delete")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert local.keys() == local.keys_of("first", "second")


def test_one_cluster_of_two_that_does_not_answer_keeps_everything(
    mopt_here: Mopt, local: Output, server: ListingServer, tmp_path: Path
) -> None:
    server.items = [local.served("second")]
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x", "--context", "y")
    done = mopt_here("gc", "--output", local.uri, *access, *NOW, "--delete")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)
    assert local.keys() == local.keys_of("first", "second")


def test_a_run_that_starts_meanwhile_keeps_what_it_may_have_been_served(
    mopt_here: Mopt, local: Output, server: ListingServer, tmp_path: Path
) -> None:
    """It was served from a cache entry before that went."""
    server.items = [local.served("second")]

    def begin(number: int) -> None:
        if number == 2:
            assert "index/step-first" not in local.keys()  # noqa: SIM118 - no mapping
            server.items.append(selected.resource(name="late", status=WORKING, spec={}))

    server.then = begin
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x")
    done = mopt_here("gc", "--output", local.uri, *access, *NOW, "--delete")
    assert done.returncode == 1
    assert "team/late may be writing to" in done.stderr
    assert "(already removed: 3 cache entries)" in done.stderr
    gone = local.keys_of("first", "second") - local.keys()
    assert gone == {f"index/{kind}-first" for kind in ("measure", "prepare", "step")}


def test_a_run_that_starts_during_the_removal_keeps_what_is_left(
    mopt_here: Mopt,
    local: Output,
    server: ListingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may find a file that is stored already, and not write it again. Nothing that is left
    names what is gone."""
    monkeypatch.setattr(sweeping, "BATCH", 1)
    server.items = [local.served("second")]

    def begin(number: int) -> None:
        if number == 7:
            server.items.append(selected.resource(name="late", status=WORKING, spec={}))

    server.then = begin
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x")
    done = mopt_here("gc", "--output", local.uri, *access, *NOW, "--delete")
    assert done.returncode == 1
    assert "(already removed: 2 blobs, 3 cache entries, 1 page)" in done.stderr
    left = local.keys_of("first") & local.keys()
    digests = {key.rpartition("/")[2] for key in left}
    named = {local.names[f"first {name}"][7:] for name in ("form", "data", "manifest", "crops")}
    assert digests & named == named


def test_a_run_that_ends_meanwhile_keeps_what_it_names(
    mopt_here: Mopt, local: Output, server: ListingServer, tmp_path: Path
) -> None:
    server.items = [local.served("second")]

    def end(number: int) -> None:
        if number == 2:
            server.items.append(local.served("first"))

    server.then = end
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x")
    done = mopt_here("gc", "--output", local.uri, *access, *NOW, "--delete")
    assert done.returncode == 0, done.stderr
    gone = local.keys_of("first", "second") - local.keys()
    assert gone == {f"index/{kind}-first" for kind in ("measure", "prepare", "step")}
