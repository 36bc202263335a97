"""The binaries the cluster is made of: pinned versions, where they come from, what fits."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ToolError

KUBERNETES = "1.34.4"
ETCD = "3.6.16"
COREDNS = "1.15.0"
HELM = "4.3.1"
PROMETHEUS = "3.13.5"
# The community edition is released as source only; this is the date of the pinned commit.
MINIO = "20260212"
KUEUE = "0.15.0"
KWOK = "0.8.0"
REGISTRY = "3.1.2"
CRANE = "0.22.1"
COSIGN = "3.1.3"
FLUX = "1.9.6"
ARGO_CD = "3.2.11"
KYVERNO = "1.19.1"
PAUSE = "1"
CONTAINERD = "2.2.9"

Version = tuple[int, int, int]
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def parse_version(text: str) -> Version | None:
    """Return the first x.y.z (or x.y) in a version output, None when there is none."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


_KUBE = (1, 34, 4)


def _same_minor(found: Version) -> bool:
    return found[:2] == _KUBE[:2]


def _minor_skew_of_one(found: Version) -> bool:
    return found[0] == _KUBE[0] and abs(found[1] - _KUBE[1]) <= 1


@dataclass(frozen=True)
class Archive:
    """An official download: a plain binary, or a member of a tar.gz."""

    url: str
    checksum_url: str
    member: str | None = None


@dataclass(frozen=True)
class Tool:
    """One binary.

    Attributes:
        module: Folder under go/ whose go.mod pins the source.
        package: Go package of the command.
        probe: Arguments that make the tool print its version.
        fits: Whether a version found on PATH will do.
        any_version: Accept a tool that prints no x.y.z.
        download: Official binary for an architecture, None where none is published.
        ldflags: Link flags beyond "-s -w".
        tags: Build tags.
    """

    name: str
    version: str
    module: str
    package: str
    probe: tuple[str, ...]
    fits: Callable[[Version], bool]
    any_version: bool = False
    download: Callable[[str], Archive] | None = None
    ldflags: str = ""
    tags: str = ""


def accepts(tool: Tool, output: str) -> bool:
    """Say whether a tool that printed this version output may be used."""
    found = parse_version(output)
    if found is None:
        return tool.any_version
    return tool.fits(found)


def _kubernetes(name: str) -> Tool:
    def download(arch: str) -> Archive:
        url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{arch}/{name}"
        return Archive(url, f"{url}.sha256")

    base = "k8s.io/component-base/version"
    stamps = {
        f"{base}.gitVersion": f"v{KUBERNETES}",
        f"{base}.gitMajor": "1",
        f"{base}.gitMinor": "34",
        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}",
    }
    kubectl = name == "kubectl"
    return Tool(
        name=name,
        version=KUBERNETES,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        probe=("version", "--client") if kubectl else ("--version",),
        fits=_minor_skew_of_one if kubectl else _same_minor,
        download=download,
        ldflags=" ".join(f"-X {key}={value}" for key, value in stamps.items()),
    )


def _etcd(arch: str) -> Archive:
    folder = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}"
    stem = f"etcd-v{ETCD}-linux-{arch}"
    return Archive(f"{folder}/{stem}.tar.gz", f"{folder}/SHA256SUMS", f"{stem}/etcd")


def _coredns(arch: str) -> Archive:
    folder = f"https://github.com/coredns/coredns/releases/download/v{COREDNS}"
    url = f"{folder}/coredns_{COREDNS}_linux_{arch}.tgz"
    return Archive(url, f"{url}.sha256", "coredns")


def _helm(arch: str) -> Archive:
    url = f"https://get.helm.sh/helm-v{HELM}-linux-{arch}.tar.gz"
    return Archive(url, f"{url}.sha256sum", f"linux-{arch}/helm")


def _prometheus(name: str) -> Tool:
    def download(arch: str) -> Archive:
        folder = f"https://github.com/prometheus/prometheus/releases/download/v{PROMETHEUS}"
        stem = f"prometheus-{PROMETHEUS}.linux-{arch}"
        return Archive(f"{folder}/{stem}.tar.gz", f"{folder}/sha256sums.txt", f"{stem}/{name}")

    return Tool(
        name=name,
        version=PROMETHEUS,
        module="prometheus",
        package=f"github.com/prometheus/prometheus/cmd/{name}",
        probe=("--version",),
        fits=lambda found: found[0] == 3,
        download=download,
        ldflags=f"-X github.com/prometheus/common/version.Version={PROMETHEUS}",
        # Without the clients of a dozen clouds, which find what to scrape.
        tags="remove_all_sd",
    )


