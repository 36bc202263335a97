"""What is compared: each form of a model, by strategy, tool and runtime. Pure; loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOPT = "mopt"
ORT, OPENVINO, PYTORCH = "ONNXRuntime", "OpenVINO", "PyTorch"

# Tools that the product itself depends on run in its environment, in the same versions.
_OWN_ENVIRONMENT = (MOPT, "ONNX Runtime", "NNCF", "OpenVINO", "torchao", "torch.ao")


@dataclass(frozen=True)
class Recipe:
    """One form of a model.

    Attributes:
        strategy: Rows of one strategy are compared with mopt's first row in it.
        tool: Whose work the file is.
        make: Function of mopt_recipes (mopt) or peer_recipes that writes the file.
        options: Its keyword arguments.
        detail: What tells it from the tool's other rows of the strategy.
        runtime: What opens the file.
        precision: That the runtime computes in; INT8 is the file's own.
        float_precision: Of what is not INT8, in OpenVINO.
        from_program: Made from the PyTorch program, not from the ONNX file.
    """

    strategy: str
    tool: str
    make: str
    options: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""
    runtime: str = ORT
    precision: str = "INT8"
    float_precision: str = "FP32"
    from_program: bool = False

    @property
    def name(self) -> str:
        """Return what tells it from all others."""
        return "/".join(filter(None, (self.strategy, self.tool, self.detail)))

    @property
    def file_key(self) -> str:
        """Return what recipes of the same file share: it is made once."""
        options = ",".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.tool}:{self.make}({options})"

    @property
    def needs_bench_environment(self) -> bool:
        """Whether its tool is none of the product's dependencies."""
        return self.tool not in _OWN_ENVIRONMENT


EAGER = Recipe("PyTorch eager", "PyTorch", "", runtime=PYTORCH, precision="FP32", from_program=True)
"""The program as its author runs it: measured beside others, made by nobody."""

_Common = dict[str, Any]


def _graph_passes() -> list[Recipe]:
    strategy = "Graph passes"
    common: _Common = {"precision": "FP32"}
    return [
        Recipe(strategy, MOPT, "graph_passes", **common),
        Recipe(strategy, "ONNX Runtime", "ort_offline", {"level": "basic"}, "basic", **common),
        Recipe(strategy, "ONNX Runtime", "ort_offline", {"level": "all"}, "all", **common),
        Recipe(strategy, "onnxslim", "onnxslim", **common),
        Recipe(strategy, "onnxsim", "onnxsim", **common),
        Recipe(strategy, "onnxoptimizer", "onnxoptimizer", **common),
        Recipe(strategy, "Olive", "olive_peephole", **common),
        Recipe(strategy, "Optimum", "optimum_optimizer", **common),
    ]


def _dynamic() -> list[Recipe]:
    strategy = "Dynamic INT8"
    return [
        Recipe(strategy, MOPT, "dynamic"),
        Recipe(strategy, "ONNX Runtime", "ort_dynamic"),
        Recipe(strategy, "Olive", "olive_dynamic"),
        Recipe(strategy, "Optimum", "optimum_dynamic"),
    ]


def _static(method: str) -> list[Recipe]:
    strategy, options = f"Static INT8, {method}", {"method": method}
    recipes = [
        Recipe(strategy, MOPT, "static", options),
        Recipe(strategy, "ONNX Runtime", "ort_static", options),
        Recipe(strategy, "Olive", "olive_static", options),
        Recipe(strategy, "Optimum", "optimum_static", options),
    ]
    if method == "MinMax":
        recipes.append(Recipe(strategy, "NNCF", "nncf_onnx", detail="its own ranges"))
    return recipes


def _half() -> list[Recipe]:
    strategy = "FP16"
    common: _Common = {"precision": "FP32"}
    return [
        Recipe(strategy, MOPT, "fp16", **common),
        Recipe(strategy, "ONNX Runtime", "ort_fp16", **common),
        Recipe(strategy, "onnxconverter-common", "converter_fp16", **common),
        Recipe(strategy, "Olive", "olive_fp16", **common),
    ]


