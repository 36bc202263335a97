"""Quantities of compute: compared, and derived from the model where nobody gave any. Pure."""

from __future__ import annotations

from mopt_api.profiles import resources_fault
from mopt_api.quantities import amount
from mopt_api.spec import Resources

_MIB = 2**20
# Interpreter, torch and a runtime, before any model is open.
_FIXED_MIB = 2048
# The file, its FP32 weights in two runtimes at once, and what a build needs on top.
_COPIES = 6
# Assumed where the size is not known yet, as in the prepare stage.
_UNKNOWN_MODEL_BYTES = 512 * _MIB
_STEP_MIB = 256
CPU_REQUEST, CPU_LIMIT = "1", "2"


def _devices(resources: Resources) -> dict[str, int | str]:
    """Return the devices, DOMAIN/NAME, with their amounts."""
    return {name: count for name, count in resources.limits.items() if "/" in name}


def target_fault(wanted: Resources, offered: Resources) -> str | None:
    """Return why a target may not ask for these resources, or None.

    Devices are for the administrator to grant: those of the profile, and no more of them.

    Args:
        offered: The profile's.
    """
    if fault := resources_fault(wanted):
        return fault
    devices = _devices(offered)
    for name, count in _devices(wanted).items():
        if name not in devices:
            return f"limits.{name}: the profile offers no such device; name a profile that does"
        if not amount(count):
            return f"limits.{name} 0: name a profile without that device"
        if amount(count) > amount(devices[name]):
            return f"limits.{name} {count} is more than the profile's {devices[name]}"
    return None


def target_resources(wanted: Resources | None, offered: Resources) -> Resources:
    """Return what a target's Job asks for: the target's resources, or else the profile's.

    It always has the profile's devices: without them it would be other hardware.

    Args:
        wanted: The target's; None where it names none.
    """
    if wanted is None:
        return offered
    return wanted.model_copy(update={"limits": _devices(offered) | wanted.limits})


def completed(given: Resources, model_bytes: int | None) -> Resources:
    """Return resources, filled in by what the model needs where they name no CPU and no memory.

    Args:
        model_bytes: See default_resources.
    """
    if any("/" not in name for name in (*given.requests, *given.limits)):
        return given
    derived = default_resources(model_bytes)
    return Resources(
        requests=derived.requests | given.requests, limits=derived.limits | given.limits
    )


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
