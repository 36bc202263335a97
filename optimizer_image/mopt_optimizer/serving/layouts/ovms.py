"""OpenVINO Model Server: config.json beside the folder of the model's only version. Pure.

The same folder serves as --config_path FOLDER/config.json, and as --model_path FOLDER, which is how
KServe's runtime starts the server; that then takes the options as arguments (arguments).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mopt_api.enums import Runtime
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.runtimes.openvino.settings import DEVICE
from mopt_optimizer.serving.form import ServedForm

from .base import VERSION, Tree, laid_files, ordered, refuse_archive

CONFIG = "config.json"
_MODEL_FILE = "model.onnx"


def ovms(form: ServedForm) -> Tree:
    """Return the folder.

    Raises:
        UnservableForm: Another runtime's form, or a tar.
    """
    if form.runtime is not Runtime.OPENVINO:
        raise UnservableForm(
            f"{form.title}: OpenVINO Model Server computes with OpenVINO, and this was measured "
            f"with {form.runtime}: choose a variant of runtime OpenVINO, or --as triton"
        )
    refuse_archive(form, "OpenVINO Model Server")
    config = {
        "name": form.name,
        # Relative to this file: the folder itself, wherever it is mounted.
        "base_path": ".",
        "target_device": DEVICE,
        "plugin_config": dict(form.options.properties),
    }
    text = json.dumps({"model_config_list": [{"config": config}]}, indent=2) + "\n"
    return ordered(
        {CONFIG: text.encode(), **laid_files(form.artifact, _MODEL_FILE, VERSION)},
    )


def arguments(properties: Mapping[str, str]) -> list[str]:
    """Return the options as arguments of the server, where it is started without config.json.

    Args:
        properties: OpenVINO's, by their names.
    """
    return [f"--target_device={DEVICE}", f"--plugin_config={json.dumps(dict(properties))}"]
