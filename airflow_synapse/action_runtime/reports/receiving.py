"""Receives in the driver what tasks, actors and other processes of the job report."""

from __future__ import annotations

import hmac
import json
import secrets
import selectors
import socket
import struct
import sys
import threading
import time
from typing import Any, Callable, Optional

from ..job_log import identity_of
from .records import MAX_ARTIFACT, Record, message_record
from .sending import HEADER, Sender

_HEADER_SIZE = struct.calcsize(HEADER)
_MAX_FIELDS = 4 * 1024 * 1024
_MAX_GREETING = 1_024
_CHUNK = 256 * 1024
_QUIET = 0.1
"""Seconds without a byte, after which nothing more is on its way."""
_DRAIN_SECONDS = 2.0


class Receiver:
    """A thread that takes records from other processes, until the driver ends.

    :param take: Called on that thread with each record.
    """

    def __init__(self, take: Callable[[Record], None]) -> None:
        self._take = take
        self._secret = secrets.token_hex(16)
        self._selector = selectors.DefaultSelector()
        self._server = _listening()
        self._server.settimeout(0)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        self._woken = woken
        self._identity = identity_of(self._wake.fileno())
        self._is_quiet = threading.Event()
        self._is_ending = False
        threading.Thread(target=self._serve, name="airflow-synapse-reports", daemon=True).start()

    def sender(self) -> Sender:
        """Return what another process needs to report here."""
        host, port = self._server.getsockname()[:2]
        return Sender((host, port), self._secret)

    def drain(self) -> None:
        """Take what has been sent already. Waits at most two seconds."""
        self._is_ending = True
        if identity_of(self._wake.fileno()) != self._identity:
            return  # the action has closed it, and the number may mean another connection now
        self._wake.send(b"!")
        self._is_quiet.wait(_DRAIN_SECONDS)

    def _serve(self) -> None:
        last = time.monotonic()
        while True:
            ready = self._selector.select(_QUIET if self._is_ending else None)
            for key, _events in ready:
                self._look_at(key.fileobj, key.data)
            if ready:
                last = time.monotonic()
            elif time.monotonic() - last >= _QUIET:
                self._is_quiet.set()
                return

    def _look_at(self, source: Any, connection: Optional[_Connection]) -> None:
        if source is self._woken:
            source.recv(16)
        elif connection is None:
            self._accept()
        elif not connection.read(source):
            self._selector.unregister(source)
            source.close()

    def _accept(self) -> None:
        try:
            accepted, _address = self._server.accept()
        except OSError:
            return
        accepted.settimeout(0)
        connection = _Connection(self._secret, self._take)
        self._selector.register(accepted, selectors.EVENT_READ, connection)


class _Connection:
    """The records of one process."""

    def __init__(self, secret: str, take: Callable[[Record], None]) -> None:
        self._secret, self._take = secret, take
        self._is_known = False
        self._received = bytearray()

    def read(self, source: socket.socket) -> bool:
        """Take what has come, and return whether more may come."""
        try:
            chunk = source.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._received += chunk
        try:
            self._take_complete_ones()
        except Exception:  # noqa: BLE001  # not our sender: it is cut off
            return False
        return bool(chunk)

    def _take_complete_ones(self) -> None:
        while len(self._received) >= _HEADER_SIZE:
            head, data = struct.unpack_from(HEADER, self._received)
            if head > (_MAX_FIELDS if self._is_known else _MAX_GREETING) or data > MAX_ARTIFACT:
                raise ValueError("too much at once")
            end = _HEADER_SIZE + head + data
            if len(self._received) < end:
                return
            fields = json.loads(self._received[_HEADER_SIZE : _HEADER_SIZE + head])
            blob = bytes(self._received[_HEADER_SIZE + head : end])
            del self._received[:end]
            self._take_one(fields, blob)

    def _take_one(self, fields: dict[str, Any], data: bytes) -> None:
        if self._is_known:
            return self._take(Record(fields, data))
        if not hmac.compare_digest(str(fields.get("secret")), self._secret):
            raise ValueError("a stranger")
        self._is_known = True
        if fields.get("lost"):
            text = f"{fields['lost']} reports of a task or process are lost: the driver was out of reach."
            self._take(message_record(text, "warning"))
        return None


def _listening() -> socket.socket:
    """Return a socket on the address under which other nodes know this one."""
    try:
        return socket.create_server((_node_address(), 0), backlog=1_024)
    except OSError:  # an address that other machines give to this one
        return socket.create_server(("127.0.0.1", 0), backlog=1_024)


def _node_address() -> str:
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return "127.0.0.1"
    return str(ray.util.get_node_ip_address())
