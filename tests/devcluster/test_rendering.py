"""Command lines and configuration files keep to our own folders and stay secure."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from devcluster import control_plane, node_config
from devcluster.control_plane import Layout
from devcluster.paths import PRIVATE, Home

HOME = Home(Path("/state"), Path("/run/ours"))
LAYOUT = Layout(Path("/state"), Path("/run/ours"))


def flags(command: list[str]) -> dict[str, str]:
    pairs = (part.partition("=") for part in command[1:])
    return {name: value for name, _equals, value in pairs}


def test_etcd_opens_no_port() -> None:
    found = flags(control_plane.etcd_command(Path("etcd"), LAYOUT))
    assert found["--listen-client-urls"] == "unix:///run/ours/etcd.sock"
    assert found["--listen-peer-urls"].startswith("unix:///run/ours/")


@pytest.mark.parametrize("audit", [False, True])
def test_api_server_flags(audit: bool) -> None:
    command = control_plane.apiserver_command(
        Path("kube-apiserver"), LAYOUT, address="127.0.0.1", port=1234, audit=audit
    )
    found = flags(command)
    assert found["--authorization-mode"] == "Node,RBAC"
    assert found["--enable-admission-plugins"] == "NodeRestriction"
    assert found["--secure-port"] == "1234"
    assert ("--audit-log-path" in found) is audit
    assert not [name for name in found if "insecure" in name or "token-auth" in name]


@pytest.mark.parametrize("wanted", [False, True])
def test_image_volumes_are_a_feature_of_both_ends(wanted: bool) -> None:
    command = control_plane.apiserver_command(
        *(Path("kube-apiserver"), LAYOUT),
        address="127.0.0.1",
        port=1,
        audit=False,
        image_volumes=wanted,
    )
    assert ("--feature-gates=ImageVolume=true" in command) is wanted
    text = node_config.kubelet_config(HOME, Path("/etc/resolv.conf"), 1, image_volumes=wanted)
    assert json.loads(text)["featureGates"] == ({"ImageVolume": True} if wanted else {})


def test_controllers_may_ask_often() -> None:
    found = flags(control_plane.controller_manager_command(Path("kcm"), LAYOUT))
    assert (found["--kube-api-qps"], found["--kube-api-burst"]) == ("200", "400")


def test_audit_policy_holds_no_bodies() -> None:
    policy = json.loads(control_plane.audit_policy())
    assert [rule["level"] for rule in policy["rules"]] == ["Metadata"]


def paths_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [p for v in value.values() for p in paths_in(v)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def test_containerd_keeps_to_our_folders() -> None:
    text = node_config.containerd_config(HOME, Path("/cni"), lower_oom_score=False, cri=True)
    config = tomllib.loads(text)
    assert all(p.startswith(("/state/", "/run/ours/", "/cni")) for p in paths_in(config))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == node_config.PAUSE_IMAGE
    assert "io.containerd.grpc.v1.cri" not in config["disabled_plugins"]


def test_clearing_run_of_containerd_has_no_cri() -> None:
    text = node_config.containerd_config(HOME, Path("/cni"), lower_oom_score=True, cri=False)
    assert "io.containerd.grpc.v1.cri" in tomllib.loads(text)["disabled_plugins"]


def test_kubelet_keeps_images_and_authenticates() -> None:
    config = json.loads(node_config.kubelet_config(HOME, Path("/etc/resolv.conf"), 110))
    assert config["imageGCHighThresholdPercent"] == 100
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["cgroupRoot"] == "/mopt-devcluster"
    assert config["readOnlyPort"] == 0


def test_proxy_masquerades_all_only_without_bridge_filtering() -> None:
    config = json.loads(node_config.proxy_config(HOME, masquerade_all=True))
    assert config["iptables"]["masqueradeAll"] is True


@pytest.mark.parametrize("forward", [True, False])
def test_corefile_forwards_only_to_somebody(forward: bool) -> None:
    text = node_config.corefile(HOME, Path("/etc/resolv.conf"), forward=forward)
    assert ("forward . /etc/resolv.conf" in text) is forward
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("text", "found"),
    [("nameserver 1.1.1.1\n", True), ("# nameserver 1.1.1.1\nsearch x\n", False), ("", False)],
)
def test_name_servers(text: str, found: bool) -> None:
    assert node_config.has_name_servers(text) is found


def test_each_fixed_host_folder_is_covered_by_one_of_its_own() -> None:
    covers = [HOME.private(place) for place in PRIVATE]
    assert len(set(covers)) == len(PRIVATE)
    assert all(cover.is_relative_to("/run/ours/private") for cover in covers)
