"""The data types that an engine's layers compute in, parsed from TensorRT's output. Pure.

Two sources agree: the builder's verbose log, available without a GPU, and the engine inspector,
which needs the engine loaded on one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_HEADING = "Layers:\n"
_LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*)", re.M)
# A separate pattern for each list: tensor names may contain anything but these words.
_LIST = (
    r"{key}: \[(?P<items>.*?)\](?=, (?:Constants|Outputs|TacticName|StreamId|ParameterType)\b|$)"
)
_DATATYPE = re.compile(r"(?:Format/)?Datatype: ([^,}]*)")
_METADATA = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
# Type names across TensorRT versions. The first match counts.
_TYPES = (
    ("FP8", re.compile(r"\bFP8|E4M3", re.I)),
    ("INT8", re.compile(r"\bInt8\b", re.I)),
    ("INT4", re.compile(r"\bInt4\b", re.I)),
    ("BF16", re.compile(r"\bB(?:F16|Float16)\b", re.I)),
    ("FP16", re.compile(r"\b(?:Half|FP16)\b", re.I)),
    ("FP32", re.compile(r"\b(?:Float|FP32)\b", re.I)),
    ("INT64", re.compile(r"\bInt64\b", re.I)),
    ("INT32", re.compile(r"\bInt32\b", re.I)),
    ("BOOL", re.compile(r"\bBool\b", re.I)),
)


@dataclass(frozen=True)
class EngineLayer:
    """One layer, after TensorRT's fusion.

    Attributes:
        name: TensorRT's name.
        kind: TensorRT's layer type, for example kgen or correlation.
        inputs, constants, outputs: Types of its tensors, such as FP16.
        nodes: Names of the ONNX nodes that it computes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def datatype(self) -> str | None:
        """The type it reads (of its outputs if it reads none); None without tensors."""
        types = self.inputs or self.constants or self.outputs
        return types[0] if types else None


def datatype_counts(layers: Iterable[EngineLayer]) -> dict[str, int]:
    """Return the number of layers that read each type, most frequent first."""
    counts = Counter(layer.datatype for layer in layers if layer.datatype)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def nodes_in(layers: Iterable[EngineLayer], datatype: str) -> set[str]:
    """Return the ONNX nodes computed by layers that read a type."""
    return {node for layer in layers if layer.datatype == datatype for node in layer.nodes}


def listed_layers(messages: Iterable[str]) -> tuple[EngineLayer, ...]:
    """Return the layers listed in a builder's verbose messages; empty if they list none.

    The builder lists them with ProfilingVerbosity.DETAILED only.
    """
    for message in messages:
        start = message.find(_HEADING)
        if start >= 0 and _LINE.search(message):
            lines = message[start + len(_HEADING) :].splitlines()
            return tuple(_of_line(line) for line in lines if _LINE.match(line))
    return ()


def inspected_layers(information: str) -> tuple[EngineLayer, ...]:
    """Return the layers in an engine inspector's output.

    Args:
        information: get_engine_information(LayerInformationFormat.JSON).
    """
    entries = json.loads(information).get("Layers", [])
    # Without DETAILED a layer is only its name.
    return tuple(_of_entry(e) if isinstance(e, dict) else _unknown(str(e)) for e in entries)


def _of_line(line: str) -> EngineLayer:
    found = _LINE.match(line)
    name, kind = (found["name"], found["kind"]) if found else (line, "")
    return EngineLayer(
        name,
        kind.strip(),
        _types_in(line, "Inputs"),
        _types_in(line, "Constants"),
        _types_in(line, "Outputs"),
        tuple(_METADATA.findall(line)),
    )


def _types_in(line: str, key: str) -> tuple[str, ...]:
    found = re.search(_LIST.format(key=key), line)
    return tuple(_type_of(text) for text in _DATATYPE.findall(found["items"])) if found else ()


def _of_entry(entry: Mapping[str, Any]) -> EngineLayer:
    def types(key: str) -> tuple[str, ...]:
        tensors = entry.get(key) or []
        return tuple(
            _type_of(str(t.get("Datatype", t.get("Format/Datatype", "")))) for t in tensors
        )

    return EngineLayer(
        str(entry.get("Name", "")),
        str(entry.get("LayerType", "")),
        types("Inputs"),
        types("Constants"),
        types("Outputs"),
        tuple(_METADATA.findall(str(entry.get("Metadata", "")))),
    )


def _unknown(name: str) -> EngineLayer:
    return EngineLayer(name, "", (), (), (), ())


def _type_of(text: str) -> str:
    return next((kind for kind, pattern in _TYPES if pattern.search(text)), text.strip())
