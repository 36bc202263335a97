"""Which cluster the demo runs on: the given one, else kind, else hack/devcluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .console import STATE, DemoError, devcluster, run, say

KIND_CLUSTER = "mopt"
REGISTRY_VARIABLE = "MOPT_REGISTRY"


class Cluster(Protocol):
    """Where Pods run."""

    def up(self) -> Path:
        """Start or find it; return a kubeconfig."""

    def load(self, image: str) -> str:
        """Make a locally built image available to its nodes; return the name Pods use."""

    def down(self) -> None:
        """Remove what `up` made."""


@dataclass(frozen=True)
class GivenCluster:
    """The cluster that KUBECONFIG names; images go through a registry of the user's."""

    kubeconfig: Path
    registry: str | None

    def up(self) -> Path:
        """Return the given kubeconfig."""
        return self.kubeconfig

    def load(self, image: str) -> str:
        """Push the image to the registry."""
        if self._is_devcluster():
            return Devcluster().load(image)
        if self.registry is None:
            raise DemoError(
                f"KUBECONFIG names your own cluster, whose nodes cannot see {image}: set "
                f"{REGISTRY_VARIABLE} to a registry prefix that you may push to and they may pull "
                "from, or unset KUBECONFIG to let the demo make a local cluster"
            )
        remote = f"{self.registry.rstrip('/')}/{image}"
        if has_docker():
            run(["docker", "tag", image, remote])
            run(["docker", "push", remote])
        else:
            run(["buildah", "push", image, f"docker://{remote}"])
        return remote

    def _is_devcluster(self) -> bool:
        try:
            return self.kubeconfig.resolve() == Path(devcluster("kubeconfig")).resolve()
        except DemoError:
            return False

    def down(self) -> None:
        """Leave the user's cluster alone."""


class KindCluster:
    """kind, where it and Docker are at hand."""

    def up(self) -> Path:
        """Create the cluster unless it is there."""
        kubeconfig = STATE / "kind.kubeconfig"
        if KIND_CLUSTER not in run(["kind", "get", "clusters"]).split():
            run(
                [
                    "kind",
                    "create",
                    "cluster",
                    "--name",
                    KIND_CLUSTER,
                    "--wait",
                    "120s",
                    "--kubeconfig",
                    kubeconfig,
                ]
            )
        kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        kubeconfig.write_text(run(["kind", "get", "kubeconfig", "--name", KIND_CLUSTER]))
        return kubeconfig

    def load(self, image: str) -> str:
        """Copy the image onto kind's node."""
        run(["kind", "load", "docker-image", image, "--name", KIND_CLUSTER])
        return image

    def down(self) -> None:
        """Delete the cluster."""
        run(["kind", "delete", "cluster", "--name", KIND_CLUSTER])


class Devcluster:
    """This repository's own single-node Kubernetes (needs root on Linux)."""

    def up(self) -> Path:
        """Start it, or find it running."""
        devcluster("up")
        return Path(devcluster("kubeconfig"))

    def load(self, image: str) -> str:
        """Import the image into its containerd."""
        devcluster("load-image", image)
        return image

    def down(self) -> None:
        """Stop it and remove every trace."""
        devcluster("down")


def has_docker() -> bool:
    """Tell whether a Docker daemon answers; the client alone does not help."""
    if shutil.which("docker") is None:
        return False
    probe = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return probe.returncode == 0


def choose() -> Cluster:
    """Return the cluster to use on this machine."""
    given = os.environ.get("KUBECONFIG")
    if given:
        say(f"cluster: the one of KUBECONFIG={given}")
        return GivenCluster(Path(given), os.environ.get(REGISTRY_VARIABLE))
    if shutil.which("kind") and has_docker():
        say("cluster: kind")
        return KindCluster()
    say("cluster: hack/devcluster, a real single-node Kubernetes on this machine")
    return Devcluster()
