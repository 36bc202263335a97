"""Files that mopt's commands are given: each ends in one line that says what is wrong with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_text import HOSTILE, shows_only

from mopt_cli import main

HEAD = "apiVersion: mopt.dev/v1alpha1\nkind: ModelOptimization\n"
ALIASES = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)
)

FILES: dict[str, str | bytes] = {
    "deep lists": f"{HEAD}spec: {'[' * 20_000}{']' * 20_000}\n",
    "deep mappings": f"{HEAD}spec: {'{a: ' * 20_000}",
    "deep JSON": '{"kind": "ModelOptimization", "spec": ' + '{"a":' * 20_000,
    "aliases that grow": f"{HEAD}spec:\n  " + ALIASES.replace("\n", "\n  "),
    "an alias of itself": f"{HEAD}spec: &a [*a]\n",
    "60 MB": b"#" * 60_000_000,
    "a date that is none": f"{HEAD}spec: 2026-13-41\n",
    "a number without an end": f"{HEAD}spec: 1{'0' * 5000}\n",
    "not text": b"\xff\xfe\x00",
    "control characters": f"{HEAD}spec: {HOSTILE}\n",
    "control characters as escapes": f"{HEAD}spec: {json.dumps(HOSTILE)}\n",
    "a name of them": f"{HEAD}spec: {{{json.dumps(HOSTILE)}: 1}}\n",
    "another kind": json.dumps({"kind": HOSTILE}),
    "another version": json.dumps({"kind": "ModelOptimization", "apiVersion": HOSTILE}),
    "an unhashable key": f"{HEAD}? [a]\n: b\n",
    "python": f"{HEAD}spec: !!python/object/apply:os.system ['true']\n",
    "a list": "[]",
    "nothing": "",
}
STATUS: dict[str, Any] = {
    "no list": {"conditions": 5},
    "a type of them": {"conditions": [{"type": HOSTILE}]},
    "a text": HOSTILE,
    "a number": {"targets": [{"name": 1}]},
    "names of them": {HOSTILE: HOSTILE, "conditions": [{HOSTILE: HOSTILE}]},
}


def run(
    *arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Return the exit status of a command, and what it printed."""
    monkeypatch.setattr(sys, "argv", ["mopt", *arguments])
    try:
        status = main.run()
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["table", "check"])
def test_file_ends_in_one_line(
    name: str,
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = FILES[name]
    file = tmp_path / "m.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, out, err = run(command, str(file), capsys=capsys, monkeypatch=monkeypatch)
    # For `table` a spec of whatever form is no fault.
    assert status in ((1, 2) if command == "check" else (0, 2))
    # A line for each problem: what is missing is one, too.
    assert len(err.splitlines()) in ((0,) if status == 0 else (1, 2, 3))
    assert shows_only(out + err, lines=True)
    assert len(err) < 2000


@pytest.mark.parametrize("name", STATUS)
def test_status_that_is_none_ends_in_one_line(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "m.json"
    head = {"apiVersion": "mopt.dev/v1alpha1", "kind": "ModelOptimization"}
    file.write_text(json.dumps(head | {"status": STATUS[name]}))
    status, out, err = run("table", str(file), capsys=capsys, monkeypatch=monkeypatch)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert shows_only(out + err, lines=True)


RESULTS: dict[str, str] = {
    "deep": '{"a":' * 100_000,
    "deep and whole": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "not whole": '{"target": ',
    "another target": json.dumps({"target": HOSTILE}),
    "no number": '{"seconds": {"a": NaN}}',
    "unknown fields": json.dumps({HOSTILE: HOSTILE}),
    "a number without an end": f'{{"seconds": {{"a": 1{"0" * 5000}}}}}',
}


@pytest.mark.parametrize("name", RESULTS)
def test_result_that_is_none_ends_in_one_line(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "result.json"
    file.write_text(RESULTS[name])
    status, out, err = run("inspect", str(file), capsys=capsys, monkeypatch=monkeypatch)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert shows_only(out + err, lines=True)
    assert "is not a result.json" in err
