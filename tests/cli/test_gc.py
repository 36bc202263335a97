"""`mopt gc` on a folder, on a mounted claim and on a real MinIO."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import selected
import yaml
from cli_process import Mopt
from listing_server import ListingServer, listing
from minio_server import MinioServer

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import CLAIMS_VARIABLE
from mopt_cli._errors import CliError
from mopt_cli.durations import duration
from mopt_cli.garbage import sweeping
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

SWEEP = Path(__file__).resolve().parents[2] / "examples" / "gc" / "claim.yaml"
NOW = ("--older-than", "0s")
WORKING = {"observedGeneration": 4, "conditions": [{"type": "Reconciling", "status": "True"}]}


@dataclass
class Output:
    """An output store with two results: the second is served, the first was before."""

    uri: str
    environ: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store, self.prefix = open_store(self.uri, Credentials.OUTPUT, self.environ)
        self.blobs = Blobs(self.store, self.prefix)
        for name in ("first", "second"):
            form = self._put(f"{name} form", f"weights of {name}")
            weights = self._put(f"{name} data", f"\0{name}")
            crops = self._put(f"{name} crops", json.dumps({"samples": name}))
            artifact = {"digest": form, "externalData": [{"digest": weights}]}
            manifest = self._put(f"{name} manifest", json.dumps({"artifacts": [artifact]}))
            entry = self._put(f"{name} entry", json.dumps({"key": name, "artifact": artifact}))
            named = {"prepared": manifest, "crops": crops, "variants": [{"artifact": artifact}]}
            result = self._put(f"{name} result", json.dumps(named, indent=1))
            self.blobs.put_page(result, b"<p>")
            self.blobs.index_put(f"measure-{name}", result)
            self.blobs.index_put(f"prepare-{name}", manifest)
            self.blobs.index_put(f"step-{name}", entry)

    def _put(self, name: str, text: str) -> str:
        self.names[name] = self.blobs.put_bytes(text.encode())
        return self.names[name]

    def keys(self) -> set[str]:
        """Return what is stored, relative to the output."""
        folder = f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""
        return {key.removeprefix(folder) for key in self.store.list(folder)}

    def keys_of(self, *runs: str) -> set[str]:
        """Return all that the runs wrote."""
        blobs = {name: digest for name, digest in self.names.items() if name.split()[0] in runs}
        found = {f"blobs/{digest.replace(':', '/')}" for digest in blobs.values()}
        for run in runs:
            found |= {f"index/{kind}-{run}" for kind in ("measure", "prepare", "step")}
            found.add(f"reports/{self.names[f'{run} result'].removeprefix('sha256:')}.html")
        return found

    def served(self, run: str, *history: str, **fields: Any) -> dict[str, Any]:
        """Return a resource that serves the form of a run."""
        report = {"digest": self.names[f"{run} result"], "uri": "s3://x"}
        artifact = selected.artifact(1, digest=self.names[f"{run} form"], report=report["digest"])
        records = [
            selected.record(
                index,
                artifact=self.names[f"{name} form"],
                report=self.names[f"{name} result"],
                published=None,
                uri=None,
            )
            for index, name in enumerate(history)
        ]
        target = selected.target(artifact=artifact, report=report)
        return selected.resource(
            target, history=records, spec={"output": {"uri": self.uri}}, **fields
        )


@pytest.fixture
def claim(tmp_path: Path) -> Output:
    (tmp_path / "claims" / "results").mkdir(parents=True)
    return Output("pvc://results/sr", {CLAIMS_VARIABLE: str(tmp_path / "claims")})


@pytest.fixture(params=["folder", "claim", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    if request.param == "folder":
        return Output((tmp_path / "out").as_uri(), {})
    if request.param == "claim":
        claim: Output = request.getfixturevalue("claim")
        return claim
    minio: MinioServer = request.getfixturevalue("minio")
    keys = {
        "AWS_ACCESS_KEY_ID": minio.access_key,
        "AWS_SECRET_ACCESS_KEY": minio.secret_key,
        "AWS_ENDPOINT_URL": minio.endpoint,
    }
    return Output(f"s3://{minio.bucket()}/team/out", keys)


@pytest.fixture
def local(tmp_path: Path) -> Output:
    return Output((tmp_path / "out").as_uri(), {})


@pytest.fixture
def resources(tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Return what writes resources as kubectl lists them, for --resources."""

    def write(*raws: dict[str, Any]) -> tuple[str, Path]:
        path = tmp_path / "resources.json"
        path.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": raws}))
        return "--resources", path

    return write


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ListingServer]:
    with listing(ListingServer([])) as server:
        yield server


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


def test_a_claim_is_swept_by_the_resources_of_its_namespace(
    mopt_here: Mopt, claim: Output, server: ListingServer, tmp_path: Path
) -> None:
    """Another namespace's claim may have the same name: its runs are none here."""
    other = selected.resource(name="busy", status=WORKING, spec={"output": {"uri": claim.uri}})
    other["metadata"]["namespace"] = "other"
    server.items = [claim.served("second"), other]
    access = ("--kubeconfig", server.kubeconfig(tmp_path), "--context", "x")
    given = ("gc", "--output", claim.uri, *access, *NOW, "--delete")
    refused = mopt_here(*given, **claim.environ)
    assert "other/busy may be writing to pvc://results/sr" in refused.stderr
    done = mopt_here(*given, "-n", "team", **claim.environ)
    assert done.returncode == 0, done.stderr
    assert claim.keys() == claim.keys_of("second")
    server.items.append(selected.resource(name="busy", status=WORKING, spec=other["spec"]))
    assert "team/busy may be" in mopt_here(*given, "-n", "team", **claim.environ).stderr


