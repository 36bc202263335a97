"""Free ports that nobody can take between choosing them and the server binding them."""

import socket


def reserve(address: str) -> socket.socket:
    """Bind a free port and keep it.

    The socket never listens. With SO_REUSEPORT set on both sides (--permit-port-sharing)
    the server binds the same port while nobody else gets it; close the socket afterwards.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((address, 0))
    return holder


def port_of(holder: socket.socket) -> int:
    """Return the reserved port."""
    port: int = holder.getsockname()[1]
    return port
