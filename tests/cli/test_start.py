"""Starting: what is imported, and how errors are told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import selected
from cli_process import Mopt, clean_environ

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

IMPORTS = """
import sys
sys.argv = ["mopt", *{arguments!r}]
from mopt_cli.entry import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "onnx", "onnxruntime", "openvino", "numpy", "PIL", "minio"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.argv = ["mopt", *{arguments!r}]
from mopt_cli.entry import main
main()
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "check",
        "run --help",
        "watch --help",
        "get --help",
        "gc --help",
        "schema",
        "rollback -o json -f",
    ],
)
def test_no_heavy_library_is_imported(
    command: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = command.split()
    if command == "check":
        arguments.append(str(write()))
    if command.endswith("-f"):
        target = selected.target(artifact=selected.artifact(2))
        raw = selected.resource(target, history=[selected.record(n) for n in (2, 1)])
        (tmp_path / "raw.json").write_text(json.dumps(raw))
        arguments.append(str(tmp_path / "raw.json"))
    done = python(IMPORTS.format(arguments=arguments))
    assert done.returncode == 0, done.stderr


def test_missing_cli_extra_says_what_to_install() -> None:
    done = python(WITHOUT.format(missing=["typer"], arguments=["--help"]))
    assert done.returncode == 1
    assert done.stderr == "mopt: typer is not installed: pip install 'mopt[cli]'\n"


@pytest.mark.parametrize("command", ["run", "init", "inspect", "compare"])
def test_missing_optimizer_says_what_to_install(
    command: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not opened")
    file = write(model={"uri": str(model), "sha256": "0" * 64, "format": "ONNX"})
    arguments = [command, str(file if command == "run" else model)]
    code = WITHOUT.format(missing=["torch", "openvino"], arguments=arguments)
    # What is None in sys.modules has no spec: as if it were not installed.
    code = "import importlib.util\nfind = importlib.util.find_spec\n" + code.replace(
        "import sys\n",
        "import sys\n"
        "importlib.util.find_spec = lambda n, p=None: "
        "None if n in ('torch', 'openvino') else find(n, p)\n",
        1,
    )
    done = python(code)
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "torch, openvino missing" in last
    assert "pip install 'mopt[cli,optimizer-cpu]'" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["watch", "sr"], ["get"], ["logs", "sr"], ["rerun", "sr"], ["diff", "a", "b"]]
)
def test_missing_kubernetes_client_says_what_to_install(arguments: list[str]) -> None:
    code = WITHOUT.format(missing=["kubernetes"], arguments=arguments)
    # As above: what is None in sys.modules has no spec.
    code = "import importlib.util\nimportlib.util.find_spec = lambda *_: None\n" + code
    done = python(code)
    assert done.returncode == 1
    assert done.stderr == (
        f"mopt: mopt {arguments[0]} needs the Kubernetes client (kubernetes, aiohttp missing "
        "here): pip install 'mopt[cli]'\n"
    )


def test_a_store_is_read_without_what_opens_models(tmp_path: Path) -> None:
    store, prefix = open_store((tmp_path / "out").as_uri(), Credentials.OUTPUT, {})
    blobs = Blobs(store, prefix)
    digest = blobs.put_bytes(b"a model")
    artifact = selected.artifact(1, digest=digest, uri=blobs.uri(digest), sizeBytes=7)
    raw = tmp_path / "raw.json"
    raw.write_text(json.dumps(selected.resource(selected.target(artifact=artifact))))
    heavy = ["torch", "onnx", "onnxruntime", "openvino", "numpy", "PIL", "minio", "kubernetes"]
    for arguments in (
        ["fetch", "-f", str(raw), "-o", f"{tmp_path}/there/"],
        ["gc", "--output", str(tmp_path / "out"), "--resources", str(raw)],
    ):
        done = python(WITHOUT.format(missing=heavy, arguments=arguments))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "model.onnx").read_bytes() == b"a model"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "-f", "raw.json"],
        ["gc", "--output", "s3://bucket/out", "--resources", "raw.json"],
    ],
)
def test_missing_s3_client_says_what_to_install(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = selected.resource(selected.target(artifact=selected.artifact(1)))
    (tmp_path / "raw.json").write_text(json.dumps(raw))
    monkeypatch.chdir(tmp_path)
    # As above: what is None in sys.modules has no spec.
    code = "import importlib.util\nimportlib.util.find_spec = lambda *_: None\n"
    done = python(code + WITHOUT.format(missing=["minio"], arguments=arguments))
    assert done.returncode == 1
    assert done.stderr == (
        f"mopt: mopt {arguments[0]} needs minio, the S3 client, which is missing here: "
        "pip install minio\n"
    )


def test_errors_are_one_line_without_traceback(mopt: Mopt) -> None:
    done = mopt("check", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mopt: nowhere.yaml cannot be read")
    assert len(done.stderr.splitlines()) == 1


def test_unknown_command_is_usage(mopt: Mopt) -> None:
    done = mopt("optimise")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def completions(typed: str, kubeconfig: Path) -> list[str]:
    """Return what a shell is offered for what was typed."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mopt")],
        env=clean_environ()
        | {
            "KUBECONFIG": str(kubeconfig),
            "_MOPT_COMPLETE": "complete_bash",
            "COMP_WORDS": f"mopt {typed}",
            "COMP_CWORD": str(len(typed.split(" "))),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("w", "watch"),
        ("watch --kube", "--kubeconfig"),
        ("watch x --context ", "staging"),
        ("watch x --format js", "json"),
    ],
)
def test_a_shell_completes_commands_options_and_values(
    typed: str, completed: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    contexts = "contexts: [{name: staging, context: {cluster: c}}]\ncurrent-context: staging\n"
    clusters = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
    kubeconfig.write_text(contexts + clusters)
    assert completions(typed, kubeconfig) == [completed]


@pytest.mark.parametrize("where", ["nowhere", "kubeconfig"])
@pytest.mark.parametrize("typed", ["watch ", "watch x --context "])
def test_a_cluster_that_cannot_be_asked_completes_nothing(
    where: str, typed: str, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text("{")
    assert completions(typed, tmp_path / where) == []


@pytest.mark.parametrize("script", ["mopt", "kubectl-mopt"])
def test_both_scripts_are_installed(script: str) -> None:
    from importlib.metadata import entry_points

    (point,) = entry_points(group="console_scripts", name=script)
    assert point.value == "mopt_cli.entry:main"