def test_only_a_claim_is_one_namespace_s(mopt_here: Mopt, local: Output) -> None:
    done = mopt_here("gc", "--output", local.uri, "-n", "team", *NOW)
    assert (done.returncode, "--namespace is for pvc:// alone" in done.stderr) == (2, True)


def test_a_folder_may_be_where_a_claim_is_mounted(
    mopt_here: Mopt, claim: Output, resources: Callable[..., tuple[str, Path]], tmp_path: Path
) -> None:
    busy = selected.resource(name="busy", status=WORKING, spec={"output": {"uri": claim.uri}})
    given = ("gc", "--output", tmp_path / "claims" / "results" / "sr", *NOW, "--delete")
    done = mopt_here(*given, *resources(claim.served("second"), busy))
    assert (done.returncode, "team/busy may be writing to" in done.stderr) == (1, True)
    assert claim.keys() == claim.keys_of("first", "second")


def test_what_a_killed_job_left_half_written_goes_once_it_is_old(
    mopt_here: Mopt,
    claim: Output,
    resources: Callable[..., tuple[str, Path]],
    tmp_path: Path,
) -> None:
    part = f".{'0' * 64}.{'a' * 32}.part"
    half = tmp_path / "claims/results/sr/blobs/sha256" / part
    half.write_bytes(b"half")
    strange = half.with_name(".mine.part")
    strange.write_bytes(b"")
    given = ("gc", "--output", claim.uri, *resources(claim.served("second")), "--delete")
    assert mopt_here(*given, **claim.environ).returncode == 0
    assert half.exists()
    done = mopt_here(*given, *NOW, **claim.environ)
    assert "1 unfinished file" in done.stdout
    assert (half.exists(), strange.exists()) == (False, True)


def test_no_symlink_leads_a_sweep_out_of_a_claim(
    mopt_here: Mopt,
    claim: Output,
    resources: Callable[..., tuple[str, Path]],
    tmp_path: Path,
) -> None:
    blobs = tmp_path / "claims/results/sr/blobs/sha256"
    stray = tmp_path / "outside" / ("b" * 64)
    (tmp_path / "outside").mkdir()
    stray.write_bytes(b"another's")
    (blobs / ("b" * 64)).symlink_to(stray)
    given = ("gc", "--output", claim.uri, *resources(claim.served("second")), *NOW, "--delete")
    done = mopt_here(*given, **claim.environ)
    assert done.returncode == 0, done.stderr
    assert (blobs / ("b" * 64)).is_symlink()
    blobs.rename(tmp_path / "outside" / "sha256")
    blobs.symlink_to(tmp_path / "outside" / "sha256")
    done = mopt_here(*given, **claim.environ)
    assert (done.returncode, "leads out of" in done.stderr) == (1, True)
    assert stray.exists()


def test_a_claim_that_is_not_mounted_is_told(
    mopt_here: Mopt, claim: Output, resources: Callable[..., tuple[str, Path]]
) -> None:
    given = ("gc", *resources(claim.served("second")), "--output")
    assert f"set {CLAIMS_VARIABLE}" in mopt_here(*given, claim.uri).stderr
    missing = mopt_here(*given, "pvc://others/sr", **claim.environ)
    assert "the claim others is not mounted at" in missing.stderr


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


def test_a_claim_is_swept_as_the_example_says(
    mopt_here: Mopt, server: ListingServer, tmp_path: Path
) -> None:
    documents = {one["kind"]: one for one in yaml.safe_load_all(SWEEP.read_text())}
    pod = documents["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    text = documents["ConfigMap"]["data"]["kubeconfig"]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    (tmp_path / "token").write_text("the Pod's")
    text = text.replace("https://kubernetes.default.svc", server.url)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text.replace(account, str(tmp_path)))
    (claim,) = [
        v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"] == "results"
    ]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == claim]
    (variable,) = container["env"]
    assert mount["mountPath"] == f"{variable['value']}/{claim}"
    stored = tmp_path / "claims" / claim / "sr" / "blobs" / "sha256" / ("a" * 64)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"weights")
    os.utime(stored, (0, 0))
    arguments = [
        f"--kubeconfig={kubeconfig}" if each.startswith("--kubeconfig") else each
        for each in container["args"]
    ]
    environ = {variable["name"]: str(tmp_path / "claims")}
    refused = mopt_here(*arguments, **environ)
    assert (refused.returncode, stored.exists()) == (1, True), refused.stderr
    done = mopt_here(*arguments, "--nothing-live", **environ)
    assert (done.returncode, stored.exists()) == (0, False), done.stderr
    assert server.tokens == {"Bearer the Pod's"}
    # All that it asked for is what its Role lets it.
    assert server.paths == {"/apis/mopt.dev/v1alpha1/namespaces/team/modeloptimizations"}
    (rule,) = documents["Role"]["rules"]
    assert (rule["apiGroups"], rule["resources"], rule["verbs"]) == (
        ["mopt.dev"],
        ["modeloptimizations"],
        ["list"],
    )


@pytest.mark.parametrize("text", ["1", "24", "h", "1w", "-1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--older-than"):
        duration("--older-than", text)


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
    environ = {
        "AWS_ACCESS_KEY_ID": minio.access_key,
        "AWS_SECRET_ACCESS_KEY": minio.secret_key,
        "AWS_ENDPOINT_URL": minio.endpoint,
    }
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
