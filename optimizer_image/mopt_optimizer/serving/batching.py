"""How many samples a server may compute together. Pure."""

from __future__ import annotations

from .form import ServedForm


def most_batched(form: ServedForm) -> int:
    """Return the largest batch that a server may make of requests; 0 where it may make none.

    It may where the file takes any number of samples along the first axis of everything, and that
    number was measured to start at 1.
    """
    tensors = (*form.inputs, *form.outputs)
    # A scalar for each sample would be a tensor without axes, which Triton does not have.
    if any(len(tensor.dims) < 2 for tensor in tensors):
        return 0
    first = {tensor.dims[0] for tensor in tensors}
    if len(first) != 1:
        return 0
    (name,) = first
    size = form.dimensions.get(name) if isinstance(name, str) else None
    if size is None or size.min != 1 or (size.multiple_of or 1) != 1 or size.max == 1:
        return 0
    # Another axis of the same size would change with the batch.
    if any(name in tensor.dims[1:] for tensor in tensors):
        return 0
    profiles = form.engine.profiles.values() if form.engine else ()
    if any(smallest[0] != 1 for smallest, _ in profiles):
        return 0
    return min([size.max, *(largest[0] for _, largest in profiles)])
