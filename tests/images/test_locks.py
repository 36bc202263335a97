"""The optimizer image's locks and Dockerfile: what holds of any versions they are moved to."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
DOCKERFILE = (ROOT / "optimizer_image" / "Dockerfile").read_text()
LOCKS = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
# What the GPU flavour may install; each must fit the others.
GPU_LOCKS = ("build", "optimizer-gpu", "tensorrt", "nvcc", "pycuda")
# ONNX Runtime's CUDA provider needs cuRAND, which torch does not bring.
GPU_ADDITIONS = {"nvidia-curand", "onnxruntime-gpu"}

_PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^\s;]+)(?: ;[^\\]*)? \\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
# A registry's host in front of an image or package name, with or without a scheme.
_HOST = re.compile(r"://|\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|dev|io|net|org)\b")
_CUDA_SUFFIX = re.compile(r"-cu(\d+)\b")


def pins(lock: str) -> dict[str, set[str]]:
    """Return the versions of each package in a lock; several where markers choose."""
    found: dict[str, set[str]] = {}
    for line in (REQUIREMENTS / f"{lock}.txt").read_text().splitlines():
        if match := _PIN.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def instructions() -> list[str]:
    """Return the Dockerfile's instructions, each on one line, without comments."""
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_an_exact_version_with_hashes_and_names_no_place(lock: str) -> None:
    lines = (REQUIREMENTS / f"{lock}.txt").read_text().splitlines()
    strange = [line for line in lines if not _PIN.match(line) and not _HASH.match(line)]
    assert strange == []
    after = [lines[i + 1] for i, line in enumerate(lines) if _PIN.match(line)]
    assert after
    assert all(_HASH.match(line) for line in after)


@pytest.mark.parametrize("lock", LOCKS)
def test_onnxruntime_is_in_a_lock_once_at_most(lock: str) -> None:
    assert not {"onnxruntime", "onnxruntime-gpu"} <= set(pins(lock))


def test_flavours_differ_in_onnxruntime_and_in_what_a_gpu_needs() -> None:
    cpu, gpu = pins("optimizer-cpu"), pins("optimizer-gpu")
    assert set(cpu) - set(gpu) == {"onnxruntime"}
    assert set(gpu) - set(cpu) == GPU_ADDITIONS
    assert {name: gpu[name] for name in cpu.keys() & gpu.keys()} == {
        name: cpu[name] for name in cpu.keys() & gpu.keys()
    }


def test_serve_changes_nothing_of_what_the_jobs_have() -> None:
    cpu, serve = pins("optimizer-cpu"), pins("serve")
    assert {name: cpu[name] for name in serve if name in cpu} == {
        name: serve[name] for name in serve if name in cpu
    }
    assert {"kserve", "typer"} <= set(serve)
    # What the optimizer's image leaves out on purpose does not come back.
    assert not {name for name in serve if name.startswith(("triton", "torch", "nvidia"))}


def test_both_images_are_built_from_the_same_libraries() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    assert stages == [("${BASE_IMAGE}", "libraries"), ("libraries", "serve"), ("libraries", "")]
    modules = [line for line in instructions() if line.startswith("ENTRYPOINT")]
    assert [re.findall(r"mopt_optimizer\.\w+", line) for line in modules] == [
        ["mopt_optimizer.server"],
        ["mopt_optimizer.main"],
    ]


def test_what_is_copied_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copies = [line.split()[1:-1] for line in instructions() if line.startswith("COPY ")]
    assert {source.partition("/")[0] for sources in copies for source in sources} <= kept


def test_gpu_locks_agree_where_they_have_the_same_package() -> None:
    versions: dict[str, set[str]] = {}
    for lock in GPU_LOCKS:
        for name, found in pins(lock).items():
            assert versions.setdefault(name, found) == found, f"{name} of {lock}"


def test_one_cuda_major_throughout() -> None:
    names = {name for lock in GPU_LOCKS for name in pins(lock)}
    majors = {match[1] for name in names if (match := _CUDA_SUFFIX.search(name))}
    toolkit = pins("optimizer-gpu")
    majors |= {version.partition(".")[0] for version in toolkit["cuda-toolkit"]}
    majors |= {version.partition(".")[0] for version in toolkit["nvidia-cuda-runtime"]}
    assert majors == {"13"}
    # Its extras require libraries of the CUDA it is built for: another major does not resolve.
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (runtime,) = (
        text
        for text in extras["optional-dependencies"]["optimizer-gpu"]
        if text.startswith("onnxruntime")
    )
    assert runtime.startswith("onnxruntime-gpu[cuda,cudnn]")


def test_what_is_installed_is_locked() -> None:
    installed: list[str] = []
    copied: set[str] = set()
    for line in instructions():
        copied |= set(re.findall(r"requirements/([^ ]+)\.txt", line) if "COPY" in line else ())
        for options in re.findall(r"pip install (.*?)(?: && | ;;|$)", line):
            words = shlex.split(options)
            assert {"--require-hashes", "--no-deps"} <= set(words), options
            installed.append(Path(words[words.index("-r") + 1]).stem)
            assert installed[-1] in copied
    assert installed == ["build", "optimizer-${FLAVOUR}", "tensorrt", "nvcc", "pycuda", "serve"]
    assert copied == set(installed)


def test_images_see_no_gpu_that_the_pod_was_not_given_and_report_to_nobody() -> None:
    (line,) = (line for line in instructions() if line.startswith("ENV PATH="))
    assert {"NVIDIA_VISIBLE_DEVICES=void", "ORT_DISABLE_TELEMETRY=1"} <= set(line.split())


def test_dockerfile_names_no_registry() -> None:
    # A label says where the sources are; nothing is fetched from there.
    fetching = [line for line in instructions() if not line.startswith("LABEL ")]
    assert [line for line in fetching if _HOST.search(line)] == []


def test_defaults_need_neither_a_gpu_nor_nvidia_s_index() -> None:
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", DOCKERFILE, re.MULTILINE))
    chosen = ("FLAVOUR", "TENSORRT", "TENSORRT_INDEX_URL", "PYCUDA")
    assert {name: defaults[name] for name in chosen} == {
        "FLAVOUR": "cpu",
        "TENSORRT": "none",
        "TENSORRT_INDEX_URL": "",
        "PYCUDA": "0",
    }
