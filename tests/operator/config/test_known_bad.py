"""The administrator's list of known-bad versions."""

from __future__ import annotations

import json

import pytest

from mopt_operator.config.known_bad import KnownBad
from mopt_operator.config.settings import parse_settings
from mopt_operator.errors import SettingsError


def known_bad(**changes: str) -> str:
    entry = {"package": "openvino", "versions": "<2026.1.2", "because": "wrong results"} | changes
    return json.dumps({"optimizerImage": "x", "knownBad": [entry]})


@pytest.mark.parametrize(
    ("package", "versions", "version", "is_bad"),
    [
        ("openvino", "<2026.1.2", "2026.1.1", True),
        ("openvino", "<2026.1.2", "2026.1.2", False),
        ("openvino", ">=2026,<2026.1.2", "2025.4", False),
        ("torch", "<2.10", "2.9.1+cpu", True),
        ("torch", "==2.10.*", "2.10.0.dev20260101+cu130", True),
        ("torch", "<2.10", "nightly", False),
        ("Onnx_Runtime", "<2", "1.31.0", False),
        ("onnxruntime", "!=1.31.0", "1.31.0", False),
        ("onnx-ir", ">0", "1", False),
        ("ONNX_IR", ">0", "1", False),
    ],
)
def test_versions_are_compared_by_pep_440(
    package: str, versions: str, version: str, *, is_bad: bool
) -> None:
    bad = KnownBad(package=package, versions=versions, because="x")
    names = {"openvino", "torch", "onnxruntime"}
    found = [name for name in sorted(names) if bad.matches(name, version)]
    assert found == ([package] if is_bad else [])


def test_names_are_compared_as_the_index_does() -> None:
    bad = KnownBad(package="ONNX_IR", versions=">0", because="x")
    assert bad.matches("onnx-ir", "1")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"versions": "before 2026"}, "knownBad.0.versions: "),
        ({"versions": ""}, "knownBad.0.versions: "),
        ({"package": "../x"}, "knownBad.0.package: "),
        ({"because": ""}, "knownBad.0.because: "),
        ({"packages": "x"}, "knownBad.0.packages: "),
    ],
)
def test_wrong_entry_is_named_in_one_line(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_settings(known_bad(**wrong))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_reason_is_one_line() -> None:
    (bad,) = parse_settings(known_bad(because="wrong\nresults\x1b[2J")).known_bad
    assert "\n" not in bad.because
    assert "\x1b" not in bad.because
