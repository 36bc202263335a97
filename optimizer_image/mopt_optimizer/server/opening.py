"""Opens the instances of a form in a folder, with the checks that ModelManager makes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from mopt_api.auto.int8 import CpuClass
from mopt_api.enums import DType
from mopt_api.figures import Serving
from mopt_optimizer.data.noise import noise
from mopt_optimizer.errors import ModelError, RuntimeFailure, UnservableForm
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.manager.registering import file_inputs
from mopt_optimizer.opening.loading import SCRIPT_SUFFIX
from mopt_optimizer.serving.description import Description

from .computing import Array, Instance
from .reading import Folder

_LOG = logging.getLogger(__name__)
_SEED = 0


def open_instances(folder: Folder, serving: Serving, scratch: Path) -> list[Instance]:
    """Open a form whose files were verified, and let each instance compute once.

    Raises:
        ModelError, UnsafeModelError: A file that a Job would refuse; or another model's.
        RuntimeFailure: The runtime cannot open it.
        UnservableForm: This CPU would compute it wrong.
    """
    _refuse_cpu(folder.description, own_cpu_class())
    _check(folder)
    opening = folder.opening(serving.threads, scratch)
    instances = [Instance(opening) for _ in range(serving.instances)]
    feeds = usual_feeds(folder)
    if feeds is not None:
        for instance in instances:
            _warm_up(instance, feeds, len(folder.description.outputs))
    return instances


def _refuse_cpu(described: Description, own: CpuClass) -> None:
    if described.options.wide_sums and own is CpuClass.NARROW_X86:
        raise UnservableForm(
            f"{described.title} was made for CPUs that add INT8 products in 32 bits (VNNI, AMX); "
            "this one adds them in 16, where they overflow: serve it on a node that has these, or "
            "what was measured on one like this"
        )


def _check(folder: Folder) -> None:
    if folder.opened.suffix == SCRIPT_SUFFIX:
        return  # It says no inputs; opening it checks it.
    names = {given.name for given in file_inputs(folder.opened, folder.beside)}
    described = {tensor.name for tensor in folder.description.inputs}
    if names != described:
        raise ModelError(
            f"{folder.opened} has the inputs {', '.join(sorted(names))}, and its description "
            f"{', '.join(sorted(described))}"
        )


def usual_feeds(folder: Folder) -> dict[str, Array] | None:
    """Return made-up inputs of the most frequent sizes; None where they are not known."""
    generator = np.random.default_rng(_SEED)
    described = folder.description
    feeds: dict[str, Array] = {}
    for tensor in described.inputs:
        if tensor.dtype not in set(DType) or None in tensor.dims:
            return None
        shape = [
            described.dimensions[dim].opt if isinstance(dim, str) else dim or 0
            for dim in tensor.dims
        ]
        feeds[tensor.name] = noise(generator, shape, DType(tensor.dtype))
    return feeds


def _warm_up(instance: Instance, feeds: dict[str, Array], outputs: int) -> None:
    try:
        found, _ = instance.thread.submit(instance.compute, feeds).result()
    except RuntimeFailure as error:
        # Made-up values need not be what the model takes.
        _LOG.warning("the model was not computed once before requests: %s", error)
        return
    if len(found) != outputs:
        raise ModelError(f"the model has {len(found)} outputs, and its description {outputs}")