_TOOLS = (
    *(
        _kubernetes(name)
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    ),
    Tool(
        name="etcd",
        version=ETCD,
        module="etcd",
        package="go.etcd.io/etcd/server/v3",
        probe=("--version",),
        fits=lambda found: (3, 5, 0) <= found < (4, 0, 0),
        download=_etcd,
    ),
    Tool(
        name="coredns",
        version=COREDNS,
        module="coredns",
        package="github.com/coredns/coredns",
        probe=("-version",),
        fits=lambda found: (1, 9, 0) <= found < (2, 0, 0),
        download=_coredns,
    ),
    Tool(
        name="minio",
        version=MINIO,
        module="minio",
        package="github.com/minio/minio",
        probe=("--version",),
        fits=lambda _found: True,
        any_version=True,
    ),
    # Released as an image only.
    Tool(
        name="kueue",
        version=KUEUE,
        module="kueue",
        package="sigs.k8s.io/kueue/cmd/kueue",
        probe=(),
        fits=lambda _found: False,
    ),
    # Its releases are binaries too; built like the rest, it needs no other host.
    Tool(
        name="kwok",
        version=KWOK,
        module="kwok",
        package="sigs.k8s.io/kwok/cmd/kwok",
        probe=("--version",),
        fits=lambda _found: False,
    ),
    Tool(
        name="registry",
        version=REGISTRY,
        module="registry",
        package="devcluster/registry",
        probe=("--version",),
        fits=lambda found: found[0] == 3,
    ),
    Tool(
        name="crane",
        version=CRANE,
        module="crane",
        package="github.com/google/go-containerregistry/cmd/crane",
        probe=("version",),
        fits=lambda found: (0, 20, 0) <= found < (1, 0, 0),
        ldflags=f"-X github.com/google/go-containerregistry/cmd/crane/cmd.Version=v{CRANE}",
    ),
    # Distribution has no referrers API; this one has: a test of the registry edge uses it.
    Tool(
        name="referrers",
        version=CRANE,
        module="crane",
        package="devcluster/crane/referrers",
        probe=(),
        fits=lambda _found: False,
    ),
    Tool(
        name="cosign",
        version=COSIGN,
        module="cosign",
        package="github.com/sigstore/cosign/v3/cmd/cosign",
        probe=("version",),
        fits=lambda found: found[0] == 3,
        ldflags=f"-X sigs.k8s.io/release-utils/version.gitVersion=v{COSIGN}",
    ),
    # Flux is released as images only.
    *(
        Tool(
            name=name,
            version=FLUX,
            module=name,
            package=f"github.com/fluxcd/{name}",
            probe=(),
            fits=lambda _found: False,
        )
        for name in ("kustomize-controller", "source-controller")
    ),
    Tool(
        name="argocd",
        version=ARGO_CD,
        module="argocd",
        package="github.com/argoproj/argo-cd/v3/cmd",
        probe=("version", "--client", "--short"),
        fits=lambda found: found[0] == 3,
        ldflags=f"-X github.com/argoproj/argo-cd/v3/common.version={ARGO_CD}",
    ),
    # Released as images only; what is called so on PATH is its command line.
    Tool(
        name="kyverno",
        version=KYVERNO,
        module="kyverno",
        package="github.com/kyverno/kyverno/cmd/kyverno",
        probe=(),
        fits=lambda _found: False,
    ),
    # Debian's has no image volumes, which are a feature of 2.1.
    *(
        Tool(
            name=name,
            version=CONTAINERD,
            module="containerd",
            package=f"github.com/containerd/containerd/v2/cmd/{name}",
            probe=("--version",) if name != "containerd-shim-runc-v2" else ("-v",),
            fits=lambda found: (2, 1, 0) <= found < (3, 0, 0),
            ldflags=f"-X github.com/containerd/containerd/v2/version.Version=v{CONTAINERD}",
        )
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    Tool(
        name="pause",
        version=PAUSE,
        module="pause",
        package="devcluster/pause",
        probe=(),
        fits=lambda _found: False,
    ),
    Tool(
        name="helm",
        version=HELM,
        module="helm",
        package="helm.sh/helm/v4/cmd/helm",
        probe=("version", "--short"),
        fits=lambda found: found[0] in (3, 4),
        download=_helm,
        ldflags=f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",
    ),
    # Its pages are left out of what is built here: the tests ask its API.
    *(_prometheus(name) for name in ("promtool", "prometheus")),
)
TOOLS = {tool.name: tool for tool in _TOOLS}


def tool_named(name: str) -> Tool:
    """Return the tool of that name.

    Raises:
        ToolError: There is none.
    """
    try:
        return TOOLS[name]
    except KeyError:
        known = ", ".join(sorted(TOOLS))
        raise ToolError(f"no tool is called {name!r}; known: {known}") from None


def checksum_for(listing: str, file_name: str) -> str | None:
    """Return the SHA-256 that a checksum file gives for a file.

    Args:
        listing: Either one bare digest, or lines of "digest  name".
        file_name: The file the digest must belong to.
    """
    for line in listing.splitlines():
        fields = line.split()
        if not fields or not re.fullmatch(r"[0-9a-fA-F]{64}", fields[0]):
            continue
        if len(fields) == 1 or fields[1].lstrip("*").rsplit("/", 1)[-1] == file_name:
            return fields[0].lower()
    return None
