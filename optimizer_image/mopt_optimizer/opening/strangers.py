"""Files that are no model of ours: what they are, by their content, and how to get the right one.

A name says nothing: checkpoints, scripts and programs of PyTorch are all called .pt.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .limits import MAX_PICKLE_STEPS

_HEAD = 512
_MAX_PICKLE_BYTES = 16 * 1024 * 1024
_EXPORT = (
    "load it in Python and write model.pt2: "
    "torch.export.save(torch.export.export(model.eval(), example_inputs), 'model.pt2')"
)
_CHECKPOINT = f"has weights and no computation: build its model, load_state_dict, then {_EXPORT}"
_TF2ONNX = "python -m tf2onnx.convert"
_BEGINS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file that it names: run git lfs pull",
    b"\x1f\x8b": "compressed with gzip: unpack it with gunzip, or tar xzf",
    b"BZh": "compressed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "compressed with xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it with unzstd",
    b"GGUF": "GGUF, weights for llama.cpp: give the PyTorch model that it was converted from",
    b"\x89HDF\r\n\x1a\n": "HDF5, as Keras writes .h5: convert it with keras.models.load_model(file)"
    ".export('model.onnx', format='onnx')",
    b"ftrt": "a TensorRT engine, made for one GPU: give the ONNX file or .pt2 that it was built of",
    b"ptrt": "a TensorRT engine, made for one GPU: give the ONNX file or .pt2 that it was built of",
}
# What torch.save wrote before 1.6: a number, a version, the machine, and then the object.
_OLD_FORM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLES_OF_OLD_FORM = 4
_OF_TENSORS = {"torch", "collections", "numpy"}
_OF_TORCH = _OF_TENSORS | {"builtins", "__builtin__"}
_KERAS = (
    "a Keras model: convert it with keras.models.load_model(file).export('model.onnx', "
    "format='onnx')"
)
_TFLITE = f"TensorFlow Lite: convert it with {_TF2ONNX} --tflite FILE --output model.onnx"
_SAFETENSORS = f"safetensors, which {_CHECKPOINT}"
_HTML = "an HTML page, as a download gives that asks to log in: get the file by its raw link"
_IR = "XML, as OpenVINO's models are: give the ONNX file that it was converted from"
_ULTRALYTICS = (
    "a checkpoint of Ultralytics, a pickle of Python objects: run yolo export model=FILE "
    "format=onnx dynamic=True"
)
_LIGHTNING = (
    "a checkpoint of Lightning: load it with your LightningModule.load_from_checkpoint(file), "
    f"then {_EXPORT.removeprefix('load it in Python and ')}"
)
_SCIKIT = (
    "a pickled scikit-learn model: convert it with skl2onnx.to_onnx(model, X[:1], "
    "options={'zipmap': False})"
)


def check_familiar(path: Path) -> None:
    """Refuse a file that is known to be no model of ours; anything else is left to its reader.

    Raises:
        ModelError: Says what the file is, and the command that makes the right one.
        UnsafeModelError: Likewise; opening it would run code that it carries.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size = path.stat().st_size
    if what := _by_head(head, size):
        raise ModelError(f"{path.name} is {what}")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[1:2]:
        with path.open("rb") as file:
            raise _of_pickle(path.name, file.read(_MAX_PICKLE_BYTES), bare=True)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)


def _by_head(head: bytes, size: int) -> str | None:
    for begin, what in _BEGINS.items():
        if head.startswith(begin):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return _HTML
    if text.startswith(b"<?xml"):
        return _IR
    if head[4:8] == b"TFL3":
        return _TFLITE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return _SAFETENSORS
    return None


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not names or min(entry.header_offset for entry in archive.infolist()):
                return  # Of a truncated file the end of a zip inside was found.
            below = {name.partition("/")[2] or name: name for name in names}
            if "model.weights.h5" in names:
                raise ModelError(f"{path.name} is {_KERAS}")
            if any("/code/" in name for name in names) or "archive_format" in below:
                return
            if "data.pkl" in below and "version" in below:
                entry = archive.getinfo(below["data.pkl"])
                if entry.file_size <= _MAX_PICKLE_BYTES:
                    raise _of_pickle(path.name, archive.read(entry), bare=False)
    # A damaged archive: its reader says so.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return
    if not {"models/model.json", "serialized_exported_program.json", "data.pkl"} & below.keys():
        raise ModelError(
            f"{path.name} is a ZIP archive of {len(names)} files that is no .pt2 and no "
            "TorchScript: unpack it, and give the model in it"
        )


def _of_pickle(name: str, data: bytes, *, bare: bool) -> ModelError:
    """Return what to say of a pickle, by the objects and texts that it names; nothing is loaded."""
    words = set(_words(data))
    modules = {word.partition(" ")[0].partition(".")[0] for word in words if " " in word}
    if "ultralytics" in modules:
        return UnsafeModelError(f"{name} is {_ULTRALYTICS}")
    if "pytorch-lightning_version" in words:
        return ModelError(f"{name} is {_LIGHTNING}")
    if "sklearn" in modules:
        return UnsafeModelError(f"{name} is {_SCIKIT}")
    if any(word.startswith("torch.nn.modules") for word in words) and modules <= _OF_TORCH:
        return UnsafeModelError(
            f"{name} is a pickled module, which runs code when it is opened: {_EXPORT}"
        )
    if others := sorted(modules - _OF_TENSORS):
        return UnsafeModelError(
            f"{name} is a pickle of Python objects (of {', '.join(others)[:80]}), which runs code "
            f"when it is opened: where you trust it, {_EXPORT}"
        )
    if "torch" in modules or not bare or data.startswith(_OLD_FORM):
        return ModelError(f"{name} is a checkpoint of torch.save, which {_CHECKPOINT}")
    return ModelError(f"{name} is a pickle of plain Python values, and no model")


def _words(data: bytes) -> Iterator[str]:
    """Yield the texts of pickles that follow each other, and their globals as "module name"."""
    stream, before = io.BytesIO(data), [""]
    try:
        for _ in range(_PICKLES_OF_OLD_FORM if data.startswith(_OLD_FORM) else 1):
            for step, (opcode, argument, _place) in enumerate(pickletools.genops(stream)):
                if step >= MAX_PICKLE_STEPS:
                    return
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument)
                elif opcode.name == "STACK_GLOBAL":
                    yield " ".join(before)
                elif isinstance(argument, str):
                    before = [before[-1], argument]
                    yield argument.replace(" ", "_")
    except (ValueError, EOFError, IndexError):
        return
