"""Amounts of compute: compared as written, and derived from the model where nobody wrote any."""

from __future__ import annotations

from decimal import Decimal

from mopt_api.spec import Resources

_SUFFIXES = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "K": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}
_MIB = 2**20
# Interpreter, torch and a runtime, before any model is open.
_FIXED_MIB = 2048
# The file, its FP32 weights in two runtimes at once, and what a build needs on top.
_COPIES = 6
# Where the size is not known yet, as in the prepare stage.
_UNKNOWN_MODEL_BYTES = 512 * _MIB
_STEP_MIB = 256
CPU_REQUEST, CPU_LIMIT = "1", "2"


def amount(quantity: int | str) -> Decimal:
    """Return a quantity as a number: "2Gi" is 2147483648, "500m" is 0.5."""
    text = str(quantity)
    digits = text.rstrip("".join({char for suffix in _SUFFIXES for char in suffix}))
    return Decimal(digits) * _SUFFIXES.get(text[len(digits) :], Decimal(1))


def resources_fault(resources: Resources) -> str | None:
    """Return why a Pod with these resources is refused, or None."""
    for name, requested in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and amount(requested) > amount(limit):
            return f"requests.{name} {requested} is more than limits.{name} {limit}"
    for side, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in amounts.items():
            if "/" in name and amount(quantity) % 1:
                return f"{side}.{name} {quantity}: a device is whole or not there"
    for name, requested in resources.requests.items():
        if "/" in name and amount(requested) != amount(resources.limits.get(name, 0)):
            return f"requests.{name} {requested} must equal limits.{name}: devices are not shared"
    return None


def default_resources(model_bytes: int | None) -> Resources:
    """Return what a Job gets where neither the target nor its profile says anything.

    Memory: 2 GiB and six times the model's file; the limit is twice that.

    Args:
        model_bytes: None where it is not known yet; 512 MiB is taken then.
    """
    size = _UNKNOWN_MODEL_BYTES if model_bytes is None else model_bytes
    needed = _FIXED_MIB + _COPIES * -(-size // _MIB)
    rounded = -(-needed // _STEP_MIB) * _STEP_MIB
    return Resources(
        requests={"cpu": CPU_REQUEST, "memory": f"{rounded}Mi"},
        limits={"cpu": CPU_LIMIT, "memory": f"{2 * rounded}Mi"},
    )
