"""Attempts to talk to somebody: sockets of every family, and what is as good as one."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from attacker import World, attempt, named
from attacker_calls import reached

_FAMILIES = {
    "inet-stream": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "inet-datagram": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "inet-raw": (socket.AF_INET, socket.SOCK_RAW, 1),
    "inet6-stream": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    "inet6-datagram": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "unix-stream": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "unix-datagram": (socket.AF_UNIX, socket.SOCK_DGRAM, 0),
    "unix-seqpacket": (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0),
    "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "netlink-audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, 0x0300),
    "vsock": (getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM, 0),
    "kernel-crypto": (getattr(socket, "AF_ALG", 38), socket.SOCK_SEQPACKET, 0),
}
_MULTIPATH = 262
# With no such descriptor EBADF comes back from a call that is open.
_NONE = -1


def _socket(family: int, kind: int, protocol: int) -> Callable[[World], object]:
    def opened(_world: World) -> object:
        try:
            with socket.socket(family, kind, protocol) as found:
                return found.fileno()
        except OSError as error:
            if error.errno in (93, 94, 97):  # A kernel without that family looked for it.
                return "reached the kernel"
            raise

    return opened


for _name, _arguments in _FAMILIES.items():
    named(f"socket-{_name}", _socket(*_arguments))
named("socket-multipath", _socket(socket.AF_INET, socket.SOCK_STREAM, _MULTIPATH))


@attempt
def socketpair(world: World) -> object:
    first, second = socket.socketpair()
    first.close()
    second.close()
    return "made"


def _reaching(name: str, *arguments: int | bytes) -> Callable[[World], object]:
    return lambda _world: reached(name, *arguments)


for _name in ("connect", "bind", "sendto", "sendmsg", "recvfrom", "recvmsg", "accept", "accept4"):
    named(f"call-{_name}", _reaching(_name, _NONE, 0, 0, 0, 0, 0))
named("call-listen", _reaching("listen", _NONE, 1))
named("call-sendmmsg", _reaching("sendmmsg", _NONE, 0, 0, 0))
named("call-recvmmsg", _reaching("recvmmsg", _NONE, 0, 0, 0, 0))
named("call-socket-in-the-upper-half-too", _reaching("socket", (1 << 32) | 2, 1, 0))
named("io-uring", _reaching("io_uring_setup", 0, b"\0" * 120))
named("io-uring-enter", _reaching("io_uring_enter", _NONE, 0, 0, 0, 0, 0))
named("io-uring-register", _reaching("io_uring_register", _NONE, 0, 0, 0))


@attempt
def open_a_terminal(world: World) -> object:
    try:
        return os.open("/dev/tty", os.O_RDWR)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return "there is none to open"
        raise


@attempt
def make_a_terminal(world: World) -> object:
    return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)


@attempt
def shared_memory_file(world: World) -> object:
    descriptor = os.open("/dev/shm/attacker", os.O_RDWR | os.O_CREAT)  # noqa: S108
    os.unlink("/dev/shm/attacker")  # noqa: S108
    return descriptor


for _name, _given in {
    "shmget": (0, 4096, 0o1600),
    "semget": (0, 1, 0o1600),
    "msgget": (0, 0o1600),
    "shmat": (_NONE, 0, 0),
    "shmctl": (_NONE, 2, 0),
    "semctl": (_NONE, 0, 2, 0),
    "msgctl": (_NONE, 2, 0),
    "mq_unlink": (b"attacker-none",),
}.items():
    named(f"share-{_name.replace('_', '-')}", _reaching(_name, *_given))


@attempt
def share_mq_open(world: World) -> object:
    """A queue of messages that is not there: ENOENT says that it was looked for."""
    return reached("mq_open", b"attacker-none", os.O_RDONLY, 0, 0)
