"""What `mopt gc` removes and keeps: on a folder, on a mounted claim and on a real MinIO."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import selected
from cli_process import Mopt
from swept_output import NOW, WORKING, Output

from mopt_cli._errors import CliError
from mopt_cli.durations import duration
from mopt_optimizer.store.blobs import Blobs


def test_what_nothing_names_is_listed_then_removed_once(
    mopt_here: Mopt, output: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    before = output.keys()
    assert before == output.keys_of("first", "second")
    given = ("gc", "--output", output.uri, *resources(output.served("second")), *NOW)
    listed = mopt_here(*given, "-o", "json", **output.environ)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    assert output.keys() == before
    assert {one["key"] for one in found["objects"]} == output.keys_of("first")
    assert found["deleted"] is False
    assert found["unused"]["objects"] == len(output.keys_of("first"))
    assert found["unused"]["bytes"] == sum(one["sizeBytes"] for one in found["objects"])

    done = mopt_here(*given, "--delete", **output.environ)
    assert done.returncode == 0, done.stderr
    assert "removed: 0.00 MiB (6 blobs, 3 cache entries, 1 page)" in done.stdout
    assert "kept: 0.00 MiB (6 blobs, 3 cache entries, 1 page)" in done.stdout
    assert output.keys() == output.keys_of("second")
    again = mopt_here(*given, "--delete", "-o", "json", **output.environ)
    assert json.loads(again.stdout)["objects"] == []


def test_the_last_selections_stay_as_many_as_are_wanted(
    mopt_here: Mopt, local: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    raw = local.served("second", "second", "first")
    given = ("gc", "--output", local.uri, *resources(raw), *NOW, "-o", "json")
    assert json.loads(mopt_here(*given).stdout)["objects"] == []
    assert json.loads(mopt_here(*given, "--keep", "2").stdout)["objects"] == []
    one = json.loads(mopt_here(*given, "--keep", "1").stdout)
    assert {found["key"] for found in one["objects"]} == local.keys_of("first")


def test_what_is_young_stays(
    mopt_here: Mopt, output: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    given = ("gc", "--output", output.uri, *resources(output.served("second")), "-o", "json")
    assert json.loads(mopt_here(*given, **output.environ).stdout)["objects"] == []


def test_what_others_wrote_stays(
    mopt_here: Mopt, output: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    """Another output below this one, a model registry's manifest with its file, a stranger."""
    folder = output.prefix.strip("/") and f"{output.prefix.strip('/')}/"
    inner = Blobs(output.store, f"{folder}inner").put_bytes(b"of another resource")
    registered = output.blobs.put_bytes(b"registered")
    output.store.put_bytes(f"{folder}manifest.json", json.dumps({"digest": registered}).encode())
    output.store.put_bytes(f"{folder}blobs/readme.txt", b"by hand")
    given = ("gc", "--output", output.uri, *resources(output.served("second")), *NOW, "--delete")
    done = mopt_here(*given, **output.environ)
    assert done.returncode == 0, done.stderr
    assert output.keys() - output.keys_of("second") == {
        f"inner/blobs/{inner.replace(':', '/')}",
        f"blobs/{registered.replace(':', '/')}",
        "manifest.json",
        "blobs/readme.txt",
    }


def test_nobody_said_what_is_in_use(mopt_here: Mopt, local: Output) -> None:
    done = mopt_here("gc", "--output", local.uri, *NOW)
    assert done.returncode == 2
    assert "--context" in done.stderr
    assert "--resources" in done.stderr


def test_the_resources_of_another_cluster_empty_no_store(
    mopt_here: Mopt, local: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    given = ("gc", "--output", local.uri, *resources(), *NOW, "--delete")
    refused = mopt_here(*given)
    assert refused.returncode == 1
    assert "are these the clusters that write there?" in refused.stderr
    assert local.keys() == local.keys_of("first", "second")
    assert mopt_here(*given, "--nothing-live").returncode == 0
    assert local.keys() == set()


def test_a_resource_at_work_keeps_everything(
    mopt_here: Mopt, local: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    busy = selected.resource(name="busy", status=WORKING, spec={})
    given = ("gc", "--output", local.uri, *resources(local.served("second"), busy), *NOW)
    listed = mopt_here(*given, "-o", "json")
    assert json.loads(listed.stdout)["atWork"] == ["team/busy"]
    assert "at work: 1 of them, so --delete would remove nothing now" in mopt_here(*given).stdout
    done = mopt_here(*given, "--delete")
    assert done.returncode == 1
    assert "team/busy may be writing to" in done.stderr
    assert local.keys() == local.keys_of("first", "second")


def test_what_vanishes_while_it_is_read_is_no_error(
    mopt_here: Mopt,
    local: Output,
    resources: Callable[..., tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As another sweep does at the same time."""
    from mopt_optimizer.store.folder_inventory import FolderInventory

    objects = FolderInventory.objects
    gone = local.names["first manifest"].removeprefix("sha256:")

    def vanishing(self: FolderInventory, prefix: str) -> Any:
        for one in list(objects(self, prefix)):
            if one.key.endswith(gone):
                self.remove([one.key])
            yield one

    monkeypatch.setattr(FolderInventory, "objects", vanishing)
    given = ("gc", "--output", local.uri, *resources(local.served("second")), *NOW, "--delete")
    assert mopt_here(*given).returncode == 0
    assert local.keys() == local.keys_of("second")


@pytest.mark.parametrize("text", ["1", "24", "h", "1w", "-1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--older-than"):
        duration("--older-than", text)
