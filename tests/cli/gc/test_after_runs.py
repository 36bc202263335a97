"""`mopt gc` after real runs: what is served stays, and the rest is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import selected
from cli_process import Mopt
from minio_server import MinioServer
from swept_output import NOW

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.registry import open_store


def run_twice(mopt: Mopt, arguments: list[object], environ: dict[str, str]) -> list[dict[str, Any]]:
    """Run with one set of variants, then with another; return both outputs of `mopt run`."""
    found = []
    for name in ("first.yaml", "second.yaml"):
        done = mopt("run", name, *arguments, "-o", "json", **environ)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    return found


def serving(found: dict[str, Any], uri: str) -> dict[str, Any]:
    """Return a resource with a result as the operator reports it."""
    result = found["result"]
    everyone = [result["baseline"], *result["variants"]]
    chosen = next(v for v in everyone if v["name"] == result["selected"])
    artifact = selected.artifact(1) | chosen["artifact"]
    target = selected.target(artifact=artifact, report=found["report"])
    return selected.resource(target, spec={"output": {"uri": uri}})


@pytest.mark.optimizer
def test_after_a_real_run_what_is_served_stays_and_the_rest_is_made_again(
    mopt: Mopt,
    mopt_here: Mopt,
    small_onnx: Path,
    write_small: Callable[..., Path],
    minio: MinioServer,
    resources: Callable[..., tuple[str, Path]],
) -> None:
    for name, size in (("first.yaml", 4), ("second.yaml", 8)):
        write_small(name, dimensions={"n": {"min": 1, "opt": 1, "max": size}})
    uri = f"s3://{minio.bucket()}/out"
    environ = minio.keys()
    arguments = ["--model", small_onnx, "--output", uri]
    _, second = run_twice(mopt, arguments, environ)
    store = open_store(uri, Credentials.OUTPUT, environ)[0]
    before = set(store.list("out/"))

    raw = serving(second, uri)
    given = ("gc", "--output", uri, *resources(raw), *NOW, "--delete")
    done = mopt_here(*given, **environ)
    assert done.returncode == 0, done.stderr
    after = set(store.list("out/"))
    assert after < before

    fetched = mopt_here("fetch", "sr", "-f", "resources.json", "-o", "there/", **environ)
    assert fetched.returncode == 0, fetched.stderr
    served = mopt("run", "second.yaml", *arguments, **environ)
    assert served.returncode == 0, served.stderr
    assert "0 steps built" in served.stderr
    assert "measure measure: served from the store" in served.stderr
    again = mopt("run", "first.yaml", *arguments, **environ)
    assert again.returncode == 0, again.stderr
    assert "measure trials" in again.stderr


@pytest.mark.optimizer
@pytest.mark.parametrize("kind", ["objects", "entries"])
def test_a_run_that_finds_cache_entries_whose_objects_are_gone_makes_them_anew(
    mopt: Mopt, small_onnx: Path, write_small: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """As where a sweep ends between the two, in either order."""
    write_small("first.yaml")
    arguments = ("run", "first.yaml", "--model", small_onnx, "--output", "out", "-o", "json")
    first = mopt(*arguments)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "out" / ("blobs" if kind == "objects" else "index")
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    again = mopt(*arguments)
    assert again.returncode == 0, again.stderr
    assert "1 steps built, 0 served" in again.stderr
    assert json.loads(again.stdout)["result"]["selected"]
