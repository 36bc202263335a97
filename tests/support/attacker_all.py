"""Every attempt, by the module that makes it."""

from __future__ import annotations

from importlib import import_module

from attacker import ATTEMPTS

ANYWHERE = (
    "attacker_processes",
    "attacker_control",
    "attacker_sockets",
    "attacker_reads",
    "attacker_writes",
    "attacker_kernel",
)
WITHOUT_PROGRAMS = "attacker_starts"
WITH_PROGRAMS = "attacker_programs"


def _added_by(module: str) -> list[str]:
    before = set(ATTEMPTS)
    import_module(module)
    return [name for name in ATTEMPTS if name not in before]


BY_MODULE = {module: _added_by(module) for module in (*ANYWHERE, WITHOUT_PROGRAMS, WITH_PROGRAMS)}


def names(*, programs: bool) -> list[str]:
    """Return the attempts of a process that may start programs, or may not."""
    last = WITH_PROGRAMS if programs else WITHOUT_PROGRAMS
    return [name for module in (*ANYWHERE, last) for name in BY_MODULE[module]]
