"""What publishing costs: CPU seconds of the publish Job's process, beside a registry on this
machine.

    PYTHONPATH=tests/support:hack python -m bench.publishing --mib 0 100

Needs the registry that `python3 hack/devcluster binary registry` names, and openssl. Prints a line
for each size: the CPU time of the first time, signed; of the second one, when all is there; and of
the first time without a key. Starting Python and its libraries counts too, and is shown alone by a
process that only imports the stage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from proved_image import make_keys
from published_forms import publish_plan, stored_form, write_model
from registry import running_registry

from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, PublishPlan
from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE, SIGNING_KEY_VARIABLE
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

IMPORTS = "import mopt_optimizer.stages.publish.stage"


def cpu_seconds(command: list[str], environ: dict[str, str]) -> float:
    """Return the CPU time of a process and its children.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    before = os.times()
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        done.check_returncode()
    after = os.times()
    return (
        after.children_user - before.children_user + after.children_system - before.children_system
    )


def publish(plan: PublishPlan, folder: Path, **environ: str) -> float:
    """Return the CPU time of the Job's process."""
    work = Path(tempfile.mkdtemp(dir=folder))
    own = {
        PLAN_VARIABLE: plan.model_dump_json(by_alias=True),
        "MOPT_TERMINATION_LOG": str(work / "termination-log"),
        REGISTRY_AUTH_VARIABLE: str(folder / "none" / "config.json"),
    }
    program = [sys.executable, "-m", "mopt_optimizer.main", "publish", "--workdir", str(work)]
    return cpu_seconds(program, own | environ)


def measure(mib: int, folder: Path) -> None:
    """Print what a model of a size costs, its weights beside it."""
    output = folder / f"output-{mib}"
    output.mkdir()
    blobs = Blobs(*open_store(output.as_uri(), Credentials.OUTPUT, {}))
    model = write_model(folder / f"{mib}" / "model.onnx", beside=True)
    if mib:
        with model.with_name("model.onnx.data").open("ab") as weights:
            weights.write(os.urandom(mib << 20))
    form = stored_form(blobs, model)
    blobs.put_page(form.result, b"<!doctype html><title>report</title>")
    key = make_keys(folder / f"key-{mib}").private
    with running_registry(folder / f"registry-{mib}") as registry:

        def plan(name: str, *, signed: bool) -> PublishPlan:
            made = publish_plan([form], registry.repository(name), output.as_uri())
            return made.model_copy(update={"signed": signed})

        signing = {SIGNING_KEY_VARIABLE: str(key)}
        first = publish(plan("signed", signed=True), folder, **signing)
        again = publish(plan("signed", signed=True), folder, **signing)
        bare = publish(plan("bare", signed=False), folder)
    print(f"{mib} MiB: signed {first:.2f} s, without a key {bare:.2f} s, again {again:.2f} s")


def main() -> None:
    """Measure each size that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, nargs="+", default=[0, 100])
    sizes = parser.parse_args().mib
    print(f"imports alone: {cpu_seconds([sys.executable, '-c', IMPORTS], {}):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for mib in sizes:
            measure(mib, Path(folder))


if __name__ == "__main__":
    main()