def _openvino() -> list[Recipe]:
    common: _Common = {"runtime": OPENVINO}
    static = "INT8 in OpenVINO"
    minmax = {"method": "MinMax"}
    return [
        Recipe(static, MOPT, "static", {"method": "Percentile", "layer_outputs": False}, **common),
        Recipe(static, MOPT, "nncf", detail="through NNCF", **common),
        Recipe(
            static,
            MOPT,
            "static",
            {"method": "MSE", "layer_outputs": False},
            "MSE, rest in BF16",
            float_precision="BF16",
            **common,
        ),
        Recipe(static, "NNCF", "nncf_openvino", **common),
        Recipe(static, "ONNX Runtime", "ort_static", minmax, "MinMax", **common),
        Recipe(static, "Olive", "olive_static", minmax, "MinMax", **common),
        Recipe("FP32 in OpenVINO", MOPT, "graph_passes", precision="FP32", **common),
        Recipe("FP32 in OpenVINO", "OpenVINO", "as_it_is", precision="FP32", **common),
        Recipe("BF16 in OpenVINO", MOPT, "graph_passes", precision="BF16", **common),
        Recipe("BF16 in OpenVINO", "OpenVINO", "as_it_is", precision="BF16", **common),
    ]


def _gated() -> list[Recipe]:
    strategy, options = "INT8 behind a gate", {"method": "Percentile", "gated": True}
    plain = {**options, "layer_outputs": False}
    return [
        Recipe(strategy, MOPT, "static", options),
        Recipe(strategy, MOPT, "static", plain, "rest in BF16", OPENVINO, float_precision="BF16"),
        Recipe(strategy, MOPT, "nncf", {"gated": True}, "through NNCF", OPENVINO),
        Recipe(
            strategy,
            MOPT,
            "nncf",
            {"gated": True},
            "through NNCF, rest in BF16",
            OPENVINO,
            float_precision="BF16",
        ),
    ]


def _pytorch() -> list[Recipe]:
    common: _Common = {"runtime": PYTORCH, "from_program": True}
    return [
        Recipe("PyTorch static INT8", MOPT, "torch_static", **common),
        Recipe("PyTorch static INT8", "torchao", "torchao_static", **common),
        Recipe("PyTorch static INT8", "torch.ao", "torch_ao_static", **common),
        Recipe("PyTorch dynamic INT8", MOPT, "torch_dynamic", **common),
        Recipe("PyTorch dynamic INT8", "torch.ao", "torch_ao_dynamic", **common),
    ]


RECIPES: tuple[Recipe, ...] = (
    *_graph_passes(),
    *_dynamic(),
    *(recipe for method in ("MinMax", "Entropy", "Percentile") for recipe in _static(method)),
    *_gated(),
    *_half(),
    *_openvino(),
    *_pytorch(),
)

# What the smoke test makes: seconds each, no search and no compiler.
_QUICK_STRATEGIES = ("Graph passes", "Dynamic INT8", "Static INT8, MinMax", "FP16")


def chosen(tools: Sequence[str] = (), *, quick: bool = False) -> list[Recipe]:
    """Return the recipes of some tools; none named is all.

    Raises:
        ValueError: A tool that no recipe has; lists them.
    """
    known = list(dict.fromkeys(recipe.tool for recipe in RECIPES))
    if unknown := [tool for tool in tools if tool not in known]:
        raise ValueError(f"no tool {unknown[0]!r}; there are {', '.join(known)}")
    return [
        recipe
        for recipe in RECIPES
        if (not tools or recipe.tool in tools)
        and (not quick or recipe.strategy in _QUICK_STRATEGIES)
    ]


def by_name(name: str) -> Recipe:
    """Return a recipe; KeyError where there is none."""
    return {recipe.name: recipe for recipe in RECIPES}[name]
