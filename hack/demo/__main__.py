"""`python hack/demo up` and `python hack/demo down [--keep-cluster]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "demo"

from demo import clusters, following, images, publishing, serving, store
from demo.console import ROOT, STATE, DemoError, Kubectl, Timings, run, say, tool
from mopt_cli.table import render

RELEASE = "mopt"
SYSTEM_NAMESPACE = "mopt-system"
NAMESPACE = "mopt-demo"
EXAMPLE = "super_resolution"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
KIND = "modeloptimizations.mopt.dev"
# Beside the chart's own, for a look at targets with a GPU, and at engines that are built without.
PROFILES: dict[str, Any] = {
    "nvidia": {
        "resources": {
            "requests": {"cpu": "1", "memory": "2Gi"},
            "limits": {"cpu": "2", "memory": "6Gi", "nvidia.com/gpu": 1},
        }
    },
    "rtx-engines": {"buildOnly": True, "computeCapabilities": ["8.6", "8.9", "12.0"]},
}


def namespace_object(name: str) -> dict[str, Any]:
    """Return a namespace that admits only restricted Pods."""
    metadata = {"name": name, "labels": RESTRICTED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def install(kubectl: Kubectl, operator: str, optimizer: str) -> None:
    """Install or upgrade the chart with the images just built."""
    values = {
        "image": dict(zip(("repository", "tag"), operator.rsplit(":", 1), strict=True)),
        "optimizerImage": dict(zip(("repository", "tag"), optimizer.rsplit(":", 1), strict=True)),
        "profiles": PROFILES,
    }
    path = STATE / "values.json"
    path.write_text(json.dumps(values))
    helm(
        kubectl,
        "upgrade",
        "--install",
        RELEASE,
        ROOT / "helm" / "mopt",
        "--values",
        path,
        "--wait",
        "--timeout",
        "10m",
    )


def helm(kubectl: Kubectl, command: str, *arguments: str | Path) -> str:
    """Run a command of Helm on the operator's release; return what it prints."""
    return run(
        [tool("helm"), command, *arguments, "--namespace", SYSTEM_NAMESPACE],
        environment={"KUBECONFIG": str(kubectl.kubeconfig)},
        quiet=True,
    )


def make_example() -> Path:
    """Make the example's model and images unless they are there; return their folder."""
    directory = STATE / EXAMPLE
    if not (directory / "model.pt2").exists():
        partial = STATE / f"{EXAMPLE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run([sys.executable, ROOT / "examples" / EXAMPLE / "build.py", partial])
        partial.rename(directory)
    return directory


def apply_example(kubectl: Kubectl) -> str:
    """Apply the example's resource, published to the demo's registry; return its name."""
    resource = yaml.safe_load((ROOT / "examples" / EXAMPLE / "resource.yaml").read_text())
    name: str = resource["metadata"]["name"]
    resource["spec"]["publish"] = publishing.destination(NAMESPACE, name)
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=yaml.safe_dump(resource))
    return name


def up() -> int:
    """Run the whole demo; return the exit status."""
    STATE.mkdir(parents=True, exist_ok=True)
    timings = Timings()
    cluster = clusters.choose()
    with timings.step("cluster"):
        kubectl = Kubectl(cluster.up())
    with timings.step("images"):
        operator = cluster.load(images.OPERATOR.build())
        optimizer = cluster.load(images.OPTIMIZER.build())
        server = cluster.load(images.SERVE.build())
        minio = cluster.load(images.build_from_binary("minio", STATE))
        registry = cluster.load(images.build_from_binary("registry", STATE))
    with timings.step("MinIO and registry"):
        kubectl.apply(namespace_object(SYSTEM_NAMESPACE), namespace_object(NAMESPACE))
        store.deploy(kubectl, NAMESPACE, minio)
        publishing.deploy(kubectl, NAMESPACE, registry)
    with timings.step("example's model and images"):
        directory = make_example()
        with store.connect(kubectl, NAMESPACE) as client:
            say(f"uploaded {store.upload(client, directory, EXAMPLE)} files")
    with timings.step("chart"):
        install(kubectl, operator, optimizer)
    with timings.step("ModelOptimization"):
        name = apply_example(kubectl)
        resource = following.follow(kubectl, KIND, name, NAMESPACE)
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" for c in resource["status"]["conditions"]
    )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print()
    console.print(render(resource))
    reference = publishing.published(resource)
    if reference is not None:
        print(f"\nPublished:   {reference}")
        print(publishing.manifest_of(kubectl, NAMESPACE, reference))
    done = ready and reference is not None
    if done:
        with timings.step("serving"):
            verified = serving.serve(kubectl, NAMESPACE, resource, server)
        print(f"\nServed by mopt serve, and verified from another Pod:\n\n{verified}")
    print(f"\n{timings.table()}\n")
    print(f"Look around: export KUBECONFIG={kubectl.kubeconfig}")
    print(f"             {kubectl.path} get mopt -n {NAMESPACE}")
    print("Remove it:   make demo-down")
    return 0 if done else 1


def down(*, keep_cluster: bool) -> int:
    """Remove what `up` made."""
    cluster = clusters.choose()
    if keep_cluster or isinstance(cluster, clusters.GivenCluster):
        kubectl = Kubectl(cluster.up())
        if kubectl.get("crd", KIND):
            kubectl("delete", KIND, "--all", "-n", NAMESPACE, "--ignore-not-found", "--wait")
        helm(kubectl, "uninstall", RELEASE, "--ignore-not-found", "--wait")
        kubectl("delete", "namespace", NAMESPACE, SYSTEM_NAMESPACE, "--ignore-not-found")
        kubectl("delete", "crd", KIND, "--ignore-not-found")
    else:
        cluster.down()
    shutil.rmtree(STATE, ignore_errors=True)
    with contextlib.suppress(OSError):  # it may hold something of others'
        STATE.parent.rmdir()
    say("removed")
    return 0


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="set everything up and run the example")
    remove = commands.add_parser("down", help="remove all of it")
    remove.add_argument("--keep-cluster", action="store_true", help="remove only what runs in it")
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            return up()
        return down(keep_cluster=arguments.keep_cluster)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
