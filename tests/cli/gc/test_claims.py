"""`mopt gc` on a mounted claim: whose it is, its symlinks, its unfinished files, the example."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import selected
import yaml
from cli_process import Mopt
from listing_server import ListingServer
from swept_output import NOW, WORKING, Output

from mopt_api.stores import CLAIMS_VARIABLE

SWEEP = Path(__file__).resolve().parents[3] / "examples" / "gc" / "claim.yaml"


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
