"""Ports of this machine that nobody listens to."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def free_address() -> str:
    """Return HOST:PORT that nobody listens to."""
    return f"127.0.0.1:{free_port()}"
