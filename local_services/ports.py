"""Free TCP ports outside the ranges that Ray's workers and the kernel hand out by themselves."""

from __future__ import annotations

import random
import socket

# Below the kernel's ephemeral ports (from 32768), above the worker ports of Ray (10002 to 19999).
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens on right now."""
    # The system's randomness, as two test runs with one seed may share this machine.
    candidates = random.SystemRandom().sample(range(_LOWEST, _HIGHEST), _TRIES + count)
    ports: list[int] = []
    for port in candidates:
        if _is_free(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"found no {count} free ports between {_LOWEST} and {_HIGHEST}")


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError:
                return False
    return True
