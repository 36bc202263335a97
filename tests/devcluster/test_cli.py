"""Mistakes give one line and exit code 1, never a traceback."""

from pathlib import Path

import pytest

from devcluster.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["down", "--light"], "--light needs --dir DIR"),
        (["status", "--light"], "--light needs --dir DIR"),
        (
            ["up", "--dir", "somewhere"],
            "--dir, --parent-pid and --audit-policy are for --light only",
        ),
        (["binary", "kubeadm"], "no tool is called 'kubeadm'"),
        (
            ["build-image", "x", "--file", "absent", "--context", ".", "--build-arg", "KEY"],
            "--build-arg wants KEY=VALUE, not 'KEY'",
        ),
        (["build-image", "x", "--file", "absent", "--context", "."], "no Dockerfile at absent"),
    ],
)
def test_mistake(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("devcluster: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_status_of_no_cluster_is_unhealthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--light", "--dir", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(" DOWN " in line for line in lines)


def test_kubeconfig_of_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubeconfig", "--light", "--dir", str(tmp_path)]) == 1
    assert "start it with `up --light --dir`" in capsys.readouterr().err


def test_what_is_not_here_is_named_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["binary", "--present", "argocd", "kwok"]) == 3
    assert capsys.readouterr() == ("", "devcluster: not here: argocd, kwok\n")
    assert not [*tmp_path.iterdir()]
