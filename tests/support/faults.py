"""What a stub server can do wrong with a request."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True)
class Answer:
    """Answer this, without doing what was asked."""

    status: int = 503
    body: bytes = b"injected fault"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Take the request and never answer, without doing what was asked."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection, without doing what was asked."""


@dataclass(frozen=True)
class LoseAnswer:
    """Do what was asked, then reset the connection instead of answering."""


@dataclass(frozen=True)
class CutBody:
    """Do what was asked, and close the connection after so many bytes of the answer's body."""

    after: int = 0


@dataclass(frozen=True)
class Delay:
    """Do what was asked, but so many seconds later."""

    seconds: float


GARBAGE = Answer(
    status=200, body=b"<html>this is { not JSON", headers={"Content-Type": "text/html"}
)

Fault = Answer | Hang | Reset | LoseAnswer | CutBody | Delay


class FaultPlan:
    """Which requests go wrong, and how. Safe to change from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def add(self, fault: Fault, *, times: int | None, route: str, after: int) -> None:
        with self._lock:
            self._entries.append(_Entry(fault, route, times, after))

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def take(self, route: str) -> Fault | None:
        """Return what goes wrong with this request, if anything."""
        with self._lock:
            for entry in self._entries:
                if entry.route not in {"*", route}:
                    continue
                if entry.after:
                    entry.after -= 1
                    continue
                if entry.times is not None:
                    entry.times -= 1
                if entry.times == 0:
                    self._entries.remove(entry)
                return entry.fault
        return None


@dataclass(eq=False)
class _Entry:
    """A fault, for how many requests of a route, and after how many that go right."""

    fault: Fault
    route: str
    times: int | None
    after: int


def reset_connection(request: web.Request) -> web.Response:
    """Close the request's connection with a TCP reset; the answer returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()
