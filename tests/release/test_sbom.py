"""Bills of materials: valid, of the packages that an image gets and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.flavours import FLAVOURS, Flavour
from release.sbom import bom
from release.source import Commit

ROOT = Path(__file__).resolve().parents[2]
LOCK = """\
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:{a}
numpy==2.4.0 ; python_full_version < '3.12' \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
numpy==2.5.0 ; python_full_version >= '3.12' \\
    --hash=sha256:{a}
""".format(a="a" * 64, b="b" * 64)


def of(*locks: str, commit: Commit) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bom("mopt/operator", "1.2.3", commit, locks))
    return found


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_it_is_valid_and_says_what_the_dockerfile_installs(
    flavour: Flavour, commit: Commit
) -> None:
    locks = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in flavour.locks]
    text = bom(flavour.image.repository, "1.2.3", commit, locks)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {component["name"] for component in json.loads(text)["components"]}
    assert "pydantic" in names
    assert ("torch" in names) is (flavour.name != "mopt-operator")
    assert ("kserve" in names) is (flavour.name == "mopt-serve")
    dockerfile = (ROOT / flavour.image.dockerfile).read_text()
    for lock in flavour.locks:
        assert f"requirements/{lock.replace('-cpu', '-${FLAVOUR}')}.txt" in dockerfile


def test_markers_choose_and_all_hashes_are_there(commit: Commit) -> None:
    (numpy,) = of(LOCK, commit=commit)["components"]
    assert (numpy["name"], numpy["version"], numpy["purl"]) == (
        ("numpy", "2.4.0", "pkg:pypi/numpy@2.4.0")
    )
    assert [entry["content"] for entry in numpy["hashes"]] == ["a" * 64, "b" * 64]


def test_a_package_of_two_locks_is_there_once(commit: Commit) -> None:
    found = of(LOCK, LOCK, commit=commit)
    assert len(found["components"]) == 1
    assert {"ref": "mopt/operator", "dependsOn": ["pkg:pypi/numpy@2.4.0"]} in found["dependencies"]


def test_it_is_the_same_for_the_same_commit_alone(commit: Commit) -> None:
    assert bom("a", "1", commit, [LOCK]) == bom("a", "1", commit, [LOCK])
    other = replace(commit, revision="f" * 40)
    numbers = {of(LOCK, commit=which)["serialNumber"] for which in (commit, other)}
    assert len(numbers) == 2
    assert of(LOCK, commit=commit)["metadata"]["timestamp"] == commit.time.isoformat()
