"""config.pbtxt by Triton's own model_config.proto, from tritonclient."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from google.protobuf import text_format


@cache
def _messages() -> Any:
    # By its file: the package around it imports grpc, of which nothing is needed.
    package = find_spec("tritonclient")
    assert package is not None
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0], "grpc", "model_config_pb2.py")
    spec = spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(text: bytes) -> Any:
    """Return a ModelConfig; an unknown field or word is an error."""
    return text_format.Parse(text.decode(), _messages().ModelConfig())


def type_name(tensor: Any) -> str:
    """Return the name of a tensor's data type."""
    name: str = _messages().DataType.Name(tensor.data_type)
    return name


def kind_name(group: Any) -> str:
    """Return the name of an instance group's kind."""
    name: str = _messages().ModelInstanceGroup.Kind.Name(group.kind)
    return name
