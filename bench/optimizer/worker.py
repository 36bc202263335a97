"""Makes files with one tool, in the environment that has it.

    python bench/optimizer/worker.py SUBJECT OUT RECIPE...

Appends one JSON line per recipe to OUT/results.jsonl, as soon as it is made: a process that dies
leaves those before. A tool is imported before the clock starts; a recipe that is the process's
first still pays for what the tool loads later by itself.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import warnings
from importlib import import_module, metadata
from pathlib import Path

import catalogue
from work import Work

# What each tool is imported as, and the distribution that tells its version.
_MODULES = {
    "mopt": ("mopt_optimizer.passes", "mopt"),
    "ONNX Runtime": ("onnxruntime.quantization.shape_inference", "onnxruntime"),
    "onnxslim": ("onnxslim", "onnxslim"),
    "onnxsim": ("onnxsim", "onnxsim"),
    "onnxoptimizer": ("onnxoptimizer", "onnxoptimizer"),
    "onnxconverter-common": ("onnxconverter_common.float16", "onnxconverter-common"),
    "Olive": ("olive.passes.onnx.quantization", "olive-ai"),
    "Optimum": ("optimum.onnxruntime", "optimum-onnx"),
    "NNCF": ("nncf", "nncf"),
    "OpenVINO": ("openvino", "openvino"),
    "torchao": ("torchao.quantization.pt2e.quantize_pt2e", "torchao"),
    "torch.ao": ("torch.ao.quantization", "torch"),
}


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _make(recipe: catalogue.Recipe, work: Work) -> dict[str, object]:
    module, distribution = _MODULES[recipe.tool]
    found: dict[str, object] = {"name": recipe.name}
    try:
        import_module(module)
        home = "mopt_recipes" if recipe.tool == catalogue.MOPT else "peer_recipes"
        make = getattr(import_module(home), recipe.make)
        found["version"] = metadata.version(distribution)
        # Read before the clock starts, as the tools' users hold them in memory.
        _ = work.samples, work.facts
        started = time.perf_counter()
        path = make(work, **recipe.options)
        found["seconds"] = time.perf_counter() - started
        found["path"] = str(path)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is what its row says
        traceback.print_exc()
        found["error"] = _first_line(error)
    return found


def main() -> int:
    """Make the recipes that the arguments name."""
    subject, out, *names = sys.argv[1:]
    warnings.simplefilter("ignore")
    results = Path(out) / "results.jsonl"
    for number, name in enumerate(names):
        recipe = catalogue.by_name(name)
        work = Work(Path(subject), Path(out) / f"{int(time.time() * 1e3)}-{number}")
        work.folder.mkdir(parents=True)
        found = _make(recipe, work)
        with results.open("a") as file:
            file.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
