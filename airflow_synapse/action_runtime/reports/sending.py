"""How tasks, actors and other processes report to the driver. Never raises, and never waits for long."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any, Optional

from .records import Record

HEADER = ">II"
"""The lengths of a record's JSON and of an artifact's bytes, in front of both. Not a Struct, which can't be pickled."""
SEND_SECONDS = 2.0
"""How long one report may take."""
_LONGEST_PAUSE = 60.0


class Sender:
    """Sends records to the driver.

    :param address: The driver's host and port; None if it could not listen.
    :param secret: What proves that this job sends them.
    """

    def __init__(self, address: Optional[tuple[str, int]], secret: str) -> None:
        self._address, self._secret = address, secret
        self._forget()

    def __reduce__(self) -> Any:
        return Sender, (self._address, self._secret)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connection: Optional[socket.socket] = None
        self._lost = 0
        self._again_at = 0.0
        self._pause = 1.0

    def send(self, record: Record) -> None:
        """Send a record, or count it as lost."""
        if os.getpid() != self._pid:  # a fork must not share the connection
            self._forget()
        deadline = time.monotonic() + SEND_SECONDS
        if not self._lock.acquire(timeout=SEND_SECONDS):
            return
        try:
            self._send(record, deadline)
        except Exception as exc:  # noqa: BLE001  # no report is worth the task's work
            self._give_up(exc)
        finally:
            self._lock.release()

    def _send(self, record: Record, deadline: float) -> None:
        if time.monotonic() < self._again_at or self._address is None:
            self._lost += 1
            return
        if self._connection is None:
            self._connection = socket.create_connection(self._address, timeout=_left(deadline))
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pass({"secret": self._secret, "lost": self._lost}, b"", deadline)
            self._lost, self._pause = 0, 1.0
        self._pass(record.fields, record.data, deadline)

    def _pass(self, fields: dict[str, Any], data: bytes, deadline: float) -> None:
        assert self._connection is not None  # noqa: S101  # for mypy
        head = json.dumps(fields).encode()
        self._connection.settimeout(_left(deadline))
        self._connection.sendall(struct.pack(HEADER, len(head), len(data)) + head + data)

    def _give_up(self, exc: Exception) -> None:
        self._lost += 1
        if self._connection is not None:  # in the middle of a record
            self._connection.close()
            self._connection = None
        if self._lost == 1:
            print(  # noqa: T201  # Ray shows it in the driver's log
                f"airflow-synapse: reports to the driver are lost, as it can't be reached: {exc}",
                file=sys.stderr,
            )
        self._again_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())
