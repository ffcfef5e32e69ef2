"""The address and the port that a server listens at."""

from __future__ import annotations

import errno
import os
import socket

from nrc_tracer.errors import NrcError

PORTS = range(1, 65536)
"""Ports that a server can have."""


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Args:
        host: Name or address of this machine.
        port: Port; 0 for any free one.

    Raises:
        NrcError: The port is in use or not permitted, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise NrcError(f'--host "{host}" is not known: {error}; give a name or an address of this machine') from error
    try:
        return _bound(family, kind, protocol, address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NrcError(
                f"port {port} is in use by another program; {_advice(family, kind, protocol, address)}"
            ) from error
        if error.errno == errno.EACCES:
            raise NrcError(f"port {port} is not permitted to this user; give a --port of 1024 or more") from error
        raise NrcError(f'--host "{host}" is not an address of this machine: {error.strerror}') from error


def _bound(family: int, kind: int, protocol: int, address: tuple) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a restarted server gets its port at once; on Windows this would share the port instead
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(64)  # reserves the port: without it another socket could still bind it
    except OSError:
        bound.close()
        raise
    return bound


def _advice(family: int, kind: int, protocol: int, address: tuple) -> str:
    """What to do about a port in use: the next free one."""
    for port in range(address[1] + 1, min(address[1] + 100, PORTS.stop)):
        try:
            _bound(family, kind, protocol, (address[0], port, *address[2:])).close()
        except OSError:
            continue
        return f"--port {port} is free, and --port 0 takes any free one"
    return "--port 0 takes any free one"
