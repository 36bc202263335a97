"""What KServe mounts at /mnt/models: what the serving runtime of the form's runtime loads. Pure."""

from __future__ import annotations

from mopt_api.enums import Runtime
from mopt_optimizer.serving.form import ServedForm

from .base import Tree
from .ovms import ovms
from .triton import triton


def kserve(form: ServedForm) -> Tree:
    """Return the folder: for OpenVINO of KServe's runtime kserve-openvino, otherwise of
    kserve-tritonserver.

    Raises:
        UnservableForm: As in ovms and triton.
    """
    return ovms(form) if form.runtime is Runtime.OPENVINO else triton(form)
