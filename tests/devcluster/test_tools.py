"""Which versions fit, and that the committed modules build the pinned ones."""

import re

import pytest

from devcluster.building import MODULES, go_is_new_enough, packages_compiled, required_go
from devcluster.errors import ToolError
from devcluster.tools import TOOLS, accepts, checksum_for, parse_version, tool_named


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Kubernetes v1.34.4", (1, 34, 4)),
        ("Client Version: v1.33.1\nKustomize Version: v5.7.1", (1, 33, 1)),
        ("v4.3", (4, 3, 0)),
        ("minio version DEVELOPMENT.GOGET", None),
        ("", None),
    ],
)
def test_first_version_in_the_output_counts(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("name", "output", "fits"),
    [
        ("kubelet", "Kubernetes v1.34.0", True),
        ("kubelet", "Kubernetes v1.35.0", False),
        ("kubelet", "Kubernetes v1.33.9", False),
        ("kubectl", "Client Version: v1.33.0", True),
        ("kubectl", "Client Version: v1.35.2", True),
        ("kubectl", "Client Version: v1.36.0", False),
        ("kubectl", "Client Version: v2.34.0", False),
        ("helm", "v3.19.0+g1", True),
        ("helm", "v4.3", True),
        ("helm", "v2.17.0", False),
        ("etcd", "etcd Version: 3.5.9", True),
        ("etcd", "etcd Version: 3.4.30", False),
        ("minio", "minio version DEVELOPMENT.GOGET", True),
        ("registry", "registry github.com/distribution/distribution/v3 v3.0.1+unknown", True),
        ("registry", "registry github.com/docker/distribution v2.8.3", False),
        ("crane", "0.22.1", True),
        ("cosign", "GitVersion:    v3.1.3", True),
        ("cosign", "GitVersion:    v2.6.5", False),
        ("containerd", "containerd github.com/containerd/containerd/v2 v2.2.9", True),
        ("containerd", "containerd github.com/containerd/containerd 1.6.20~ds1", False),
        ("argocd", "argocd: v3.2.11+unknown", True),
        ("etcd", "no number", False),
        ("pause", "1.0.0", False),
    ],
)
def test_version_on_path_fits(name: str, output: str, fits: bool) -> None:
    assert accepts(TOOLS[name], output) is fits


def test_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ToolError, match=r"'kubeadm'; known: .*kube-apiserver"):
        tool_named("kubeadm")


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        (DIGEST, DIGEST),
        (f"{DIGEST.upper()}\n", DIGEST),
        (f"{'cd' * 32}  other.tar.gz\n{DIGEST}  etcd.tar.gz\n", DIGEST),
        (f"{DIGEST} *build/release/etcd.tar.gz", DIGEST),
        (f"{DIGEST}  etcd.tar.gz.asc", None),
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_checksum_belongs_to_the_file(listing: str, found: str | None) -> None:
    assert checksum_for(listing, "etcd.tar.gz") == found


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("kubelet", "k8s.io/kubernetes v1.34.4"),
        ("etcd", "go.etcd.io/etcd/server/v3 v3.6.16"),
        ("coredns", "github.com/coredns/coredns v1.15.0"),
        ("helm", "helm.sh/helm/v4 v4.3.1"),
        ("minio", "github.com/minio/minio v0.0.0-20260212"),
        ("registry", "github.com/distribution/distribution/v3 v3.1.2"),
        ("crane", "github.com/google/go-containerregistry v0.22.1"),
        ("cosign", "github.com/sigstore/cosign/v3 v3.1.3"),
        ("kustomize-controller", "github.com/fluxcd/kustomize-controller v1.9.6"),
        ("source-controller", "github.com/fluxcd/source-controller v1.9.6"),
        ("argocd", "github.com/argoproj/argo-cd/v3 v3.2.11"),
        ("kyverno", "github.com/kyverno/kyverno v1.19.1"),
        # Its releases 3.x.y are the module's versions 0.3xx.y.
        ("promtool", "github.com/prometheus/prometheus v0.313.5"),
        ("prometheus", "github.com/prometheus/prometheus v0.313.5"),
    ],
)
def test_module_requires_the_pinned_version(name: str, required: str) -> None:
    tool = TOOLS[name]
    go_mod = (MODULES / tool.module / "go.mod").read_text()
    assert re.search(rf"^require {re.escape(required)}", go_mod, re.MULTILINE)
    assert tool.version.replace(".", "") in required.replace(".", "")
    assert (MODULES / tool.module / "go.sum").stat().st_size > 0


@pytest.mark.parametrize(
    ("installed", "required", "enough"),
    [
        ("go1.26.8", "1.26.0", True),
        ("go1.26.0", "1.26", True),
        ("go1.25.9", "1.26.0", False),
        ("go1.27rc1", "1.26.0", True),
        ("", "1.24.0", False),
        ("devel", "1.24.0", False),
    ],
)
def test_go_version(installed: str, required: str, enough: bool) -> None:
    assert go_is_new_enough(installed, required) is enough


def test_go_line_of_go_mod() -> None:
    assert required_go("module m\n\ngo 1.25.3\n\nrequire x v1\n") == "1.25.3"


def test_packages_that_go_has_compiled_are_counted() -> None:
    said = (
        "go: downloading example.com/a v1.2.3",
        "internal/goarch",
        "k8s.io/api/apps/v1",
        "# k8s.io/api",
        "./x.go:3:4: undefined: y",
        "github.com/a-b/c_d",
    )
    assert packages_compiled("\n".join(said)) == 3
    assert packages_compiled("") == 0
