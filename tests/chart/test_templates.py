"""What the chart renders as a whole: which objects, their labels and names, the CRDs."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from chart_objects import Manifest, Only, Render, container_of, named

from mopt_api.spec import ModelOptimizationSpec

EXTRA = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra-{{ .Release.Name }}"}}
# All objects that the chart can make but one: a PodMonitor excludes a ServiceMonitor.
EVERYTHING: dict[str, Any] = {
    "profileObjects": {"requireUse": True},
    "networkPolicy": {"enabled": True},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "extraObjects": [EXTRA, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: extra-text\n"],
}


def _is_extra(manifest: Manifest) -> bool:
    return bool(manifest["metadata"]["name"].startswith("extra"))


def test_lint_finds_nothing(helm: str, chart: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", chart], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nor does it recommend anything.
    assert "[WARNING]" not in done.stdout
    assert "[INFO]" not in done.stdout


def test_the_icon_is_a_picture_within_the_chart(chart: Path) -> None:
    icon = yaml.safe_load((chart / "Chart.yaml").read_text())["icon"]
    head, _, data = icon.partition(",")
    assert head == "data:image/svg+xml;base64"
    picture = ElementTree.fromstring(base64.b64decode(data, validate=True))  # noqa: S314 - ours
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(icon) < 1000


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.30.9", False), ("1.31.0", True), ("1.33.4-gke.100", True)]
)
def test_kubernetes_version(helm: str, chart: Path, version: str, accepted: bool) -> None:
    done = subprocess.run(
        [helm, "template", "mopt", chart, "--kube-version", version],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) is accepted, done.stderr
    assert ("kubeVersion: >=1.31" in done.stderr) is not accepted


def test_default_objects(render: Render) -> None:
    manifests = render()
    assert sorted((m["kind"], m["metadata"]["name"]) for m in manifests) == [
        ("ClusterRole", "mopt-system:mopt"),
        ("ClusterRole", "mopt-system:mopt:edit"),
        ("ClusterRole", "mopt-system:mopt:list-profiles"),
        ("ClusterRole", "mopt-system:mopt:profiles"),
        ("ClusterRole", "mopt-system:mopt:view"),
        ("ClusterRoleBinding", "mopt-system:mopt"),
        ("ClusterRoleBinding", "mopt-system:mopt:list-profiles"),
        ("ClusterRoleBinding", "mopt-system:mopt:profiles"),
        ("ConfigMap", "mopt"),
        ("CustomResourceDefinition", "modeloptimizations.mopt.dev"),
        ("CustomResourceDefinition", "optimizationprofiles.mopt.dev"),
        ("Deployment", "mopt"),
        ("PodDisruptionBudget", "mopt"),
        ("Role", "mopt-leader"),
        ("RoleBinding", "mopt-leader"),
        ("Service", "mopt-metrics"),
        ("ServiceAccount", "mopt"),
    ]


def test_every_object_carries_the_labels(render: Render) -> None:
    common = {
        "commonLabels": {"owner": "platform", "app.kubernetes.io/name": "x"},
        "commonAnnotations": {"contact": "platform@example.com"},
        "podLabels": {"owner": "ml"},
    }
    everything = render(EVERYTHING | common, tests=True)
    assert len(everything) == 29
    for manifest in everything:
        if manifest["metadata"]["name"].startswith("extra"):
            continue
        labels = manifest["metadata"]["labels"]
        assert labels["owner"] == "platform", manifest["kind"]
        assert manifest["metadata"]["annotations"]["contact"] == "platform@example.com"
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["metadata"]["labels"]
            assert pod["owner"] == "ml"
            assert "owner" not in manifest["spec"]["selector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] == "mopt", manifest["kind"]
        assert labels["app.kubernetes.io/instance"] == "mopt", manifest["kind"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", manifest["kind"]


def test_extra_objects_are_templates(render: Render) -> None:
    extra = [m for m in render(EVERYTHING) if m["metadata"]["name"].startswith("extra")]
    assert [(m["kind"], m["metadata"]["name"]) for m in extra] == [
        ("Secret", "extra-text"),
        ("ConfigMap", "extra-mopt"),
    ]


def test_other_namespace_holds_all_that_is_the_operator_s(render: Render) -> None:
    manifests = render(EVERYTHING | {"namespaceOverride": "ops"}, tests=True)
    home = {m["metadata"].get("namespace") for m in manifests if not _is_extra(m)}
    assert home == {"ops", None}
    subjects = [subject for m in manifests for subject in m.get("subjects", ())]
    assert {s["namespace"] for s in subjects if s["kind"] == "ServiceAccount"} == {"ops"}
    assert (None, "ops:mopt") in named(manifests, "ClusterRole")
    (config,) = [m for m in manifests if "config.json" in m.get("data", ())]
    assert '"namespace": "ops"' in config["data"]["config.json"]


def test_other_release_name_is_part_of_names(helm: str, chart: Path) -> None:
    done = subprocess.run(
        [helm, "template", "blue", chart, "--show-only", "templates/deployment.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert yaml.safe_load(done.stdout)["metadata"]["name"] == "blue-mopt"


def test_what_artifact_hub_shows_is_true(chart: Path, only: Only, render: Render) -> None:
    facts = yaml.safe_load((chart / "Chart.yaml").read_text())
    hub = {key.partition("/")[2]: text for key, text in facts["annotations"].items()}
    images = {row["name"]: row["image"] for row in yaml.safe_load(hub["images"])}
    settings = json.loads(only("ConfigMap")["data"]["config.json"])
    assert images == {
        "operator": container_of(only("Deployment"))["image"],
        "optimizer": settings["optimizerImage"],
    }
    shown = {row["name"]: row for row in yaml.safe_load(hub["crds"])}
    definitions = [m for m in render() if m["kind"] == "CustomResourceDefinition"]
    assert set(shown) == {definition["metadata"]["name"] for definition in definitions}
    for definition in definitions:
        row = shown[definition["metadata"]["name"]]
        assert row["kind"] == definition["spec"]["names"]["kind"]
        assert row["version"] in [version["name"] for version in definition["spec"]["versions"]]
    (example,) = yaml.safe_load(hub["crdsExamples"])
    ModelOptimizationSpec.model_validate(example["spec"])


def _definitions(manifests: list[Manifest]) -> list[Manifest]:
    found = [m for m in manifests if m["kind"] == "CustomResourceDefinition"]
    assert len(found) == 2
    return found


def test_definitions_are_the_generated_ones(render: Render, chart: Path) -> None:
    for rendered in _definitions(render()):
        name = f"mopt.dev_{rendered['spec']['names']['plural']}.yaml"
        generated = yaml.safe_load((chart / "files" / name).read_text())
        assert rendered["spec"] == generated["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_definitions_need_not_be_kept(render: Render) -> None:
    for rendered in _definitions(render({"crds": {"keep": False}})):
        assert "helm.sh/resource-policy" not in rendered["metadata"].get("annotations", {})


def test_definitions_need_not_be_installed(render: Render) -> None:
    assert named(render({"crds": {"install": False}}), "CustomResourceDefinition") == []
