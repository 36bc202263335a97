"""Triton Inference Server: a model repository with one model, config.pbtxt and version 1. Pure.

The input and output shapes are the file's own. Requests are batched by the server only where the
file takes any number of samples along the first axis of everything, and that number was measured
to start at 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.load.batches import sizes_up_to
from mopt_optimizer.serving.batching import most_batched
from mopt_optimizer.serving.datatypes import DATATYPES, TRITON_ONLY, triton_type
from mopt_optimizer.serving.form import ServedForm, ServedTensor

from .base import VERSION, Tree, laid_files, ordered, refuse_archive
from .pbtxt import Comment, Field, Word, written
from .triton_backends import Backend, backend_of

CONFIG = "config.pbtxt"

_TYPES = {name: triton_type(datatype) for name, datatype in (DATATYPES | TRITON_ONLY).items()}
"""Triton's name of each type that numpy names."""


def triton(form: ServedForm) -> Tree:
    """Return the model repository.

    Raises:
        UnservableForm: No backend of Triton's loads the file, or not with the options that were
            measured, or a type or a scalar that Triton does not have; or a tar.
    """
    refuse_archive(form, "Triton")
    backend = backend_of(form)
    folder = f"{form.name}/{VERSION}"
    return ordered(
        {
            f"{form.name}/{CONFIG}": config(form, backend),
            **laid_files(form.artifact, backend.file_name, folder),
        }
    )


def config(form: ServedForm, backend: Backend) -> bytes:
    """Return config.pbtxt."""
    batch = most_batched(form) if backend.batches else 0
    fields: list[Field] = [
        Comment(f"{form.title}, {form.artifact.digest}"),
        ("name", form.name),
        ("backend", backend.name),
        *([("platform", backend.platform)] if backend.platform else []),
        *([] if backend.default_file else [("default_model_filename", backend.file_name)]),
        ("max_batch_size", batch),
        *(("input", _tensor(t, t.name, batch)) for t in form.inputs),
        *(
            ("output", _tensor(t, backend.output_name(number, t.name), batch))
            for number, t in enumerate(form.outputs)
        ),
        *_batching(form, batch),
        ("instance_group", {"count": form.copies, "kind": Word(_kind(form))}),
        *backend.options(form),
        *(("parameters", _parameter(*item)) for item in backend.parameters(form).items()),
        *(Comment(f"Measured, without a parameter here: {text}") for text in backend.lost(form)),
    ]
    return written(fields)


def _batching(form: ServedForm, batch: int) -> list[Field]:
    """Return whether requests are computed together: as was found best under load.

    Without a delay Triton takes the largest preferred size that waits, and whatever waits where
    none does: with all sizes that is the rule of the measurement (load.batches).
    """
    best = form.serving.batch if form.serving is not None else None
    if not batch or best == 1:
        return []
    preferred = {} if best is None else {"preferred_batch_size": sizes_up_to(min(best, batch))[1:]}
    return [("dynamic_batching", preferred)]


def _kind(form: ServedForm) -> str:
    return "KIND_GPU" if form.options.gpu else "KIND_CPU"


def _parameter(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"string_value": value}}


def _tensor(tensor: ServedTensor, name: str, batch: int) -> dict[str, object]:
    if tensor.dtype not in _TYPES:
        raise UnservableForm(
            f"{tensor.name} is {tensor.dtype}, a type that Triton does not have: choose a variant "
            "with another type there, or --as files"
        )
    return {
        "name": name,
        "data_type": Word(_TYPES[tensor.dtype]),
        "dims": _dims(tensor, tensor.dims[1:] if batch else tensor.dims),
    }


def _dims(tensor: ServedTensor, dims: Sequence[int | str | None]) -> list[int]:
    if not dims:
        raise UnservableForm(
            f"{tensor.name} is a scalar, which Triton takes only within a batch: give it an axis "
            "of size 1 in the model, or --as files"
        )
    return [axis if isinstance(axis, int) else -1 for axis in dims]
