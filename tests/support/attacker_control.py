"""Attempts to disturb other processes: signals, limits, schedules; and to leave the own group."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import struct

from attacker import World, attempt
from attacker_calls import call, prctl

# Without an effect on who does not wait for it.
_HARMLESS = signal.SIGURG
_F_SETSIG, _F_SETOWN_EX = 10, 15
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_IOPRIO_WHO_PROCESS, _IOPRIO_BEST_EFFORT = 1, (2 << 13) | 4


@attempt
def kill_parent(world: World) -> object:
    os.kill(world.target, _HARMLESS)
    return "sent"


@attempt
def kill_group_of_parent(world: World) -> object:
    os.killpg(os.getpgid(world.target), _HARMLESS)
    return "sent"


@attempt
def kill_own_group(world: World) -> object:
    os.kill(0, _HARMLESS)
    return "sent"


@attempt
def kill_everybody(world: World) -> object:
    os.kill(-1, 0)
    return "allowed"


@attempt
def kill_parent_by_a_number_of_64_bits(world: World) -> object:
    # The kernel looks at the lower half.
    return call("kill", (1 << 32) | world.target, _HARMLESS)


@attempt
def tgkill_parent(world: World) -> object:
    return call("tgkill", world.target, world.target, _HARMLESS)


@attempt
def tkill_parent(world: World) -> object:
    return call("tkill", world.target, _HARMLESS)


@attempt
def sigqueue_parent(world: World) -> object:
    information = ctypes.create_string_buffer(128)
    struct.pack_into("iii", information, 0, _HARMLESS, 0, -1)
    return call("rt_sigqueueinfo", world.target, _HARMLESS, information)


@attempt
def tgsigqueue_parent(world: World) -> object:
    information = ctypes.create_string_buffer(128)
    struct.pack_into("iii", information, 0, _HARMLESS, 0, -1)
    return call("rt_tgsigqueueinfo", world.target, world.target, _HARMLESS, information)


@attempt
def pidfd_signal_parent(world: World) -> None:
    signal.pidfd_send_signal(os.pidfd_open(world.target), _HARMLESS)


@attempt
def own_a_pipe_by_parent(world: World) -> object:
    """With O_ASYNC the kernel signals the owner of a pipe when something arrives."""
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, world.target)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    return os.write(writing, b"x")


@attempt
def own_a_pipe_by_parent_ex(world: World) -> object:
    reading, _ = os.pipe()
    return fcntl.fcntl(reading, _F_SETOWN_EX, struct.pack("ii", 1, world.target))


@attempt
def choose_the_signal_of_a_pipe(world: World) -> object:
    reading, _ = os.pipe()
    return fcntl.fcntl(reading, _F_SETSIG, int(_HARMLESS))


@attempt
def own_standard_input_by_ioctl(world: World) -> object:
    try:
        return fcntl.ioctl(0, _FIOSETOWN, struct.pack("i", world.target))
    except OSError as error:
        if error.errno == 25:  # ENOTTY: it was looked at.
            return "reached the kernel"
        raise


@attempt
def own_standard_input_by_the_other_ioctl(world: World) -> object:
    try:
        return fcntl.ioctl(0, _SIOCSPGRP, struct.pack("i", world.target))
    except OSError as error:
        if error.errno == 25:
            return "reached the kernel"
        raise


@attempt
def set_limits_of_parent(world: World) -> object:
    limits = resource.prlimit(world.target, resource.RLIMIT_NOFILE)
    return resource.prlimit(world.target, resource.RLIMIT_NOFILE, limits)


@attempt
def set_priority_of_parent(world: World) -> object:
    now = os.getpriority(os.PRIO_PROCESS, world.target)
    os.setpriority(os.PRIO_PROCESS, world.target, now)
    return now


@attempt
def set_io_priority_of_parent(world: World) -> object:
    return call("ioprio_set", _IOPRIO_WHO_PROCESS, world.target, _IOPRIO_BEST_EFFORT)


@attempt
def set_affinity_of_parent(world: World) -> object:
    cpus = os.sched_getaffinity(world.target)
    os.sched_setaffinity(world.target, cpus)
    return cpus


@attempt
def set_scheduler_of_parent(world: World) -> object:
    os.sched_setscheduler(world.target, os.SCHED_OTHER, os.sched_param(0))
    return "set"


@attempt
def set_scheduling_parameter_of_parent(world: World) -> object:
    os.sched_setparam(world.target, os.sched_param(0))
    return "set"


@attempt
def set_scheduling_attributes_of_parent(world: World) -> object:
    attributes = struct.pack("IIQiIQQQ", 48, 0, 0, 0, 0, 0, 0, 0)
    return call("sched_setattr", world.target, attributes, 0)


@attempt
def leave_the_session(world: World) -> None:
    # A leader of a group gets EPERM in any case: as another process.
    os.setsid()


@attempt
def leave_the_group(world: World) -> object:
    os.setpgid(0, 0)
    return os.getpgid(0)


@attempt
def outlive_parent_without_its_death_signal(world: World) -> object:
    return prctl(_PR_SET_PDEATHSIG, 0)


@attempt
def set_the_death_signal_in_the_upper_half_too(world: World) -> object:
    return prctl((1 << 32) | _PR_SET_PDEATHSIG, 0)


@attempt
def adopt_orphans(world: World) -> object:
    return prctl(_PR_SET_CHILD_SUBREAPER, 1)


@attempt
def hide_from_parent(world: World) -> object:
    return prctl(_PR_SET_DUMPABLE, 0)


@attempt
def allow_own_core_dumps(world: World) -> object:
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    return "raised"
